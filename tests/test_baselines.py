import numpy as np
import pytest

from hw2 import baselines, results

CONFIG = {
    "experiment": "seg_baselines",
    "budget": "smoke",
    "seed": 0,
    "task": "baselines",
    "data": {"source": "synthetic", "train": 4, "validation": 6, "test": 8},
}


def test_run(tmp_path):
    metrics = baselines.run("seg_baselines", CONFIG, data_dir=tmp_path, results_dir=tmp_path)
    figures = {name: values["dataset"] for name, values in metrics["baselines"].items()}
    assert figures["all_background"]["iou"] == 0 and figures["all_background"]["recall"] == 0
    assert figures["all_foreground"]["recall"] == 1
    # of everything, what is foreground is right
    assert figures["all_foreground"]["iou"] == pytest.approx(figures["all_foreground"]["precision"])
    # the set's ellipses have colours of their own and lie off the centre
    assert figures["grabcut"]["iou"] > figures["centred_ellipse"]["iou"] > 0
    assert metrics["best"] == "grabcut" and metrics["test"] == metrics["baselines"]["grabcut"]
    assert results.run_state(tmp_path / "seg_baselines") == "finished"
    again = baselines.run("seg_baselines", CONFIG, data_dir=tmp_path, results_dir=tmp_path)
    assert again == metrics


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
