"""Grad-CAM against finite differences on both backends, on every kind of network, and for ensembles."""

import functools
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from hw2.models import grad_cam, registry

SMALL = {"stem_filters": 4, "filters": (4, 6, 8)}
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)

# A tiny network: 4x4 convolution with stride 4 and ReLU (maps of 8x8), max pooling to 2x2, a hidden layer, two logits.
rng = np.random.default_rng(2)
KERNEL, BIAS = rng.normal(0, 0.002, (4, 4, 3, 3)), np.array([0.3, -0.2, 0.1])
HIDDEN, LOGITS = rng.normal(0, 0.5, (2 * 2 * 3, 5)), rng.normal(0, 1, (5, 2))


def maps_of_tiny_network():
    """Return the Grad-CAM maps of both logits of the tiny network as nested lists, computed by this process's Keras."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(3, 4, strides=4, activation="relu", name="conv")(inputs)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(4)(x))
    x = keras.layers.Dense(5, activation="tanh", use_bias=False, name="hidden")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, name="logits")(x))
    for name, weights in (("conv", [KERNEL, BIAS]), ("hidden", [HIDDEN]), ("logits", [LOGITS])):
        model.get_layer(name).set_weights(weights)
    return [grad_cam.grad_cam([model], IMAGE, column).tolist() for column in (0, 1)]


def expected_map(column):
    """Return the map by NumPy: gradients are central differences, summed over all places of a map."""
    patches = IMAGE.reshape(8, 4, 8, 4, 3).transpose(0, 2, 1, 3, 4).reshape(8, 8, -1).astype(float)
    features = np.maximum(patches @ KERNEL.reshape(-1, 3) + BIAS, 0)

    def logit(values):
        pooled = values.reshape(2, 4, 2, 4, 3).max((1, 3)).ravel()
        return (np.tanh(pooled @ HIDDEN) @ LOGITS)[column]

    # equal changes everywhere in a map change the logit by the sum of the gradients of the map
    steps = 1e-4 * np.eye(3)
    gradients = [(logit(features + step) - logit(features - step)) / 2e-4 / 64 for step in steps]
    heat = np.maximum(features @ gradients, 0)
    assert heat.max() > 0
    return heat / heat.max()


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_against_finite_differences(backend):
    pytest.importorskip(backend)
    if backend == keras.backend.backend():
        maps = maps_of_tiny_network()
    else:
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        process = subprocess.run(
            [sys.executable, __file__], env=environment, capture_output=True, text=True, check=True
        )
        used, maps = json.loads(process.stdout.splitlines()[-1])
        assert used == backend
    for column, found in enumerate(maps):
        np.testing.assert_allclose(found, expected_map(column), atol=1e-3)


@functools.cache
def build(name, **arguments):
    keras.utils.set_random_seed(0)
    return registry.build(name, 5, **arguments)


@pytest.mark.parametrize(
    "name, arguments, side",
    [
        ("scratch_classifier", SMALL, 4),
        ("scratch_classifier", SMALL | {"residual": True, "image_size": 64}, 8),
        ("scratch_classifier", SMALL | {"residual": True, "separable": True}, 4),
        ("whitened_classifier", {"filters": (4, 6, 8)}, 3),
        ("vgg16_classifier", {"width": 0.05}, 4),
        ("vgg16_classifier", {"width": 0.05, "image_size": 64, "head": "dense_bn"}, 4),
    ],
)
def test_every_kind_of_network_has_a_map(name, arguments, side):
    """side: of the last map with at least 3x3 positions; whitening leaves 31, 15, 7 and 3, VGG16 16, 8 and 4."""
    model = build(name, **arguments)
    maps = [grad_cam.grad_cam([model], IMAGE, column) for column in range(5)]
    for heat in maps:
        assert heat.dtype == np.float32 and heat.shape == (side, side)
        assert heat.min() >= 0 and heat.max() in (0, 1)
    assert max(heat.max() for heat in maps) == 1


def test_the_map_shows_the_region_that_the_network_uses():
    """A network that detects red gives a map of the red square."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(1, 3, padding="same", activation="relu", name="conv")(inputs)
    x = keras.layers.MaxPooling2D(4)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x)))
    kernel = np.zeros((3, 3, 3, 1))
    kernel[1, 1, :, 0] = (1, -1, -1)
    model.get_layer("conv").set_weights([kernel, np.zeros(1)])
    model.layers[-1].set_weights([np.ones((1, 1)), np.zeros(1)])
    image = np.full((32, 32, 3), 90, np.uint8)
    image[4:12, 20:28] = (250, 10, 10)
    heat = grad_cam.grad_cam([model], image, 0)
    assert heat.shape == (8, 8)
    assert heat[1:3, 5:7].min() == 1 and heat.sum() == 4


def test_the_map_of_an_ensemble_is_the_weighted_mean_at_the_largest_size():
    """Against SciPy's linear interpolation between the centres of pixels."""
    models = [
        build("scratch_classifier", **SMALL),
        build("scratch_classifier", **SMALL, residual=True, image_size=64),
    ]
    # a column for which neither map is all zeros
    pairs = [[grad_cam.grad_cam([model], IMAGE, column) for model in models] for column in range(5)]
    column, (small, large) = next((c, pair) for c, pair in enumerate(pairs) if all(heat.max() == 1 for heat in pair))
    assert small.shape == (4, 4) and large.shape == (8, 8)
    centres = (np.arange(8) + 0.5) / 2 - 0.5
    enlarged = map_coordinates(small, np.meshgrid(centres, centres, indexing="ij"), order=1, mode="nearest")
    both = grad_cam.grad_cam(models, IMAGE, column, weights=(0.25, 0.75))
    np.testing.assert_allclose(both, 0.25 * enlarged + 0.75 * large, atol=1e-5)


def test_a_network_without_maps_is_an_error():
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="no convolution"):
        grad_cam.grad_cam([model], np.zeros((32, 32, 3)), 0)


if __name__ == "__main__":  # the test above runs this file on another backend
    print(json.dumps([keras.backend.backend(), maps_of_tiny_network()]))
