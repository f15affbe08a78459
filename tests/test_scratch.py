"""Our own networks: shapes, parameters and multiply-adds worked out by hand, training, saving."""

import keras
import numpy as np
import pytest

from hw2.models import blocks, compact
from hw2.models.cost import multiply_adds
from hw2.models.scratch import scratch_classifier

SMALL = {"stem_filters": 4, "filters": (4, 6, 8)}
VARIANTS = [
    {"batch_norm": False},
    {},
    {"units": 3},
    {"residual": True},
    {"residual": True, "separable": True},
    {"separable": True},
    {"residual": True, "squeeze_excite": True, "dropout": 0.2, "unit_dropout": 0.1, "stem_strides": 1},
    {"residual": True, "image_size": 48},
]


@pytest.mark.parametrize("arguments", VARIANTS)
def test_trains_saves_and_is_named_by_stage(arguments, tmp_path):
    keras.utils.set_random_seed(0)
    model = scratch_classifier(5, **SMALL, **arguments)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype("float32")
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    before = model.get_weights()
    model.fit(images, np.eye(5, dtype="float32")[np.arange(8) % 5], verbose=0)
    after = model.get_weights()
    assert all(np.isfinite(values).all() for values in after)
    changed = [not np.array_equal(one, other) for one, other in zip(before, after, strict=True)]
    assert all(changed[3:])  # the first three are the mean, the variance and the count of the input's normalisation
    prefixes = ("images", "resizing", "normalization", "stem", "stage1", "stage2", "stage3", "head")
    assert all(layer.name.startswith(prefixes) for layer in model.layers)
    compact.round_kernels(model)
    compact.save(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    outputs = model.predict(images, verbose=0)
    assert outputs.shape == (8, 5) and outputs.dtype == np.float32
    np.testing.assert_allclose(loaded.predict(images, verbose=0), outputs, rtol=1e-5, atol=1e-5)


def test_parameters_and_multiply_adds_by_hand():
    """Two plain convolutions a stage: 3x3 kernels at 32x32 (stem), 16x16, 8x8 and 4x4."""
    model = scratch_classifier(10, stem_filters=4, filters=(4, 6, 8), batch_norm=False)
    kernels = [9 * 3 * 4, 9 * 4 * 4, 9 * 4 * 4, 9 * 4 * 6, 9 * 6 * 6, 9 * 6 * 8, 9 * 8 * 8]
    biases = 4 + 4 + 4 + 6 + 6 + 8 + 8
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == sum(kernels) + biases + 8 * 10 + 10
    areas = [1024, 256, 256, 64, 64, 16, 16]
    assert multiply_adds(model) == sum(k * a for k, a in zip(kernels, areas, strict=True)) + 8 * 10


def test_depthwise_separable_multiply_adds_are_what_the_paper_says():
    """MobileNets, section 3.1: one part in 1 / (1 / filters + 1 / 9) of a standard convolution's."""
    inputs = keras.Input((16, 16, 32))
    standard, separable = (
        keras.Model(inputs, blocks.apply_convolution(inputs, 64, separable=kind, name="conv")) for kind in (False, True)
    )
    assert multiply_adds(separable) / multiply_adds(standard) == pytest.approx(1 / 64 + 1 / 9)


def test_a_residual_unit_adds_to_its_input():
    """With the last kernel zero, and as many filters as channels, the unit is the identity."""
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, blocks.apply_residual_unit(inputs, 4, name="unit"))
    kernel = model.get_layer("unit_conv2").kernel
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")
    assert not np.allclose(model.predict(x, verbose=0), x, atol=0.1)
    kernel.assign(np.zeros(kernel.shape))
    np.testing.assert_allclose(model.predict(x, verbose=0), x, rtol=1e-6)


def test_squeeze_excite_scales_channels_by_what_a_loop_computes():
    inputs = keras.Input((5, 6, 16))
    model = keras.Model(inputs, blocks.apply_squeeze_excite(inputs, name="se"))
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 16)).astype("float32")
    (w1, b1), (w2, b2) = (model.get_layer(f"se_{part}").get_weights() for part in ("squeeze", "excite"))
    for image, output in zip(x, model.predict(x, verbose=0), strict=True):
        hidden = np.maximum(image.mean((0, 1)) @ w1 + b1, 0)
        factors = 1 / (1 + np.exp(-(hidden @ w2 + b2)))
        for channel in range(16):
            np.testing.assert_allclose(output[..., channel], image[..., channel] * factors[channel], rtol=1e-4)


def test_separable_and_deep_variants_differ_as_they_say():
    plain, deep = scratch_classifier(100), scratch_classifier(100, units=4)
    residual = scratch_classifier(100, units=2, residual=True)
    convolutions = [sum(type(layer) is keras.layers.Conv2D for layer in m.layers) for m in (plain, deep)]
    assert convolutions == [7, 13]
    three_by_three = [layer for layer in residual.layers if getattr(layer, "kernel_size", None) == (3, 3)]
    assert len(three_by_three) == 13  # as deep as "deep"
    separable = scratch_classifier(100, units=2, residual=True, separable=True)
    assert multiply_adds(separable) < multiply_adds(residual) / 4
