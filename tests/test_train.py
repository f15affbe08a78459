"""Whole runs of a small network on synthetic data: written results, interruption, refusal."""

import dataclasses
import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from hw2 import classification, evaluate, results, segmentation, train
from hw2.data import features, splits, synthetic
from hw2.data.batches import Batches
from hw2.experiments import Phase
from hw2.models import segmenters
from hw2.models.vgg16 import vgg16_classifier

# Two phases that between them have all that a resumption could lose: cached features, dropout, augmentation, best
# weights kept, patience, and a rate that falls on a plateau. `test_a_finished_run_...` says that each does happen.
CONFIG = {
    "experiment": "small",
    "budget": "smoke",
    "seed": 3,
    "task": "classification",
    "data": {"source": "synthetic", "train": 96, "validation": 50, "test": 40},
    "model": "vgg16_classifier",
    "model_arguments": {"head": "dense_bn", "dropout": 0.5, "width": 1 / 16},
    "phases": [
        {"epochs": 6, "learning_rate": 0.01, "trainable": "head", "batch_size": 32, "keep_best": True, "patience": 2},
        {
            "epochs": 5,
            "learning_rate": 0.003,
            "trainable": "block5",
            "optimizer": "sgd",
            "weight_decay": 1e-3,
            "batch_size": 32,
            "schedule": "plateau",
            "plateau_patience": 1,
            "label_smoothing": 0.1,
            "augment": ["flip", "shift"],
            "keep_best": True,
        },
    ],
}


def run(folder, config=CONFIG, **arguments):
    arguments = {"log": lambda line: None, "checkpoint_seconds": 0} | arguments
    return train.run("small", config, data_dir=folder / "data", results_dir=folder / "results", **arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)


def outcome(folder):
    """Return all that must not depend on an interruption: history without seconds, figures, predictions, weights."""
    folder = folder / "results" / "small"
    history = [
        {k: v for k, v in row.items() if "seconds" not in k} for row in results.read_csv(folder / results.HISTORY)
    ]
    metrics = results.read_json(folder / results.METRICS)
    model = keras.models.load_model(folder / results.MODEL)
    return history, metrics["test"], metrics["events"], results.read_arrays(folder / results.PREDICTIONS), model


def assert_same(one, other):
    for left, right in zip(one[:3], other[:3], strict=True):
        assert left == right
    for name, array in one[3].items():
        np.testing.assert_array_equal(array, other[3][name], err_msg=name)
    for left, right in zip(one[4].get_weights(), other[4].get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_finished_run_leaves_what_is_promised(finished):
    folder, metrics = finished
    folder = folder / "results" / "small"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "history.csv", "metrics.json", "predictions.npz", "model.keras", "final.json")
    }
    assert results.read_json(folder / "config.json") == CONFIG
    assert metrics == results.read_json(folder / "metrics.json")
    history = results.read_csv(folder / "history.csv")
    assert [row["epoch"] for row in history] == list(range(1, metrics["cost"]["epochs"] + 1))
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"} <= set(history[0])
    assert metrics["data"] == {"source": "synthetic", "classes": 100, "train": 96, "validation": 50, "test": 40}
    events = [event["event"] for event in metrics["events"]]
    assert "stopped early" in events and "learning rate divided by 5" in events
    assert any(event.startswith("went back to the weights of epoch") for event in events)
    assert metrics["cost"]["trainable_parameters"] < metrics["cost"]["parameters"]
    assert metrics["cost"]["peak_memory_mib"] > 50 and metrics["cost"]["device"]


def test_figures_are_those_of_the_stored_predictions_and_of_the_stored_model(finished):
    folder, metrics = finished
    arrays = results.read_arrays(folder / "results" / "small" / "predictions.npz")
    for part in ("validation", "test"):
        assert evaluate.classification_figures(arrays[f"{part}_logits"], arrays[f"{part}_labels"]) == metrics[part]
    model = keras.models.load_model(folder / "results" / "small" / "model.keras", safe_mode=True)
    test = splits.load_test(CONFIG["data"], None)
    np.testing.assert_array_equal(test.labels, arrays["test_labels"])
    logits = model.predict(Batches(test.images, None, 250), verbose=0)
    np.testing.assert_allclose(logits, arrays["test_logits"], rtol=2e-3, atol=2e-3)


