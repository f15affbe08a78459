"""Every registered network at its rehearsal size: arguments, names, stages, number formats, saving."""

import functools
import importlib
import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest

from hw2.models import float16_file, registry
from hw2.models.registry import NETWORKS
from hw2.training.frozen import set_trainable

SIZE = 32
FORMATS = ("float32", "mixed_bfloat16")


@functools.cache
def build(name, policy):
    """Return a network at its rehearsal size, in single precision for 5 or 21 classes, else for 5 or 2."""
    network = NETWORKS[name]
    segmenter_classes = 21 if policy == "float32" else 2
    num_classes = segmenter_classes if network.task == "segmentation" else 5
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    model = registry.build(name, num_classes, **network.rehearsal | {"image_size": SIZE})
    keras.config.set_dtype_policy("float32")  # a model keeps the policy that it was built with
    return model


def test_naming_the_networks_imports_no_keras():
    command = "import sys; from hw2.models.registry import NETWORKS; assert NETWORKS; sys.exit('keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_arguments_are_those_of_the_builder(name):
    """The registry holds every default, and the builder none."""
    network = NETWORKS[name]
    module, _, function = network.builder.partition(":")
    builder = getattr(importlib.import_module(f"hw2.models.{module}"), function)
    first, *others = inspect.signature(builder).parameters.values()
    assert first.name == "num_classes"
    assert {parameter.name for parameter in others} == set(network.arguments)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others)
    assert all(parameter.default is parameter.empty for parameter in others)
    assert set(network.rehearsal) <= set(network.arguments)


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes(name):
    many, few = (build(name, policy) for policy in FORMATS)
    if NETWORKS[name].task == "classification":
        assert many.input_shape == (None, 32, 32, 3) and many.output_shape == (None, 5)
    else:
        assert many.input_shape == (None, SIZE, SIZE, 3) and many.output_shape == (None, SIZE, SIZE, 21)
        assert few.output_shape == (None, SIZE, SIZE, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_layer_names_are_unique_and_the_same_in_every_model(name):
    """Names that Keras makes up depend on the layers built before, so stored weights and features would not match."""
    names, others = ([layer.name for layer in build(name, policy).layers] for policy in FORMATS)
    assert len(set(names)) == len(names)
    assert others == names


@pytest.mark.parametrize("name", NETWORKS)
def test_every_stage_begins_after_the_one_before(name):
    """Each stage leaves fewer weights to train than the one before, and the last one leaves the head or decoder."""
    model, network = build(name, "float32"), NETWORKS[name]
    counts = []
    for stage in ("", *network.stages):
        set_trainable(model, stage)
        counts.append(len(model.trainable_variables))
    assert counts == sorted(counts, reverse=True) and counts[-1] > 0
    assert len(set(counts[1:])) == len(network.stages)
    last = network.stages[-1]
    assert last == ("head" if network.task == "classification" else "decoder")
    for layer in model.layers:
        assert not layer.weights or layer.trainable == layer.name.startswith(last), layer.name


def test_running_statistics_of_mobilenetv2_follow_fine_tuning():
    layers = build("seg_mobilenetv2", "float32").layers
    encoder = [layer for layer in layers if not layer.name.startswith("decoder")]
    momenta = [layer.momentum for layer in encoder if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(momenta) > 40 and set(momenta) == {0.9}


@pytest.mark.parametrize("policy", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_number_formats_and_saving(name, policy, tmp_path):
    """Under every policy weights and logits are float32, and a stored model gives the same logits."""
    model = build(name, policy)
    formats = {layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    assert policy.removeprefix("mixed_") in formats
    assert {keras.backend.standardize_dtype(variable.dtype) for variable in model.weights} == {"float32"}
    assert float16_file.why_unreadable(model) is None
    float16_file.round_kernels(model)
    float16_file.save(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    images = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype("float32")
    outputs = keras.ops.convert_to_numpy(model(images, training=False))
    assert outputs.dtype == np.float32 and np.isfinite(outputs).all() and np.ptp(outputs) > 0
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loaded([images], training=False)), outputs)
