"""Estimated durations: the arithmetic on a made-up table, the table of the networks, and finished runs."""

import importlib.util
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from hw2 import files, runs
from hw2.experiments import EXPERIMENTS, costs
from hw2.experiments.resolve import resolve, seeds_of
from hw2.experiments.schema import Experiment, Phase
from hw2.models.cost import cost_of_stages, multiply_adds
from hw2.models.registry import NETWORKS, build_model

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("count_costs", ROOT / "scripts" / "count_costs.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
TABLE = files.read_json(script.TABLE)
TRAINED = [name for name, entry in EXPERIMENTS.items() if isinstance(entry, Experiment)]

# a network with 100 multiply-adds and 10 values for an image, of which the head has 30 and 2
MADE_UP = {"net(100, image_size=32)": {"": [100, 10], "head": [30, 2]}, "net(100, image_size=16)": {"": [25, 4]}}
DEVICE = costs.Device("a device", 1e3, 1e2, 2, 0.5, 7, cores=2, overlaps=False)


def work(**fields):
    data = {"train": 1000, "validation": 50, "test": 80, "classes": 100}
    phase = vars(Phase(**{"epochs": 3, "learning_rate": 0.1, "batch_size": 300} | fields))
    config = {"task": "classification", "model": "net", "model_arguments": {"image_size": 32}, "data": data}
    return costs.work_of_phases(config | {"phases": [phase], "extras": []}, MADE_UP)[0]


def test_a_trained_layer_costs_three_passes_and_an_epoch_has_full_batches():
    assert work() == costs.Work((3 * 900 * 300, 3 * 900 * 30), (3 * 50 * 100, 3 * 50 * 10), 9, 0.0)
    assert work(image_size=16).trained == (3 * 900 * 75, 3 * 900 * 12)


def test_frozen_layers_cost_one_pass_or_are_cached():
    augmented = work(trainable="head", augment=["flip"])
    assert augmented.trained == (3 * 900 * (70 + 90), 3 * 900 * (8 + 6))
    assert augmented.predicted == (3 * 50 * 100, 3 * 50 * 10)
    assert augmented.augmentation == 3 * 900 * 32**2 / costs.AUGMENTED_PIXELS["classification"]
    assert work(trainable="head", mix=["mixup"]) == augmented
    cached = work(trainable="head")
    assert cached.trained == (3 * 900 * 90, 3 * 900 * 6) and cached.augmentation == 0
    assert cached.predicted == (1050 * 70 + 3 * 50 * 30, 1050 * 8 + 3 * 50 * 2)
    mirrored = work(trainable="head", mirrored=True)
    assert mirrored.steps == 3 * 6 and mirrored.predicted[0] == 2050 * 70 + 3 * 50 * 30


def test_seconds_add_up_and_a_gpu_augments_meanwhile():
    phase = costs.Work((4000, 300), (2000, 200), 6, 30.0)
    assert phase.seconds(DEVICE) == 7 + (4 + 3) + (1 + 1) + 3 + 15
    beside = costs.Device("a GPU", 1e3, 1e2, 2, 0.5, 7, cores=2, overlaps=True)
    assert phase.seconds(beside) == 7 + 15


def test_counts_of_images():
    assert costs.image_counts(resolve("scratch_residual_20classes")) == (9_000, 1_000, 2_000)
    train, validation, test = costs.image_counts(resolve("seg_book_bilinear"))
    assert (train, validation, test) == (1464 - 292 + 9118, 292, 1449)
    assert costs.image_counts(resolve("seg_book_bilinear", "smoke")) == (32, 16, 16)


@pytest.mark.parametrize("extras, passes", [([], 130), (["test_time_augmentation", "robustness"], 130 * 11 + 80 * 15)])
def test_measuring_predicts_every_image_and_its_copies(extras, passes):
    data = {"train": 1000, "validation": 50, "test": 80, "classes": 100}
    config = {"task": "classification", "model": "net", "model_arguments": {"image_size": 32}, "data": data}
    seconds = costs.seconds_beside_training(config | {"extras": extras}, MADE_UP, DEVICE)
    assert seconds == pytest.approx(passes * 0.2 / 2)


@pytest.mark.parametrize("extras, passes, sets", [([], 1, 1), (["test_time_augmentation"], 10, 3)])
def test_photographs_are_read_on_all_cores_and_masks_measured_on_one(extras, passes, sets):
    data = {"train": 1000, "validation": 50, "test": 80, "classes": 2, "sbd": True}
    config = {"task": "segmentation", "model": "net", "model_arguments": {"image_size": 32}, "data": data}
    table = {costs.network_key(config): MADE_UP["net(100, image_size=32)"]}
    seconds = costs.seconds_beside_training(config | {"extras": extras}, table, DEVICE)
    assert seconds == pytest.approx(passes * 130 * 0.2 / 2 + 1130 * 0.006 / 2 + sets * 130 * 0.02)


def test_words():
    assert [costs.in_words(seconds) for seconds in (20, 95, 5000, 5760)] == ["under 1 min", "2 min", "83 min", "1.6 h"]


def test_the_table_has_every_network():
    missing, unused = set(script.networks()) - set(TABLE), set(TABLE) - set(script.networks())
    assert not missing and not unused, "run python scripts/count_costs.py"


SMALLEST = {}
for key, (config, _) in script.networks().items():
    if key not in TABLE:  # the test above says what to do
        continue
    if config["model"] not in SMALLEST or TABLE.get(key, {"": [0]})[""][0] < TABLE[SMALLEST[config["model"]]][""][0]:
        SMALLEST[config["model"]] = key


@pytest.mark.parametrize("key", SMALLEST.values())
def test_the_table_equals_the_networks(key):
    config, size = script.networks()[key]
    model = build_model(config, size)
    assert TABLE[key] == cost_of_stages(model, NETWORKS[config["model"]].stages), "run python scripts/count_costs.py"
    assert TABLE[key][""][0] == multiply_adds(model)


@pytest.mark.slow
def test_the_table_equals_all_networks():
    assert script.count() == TABLE, "run python scripts/count_costs.py"


def test_estimates_of_finished_runs():
    """Half of the estimates are within 30 % of the durations that were measured, and nine in ten within a factor 2."""
    ratios = []
    for folder in sorted(path.parent for path in (ROOT / "results" / "cpu").glob(f"*/{runs.FINAL}")):
        config, cost = files.read_json(folder / runs.CONFIG), runs.read_metrics(folder)["cost"]
        if "model" not in config or runs.cpu_cores(cost) != 2:
            continue
        device = costs.DEVICES["cpu"]["_bf16" not in cost["device"]]  # AVX512-BF16 of Zen 5 is as fast as AMX here
        epochs = [0] * len(config["phases"])
        for row in files.read_csv(folder / runs.HISTORY):
            epochs[int(row["phase"]) - 1] += 1
        try:
            seconds = costs.training_seconds(config, TABLE, device, epochs)
        except KeyError:  # of an entry that has changed since
            continue
        ratios.append(math.log(seconds / runs.training_seconds(cost)))
    if not ratios:
        pytest.skip("no results are here")
    deviations = sorted(map(abs, ratios))
    assert abs(statistics.fmean(ratios)) < math.log(1.2)
    assert statistics.median(deviations) < math.log(1.3)
    assert deviations[int(0.9 * (len(deviations) - 1))] < math.log(2)


def test_the_gpu_budget_takes_an_evening_on_a_t4_and_an_hour_on_an_a100():
    hours = {}
    for device in costs.DEVICES["gpu"]:
        durations = []
        for name in TRAINED:
            config = resolve(name, "gpu")
            assert costs.network_key(config) in TABLE, "run python scripts/count_costs.py"
            durations += len(seeds_of(name, "gpu")) * [costs.run_seconds(config, TABLE, device)]
        hours[device.name] = costs.total_seconds(durations, device) / 3600
    advice = "Shorten an entry on the gpu budget, or raise the limits here and in README, Several GPUs or machines"
    assert hours["T4"] < 5 and hours["A100"] < 1, f"{hours}. {advice}"


def test_estimates_need_no_keras():
    code = "import sys, hw2.experiments.costs; print({'keras', 'tensorflow', 'jax', 'cv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_table_is_one_that_the_script_would_write():
    assert json.dumps(TABLE, indent=1) + "\n" == script.TABLE.read_text()


def test_the_cpu_budget_takes_a_day_on_two_cores_with_amx_and_four_without():
    for device, days in zip(costs.DEVICES["cpu"], (1, 4.25), strict=True):
        durations = [
            costs.run_seconds(resolve(name, "cpu"), TABLE, device) for name in TRAINED for _ in seeds_of(name, "cpu")
        ]
        advice = "Shorten an entry on the cpu budget, or raise the limits here and in README, Train"
        assert costs.total_seconds(durations, device) < days * 86_400, f"{device.name}: {advice}"