def test_a_run_killed_and_interrupted_ends_with_the_same_numbers(finished, tmp_path):
    """SIGKILL in a process of its own, where nothing can be cleaned up; then Ctrl-C, in the next phase."""
    script = (
        "import json, os, signal, sys\nfrom pathlib import Path\nfrom hw2 import train\n"
        "def log(line):\n"
        "    if 'phase 1 epoch 3' in line: os.kill(os.getpid(), signal.SIGKILL)\n"
        "folder = Path(sys.argv[1])\n"
        "train.run('small', json.loads(sys.argv[2]), data_dir=folder / 'data', results_dir=folder / 'results',\n"
        "          checkpoint_seconds=0, log=log)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), json.dumps(CONFIG)], capture_output=True, env=os.environ
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    folder = tmp_path / "results" / "small"
    assert [row["epoch"] for row in results.read_csv(folder / "history.csv")] == [1, 2]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, log=interrupt_at("phase 2 epoch 3"))
    assert results.run_state(folder) == "unfinished"
    assert results.read_csv(folder / "history.csv")[-1]["phase"] == 2
    run(tmp_path)
    assert_same(outcome(finished[0]), outcome(tmp_path))


def test_an_end_between_the_last_epoch_and_the_last_file(finished, tmp_path, monkeypatch):
    """What is written after training may be cut anywhere, and again: the next start writes it, and all of it."""
    trained = [row for row in results.read_csv(finished[0] / "results" / "small" / "history.csv") if row["phase"] == 1]
    config = CONFIG | {"phases": CONFIG["phases"][:1]}
    epochs = []
    for writer in ("write_csv", "write_arrays", "write_json"):
        write = getattr(results, writer)

        def cut(path, *arguments, write=write, **options):
            if path.name in ("history.csv", "predictions.npz", "metrics.json") and len(epochs) >= len(trained):
                raise KeyboardInterrupt
            return write(path, *arguments, **options)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(results, writer, cut)
            run(tmp_path, config, log=lambda line: epochs.append(line) if "epoch" in line else None)
    run(tmp_path, config)
    names = {path.name for path in (tmp_path / "results" / "small").iterdir()}
    assert names == {path.name for path in (finished[0] / "results" / "small").iterdir()}
    history = results.read_csv(tmp_path / "results" / "small" / "history.csv")
    assert [row["loss"] for row in history] == [row["loss"] for row in trained]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_every_variable_is_saved_and_restored(tmp_path, policy):
    """Optimizer (wrapped for loss scaling in float16), weights and random generators, after some steps of training."""
    phase = Phase(**CONFIG["phases"][1])
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    keras.config.set_dtype_policy(policy)
    try:
        models = [vgg16_classifier(100, **CONFIG["model_arguments"]) for _ in range(2)]
        for model in models:
            train.set_trainable(model, "block5")
            train.compile_for_phase(model, phase, 10, *classification.loss_and_metric(phase, CONFIG))
    finally:
        keras.config.set_dtype_policy("float32")
    models[0].fit(images, np.eye(100)[:8], epochs=3, batch_size=4, verbose=0)
    state = train.State("tensorflow", policy, epoch=3, history=[{"epoch": 1}])
    train.save_state(tmp_path, state, models[0], models[0].optimizer)
    restored, arrays = train.load_state(tmp_path, models[1], train.State("tensorflow", policy))
    train.restore(models[1].optimizer.variables, arrays, "optimizer")
    assert restored == state
    for group in (train.variables_of, lambda model: model.optimizer.variables):
        for one, other in zip(group(models[0]), group(models[1]), strict=True):
            np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(value) for value in (one, other)))
    with pytest.raises(train.TrainingError, match="another version"):
        train.restore(models[1].optimizer.variables[:-1], arrays, "optimizer")


