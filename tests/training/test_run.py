"""Whole runs of a small network on synthetic data: what they leave, weights of another run, refusals."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from small_runs import SCRATCH, TINY, VGG16, configuration, interrupt_at, outcome, run, start

from hw2 import files, runs
from hw2.data import splits, synthetic
from hw2.data.batches import Batches
from hw2.errors import ResultsError, TrainingError
from hw2.metrics.classification import classification_figures
from hw2.models import registry
from hw2.models.registry import build_model
from hw2.models.scratch import adapt_whitening
from hw2.tasks import classification
from hw2.training import run as training
from hw2.training.run import parent_folder, with_data_counts


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder, VGG16)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    return folder, run(folder, SCRATCH)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return folder, run(folder, TINY)


def assert_same(one, other):
    """`other` may have the arrays of extras besides."""
    assert one[:3] == other[:3]
    assert one[3].keys() <= other[3].keys()
    for name, array in one[3].items():
        np.testing.assert_array_equal(array, other[3][name], err_msg=name)


def test_a_finished_run_leaves_what_is_promised(finished):
    folder, metrics = finished
    folder = folder / "results" / "small"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "history.csv", "metrics.json", "predictions.npz", "logits.npz", "model.keras", "final.json")
    }
    assert files.read_json(folder / "config.json") == VGG16
    assert metrics == files.read_json(folder / "metrics.json")
    assert metrics["data"] == VGG16["data"]
    history = files.read_csv(folder / "history.csv")
    assert [row["epoch"] for row in history] == list(range(1, metrics["cost"]["epochs"] + 1))
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"} <= set(history[0])
    events = [event["event"] for event in metrics["events"]]
    assert "stopped early" in events and "learning rate divided by 5" in events
    assert any(event.startswith("went back to the weights of epoch") for event in events)
    assert metrics["cost"]["trainable_parameters"] < metrics["cost"]["parameters"]
    assert metrics["cost"]["peak_memory_mib"] > 50 and metrics["cost"]["device"]
    assert metrics["versions"]["keras"] == keras.__version__ and metrics["versions"]["numpy"] == np.__version__
    assert metrics["versions"]["tensorflow"] and metrics["versions"]["python"].startswith("3.")
    assert runs.damage(folder, digests=True) == []


def test_figures_are_those_of_the_stored_predictions_and_of_the_stored_model(finished):
    folder, metrics = finished
    arrays = files.read_arrays(folder / "results" / "small" / "logits.npz")
    predictions = files.read_arrays(folder / "results" / "small" / "predictions.npz")
    for part in ("validation", "test"):
        assert classification_figures(arrays[f"{part}_logits"], arrays[f"{part}_labels"]) == metrics[part]
        correct = predictions[f"{part}_answers"] == predictions[f"{part}_labels"]
        assert correct.mean() == pytest.approx(metrics[part]["accuracy"])
    model = keras.models.load_model(folder / "results" / "small" / "model.keras", safe_mode=True)
    test = splits.load_test(VGG16["data"], None)
    np.testing.assert_array_equal(test.labels, arrays["test_labels"])
    logits = model.predict(Batches(test.images, None, 250), verbose=0)
    np.testing.assert_allclose(logits, arrays["test_logits"], rtol=2e-3, atol=2e-3)


def test_cost_is_that_of_all_epochs_and_of_the_features(finished):
    folder, metrics = finished
    cost, history = metrics["cost"], files.read_csv(folder / "results" / "small" / "history.csv")
    chunks = [chunk for path in (folder / "data" / "cache").glob("*.json") for chunk in files.read_json(path)]
    for key in ("seconds", "cpu_seconds"):
        assert 0 < cost[f"feature_{key}"] == pytest.approx(sum(chunk[key] for chunk in chunks))
        assert cost[key] == pytest.approx(sum(row[key] for row in history) + cost[f"feature_{key}"])
    last = [row for row in history if row["phase"] == 2]
    speed = sum(row["images"] for row in last) / sum(row["seconds"] for row in last)
    assert cost["images_per_second"] == pytest.approx(speed)


def test_a_run_killed_and_interrupted_ends_with_the_same_numbers(finished, tmp_path):
    """SIGKILL in a process of its own, where nothing can be cleaned up; then Ctrl-C, in the next phase."""
    process = start(tmp_path, VGG16, "'phase 1 epoch 3' in line and os.kill(os.getpid(), signal.SIGKILL)")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    folder = tmp_path / "results" / "small"
    assert [row["epoch"] for row in files.read_csv(folder / "history.csv")] == [1, 2]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, VGG16, log=interrupt_at("phase 2 epoch 3"))
    assert runs.run_state(folder) == "unfinished"
    assert files.read_csv(folder / "history.csv")[-1]["phase"] == 2
    run(tmp_path, VGG16)
    assert_same(outcome(finished[0]), outcome(tmp_path))


ON_JAX = """
import sys
from pathlib import Path
import keras, pytest
from small_runs import TINY, interrupt_at, outcome, run
from training.test_run import assert_same
assert keras.backend.backend() == "jax"
config = TINY | {"phases": [TINY["phases"][0] | {"batch_size": 8}]}
run(Path("whole"), config)
with pytest.raises(KeyboardInterrupt):
    run(Path("stopped"), config, log=interrupt_at("epoch 2/3"))
