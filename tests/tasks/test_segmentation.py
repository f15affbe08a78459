"""Runs of small segmenters on synthetic masks, and measurements of models whose predictions are known."""

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

from hw2 import files
from hw2.data import splits, thumbnails
from hw2.data.voc2012 import from_square
from hw2.experiments.schema import Phase
from hw2.labels import VOID
from hw2.metrics import segmentation as metrics
from hw2.metrics.combine import sizes_of_scales
from hw2.models import registry
from hw2.tasks import losses
from hw2.tasks import segmentation as task
from hw2.training import run as train

CONFIG = {
    "experiment": "masks",
    "budget": "smoke",
    "seed": 0,
    "task": "segmentation",
    "data": {"source": "synthetic", "sbd": False, "classes": 2, "train": 48, "validation": 12, "test": 10},
    "model": "seg_unet",
    "model_arguments": {"image_size": 32, "filters": [8, 12, 16], "decoder_filters": [12, 8]},
    "weights": None,
    "teachers": [],
    "teacher_share": 0.0,
    "extras": [],
    "phases": [
        {
            "epochs": 8,
            "learning_rate": 0.01,
            "batch_size": 8,
            "loss": "both",
            "joint": ["joint_flip", "joint_scale_crop"],
            "augment": ["jitter"],
            "keep_best": True,
        }
    ],
}