def test_a_finished_run_is_skipped_and_another_configuration_refused(finished):
    folder, metrics = finished
    lines = []
    assert run(folder, log=lines.append) == metrics and not lines
    other = json.loads(json.dumps(CONFIG))
    other["phases"][1]["epochs"] = 8
    with pytest.raises(results.ResultsError, match=r"phases\[1\]\.epochs: 5 in results, 8 now"):
        run(folder, other)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    config = CONFIG | {"phases": [{"epochs": 3, "learning_rate": 1e30, "batch_size": 32, "optimizer": "sgd"}]}
    with pytest.raises(train.TrainingError, match="no longer finite"):
        run(tmp_path, config)
    assert results.run_state(tmp_path / "results" / "small") == "unfinished"


def test_state_of_another_backend_is_refused(tmp_path):
    folder = tmp_path / "results" / "small"
    results.open_run(folder, CONFIG)
    train.save_state(folder, train.State("theano", "float32"), train.build_model(CONFIG))
    with pytest.raises(train.TrainingError, match="--backend theano"):
        run(tmp_path)


def interrupt_at(text):
    def log(line):
        if text in line:
            raise KeyboardInterrupt

    return log


def test_frozen_layers_stay_and_others_move(finished, tmp_path):
    folder, _ = finished
    keras.utils.set_random_seed(CONFIG["seed"])
    fresh = vgg16_classifier(100, **CONFIG["model_arguments"])
    trained = keras.models.load_model(folder / "results" / "small" / "model.keras")
    for layer in fresh.layers:
        for before, after in zip(layer.get_weights(), trained.get_layer(layer.name).get_weights(), strict=True):
            moved = not np.allclose(before, after, rtol=1e-3, atol=1e-6)
            assert moved == layer.name.startswith(("block5", "head")), layer.name


def test_cached_features_train_as_images_do(tmp_path):
    """A phase on cached features is the same as one that runs the frozen layers, but for float16 in the cache."""
    phase = Phase(epochs=1, learning_rate=1e-3, trainable="head")
    keras.utils.set_random_seed(0)
    model = vgg16_classifier(100, width=1 / 16)
    train.set_trainable(model, "head")
    data, _ = splits.load_training(CONFIG["data"], None)
    rest, inputs, _, labels, _ = train.inputs_of_phase(model, phase, data, data, tmp_path, print)
    assert rest is not model and inputs.shape == (96, 32)
    np.testing.assert_allclose(
        rest.predict(inputs, verbose=0), model.predict(data.images.astype("float32"), verbose=0), rtol=2e-3, atol=2e-3
    )
    _, mirrored, _, labels, _ = train.inputs_of_phase(
        model, dataclasses.replace(phase, mirrored=True), data, data, tmp_path, print
    )
    assert mirrored.shape == (192, 32) and len(labels) == 192
    np.testing.assert_allclose(
        rest.predict(mirrored[96:], verbose=0),
        model.predict(data.images[:, :, ::-1].astype("float32"), verbose=0),
        rtol=2e-3,
        atol=2e-3,
    )
    augmented = dataclasses.replace(phase, augment=("flip",))
    assert train.inputs_of_phase(model, augmented, data, data, tmp_path, print)[0] is model


def test_features_of_a_network_with_skips(tmp_path, monkeypatch):
    """Skips cross the cut as well: all maps that do are in the features, which are cached in several files here."""
    monkeypatch.setattr(features, "CHUNK_BYTES", 10_000)
    keras.utils.set_random_seed(0)
    model = segmenters.seg_unet_vgg16(21, 32, decoder_filters=(8, 4), width=1 / 16)
    train.set_trainable(model, "decoder")
    images, masks = synthetic.segmentation(6, image_size=32, seed=0)
    data = splits.MaskSplit(images, masks, None)
    phase = Phase(epochs=1, learning_rate=1e-2, trainable="decoder", batch_size=6)
    rest, inputs, _, labels, _ = train.inputs_of_phase(model, phase, data, data, tmp_path, print)
    assert inputs.shape == (6, 8 * 8 * 16 + 4 * 4 * 32 + 2 * 2 * 32) and len(list(tmp_path.rglob("*.npz"))) == 2
    expected = model.predict(images.astype("float32"), verbose=0)
    np.testing.assert_allclose(rest.predict(inputs, verbose=0), expected, rtol=2e-3, atol=2e-3)
    before = model.get_weights()
    train.compile_for_phase(rest, phase, 1, *segmentation.loss_and_metric(phase, {"num_classes": 21}))
    rest.fit(inputs.astype("float32"), labels, verbose=0)
    for variable, old in zip(model.weights, before, strict=True):
        moved = np.abs(keras.ops.convert_to_numpy(variable) - old).max() > 0
        assert moved == ("decoder" in variable.path), variable.path


