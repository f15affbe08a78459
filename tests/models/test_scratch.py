"""Classifiers from scratch: parameters and multiply-adds counted by hand, trained weights, whitening."""

import keras
import numpy as np
import pytest

from hw2.models import blocks, registry
from hw2.models.cost import multiply_adds
from hw2.models.layers import PatchWhitening
from hw2.models.scratch import adapt_whitening

SMALL = {"stem_filters": 4, "filters": (4, 6, 8)}
VARIANTS = [
    ("scratch_classifier", SMALL | {"batch_norm": False}),
    ("scratch_classifier", SMALL | {"units": 3}),
    ("scratch_classifier", SMALL | {"residual": True, "separable": True, "image_size": 48}),
    ("scratch_classifier", SMALL | {"separable": True}),
    ("whitened_classifier", {"filters": (4, 6, 8), "units": 3, "image_size": 24}),
]


@pytest.mark.parametrize("name, arguments", VARIANTS)
def test_every_weight_is_trained_except_fixed_ones(name, arguments):
    keras.utils.set_random_seed(0)
    model = registry.build(name, 5, **arguments)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype("float32")
    adapt_whitening(model, images)
    # eagerly: for one step, tracing a graph would take most of the time
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), run_eagerly=True)
    before = model.get_weights()
    model.train_on_batch(images, np.eye(5, dtype="float32")[np.arange(8) % 5])
    after = model.get_weights()
    assert all(np.isfinite(values).all() for values in after)
    changed = [not np.array_equal(one, other) for one, other in zip(before, after, strict=True)]
    fixed = [path for path, moved in zip([v.path for v in model.weights], changed, strict=True) if not moved]
    assert all(path.startswith(("normalization/", "stem_whitening/")) for path in fixed)
    prefixes = ("images", "resizing", "normalization", "stem", "stage1", "stage2", "stage3", "head")
    assert all(layer.name.startswith(prefixes) for layer in model.layers)


def test_parameters_and_multiply_adds_by_hand():
    """Two plain convolutions a stage: 3x3 kernels at 32x32 (stem), 16x16, 8x8 and 4x4."""
    model = registry.build("scratch_classifier", 10, units=2, stem_filters=4, filters=(4, 6, 8), batch_norm=False)
    kernels = [9 * 3 * 4, 9 * 4 * 4, 9 * 4 * 4, 9 * 4 * 6, 9 * 6 * 6, 9 * 6 * 8, 9 * 8 * 8]
    biases = 4 + 4 + 4 + 6 + 6 + 8 + 8
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == sum(kernels) + biases + 8 * 10 + 10
    areas = [1024, 256, 256, 64, 64, 16, 16]
    assert multiply_adds(model) == sum(k * a for k, a in zip(kernels, areas, strict=True)) + 8 * 10


def test_multiply_adds_of_the_network_that_pools_late():
    """Filters on 2x2 patches at 31x31 positions; the first convolution of a stage precedes its pooling."""
    model = registry.build("whitened_classifier", 10, units=2, filters=(4, 6, 8))
    kernels = [12 * 24, 9 * 24 * 4, 9 * 4 * 4, 9 * 4 * 6, 9 * 6 * 6, 9 * 6 * 8, 9 * 8 * 8]
    areas = [31**2, 31**2, 15**2, 15**2, 7**2, 7**2, 3**2]
    assert multiply_adds(model) == sum(k * a for k, a in zip(kernels, areas, strict=True)) + 8 * 10
    assert sum(np.prod(v.shape) for v in model.trainable_variables if v.name == "kernel") == sum(kernels[1:]) + 8 * 10


def test_whitened_patches_are_uncorrelated_and_have_unit_variance():
    """Second moments of the layer's outputs, computed by NumPy, for patches of strongly correlated pixels."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(50, 1, 1, 3)) * 3 + rng.normal(size=(50, 9, 10, 1)) + rng.normal(size=(50, 9, 10, 3))
    images = (images - images.mean()).astype("float32")
    layer = PatchWhitening(size=2, epsilon=0.0)
    layer.build(images.shape)
    layer.adapt(images)
    outputs = keras.ops.convert_to_numpy(layer(images))
    assert outputs.shape == (50, 8, 9, 24)
    np.testing.assert_allclose(outputs[..., 12:], -outputs[..., :12], atol=1e-5)
    second_moments = outputs[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(second_moments.T @ second_moments / len(second_moments), np.eye(12), atol=1e-3)
    assert not layer.trainable_variables


def test_depthwise_separable_multiply_adds_are_those_of_the_paper():
    """Howard et al., "MobileNets", 2017, section 3.1: 1 / filters + 1 / 9 of those of a standard convolution."""
    inputs = keras.Input((16, 16, 32))
    standard, separable = (
        keras.Model(inputs, blocks.apply_convolution(inputs, 64, separable=kind, name="conv")) for kind in (False, True)
    )
    assert multiply_adds(separable) / multiply_adds(standard) == pytest.approx(1 / 64 + 1 / 9)


def test_a_residual_unit_adds_to_its_input():
    """With a last kernel of zeros, and as many filters as channels, the unit is the identity."""
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, blocks.apply_residual_unit(inputs, 4, name="unit"))
    kernel = model.get_layer("unit_conv2").kernel
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")
    assert not np.allclose(model.predict(x, verbose=0), x, atol=0.1)
    kernel.assign(np.zeros(kernel.shape))
    np.testing.assert_allclose(model.predict(x, verbose=0), x, rtol=1e-6)


def test_a_shortcut_to_other_filters_begins_at_the_activated_input():
    """With a last kernel of zeros, a unit is its shortcut: here the mean of the positive parts of its channels."""
    inputs = keras.Input((4, 4, 4))
    model = keras.Model(inputs, blocks.apply_residual_unit(inputs, 2, name="unit"))
    for name, value in (("unit_conv2", 0.0), ("unit_shortcut", 0.25)):
        kernel = model.get_layer(name).kernel
        kernel.assign(np.full(kernel.shape, value))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype("float32")
    expected = np.maximum(x, 0).mean(-1, keepdims=True).repeat(2, -1) / np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x, training=False)), expected, rtol=1e-4, atol=1e-6)


def test_variants_differ_in_depth_and_cost():
    def build(**arguments):
        return registry.build("scratch_classifier", 100, **arguments)

    def depth(model):
        return sum(getattr(layer, "kernel_size", None) == (3, 3) for layer in model.layers)

    residual = build(units=2, residual=True)
    assert [depth(build(units=2)), depth(build(units=4)), depth(residual)] == [7, 13, 13]
    assert multiply_adds(build(units=2, residual=True, separable=True)) < multiply_adds(residual) / 4


def test_multiply_adds_of_a_dense_layer_are_those_of_every_position():
    inputs = keras.Input((32, 32, 3))
    assert multiply_adds(keras.Model(inputs, keras.layers.Dense(64)(inputs))) == 32 * 32 * 3 * 64
    vector = keras.Input((3,))
    assert multiply_adds(keras.Model(vector, keras.layers.Dense(64)(vector))) == 3 * 64


def test_multiply_adds_of_an_unknown_layer_are_refused_and_not_left_out():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.SeparableConv2D(4, 3, name="unit")(inputs))
    with pytest.raises(NotImplementedError, match=r"unit \(SeparableConv2D\).*hw2/models/cost\.py"):
        multiply_adds(model)