run(Path("stopped"), config)
assert_same(outcome(Path("whole")), outcome(Path("stopped")))
"""


def test_an_interrupted_run_ends_with_the_same_numbers_on_jax(tmp_path):
    """There, Keras builds its metrics from the first batch of an epoch, which must not change the batches."""
    pytest.importorskip("jax", reason="jax is an extra: pip install -e '.[test]'")
    tests = Path(__file__).resolve().parents[1]
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    done = subprocess.run([sys.executable, "-c", ON_JAX], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_commit_is_that_of_the_code_that_trained(tmp_path, monkeypatch):
    """Another one may be checked out while a run lasts."""
    commits = ["before"]
    monkeypatch.setattr(runs, "_commit", lambda: commits[-1])
    assert run(tmp_path, TINY, log=lambda line: commits.append("after"))["commit"] == "before"


@pytest.mark.parametrize("writer", ["write_csv", "write_arrays", "write_json"])
def test_an_end_between_the_last_epoch_and_the_last_file(tiny, tmp_path, monkeypatch, writer):
    """A kill after training, before any of the last files: the next start writes them all."""
    write, epochs = getattr(files, writer), []

    def cut(path, *arguments, **options):
        if path.name in ("history.csv", "predictions.npz", "metrics.json") and len(epochs) >= 3:
            raise KeyboardInterrupt
        return write(path, *arguments, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(files, writer, cut)
        run(tmp_path, TINY, log=lambda line: epochs.append(line) if "epoch" in line else None)
    assert runs.run_state(tmp_path / "results" / "small") == "unfinished"
    run(tmp_path, TINY)
    names = {path.name for path in (tmp_path / "results" / "small").iterdir()}
    assert names == {path.name for path in (tiny[0] / "results" / "small").iterdir()}
    assert_same(outcome(tmp_path), outcome(tiny[0]))


def test_a_finished_run_is_skipped_and_another_configuration_refused(finished):
    folder, metrics = finished
    lines = []
    assert run(folder, VGG16, log=lines.append) == metrics and not lines
    other = json.loads(json.dumps(VGG16))
    other["phases"][1]["epochs"] = 8
    with pytest.raises(ResultsError, match=r"phases\[1\]\.epochs: 5 in results, 8 now"):
        run(folder, other)


def test_more_data_is_another_run(finished, monkeypatch):
    """A run on half of the data does not count as finished where all of it is there; without data it does."""
    folder, metrics = finished
    monkeypatch.setattr(classification, "count_data", lambda config, data_dir: config["data"] | {"train": 192})
    with pytest.raises(ResultsError, match=r"data\.train: 96 in results, 192 now"):
        run(folder, VGG16)
    monkeypatch.setattr(classification, "data_is_here", lambda config, data_dir: False)
    assert run(folder, VGG16) == metrics
    # a run that is trained again records the data that it trains on
    assert with_data_counts(VGG16, classification, None, folder / "results" / "small")["data"]["train"] == 96
    assert with_data_counts(VGG16, classification, None, None)["data"]["train"] == 192


def test_seeds_on_other_data_are_refused(tiny, monkeypatch):
    """A mean over seeds of which some saw more data says nothing; nothing is written."""
    folder, _ = tiny
    monkeypatch.setattr(classification, "count_data", lambda config, data_dir: config["data"] | {"train": 192})
    with pytest.raises(ResultsError, match=r"(?s)another seed.*data\.train: 96 in results, 192 now.*--results"):
        run(folder, TINY | {"seed": 1}, "small-seed1")
    assert not (folder / "results" / "small-seed1").exists()


@pytest.mark.parametrize("name", ["config.json", "predictions.npz", "history.csv", "model.keras", "final.json"])
def test_a_truncated_file_is_named_and_nothing_is_overwritten(finished, name):
    folder = finished[0] / "results" / "small"
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ResultsError, match=rf"{name}.*--force"):
        run(finished[0], VGG16)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / name).write_bytes(content)
    run(finished[0], VGG16)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    config = TINY | {"phases": [TINY["phases"][0] | {"learning_rate": 1e30}]}
    with pytest.raises(TrainingError, match="no longer finite"):
        run(tmp_path, config)
    assert runs.run_state(tmp_path / "results" / "small") == "unfinished"


def test_a_run_that_diverges_and_stays_finite_says_so_at_every_start(tmp_path):
    """Logits beyond float16's range: not a traceback from the writing of the figures."""
    phase = TINY["phases"][0] | {"epochs": 1, "learning_rate": 1e7, "schedule": "constant", "trainable": "head"}
    config = TINY | {"phases": [phase]}
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"training diverged.*Lower the learning rate"):
            run(tmp_path, config)
        assert runs.run_state(tmp_path / "results" / "small") == "unfinished"


