import shutil

import numpy as np
import pytest

from hw2 import files, runs
from hw2.data import splits, thumbnails
from hw2.errors import ResultsError
from hw2.labels import VOID
from hw2.training import baselines

CONFIG = {
    "experiment": "seg_baselines",
    "budget": "smoke",
    "seed": 0,
    "task": "baselines",
    "data": {"source": "synthetic", "sbd": False, "classes": 2, "train": 4, "validation": 6, "test": 8},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The training images, gigabytes of complete VOC and SBD, are not loaded: the baselines do not use them."""
    folder = tmp_path_factory.mktemp("baselines")
    with pytest.MonkeyPatch.context() as patched:
        patched.delattr(splits, "load_training_masks")
        return folder, baselines.run("seg_baselines", CONFIG, data_dir=folder, results_dir=folder)


def test_figures(finished):
    _, metrics = finished
    figures = {name: values["dataset"] for name, values in metrics["baselines"].items()}
    assert figures["all_background"]["iou"] == 0 and figures["all_background"]["recall"] == 0
    assert figures["all_foreground"]["recall"] == 1
    truths = [splits.load_mask(CONFIG["data"], None, f"synthetic-2-{index}") for index in range(8)]
    labelled = np.concatenate([truth[truth != VOID] for truth in truths])
    assert figures["all_foreground"]["iou"] == pytest.approx((labelled > 0).mean())
    assert figures["all_foreground"]["precision"] == figures["all_foreground"]["iou"]
    # the ellipses of the synthetic images have distinct colours and lie off the centre
    assert figures["grabcut"]["iou"] > figures["centred_ellipse"]["iou"] > 0
    assert metrics["best"] == "grabcut" and metrics["test"] == metrics["baselines"]["grabcut"]


def test_the_ellipse_has_the_best_axis_on_the_validation_images(finished):
    truths = [splits.load_mask(CONFIG["data"], None, f"synthetic-1-{index}") for index in range(6)]
    scores = {}
    for axis in baselines.ELLIPSE_AXES.tolist():
        both = either = 0
        for truth in truths:
            y, x = ((np.arange(72) + 0.5) / 72 - 0.5 for _ in range(2))
            mask, valid = np.hypot(y[:, None], x) <= axis / 2, truth != VOID
            both, either = both + (mask & valid & (truth > 0)).sum(), either + (valid & (mask | (truth > 0))).sum()
        scores[axis] = both / either
    assert scores[finished[1]["ellipse_axis"]] == pytest.approx(max(scores.values()), abs=0.01)


def test_the_best_baseline_is_that_of_the_validation_images(tmp_path, monkeypatch):
    config = CONFIG | {"data": CONFIG["data"] | {"validation": 1, "test": 2}}

    def evaluate(config, split, data_dir, methods):
        best, iou = {1: ("centred_ellipse", 0.6), 2: ("grabcut", 0.5)}[len(split.images)]
        return {method: {"iou": iou if method == best else 0.3} for method in methods}

    monkeypatch.setattr(baselines, "evaluate", evaluate)
    metrics = baselines.run("seg_baselines", config, data_dir=tmp_path, results_dir=tmp_path)
    assert metrics["best"] == "centred_ellipse"
    assert metrics["validation"] == {"iou": 0.6} and metrics["test"] == {"iou": 0.3}


def test_record(finished):
    folder, metrics = finished
    assert runs.run_state(folder / "seg_baselines") == "finished"
    assert metrics["data"] == CONFIG["data"] and set(metrics["versions"]) >= {"python", "numpy"} and "commit" in metrics
    assert baselines.run("seg_baselines", CONFIG, data_dir=folder, results_dir=folder) == metrics
    arrays = files.read_arrays(folder / "seg_baselines" / runs.PREDICTIONS)
    assert arrays["panel_identifiers"].tolist() == [f"synthetic-2-{index}" for index in range(8)]
    assert len(arrays) == 1 + 2 * 8
    for index, name in enumerate(arrays["panel_identifiers"]):
        image, truth = splits.load_original(CONFIG["data"], None, name)
        np.testing.assert_array_equal(arrays[f"panel_{index}_truth"], truth)
        assert np.abs(thumbnails.decode(arrays[f"panel_{index}_image"]).astype(int) - image).mean() < 10


def test_other_data_and_damage_are_named_and_force_starts_again(finished, tmp_path):
    folder, metrics = finished
    fewer = CONFIG | {"data": CONFIG["data"] | {"test": 3, "validation": 2}}
    with pytest.raises(ResultsError, match=r"data\.test: 8 in results, 3 now"):
        baselines.run("seg_baselines", fewer, data_dir=folder, results_dir=folder)
    shutil.copytree(folder / "seg_baselines", tmp_path / "seg_baselines")
    path = tmp_path / "seg_baselines" / runs.PREDICTIONS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ResultsError, match=r"predictions\.npz has"):
        baselines.run("seg_baselines", CONFIG, data_dir=tmp_path, results_dir=tmp_path)
    again = baselines.run("seg_baselines", fewer, data_dir=tmp_path, results_dir=tmp_path, force=True)
    assert again["data"]["test"] == 3 and again["test"] != metrics["test"]
    assert not runs.damage(tmp_path / "seg_baselines", digests=True)


def test_ellipse_area():
    for axis in (0.4, 1.0):
        assert baselines.ellipse(axis).mean() == pytest.approx(np.pi * axis**2 / 4, abs=0.01)


def test_grabcut_finds_a_coloured_disc_and_survives_an_empty_image():
    y, x = np.mgrid[: baselines.SIZE, : baselines.SIZE]
    disc = np.hypot(y - 70, x - 90) < 35
    image = np.where(disc[..., None], (200, 40, 40), (40, 90, 160)) + np.random.default_rng(0).normal(
        0, 8, (*y.shape, 3)
    )
    found = baselines.grabcut(image.clip(0, 255).astype(np.uint8)) > 0
    assert (found & disc).sum() / (found | disc).sum() > 0.95
    assert baselines.grabcut(np.full((*y.shape, 3), 128, np.uint8)).shape == disc.shape
