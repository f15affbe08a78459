import csv
import dataclasses
import datetime
import json
from pathlib import Path

import pytest

from hw2.experiments import EXPERIMENTS
from hw2.experiments.resolve import phases_of, resolve, seeds_of
from hw2.experiments.schema import BUDGETS, Experiment, Phase, run_name
from hw2.models.registry import NETWORKS

RESULTS = Path(__file__).resolve().parents[2] / "results"
FINISHED = sorted(config.parent for budget in ("cpu", "gpu") for config in RESULTS.glob(f"{budget}/*/config.json"))
TRAINED = [name for name, entry in EXPERIMENTS.items() if isinstance(entry, Experiment)]
KEYS = ["experiment", "budget", "seed", "task", "data", "model", "model_arguments"]
KEYS += ["weights", "teachers", "teacher_share", "phases", "extras"]


@pytest.mark.parametrize("budget", BUDGETS)
def test_configurations_are_complete_and_survive_json(budget):
    for name in EXPERIMENTS:
        config = resolve(name, budget, 1)
        assert json.loads(json.dumps(config)) == config
        assert (config["experiment"], config["budget"], config["seed"]) == (name, budget, 1)
    for name in TRAINED:
        config = resolve(name, budget)
        assert list(config) == KEYS
        assert set(config["model_arguments"]) == set(NETWORKS[config["model"]].arguments)
        assert config["data"]["classes"] == EXPERIMENTS[name].num_classes
        assert len(config["phases"]) == len(EXPERIMENTS[name].phases)
        for phase in config["phases"]:
            assert set(phase) == {field.name for field in dataclasses.fields(Phase)}


def test_a_configuration_holds_the_values_of_its_budget_and_the_defaults():
    cpu, gpu = resolve("scratch_final", "cpu", 2), resolve("scratch_final", "gpu", 2)
    assert cpu["data"] == {"source": "cifar100", "train": 45_000, "validation": 5_000, "test": 10_000, "classes": 100}
    assert cpu["model_arguments"] == {"image_size": 32, "filters": [64, 192, 384], "units": 2, "whitening": True}
    assert gpu["model_arguments"] == cpu["model_arguments"]
    assert [phase["mix"] for phase in gpu["phases"]] == [["mixup", "cutmix"]] * 2
    filters = [resolve("scratch_plain", budget)["model_arguments"]["filters"] for budget in ("cpu", "gpu")]
    assert filters == [[32, 64, 128], [48, 96, 192]]
    assert [phase["epochs"] for phase in cpu["phases"] + gpu["phases"]] == [12, 20, 12, 20]
    assert cpu["phases"][0] == {
        "epochs": 12,
        "learning_rate": 0.2,
        "trainable": "",
        "optimizer": "sgd",
        "weight_decay": 0.005,
        "batch_size": 128,
        "schedule": "constant",
        "warmup": 0.1,
        "plateau_patience": 3,
        "label_smoothing": 0.1,
        "loss": "cross_entropy",
        "joint": [],
        "augment": ["flip", "shift"],
        "mix": ["cutmix"],
        "mix_probability": 0.5,
        "mirrored": False,
        "image_size": 24,
        "patience": None,
        "keep_best": False,
        "sampling": "uniform",
    }
    assert (cpu["weights"], cpu["extras"]) == (None, ["test_time_augmentation", "robustness", "grad_cam"])
    assert resolve("vgg16_full")["extras"] == [] and resolve("vgg16_full")["weights"] == "imagenet"
    assert resolve("scratch_residual_20classes")["data"]["classes"] == 20
    assert resolve("seg_unet_vgg16_classes")["data"] == {"source": "voc2012", "sbd": True, "classes": 21}


def test_entries_that_train_nothing():
    members = ["scratch_final", "scratch_final-seed1", "scratch_final-seed2"]
    assert resolve("ensemble_scratch_final", "gpu") == {
        "experiment": "ensemble_scratch_final",
        "budget": "gpu",
        "seed": 0,
        "task": "ensemble",
        "members": members,
    }
    assert resolve("seg_baselines")["data"] == {"source": "voc2012", "sbd": False, "classes": 2}
    assert resolve("seg_baselines", "smoke")["data"]["source"] == "synthetic"


def test_the_smoke_budget_reduces_the_cpu_values():
    for name in TRAINED:
        smoke, cpu = resolve(name, "smoke"), resolve(name, "cpu")
        assert smoke["data"]["source"] == "synthetic" and smoke["data"]["train"] <= 256
        assert smoke["model_arguments"]["image_size"] == min(64, cpu["model_arguments"]["image_size"])
        reduced = {"epochs": 1, "batch_size": 32}
        assert smoke["phases"] == [phase | reduced for phase in cpu["phases"]]
        assert smoke["weights"] != "imagenet" and smoke["extras"] == cpu["extras"]
    arguments = resolve("scratch_residual", "smoke")["model_arguments"]
    assert arguments["filters"] == [8, 16, 24] and arguments["units"] == 1 and arguments["residual"]
    assert resolve("seg_unet_mobilenetv2_transpose", "smoke")["model_arguments"]["width"] == 0.35
    assert resolve("scratch_final_48px", "smoke")["weights"] == "scratch_final"


def test_phases_of_a_configuration_are_those_of_its_entry():
    assert phases_of(resolve("vgg16_block5"))[1] == dataclasses.replace(
        EXPERIMENTS["vgg16_block5"].phases[1], epochs=8, joint=[], augment=[], mix=[]
    )


def test_seeds_of_an_entry():
    assert seeds_of("scratch_bn", "cpu") == seeds_of("scratch_bn", "gpu") == [0, 1, 2]
    assert seeds_of("scratch_bn", "smoke") == [0]
    assert seeds_of("scratch_final", "smoke") == [0, 1, 2]  # an ensemble needs them
    assert seeds_of("vgg16_full", "cpu") == [0]
    assert seeds_of("scratch_bn", "cpu", 7) == seeds_of("scratch_bn", "smoke", 7) == [7]
    assert seeds_of("ensemble_scratch_final", "cpu", 7) == seeds_of("seg_baselines", "cpu", 7) == [0]


@pytest.mark.skipif(not FINISHED, reason="no results are here")
@pytest.mark.parametrize("folder", FINISHED, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_stored_configurations_are_those_of_the_table(folder):
    stored = json.loads((folder / "config.json").read_text())
    assert folder.name == run_name(stored["experiment"], stored["seed"]) and folder.parent.name == stored["budget"]
    config = resolve(stored["experiment"], stored["budget"], stored["seed"])
    if config.get("data", {}).get("source") == "voc2012":  # the counts of VOC are added when a run starts
        for data in (config["data"], stored["data"]):
            for key in ("source", "train", "validation", "test"):
                data.pop(key, None)
    assert stored == config


def test_trials_can_be_read():
    with open(RESULTS / "trials.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [
        *("experiment", "date", "tried", "data", "epochs", "validation_metric", "validation", "training"),
        *("seed", "commit", "decision"),
    ]
    for row in rows:
        trial = dict(zip(header, row, strict=True))
        assert trial["experiment"] and trial["tried"] and trial["validation_metric"] in ("accuracy", "iou", "loss")
        assert not trial["date"] or datetime.date.fromisoformat(trial["date"])
        for key in ("validation", "training"):
            assert trial[key] == "" or trial["validation_metric"] == "loss" or 0 < float(trial[key]) < 1
