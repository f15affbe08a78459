"""The models that come with the repository: they load, answer as they did when they were measured, and are small."""

import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from hw2 import predict, results

pytest.importorskip("tensorflow")
FOLDER = Path(__file__).resolve().parents[1] / "results"


def stored():
    """Return the finished runs' models under version control, or, in a copy without one, all that are there."""
    git = shutil.which("git") or "true"
    listed = subprocess.run([git, "ls-files", "*/model.keras"], cwd=FOLDER, capture_output=True, text=True).stdout
    paths = [FOLDER / line for line in listed.splitlines()] or sorted(FOLDER.glob("*/model.keras"))
    return [path for path in paths if path.exists() and results.run_state(path.parent) == "finished"]


def test_they_take_at_most_80_megabytes():
    assert 0 < sum(path.stat().st_size for path in stored()) <= 80e6


def test_they_load_and_answer():
    models = {model.key: model for model in predict.catalogue(FOLDER)[0]}
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for path in stored():
        model = models[path.parent.name]
        if model.task == "segmentation":
            foreground = predict.segment(model, image).foreground
            assert foreground.shape == (48, 64) and np.ptp(foreground) > 0, model.key
        else:
            probabilities = predict.classify(model, image[:32, :32]).probabilities
            assert len(probabilities) == 100 and probabilities.sum() == pytest.approx(1), model.key


def test_they_give_the_answers_that_were_dumped():
    """Of the test images, which the repository may not hold all, a few are in the predictions, with Grad-CAM maps."""
    compared = 0
    for path in stored():
        arrays = results.read_arrays(path.parent / results.PREDICTIONS)
        if "grad_cam_images" not in arrays:
            continue
        count, images = len(arrays["test_labels"]), arrays["grad_cam_images"].astype(np.float32)
        dumped = arrays["test_logits"][[index * count // len(images) for index in range(len(images))]]
        # In the number format that it was measured in: `predict.load` may choose another for this machine.
        model = keras.models.load_model(path, compile=False)
        answers = np.asarray(model.predict_on_batch(images), np.float32)
        np.testing.assert_allclose(answers, dumped.astype(np.float32), atol=0.05, err_msg=path.parent.name)
        compared += 1
    assert compared