SCRATCH = CONFIG | {
    "experiment": "scratch",
    "data": CONFIG["data"] | {"classes": 30},
    "model": "scratch_classifier",
    "model_arguments": {"stem_filters": 4, "filters": [4, 6, 8], "residual": True, "units": 1},
    "extras": ["test_time_augmentation", "robustness", "grad_cam"],
    "phases": [
        {
            "epochs": 2,
            "learning_rate": 0.01,
            "batch_size": 16,
            "augment": ["flip", "shift", "erase"],
            "mix": ["mixup", "cutmix"],
            "mix_probability": 0.5,
            "image_size": 16,
        },
        {"epochs": 1, "learning_rate": 0.01, "batch_size": 16, "trainable": "stage3", "augment": ["flip"]},
    ],
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    return folder, run(folder, SCRATCH)


def test_small_images_first_subset_of_classes_and_extras(scratch):
    folder, metrics = scratch
    arrays = results.read_arrays(folder / "results" / "small" / "predictions.npz")
    assert arrays["test_logits"].shape[1] == 30 and arrays["test_labels"].max() < 30
    np.testing.assert_array_equal(arrays["classes"], splits.class_subset(30))
    _, all_labels = synthetic.classification(40, seed=2)
    np.testing.assert_array_equal(arrays["classes"][arrays["test_labels"]], all_labels[arrays["test_indices"]])
    for kind in ("mirror", "mirror_shift"):
        figures = evaluate.classification_figures(
            arrays[f"test_logits_{kind}"], arrays["test_labels"], arrays["classes"]
        )
        assert figures == metrics["test_time_augmentation"][kind]["test"]
    assert set(metrics["robustness"]) == {"gaussian_noise", "blur", "contrast", "jpeg", "pixelation"}
    assert metrics["data"]["classes"] == 30 and metrics["cost"]["multiply_adds"] > 0
    # the stored model is the one for whole images, and its first layers are those of the first phase
    model = keras.models.load_model(folder / "results" / "small" / "model.keras")
    assert not any(layer.name == "resizing" for layer in model.layers)


def test_interruption_while_images_are_small(scratch, tmp_path):
    config = SCRATCH | {"extras": []}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, config, log=interrupt_at("phase 1 epoch 1"))
    run(tmp_path, config)
    assert_same(outcome(tmp_path), outcome(scratch[0]))


def test_whitening_is_that_of_the_training_images(tmp_path):
    """Set before the first phase, the same at each phase's size, never trained, and what the stored model has."""
    arguments = {"filters": [4, 6, 8], "image_size": 24}
    config = SCRATCH | {"model": "whitened_classifier", "model_arguments": arguments, "extras": []}
    run(tmp_path, config)
    layer = keras.models.load_model(tmp_path / "results" / "small" / "model.keras").get_layer("stem_whitening")
    model = train.build_model(config)
    images = splits.load_training(config["data"], None)[0].images
    train.adapt_whitening(model, images)
    expected = keras.ops.convert_to_numpy(model.get_layer("stem_whitening").kernel)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.kernel), expected.astype(np.float16))


