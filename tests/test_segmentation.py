"""Whole runs of small segmenters on synthetic masks; evaluation of predictions whose figures are known."""

import keras
import numpy as np
import pytest

from hw2 import evaluate, results, train
from hw2.data import splits
from hw2.labels import VOID

CONFIG = {
    "experiment": "masks",
    "budget": "smoke",
    "seed": 0,
    "task": "segmentation",
    "data": {"source": "synthetic", "train": 48, "validation": 12, "test": 10},
    "model": "seg_unet",
    "model_arguments": {"image_size": 32, "filters": [8, 12, 16], "decoder_filters": [12, 8]},
    "num_classes": 2,
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


def test_a_finished_run_leaves_what_is_promised(finished):
    folder, metrics = finished
    folder = folder / "results" / "masks"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "history.csv", "metrics.json", "predictions.npz", "model.keras", "final.json", "images.csv")
    }
    assert metrics["data"] | {"train": 48, "validation": 12, "test": 10, "classes": 2} == metrics["data"]
    assert {"loss", "iou", "val_loss", "val_iou"} <= set(results.read_csv(folder / "history.csv")[0])
    rows = results.read_csv(folder / "images.csv")
    assert len(rows) == 10 and metrics["test"]["images"]["dice"]["mean"] == pytest.approx(
        np.mean([row["dice"] for row in rows])
    )
    kept = max(results.read_csv(folder / "history.csv"), key=lambda row: row["val_iou"])
    assert metrics["network_iou"] == pytest.approx(kept["val_iou"], abs=5e-3)
    # learned something: ellipses are about a fifth of the pixels, which is the IoU of "all foreground"
    assert metrics["test"]["iou"] > 0.3
    arrays = results.read_arrays(folder / "predictions.npz")
    shown = arrays["panel_identifiers"]
    for position, name in enumerate(shown):
        image, truth = splits.load_original(CONFIG["data"], None, str(name))
        np.testing.assert_array_equal(arrays[f"panel_{position}_truth"], truth)  # 72 pixels: as they are
        assert arrays[f"panel_{position}_probability"].dtype == np.uint8
        assert arrays[f"panel_{position}_image"].shape == image.shape
    worst = min(rows, key=lambda row: row["iou"])
    assert metrics["examples"]["worst"][0] == worst["identifier"] and worst["identifier"] in shown
    large = sorted(rows, key=lambda row: row["foreground_share"])[len(rows) // 2 :]
    assert metrics["examples"]["worst_large"][0] == min(large, key=lambda row: row["iou"])["identifier"]
    assert set(arrays) >= {"curve_threshold", "curve_precision", "curve_recall"}


def test_figures_are_those_of_the_stored_model_at_the_images_own_size(finished):
    folder, metrics = finished
    model = keras.models.load_model(folder / "results" / "masks" / "model.keras", safe_mode=True)
    test = splits.load_test_masks(CONFIG["data"], None, 32)
    probabilities = 1 / (1 + np.exp(-model.predict(test.images.astype("float32"), verbose=0)[..., 0]))
    both = either = 0
    for name, probability in zip(test.identifiers, probabilities, strict=True):
        _, truth = splits.load_original(CONFIG["data"], None, name)
        resized = keras.ops.convert_to_numpy(keras.ops.image.resize(probability[..., None], truth.shape))[..., 0]
        predicted, valid = resized >= metrics["threshold"], truth != VOID
        both += (predicted & (truth > 0) & valid).sum()
        either += ((predicted | (truth > 0)) & valid).sum()
    assert metrics["test"]["iou"] == pytest.approx(both / either, abs=2e-3)


def test_interrupted_run_ends_with_the_same_numbers(finished, tmp_path):
    def interrupt(line):
        if "epoch 2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, log=interrupt)
    metrics = run(tmp_path)
    assert metrics["test"] == finished[1]["test"] and metrics["threshold"] == finished[1]["threshold"]


def test_classes(tmp_path):
    config = CONFIG | {"num_classes": 21, "phases": [CONFIG["phases"][0] | {"epochs": 1}]}
    metrics = run(tmp_path, config)
    matrix = np.array(metrics["test"]["confusion"])
    assert matrix.shape == (21, 21) and metrics["test"]["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
    assert metrics["threshold"] is None and len(metrics["test"]["class_iou"]) == 21
    arrays = results.read_arrays(tmp_path / "results" / "masks" / "predictions.npz")
    assert arrays["panel_0_prediction"].max() < 21
    assert arrays["panel_0_probability"].shape == arrays["panel_0_prediction"].shape


def test_foreground_figures_by_hand():
    """Two images of 4x4, network size 2x2: an image's mean and the data set's figure need not agree."""
    truths = [np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)]
    truths[0][:, :2] = 7  # predicted: the left half; right
    truths[1][:2, :2] = 3  # predicted: everything
    probabilities = np.array([[[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.9], [0.9, 0.9]]])
    figures, rows = evaluate.foreground(probabilities, truths, 0.5)
    assert [row["iou"] for row in rows] == [1, 4 / 16]
    assert figures["dataset"]["iou"] == pytest.approx(12 / 24) and figures["images"]["iou"]["mean"] == 0.625
    assert figures["dataset"]["dice"] == pytest.approx(2 * 12 / (2 * 12 + 12))
    # of four draws with replacement one is the first image twice, one the second twice: IoU 1 and 1/4 are the ends
    assert figures["intervals"]["iou"] == {"low": 0.25, "high": 1.0}
    threshold, *_ = evaluate.choose_threshold(probabilities, truths)
    assert 0.1 < threshold <= 0.9


def test_splits_of_voc_do_not_overlap(tmp_path):
    from PIL import Image

    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    names = {"train": [f"t{i}" for i in range(10)], "val": ["v0", "v1"], "sbd": ["s0", "t3", "v1"]}
    for split, members in names.items():
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(members))
        for name in members:
            Image.new("RGB", (9, 6)).save(root / "JPEGImages" / f"{name}.jpg")
            for folder in ("SegmentationClass", "SegmentationClassAug"):
                Image.new("L", (9, 6)).save(root / folder / f"{name}.png")
    data = {"source": "voc2012", "sbd": True}
    train_part, validation = splits.load_training_masks(data, tmp_path, 8)
    assert len(validation.identifiers) == 2 and train_part.images.shape == (9, 8, 8, 3)
    assert set(train_part.identifiers) == {*names["train"], "s0"} - set(validation.identifiers)
    assert splits.load_training_masks(data, tmp_path, 8)[1].identifiers == validation.identifiers
    assert splits.load_test_masks(data, tmp_path, 8).identifiers == names["val"]
    assert splits.masks_source(data, tmp_path) == "voc2012-subset"