def run(folder, config=CONFIG, **arguments):
    arguments = {"log": lambda line: None, "checkpoint_seconds": 0} | arguments
    return train.run("masks", config, data_dir=folder / "data", results_dir=folder / "results", **arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks")
    return folder, run(folder)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_loss_is_that_of_the_phase(name):
    phase = Phase(epochs=1, learning_rate=0.1, loss=name)
    loss, _ = task.loss_and_metric(phase, CONFIG)
    assert loss is losses.LOSSES[name]


def test_a_finished_run_leaves_its_record(finished):
    folder, figures = finished
    folder = folder / "results" / "masks"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "history.csv", "metrics.json", "predictions.npz", "model.keras", "final.json", "images.csv")
    }
    assert figures["data"] == CONFIG["data"]
    assert {"loss", "iou", "val_loss", "val_iou"} <= set(files.read_csv(folder / "history.csv")[0])
    rows = files.read_csv(folder / "images.csv")
    assert len(rows) == 10 and figures["test"]["images"]["dice"]["mean"] == pytest.approx(
        np.mean([row["dice"] for row in rows])
    )
    kept = max(files.read_csv(folder / "history.csv"), key=lambda row: row["val_iou"])
    assert figures["network_iou"] == pytest.approx(kept["val_iou"], abs=5e-3)
    # ellipses are about a fifth of the pixels, which is the IoU of "all foreground": it has learned something
    assert figures["test"]["iou"] > 0.3
    worst = min(rows, key=lambda row: row["iou"])
    assert figures["examples"]["worst"][0] == worst["identifier"]
    large = sorted(rows, key=lambda row: row["foreground_share"])[len(rows) // 2 :]
    assert figures["examples"]["worst_large"][0] == min(large, key=lambda row: row["iou"])["identifier"]


def test_stored_predictions_are_the_panel_and_the_examples(finished):
    folder, figures = finished
    arrays = files.read_arrays(folder / "results" / "masks" / "predictions.npz")
    panel, examples = arrays["panel_identifiers"].tolist(), arrays["example_identifiers"].tolist()
    assert panel == [f"synthetic-2-{index}" for index in range(10)]  # fewer than a panel: all of them
    assert len(set(examples)) == len(examples)
    assert set(examples) == {name for names in figures["examples"].values() for name in names}
    maps = {f"panel_{i}_probability" for i in range(10)} | {f"example_{i}_probability" for i in range(len(examples))}
    shown = {f"example_{i}_{kind}" for i in range(len(examples)) for kind in ("image", "truth")}
    curve = {"curve_threshold", "curve_precision", "curve_recall"}
    assert set(arrays) == {"panel_identifiers", "example_identifiers"} | maps | shown | curve
    for index, name in enumerate(examples):
        image, truth = splits.load_original(CONFIG["data"], None, name)
        np.testing.assert_array_equal(arrays[f"example_{index}_truth"], truth)  # 72 pixels: not reduced
        stored = thumbnails.decode(arrays[f"example_{index}_image"])
        assert stored.shape == image.shape and np.abs(stored.astype(int) - image).mean() < 10
        probability = arrays[f"example_{index}_probability"]
        assert probability.dtype == np.uint8 and probability.shape == truth.shape
        np.testing.assert_allclose(probability, arrays[f"panel_{panel.index(name)}_probability"].astype(int), atol=2)
    # the map of the best example, thresholded, has its IoU
    position = examples.index(figures["examples"]["best"][0])
    rows = {row["identifier"]: row for row in files.read_csv(folder / "results" / "masks" / "images.csv")}
    mask = arrays[f"example_{position}_probability"] >= 255 * figures["threshold"]
    iou = metrics.overlap(metrics.counts(mask, arrays[f"example_{position}_truth"]))["iou"]
    assert iou == pytest.approx(rows[examples[position]]["iou"], abs=0.02)


def test_figures_are_those_of_the_stored_model_at_the_images_own_size(finished):
    folder, figures = finished
    model = keras.models.load_model(folder / "results" / "masks" / "model.keras", safe_mode=True)
    test = splits.load_test_masks(CONFIG["data"], None, 32)
    probabilities = 1 / (1 + np.exp(-model.predict(test.images.astype("float32"), verbose=0)[..., 0]))
    both = either = 0
    for name, probability in zip(test.identifiers, probabilities, strict=True):
        _, truth = splits.load_original(CONFIG["data"], None, name)
        resized = keras.ops.convert_to_numpy(keras.ops.image.resize(probability[..., None], truth.shape))[..., 0]
        predicted, valid = resized >= figures["threshold"], truth != VOID
        both += (predicted & (truth > 0) & valid).sum()
        either += ((predicted | (truth > 0)) & valid).sum()
    assert figures["test"]["iou"] == pytest.approx(both / either, abs=2e-3)


def test_interrupted_run_ends_with_the_same_numbers(finished, tmp_path):
    def interrupt(line):
        if "epoch 2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, log=interrupt)
    figures = run(tmp_path)
    assert figures["test"] == finished[1]["test"] and figures["threshold"] == finished[1]["threshold"]


def of_classes(classes, **counts):
    return CONFIG | {"data": CONFIG["data"] | counts | {"classes": classes}}


def test_classes(tmp_path):
    config = of_classes(21) | {"phases": [CONFIG["phases"][0] | {"epochs": 1}]}
    figures = run(tmp_path, config)
    matrix = np.array(figures["test"]["confusion"])
    assert matrix.shape == (21, 21) and figures["test"]["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
    assert figures["threshold"] is None and len(figures["test"]["class_iou"]) == 21
    arrays = files.read_arrays(tmp_path / "results" / "masks" / "predictions.npz")
    for group in ("panel", "example"):
        prediction, probability = arrays[f"{group}_0_prediction"], arrays[f"{group}_0_probability"]
        assert prediction.dtype == probability.dtype == np.uint8 and prediction.max() < 21
        assert prediction.shape == probability.shape == (72, 72)


def red_against_blue(outputs, size=32, scale=0.05):
    """A model whose last logit is the difference of red and blue; other logits are 0."""
    inputs = keras.Input((size, size, 3))
    layer = keras.layers.Conv2D(outputs, 1)
    model = keras.Model(inputs, layer(inputs))
    kernel = np.zeros((1, 1, 3, outputs))
    kernel[0, 0, 0, -1], kernel[0, 0, 2, -1] = scale, -scale
    layer.set_weights([kernel, np.zeros(outputs)])
    return model


@pytest.mark.parametrize("classes", [2, 21])
def test_the_number_of_images_predicted_at_once_changes_nothing(classes, monkeypatch):
    config = of_classes(classes, validation=5, test=7)
    model = red_against_blue(1 if classes == 2 else classes)
    _, validation = task.load_training(config, None)
    measured = []
    for batch_size in (100, 3):
        monkeypatch.setattr(task, "prediction_batch_size", lambda model, batch_size=batch_size: batch_size)
        measured.append(task.measure(config, model, validation, None))
    one, other = measured
    assert one.figures == other.figures and one.rows == other.rows and one.logits == {}
    assert set(one.predictions) == set(other.predictions)
    for name, array in one.predictions.items():
        np.testing.assert_array_equal(array, other.predictions[name])
    assert [row["identifier"] for row in one.rows] == [f"synthetic-2-{index}" for index in range(7)]


def test_threshold_is_chosen_on_the_validation_images():
    config = of_classes(2, validation=5, test=7)
    model = red_against_blue(1)
    _, validation = task.load_training(config, None)
    measured = task.measure(config, model, validation, None)

    def iou(split, threshold):
        both = either = 0
        for image, name in zip(split.images, split.identifiers, strict=True):
            difference = image[..., 0].astype(float) - image[..., 2]
            truth = splits.load_mask(config["data"], None, name)
            probability = task.from_square(1 / (1 + np.exp(-0.05 * difference)), *truth.shape)
            valid, mask = truth != VOID, probability >= threshold
            both, either = both + (mask & valid & (truth > 0)).sum(), either + (valid & (mask | (truth > 0))).sum()
        return both / either

    scores = [iou(validation, threshold / 256) for threshold in range(256)]
    threshold = measured.figures["threshold"]
    assert scores[round(256 * threshold)] == pytest.approx(max(scores), abs=1e-3)
    assert measured.figures["validation"]["iou"] == pytest.approx(max(scores), abs=1e-3)
    test = splits.load_test_masks(config["data"], None, 32)
    assert measured.figures["test"]["iou"] == pytest.approx(iou(test, threshold), abs=1e-3)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_logits_that_are_not_finite_are_refused(value):
    config = of_classes(2, validation=2, test=2)
    _, validation = task.load_training(config, None)
    with pytest.raises(OverflowError, match="not finite"):
        task.measure(config, red_against_blue(1, scale=value), validation, None)


def test_checkerboard_where_maps_are_large_enough():
    config = of_classes(2, validation=2, test=3) | {"model_arguments": {"image_size": 96}}
    _, validation = task.load_training(config, None)
    figures = task.measure(config, red_against_blue(1, size=96), validation, None).figures
    test = splits.load_test_masks(config["data"], None, 96)
    maps = 1 / (1 + np.exp(-0.05 * (test.images[..., 0].astype(float) - test.images[..., 2])))
    assert figures["checkerboard"] == pytest.approx(metrics.checkerboard(metrics.stride_energies(maps)), rel=1e-3)


def test_examples_by_hand():
    shares = [0.1, 0.2, 0.99, 0.4, 0.5, 0.6, 0.7, 0.05, 0.3, 0.35]
    ious = [0.0, 0.9, 1.0, 0.1, 0.8, 0.2, 0.7, 0.05, 0.5, 0.6]
    rows = [{"iou": iou, "foreground_share": share} for iou, share in zip(ious, shares, strict=True)]
    chosen = {kind: positions.tolist() for kind, positions in task.choose_examples(rows).items()}
    assert chosen == {
        "best": [1, 4, 6, 9],  # without image 2, which has hardly any background
        "median": [5, 8, 9, 6],
        "worst": [0, 7, 3, 5],
        "worst_large": [3, 5, 6, 4],
    }


def test_loss_and_metric_of_a_phase():
    for classes, outputs in ((2, 1), (21, 21)):
        model = registry.build("seg_unet", classes, **CONFIG["model_arguments"])
        phase = train.phases_of(CONFIG)[0]
        loss, metric = task.loss_and_metric(phase, of_classes(classes))
        logits = model(np.zeros((2, 32, 32, 3), np.float32))
        truth = task.targets(np.zeros((2, 32, 32), np.uint8), CONFIG)
        assert logits.shape[-1] == outputs and np.isfinite(float(loss(truth, logits)))
        assert metric.name == task.METRIC == "iou" and metric.union.shape == (outputs,)


def test_sampling_weights_by_hand():
    """Class 1 in all images, class 2 in one of a hundred: its image is drawn sqrt(0.1 / 0.01) times as often."""
    labels = np.ones((100, 4, 4), np.uint8)
    labels[7, 0, 0] = 2
    labels[9, 0, 0] = VOID
    weights = task.sampling_weights(labels, of_classes(21))
    assert weights[7] == pytest.approx(np.sqrt(10)) and (np.delete(weights, 7) == 1).all()


@pytest.mark.parametrize("classes", [2, 21])
def test_mirrored_probabilities_are_averaged(classes):
    """A model that looks at columns answers otherwise on mirror images: the mean is that of both, mirrored back."""
    inputs = keras.Input((16, 16, 3))
    outputs = 1 if classes == 2 else classes
    columns = np.linspace(-2, 2, 16, dtype=np.float32)[None, None, :, None] * np.ones((1, 16, 1, outputs), np.float32)
    x = keras.layers.Conv2D(outputs, 1, kernel_initializer="zeros")(inputs)
    model = keras.Model(inputs, x + keras.ops.convert_to_tensor(columns * np.arange(1, outputs + 1)))
    images, masks = np.zeros((3, 16, 16, 3), np.uint8), np.zeros((3, 16, 16), np.uint8)
    split = splits.MaskSplit(images, masks, ["a", "b", "c"])
    plain = np.stack(list(task.probabilities(model, split)))
    mirrored = np.stack(list(task.probabilities(model, split, mirrored=True)))
    np.testing.assert_allclose(mirrored, (plain + plain[:, :, ::-1]) / 2, atol=2e-3)
    assert np.abs(mirrored - plain).max() > 0.05


def test_probabilities_of_several_sizes_are_averaged_at_the_first():
    """The larger map is scaled down to the size of the first."""
    rng = np.random.default_rng(0)
    models, sizes, maps = [], [], []
    for size in (32, 64):
        bias = np.repeat(np.repeat(rng.normal(0, 2, (1, 8, 8, 1)), size // 8, 1), size // 8, 2).astype(np.float32)
        inputs = keras.Input((size, size, 3))
        x = keras.layers.Conv2D(1, 1, kernel_initializer="zeros")(inputs)
        models.append(keras.Model(inputs, x + keras.ops.convert_to_tensor(bias)))
        images, masks = np.zeros((3, size, size, 3), np.uint8), np.zeros((3, size, size), np.uint8)
        sizes.append(splits.MaskSplit(images, masks, ["a", "b", "c"]))
        maps.append(expit(bias[0, ..., 0]))
    found = np.stack(list(task.mean_probabilities(models, sizes)))
    assert found.shape == (3, 32, 32)
    # away from the edges of the bands of 4 pixels, where scaling blends two of them
    np.testing.assert_allclose(found[1, 1::4, 1::4], (maps[0][::4, ::4] + maps[1][::8, ::8]) / 2, atol=0.02)
    both = np.stack(list(task.mean_probabilities(models, sizes, mirrored=True)))
    np.testing.assert_allclose(both, (found + found[:, :, ::-1]) / 2, atol=1e-5)


def test_the_sizes_of_scales_suit_an_encoder_that_halves_five_times():
    assert sizes_of_scales(320) == [320, 192, 256, 384]
    assert sizes_of_scales(224) == [224, 128, 192, 256]
    assert sizes_of_scales(32) == [32]


def test_a_mirrored_view_is_measured_beside_the_plain_one():
    config = of_classes(2, validation=5, test=7) | {"extras": ["test_time_augmentation"]}
    _, validation = task.load_training(config, None)
    figures = task.measure(config, red_against_blue(1), validation, None).figures
    view = figures["test_time_augmentation"]["mirror"]
    assert view["test"]["iou"] == pytest.approx(figures["test"]["iou"], abs=1e-3)  # pixels alone: no other answer
    assert set(view) == {"threshold", "network_iou", "validation", "test", "checkerboard"}
    assert figures["test_time_augmentation"]["mirror_scales"] == view  # 32 pixels are the only size


@pytest.mark.parametrize("classes", [2, 21])
def test_a_view_of_several_sizes_is_that_of_the_same_weights_at_these_sizes(classes):
    config = of_classes(classes, validation=3, test=4) | {"extras": ["test_time_augmentation"]}
    config["model_arguments"] = config["model_arguments"] | {"image_size": 64}
    keras.utils.set_random_seed(1)
    model = registry.build("seg_unet", classes, **config["model_arguments"])
    validation = task.load_validation(config, None)
    found = task.measure(config, model, validation, None).figures["test_time_augmentation"]
    assert sizes_of_scales(64) == [64, 32]
    smaller = registry.build("seg_unet", classes, **config["model_arguments"] | {"image_size": 32})
    smaller.set_weights(model.get_weights())
    test = [splits.load_test_masks(config["data"], None, size) for size in (64, 32)]
    threshold, counted = found["mirror_scales"]["threshold"], 0
    for index, name in enumerate(test[0].identifiers):
        maps = []
        for network, split in zip((model, smaller), test, strict=True):
            views = np.stack([split.images[index], split.images[index][:, ::-1]]).astype(np.float32)
            logits = network.predict_on_batch(views)
            answers = expit(logits) if classes == 2 else softmax(logits, -1)
            maps.append((answers[0] + answers[1][:, ::-1]) / 2)
        truth = splits.load_mask(config["data"], None, name)
        mean = (maps[0] + from_square(maps[1], 64, 64)) / 2
        mean = from_square(mean, *truth.shape)
        levels = metrics.to_levels(mean[..., 0])
        labels = levels >= threshold * metrics.LEVELS if classes == 2 else mean.argmax(-1)
        counted += (labels == (truth > 0 if classes == 2 else truth))[truth != VOID].sum()
    pixels = sum((splits.load_mask(config["data"], None, name) != VOID).sum() for name in test[0].identifiers)
    assert found["mirror_scales"]["test"]["accuracy"] == pytest.approx(counted / pixels, abs=2e-3)
    assert found["mirror_scales"]["test"] != found["mirror"]["test"]