def test_frozen_layers_stay_and_others_move(finished):
    folder, _ = finished
    keras.utils.set_random_seed(VGG16["seed"])
    fresh = registry.build("vgg16_classifier", 100, **VGG16["model_arguments"])
    trained = keras.models.load_model(folder / "results" / "small" / "model.keras")
    for layer in fresh.layers:
        for before, after in zip(layer.get_weights(), trained.get_layer(layer.name).get_weights(), strict=True):
            moved = not np.allclose(before, after, rtol=1e-3, atol=1e-6)
            assert moved == layer.name.startswith(("block5", "head")), layer.name


def test_small_images_first_subset_of_classes_and_extras(scratch):
    folder, metrics = scratch
    predictions, logits = (
        files.read_arrays(folder / "results" / "small" / name) for name in ("predictions.npz", "logits.npz")
    )
    assert logits["test_logits"].shape[1] == 30 and predictions["test_labels"].max() < 30
    np.testing.assert_array_equal(predictions["classes"], splits.class_subset(30))
    _, all_labels = synthetic.classification(40, seed=2)
    np.testing.assert_array_equal(
        predictions["classes"][predictions["test_labels"]], all_labels[predictions["test_indices"]]
    )
    for view in ("mirror", "mirror_shift"):
        figures = classification_figures(
            logits[f"test_logits_{view}"], predictions["test_labels"], predictions["classes"]
        )
        assert figures == metrics["test_time_augmentation"][view]["test"]
        np.testing.assert_array_equal(predictions[f"test_answers_{view}"], logits[f"test_logits_{view}"].argmax(1))
    assert set(metrics["robustness"]) == {"gaussian_noise", "blur", "contrast", "jpeg", "pixelation"}
    assert metrics["data"]["classes"] == 30 and metrics["cost"]["multiply_adds"] > 0
    # the stored model is the one for whole images, and its first layers are those of the first phase
    model = keras.models.load_model(folder / "results" / "small" / "model.keras")
    assert not any(layer.name == "resizing" for layer in model.layers)


def test_interruption_while_images_are_small(scratch, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SCRATCH | {"extras": []}, log=interrupt_at("phase 1 epoch 1"))
    run(tmp_path, SCRATCH | {"extras": []})
    assert_same(outcome(tmp_path), outcome(scratch[0]))


def test_whitening_is_that_of_the_training_images(tmp_path):
    """Set before the first phase, the same at each phase's size, never trained, and stored with the model."""
    phases = [phase | {"epochs": 1, "augment": [], "mix": []} for phase in SCRATCH["phases"]]
    config = configuration("whitened_classifier", phases, {"filters": [4, 6, 8], "image_size": 24})
    run(tmp_path, config)
    layer = keras.models.load_model(tmp_path / "results" / "small" / "model.keras").get_layer("stem_whitening")
    model = build_model(config)
    adapt_whitening(model, splits.load_training(config["data"], None)[0].images)
    expected = keras.ops.convert_to_numpy(model.get_layer("stem_whitening").kernel)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.kernel), expected.astype(np.float16))