def test_weights_of_another_run(scratch, tmp_path):
    """What is frozen stays as the other run left it, at any size, and the run tells whose weights it took."""
    folder, _ = scratch
    config = SCRATCH | {
        "weights": "small",
        "seed": 0,
        "extras": [],
        "model_arguments": SCRATCH["model_arguments"] | {"image_size": 48},
        "phases": [{"epochs": 2, "learning_rate": 1e-3, "trainable": "head"}],
    }
    lines = []
    data = {"data_dir": tmp_path / "data", "results_dir": folder / "results", "checkpoint_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        train.run("other", config, **data, log=interrupt_at("epoch 2/2"))
    ending = folder / "results" / "small" / "final.json"
    before = results.read_json(ending)
    results.write_json(ending, before | {"finished": "later"})
    data["log"] = lambda line: None
    assert train.run("other", config, **data)["started_from"] == before  # not what is there when it goes on
    train.run("other", config, **data | {"log": lines.append})
    assert len(lines) == 1 and "small, from whose weights it started" in lines[0]
    results.write_json(ending, before)
    train.run("other", config, **data | {"log": lines.append})
    assert len(lines) == 1
    one, other = (keras.models.load_model(folder / "results" / name / "model.keras") for name in ("small", "other"))
    for layer in one.layers:
        moved = [
            not np.array_equal(*pair)
            for pair in zip(layer.get_weights(), other.get_layer(layer.name).get_weights(), strict=True)
        ]
        assert any(moved) == (layer.name in ("head_bn", "head_logits")), layer.name
    with pytest.raises(train.TrainingError, match="--only absent"):
        train.run("third", config | {"weights": "absent"}, **data)
    wider = config["model_arguments"] | {"filters": [4, 6, 10]}
    with pytest.raises(train.TrainingError, match="another network here"):
        train.run("fourth", config | {"model_arguments": wider}, **data)
    (folder / "results" / "other" / "model.keras").unlink()  # as in a fresh clone
    with pytest.raises(train.TrainingError, match="--only other --force"):
        train.run("fifth", config | {"weights": "other"}, **data)
    # --force throws nothing away that it cannot replace
    with pytest.raises(train.TrainingError, match="--only absent"):
        train.run("other", config | {"weights": "absent"}, **data, force=True)
    assert results.run_state(folder / "results" / "other") == "finished"


def test_maps_of_where_the_model_looked(scratch):
    """The extra of a run: some test images, what the model answered, and where the evidence was."""
    arrays = results.read_arrays(scratch[0] / "results" / "small" / "predictions.npz")
    assert arrays["grad_cam_maps"].shape == (8, 4, 4) and arrays["grad_cam_maps"].min() >= 0
    count = len(arrays["test_labels"])
    chosen = [index * count // 8 for index in range(8)]
    np.testing.assert_array_equal(arrays["grad_cam_labels"], arrays["test_labels"][chosen])
    np.testing.assert_array_equal(arrays["grad_cam_answers"], arrays["test_logits"][chosen].argmax(1))
    test = splits.load_test(SCRATCH["data"], None)
    np.testing.assert_array_equal(arrays["grad_cam_images"], test.images[chosen])


def test_schedule_is_keras_cosine_decay_without_its_branches():
    steps, warmup = 50, 10
    ours = train.WarmupCosine(0.3, steps, warmup, decays=True)
    theirs = keras.optimizers.schedules.CosineDecay(0.0, steps - warmup, warmup_target=0.3, warmup_steps=warmup)
    flat = train.WarmupCosine(0.3, steps, warmup, decays=False)
    for step in range(steps + 5):
        assert float(ours(step)) == pytest.approx(float(theirs(step)), abs=1e-6)
        assert float(flat(step)) == pytest.approx(0.3 * min(1, step / warmup))
    assert float(train.WarmupCosine(0.3, 20, 0, decays=True)(0)) == pytest.approx(0.3)


def test_a_larger_subset_of_classes_begins_with_the_smaller():
    for smaller, larger in ((10, 20), (20, 50), (50, 100)):
        np.testing.assert_array_equal(splits.class_subset(larger)[:smaller], splits.class_subset(smaller))
    assert sorted(splits.class_subset(100)) == list(range(100))
    assert (
        len(splits.load_training({"source": "synthetic", "train": 300, "validation": 100, "classes": 20}, None)[0][1])
        == 60
    )
