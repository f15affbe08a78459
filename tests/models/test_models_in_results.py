"""The stored models of the committed runs: each loads, and gives the answers that were measured."""

import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import softmax

from hw2 import files, runs
from hw2.models import layers, vgg16  # noqa: F401  registers the layers in stored models

pytest.importorskip("tensorflow")
RESULTS = Path(__file__).parents[2] / "results" / "cpu"
STORED = sorted(path.parent for path in RESULTS.glob("*/model.keras") if (path.parent / runs.FINAL).exists())


@pytest.mark.skipif(not RESULTS.exists(), reason="no results of the cpu budget")
def test_the_models_in_git_take_at_most_80_megabytes():
    git = shutil.which("git") or "true"
    listed = subprocess.run([git, "ls-files", "*/model.keras"], cwd=RESULTS, capture_output=True, text=True).stdout
    models = [RESULTS / line for line in listed.splitlines()] or [folder / runs.MODEL for folder in STORED]
    assert 0 < sum(path.stat().st_size for path in models if path.exists()) <= 80e6


@pytest.mark.parametrize("folder", STORED, ids=lambda folder: folder.name)
def test_a_stored_model_loads_and_gives_the_measured_answers(folder):
    config = files.read_json(folder / runs.CONFIG)
    # in the number format in which it was measured, which another machine's `choose_precision` may not choose
    model = keras.models.load_model(folder / runs.MODEL, compile=False, safe_mode=True)
    classes = config["data"]["classes"]
    if config["task"] == "segmentation":
        size = config["model_arguments"]["image_size"]
        assert model.input_shape == (None, size, size, 3)
        assert model.output_shape == (None, size, size, 1 if classes == 2 else classes)
        return
    assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, classes)
    arrays = files.read_arrays(folder / runs.PREDICTIONS)
    if "grad_cam_images" in arrays:  # the only test images that a run stores
        images, count = arrays["grad_cam_images"].astype("float32"), len(arrays["test_labels"])
        rows = [index * count // len(images) for index in range(len(images))]
        np.testing.assert_array_equal(arrays["test_labels"][rows], arrays["grad_cam_labels"])
        # eagerly: tracing a graph for eight images would take most of the time
        probabilities = softmax(keras.ops.convert_to_numpy(model([images], training=False)), axis=-1)
        np.testing.assert_allclose(probabilities.max(-1), arrays["test_confidences"][rows], atol=0.01)
        np.testing.assert_array_equal(probabilities.argmax(-1), arrays["test_answers"][rows])