def test_weights_of_another_run(scratch, tmp_path):
    """Frozen layers stay as the other run left them, at any size, and the run records when that one was finished."""
    folder = scratch[0]
    config = configuration(
        "scratch_classifier",
        [{"epochs": 2, "learning_rate": 1e-3, "trainable": "head"}],
        SCRATCH["model_arguments"] | {"image_size": 48},
        seed=0,
        classes=30,
        weights="small",
    )
    lines = []
    with pytest.raises(KeyboardInterrupt):
        run(folder, config, "other", log=interrupt_at("epoch 2/2"))
    ending = folder / "results" / "small" / "final.json"
    before = files.read_json(ending)
    files.write_json(ending, before | {"finished": "later"})
    assert run(folder, config, "other")["started_from"] == before["finished"]  # when training began, not now
    run(folder, config, "other", log=lines.append)
    assert len(lines) == 1 and "small, from whose weights it started, has been retrained since" in lines[0]
    files.write_json(ending, before)
    run(folder, config, "other", log=lines.append)
    assert len(lines) == 1
    one, other = (keras.models.load_model(folder / "results" / name / "model.keras") for name in ("small", "other"))
    for layer in one.layers:
        moved = [
            not np.array_equal(*pair)
            for pair in zip(layer.get_weights(), other.get_layer(layer.name).get_weights(), strict=True)
        ]
        assert any(moved) == (layer.name in ("head_bn", "head_logits")), layer.name
    with pytest.raises(TrainingError, match="--only absent"):
        run(folder, config | {"weights": "absent"}, "third")
    assert runs.run_state(folder / "results" / "third") == "missing"  # it is not listed as one that resumes
    wider = config["model_arguments"] | {"filters": [4, 6, 10]}
    with pytest.raises(TrainingError, match="another network here"):
        run(folder, config | {"model_arguments": wider}, "fourth")
    assert runs.run_state(folder / "results" / "fourth") == "missing"
    # --force discards nothing that it cannot replace
    with pytest.raises(TrainingError, match="--only absent"):
        run(folder, config | {"weights": "absent"}, "other", force=True)
    assert runs.run_state(folder / "results" / "other") == "finished"
    (folder / "results" / "other" / "model.keras").unlink()  # as in a fresh clone
    with pytest.raises(TrainingError, match="--only other --seed 0 --force"):
        run(folder, config | {"weights": "other"}, "fifth")


def test_a_network_that_could_not_be_stored_is_not_trained(tmp_path, monkeypatch):
    """Nothing is lost: the error comes before the first epoch, and the run has not begun."""
    unknown_cost = keras.layers.EinsumDense("abcd,de->abce", (None, None, 3))
    for layer, words in ((keras.layers.Lambda(lambda x: x), "Lambda"), (unknown_cost, "EinsumDense.*cost")):
        inputs = keras.Input((32, 32, 3))
        outputs = keras.layers.Dense(30)(keras.layers.GlobalAveragePooling2D()(layer(inputs)))
        model = keras.Model(inputs, outputs)
        monkeypatch.setattr(training, "build_model", lambda config, model=model: model)
        with pytest.raises(TrainingError, match=words):
            run(tmp_path, TINY)
        assert runs.run_state(tmp_path / "results" / "small") == "missing"


def test_a_run_starts_from_the_weights_of_its_own_seed(tmp_path):
    assert parent_folder({"weights": "other", "seed": 2}, tmp_path) == tmp_path / "other-seed2"


def test_force_trains_again(tiny, tmp_path):
    """The earlier files go, the same numbers come."""
    shutil.copytree(tiny[0], tmp_path, dirs_exist_ok=True)
    before = outcome(tmp_path)
    (tmp_path / "results" / "small" / "images.csv").write_text("left by another task\n")
    run(tmp_path, TINY, force=True)
    assert not (tmp_path / "results" / "small" / "images.csv").exists()
    assert_same(outcome(tmp_path), before)


def test_maps_of_where_the_model_looked(scratch):
    """The extra of a run: some test images, the model's answers, and where the evidence was."""
    arrays = files.read_arrays(scratch[0] / "results" / "small" / "predictions.npz")
    assert arrays["grad_cam_maps"].shape == (8, 4, 4) and arrays["grad_cam_maps"].min() >= 0
    count = len(arrays["test_labels"])
    chosen = [index * count // 8 for index in range(8)]
    np.testing.assert_array_equal(arrays["grad_cam_labels"], arrays["test_labels"][chosen])
    np.testing.assert_array_equal(arrays["grad_cam_answers"], arrays["test_answers"][chosen])
    test = splits.load_test(SCRATCH["data"], None)
    np.testing.assert_array_equal(arrays["grad_cam_images"], test.images[chosen])
