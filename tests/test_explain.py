"""Grad-CAM against a gradient by hand, on the networks that there are, and on both backends."""

import contextlib
import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from hw2 import explain
from hw2.models.scratch import scratch_classifier, whitened_classifier
from hw2.models.vgg16 import vgg16_classifier

SMALL = {"stem_filters": 4, "filters": (4, 6, 8)}

# A network whose map can be computed by hand: one convolution that copies channels, a mean over the places, one layer.
BY_HAND = """
import hw2
import json
import keras
import numpy as np
from hw2 import explain
inputs = keras.Input((8, 8, 3))
x = keras.layers.Conv2D(3, 1, use_bias=False, name="conv")(inputs)
x = keras.layers.GlobalAveragePooling2D()(x)
model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, name="logits")(x))
model.get_layer("conv").set_weights([np.eye(3)[None, None]])
model.get_layer("logits").set_weights([np.array([[1.0, -1.0], [2.0, 0.0], [0.0, 1.0]])])
image = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
print(json.dumps([keras.backend.backend(), [explain.grad_cam([model], image, column).tolist() for column in (0, 1)]]))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_against_a_map_by_hand(backend):
    pytest.importorskip(backend)
    if backend == keras.backend.backend():
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(BY_HAND, {})
        output = printed.getvalue()
    else:
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", BY_HAND]
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    used, maps = json.loads(output.splitlines()[-1])
    assert used == backend
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(float)
    for found, weights in zip(maps, ([1.0, 2.0, 0.0], [-1.0, 0.0, 1.0]), strict=True):
        expected = np.maximum(image @ weights, 0)  # a mean's gradient is the same in every place
        np.testing.assert_allclose(found, expected / expected.max(), atol=1e-4)


@pytest.mark.parametrize(
    "build",
    [
        lambda: scratch_classifier(5, **SMALL),
        lambda: scratch_classifier(5, **SMALL, residual=True),
        lambda: scratch_classifier(5, **SMALL, residual=True, image_size=48),
        lambda: scratch_classifier(5, **SMALL, residual=True, separable=True),
        lambda: whitened_classifier(5, filters=(4, 6, 8)),
        lambda: vgg16_classifier(5, width=0.05),
        lambda: vgg16_classifier(5, width=0.05, image_size=64, head="dense_bn"),
    ],
)
def test_every_kind_of_network_has_a_map(build):
    keras.utils.set_random_seed(0)
    model = build()
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    heat = explain.grad_cam([model], image, 3)
    assert heat.dtype == np.float32 and heat.shape[0] == heat.shape[1] >= explain.MIN_SIDE
    assert heat.min() >= 0 and heat.max() in (0, 1)
    assert max(explain.grad_cam([model], image, column).max() for column in range(5)) == 1


def test_it_points_at_what_the_network_uses():
    """A network that looks for red sees it where it is."""
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
    heat = explain.grad_cam([model], image, 0)
    assert heat.shape == (8, 8)
    assert heat[1:3, 5:7].min() == 1 and heat.sum() == 4


def test_an_ensemble_is_the_weighted_mean_of_its_maps():
    keras.utils.set_random_seed(1)
    models = [scratch_classifier(5, **SMALL), scratch_classifier(5, **SMALL, residual=True, image_size=64)]
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    maps = [explain.grad_cam([model], image, 0) for model in models]
    size = max(len(one) for one in maps)
    both = explain.grad_cam(models, image, 0, weights=(0.25, 0.75))
    assert both.shape == (size, size)
    if all(len(one) == size for one in maps):
        np.testing.assert_allclose(both, 0.25 * maps[0] + 0.75 * maps[1], atol=1e-6)


def test_a_network_without_maps_is_an_error():
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="no convolution"):
        explain.grad_cam([model], np.zeros((32, 32, 3)), 0)
