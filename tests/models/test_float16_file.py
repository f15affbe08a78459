"""Models stored with kernels in float16: nothing is lost after rounding, and rounding changes no figure."""

import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from hw2 import files, runs
from hw2.models import float16_file
from hw2.models.layers import BatchNormalization

RESULTS = Path(__file__).parents[2] / "results" / "cpu"


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(64, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = BatchNormalization(name="bn")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(500, name="logits")(x))
    # statistics beyond float16's range stay in float32
    model.get_layer("bn").set_weights([np.ones(64), np.zeros(64), np.full(64, 1e-9), np.full(64, 1e6)])
    model.compile("adam", "mse")
    return model


def test_a_rounded_model_is_saved_without_loss(model, tmp_path):
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    before = model.predict(images, verbose=0)
    float16_file.round_kernels(model)
    rounded = model.predict(images, verbose=0)
    np.testing.assert_allclose(rounded, before, rtol=1e-2, atol=1e-4)
    float16_file.save(model, tmp_path / "compact.keras")
    loaded = keras.models.load_model(tmp_path / "compact.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), rounded)
    assert {str(keras.backend.standardize_dtype(v.dtype)) for v in loaded.weights} == {"float32"}
    assert getattr(loaded, "optimizer", None) is None
    keras.Model(model.inputs, model.outputs).save(tmp_path / "full.keras")

    def size(name):
        return zipfile.ZipFile(tmp_path / name).getinfo(float16_file.WEIGHTS_MEMBER).file_size

    assert size("compact.keras") < 0.7 * size("full.keras")


def test_a_kernel_beyond_the_range_of_float16_is_unchanged(model, tmp_path):
    kernel = model.get_layer("conv").kernel
    kernel.assign(kernel + 1e6)
    before = model.get_layer("conv").get_weights()[0]
    float16_file.round_kernels(model)
    float16_file.save(model, tmp_path / "compact.keras")
    loaded = keras.models.load_model(tmp_path / "compact.keras")
    np.testing.assert_array_equal(loaded.get_layer("conv").get_weights()[0], before)


@pytest.mark.skipif(not RESULTS.exists(), reason="no results of the cpu budget")
def test_rounding_leaves_the_validation_figures_of_our_results():
    """`history.csv` has figures of the weights before rounding, `metrics.json` those after it.

    The tolerance is half a point in bfloat16: products round a kernel again, and one close to the middle between two
    numbers of that format can then be rounded to the other one. A network that overfits has many images close to the
    border between two classes.
    """
    compared = 0
    for name, metrics in runs.finished_runs(RESULTS).items():
        if not (RESULTS / name / runs.HISTORY).exists():
            continue
        history = files.read_csv(RESULTS / name / runs.HISTORY)
        kept = [re.search(r"went back to the weights of epoch (\d+)", event["event"]) for event in metrics["events"]]
        row = history[int(kept[-1][1]) - 1 if kept and kept[-1] else -1]
        assert row["phase"] == history[-1]["phase"], name
        tolerance = 5e-3 if metrics["precision"] == "mixed_bfloat16" else 1e-3
        if metrics["task"] == "classification":
            assert metrics["validation"]["accuracy"] == pytest.approx(row["val_accuracy"], abs=tolerance), name
        else:
            assert metrics["network_iou"] == pytest.approx(row["val_iou"], abs=tolerance), name
        compared += 1
    assert compared


class Unregistered(keras.layers.Layer):
    def call(self, x):
        return x


@pytest.mark.parametrize("layer", [Unregistered(name="own"), keras.layers.Lambda(lambda x: x, name="own")])
def test_a_layer_that_no_file_could_bring_back_is_named(layer):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layer(inputs))
    why = float16_file.why_unreadable(model)
    assert f"own ({type(layer).__name__})" in why and "register_keras_serializable" in why
