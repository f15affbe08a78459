"""Our optimizers take the steps of Keras' own, and keep the same variables."""

import keras
import numpy as np
import pytest

from hw2.training import optimizers
from hw2.training.schedule import WarmupCosine

PAIRS = {
    "adam": (optimizers.Adam, keras.optimizers.Adam, {}),
    "adamw": (optimizers.Adam, keras.optimizers.AdamW, {"weight_decay": 0.3}),
    "sgd": (optimizers.SGD, keras.optimizers.SGD, {"momentum": 0.9}),
    "nesterov": (optimizers.SGD, keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
}


def trained(optimizer, precision, compiled=False):
    """Return the weights of a small network after 12 steps, and the variables of its optimizer."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(precision)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, "mse", jit_compile=compiled)
    rng = np.random.default_rng(0)
    for _ in range(12):
        model.train_on_batch(rng.normal(size=(8, 6, 6, 3)), rng.normal(size=(8, 3)))
    return model.get_weights(), [keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables]


@pytest.mark.parametrize("precision, compiled", [("float32", False), ("mixed_float16", False), ("float32", True)])
@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_those_of_keras(name, precision, compiled):
    """In float16, Keras wraps an optimizer in one that scales the loss; XLA compiles steps on a GPU."""
    ours, theirs, options = PAIRS[name]
    results = [
        trained(kind(WarmupCosine(0.05, 12, 3, decays=True), **options), precision, compiled) for kind in (ours, theirs)
    ]
    for found, expected in zip(*results, strict=True):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5 if precision == "float32" else 2e-3)
