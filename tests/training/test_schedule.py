"""Optimizers and learning rates of phases."""

import keras
import numpy as np
import pytest

from hw2.experiments.schema import Phase
from hw2.training import optimizers
from hw2.training.schedule import WarmupCosine, compile_for_phase

PHASE = {"epochs": 2, "learning_rate": 0.1}


def compiled(**options):
    """Return a tiny model, compiled for a phase of 20 steps."""
    inputs = keras.Input((3,))
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Dense(2, name="dense")(inputs))
    model = keras.Model(inputs, x)
    metric = keras.metrics.MeanSquaredError("error")
    compile_for_phase(model, Phase(**PHASE | options), 10, keras.losses.MeanSquaredError(), metric)
    return model


def test_schedule_equals_keras_cosine_decay():
    steps, warmup = 50, 10
    ours = WarmupCosine(0.3, steps, warmup, decays=True)
    theirs = keras.optimizers.schedules.CosineDecay(0.0, steps - warmup, warmup_target=0.3, warmup_steps=warmup)
    flat = WarmupCosine(0.3, steps, warmup, decays=False)
    for step in range(steps + 5):
        assert float(ours(step)) == pytest.approx(float(theirs(step)), abs=1e-6)
        assert float(flat(step)) == pytest.approx(0.3 * min(1, step / warmup))
    assert float(WarmupCosine(0.3, 20, 0, decays=True)(0)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "options, rates",
    [
        ({"schedule": "cosine"}, [0.1, 0.05, 0.0]),
        ({"schedule": "cosine", "warmup": 0.5}, [0.0, 0.1, 0.0]),
        ({"schedule": "constant"}, [0.1, 0.1, 0.1]),
        ({"schedule": "constant", "warmup": 0.5}, [0.0, 0.1, 0.1]),
        ({"schedule": "plateau"}, [0.1, 0.1, 0.1]),
    ],
)
def test_rate_at_the_start_the_middle_and_the_end_of_a_phase(options, rates):
    """The steps of a phase are its epochs times the steps of an epoch: 2 * 10."""
    optimizer = compiled(**options).optimizer
    for step, rate in zip((0, 10, 20), rates, strict=True):
        optimizer.iterations.assign(step)
        assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(rate, abs=1e-7)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"optimizer": "adamw"}, optimizers.Adam),
        ({"optimizer": "adamw", "weight_decay": 0.1}, optimizers.Adam),
        ({"optimizer": "sgd"}, optimizers.SGD),
        ({"optimizer": "sgd", "weight_decay": 0.1}, optimizers.SGD),
    ],
)
def test_weight_decay_shrinks_kernels_only(options, expected):
    """With gradients of zero, a step multiplies kernels by 1 - rate * decay and leaves all other weights."""
    model = compiled(schedule="constant", **options)
    assert type(model.optimizer) is expected
    model.set_weights([np.ones(variable.shape) for variable in model.weights])
    gradients = [keras.ops.zeros(variable.shape) for variable in model.trainable_variables]
    model.optimizer.apply(gradients, model.trainable_variables)
    for variable in model.trainable_variables:
        factor = 1 - 0.1 * options.get("weight_decay", 0) if variable.name == "kernel" else 1
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), factor, rtol=1e-5, err_msg=variable.path)


def test_variables_of_the_optimizer_exist_before_the_first_step():
    assert len(compiled(optimizer="sgd").optimizer.variables) > 4  # momenta of kernel, bias, gamma and beta
