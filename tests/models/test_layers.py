"""Our layers against Keras' own: same outputs, gradients, state and saved form."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from hw2.models import layers as faster

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares TensorFlow kernels")


def gradients(layer, x, dy):
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(y * dy)
    return [np.asarray(g) for g in tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])]


def twins(ours, theirs, **arguments):
    return ours(**arguments), theirs(**arguments)


def set_same_weights(pair, shape, rng):
    """Give every layer of `pair` the same random weights; build those that are not built."""
    for layer in pair:
        if not layer.built:
            layer.build(shape)
    values = [rng.normal(0.5, 0.2, v.shape).astype("float32") for v in pair[0].weights]
    values = [np.abs(v) + 0.1 if "variance" in w.path else v for v, w in zip(values, pair[0].weights, strict=True)]
    for layer in pair:
        layer.set_weights(values)


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (1, 1, 1, 3), (8, 3)])
def test_batch_normalization_trains_as_keras(shape):
    rng = np.random.default_rng(1)
    pair = twins(faster.BatchNormalization, keras.layers.BatchNormalization, momentum=0.7)
    set_same_weights(pair, shape, rng)
    for step in range(3):
        x = rng.normal(2, 3, shape).astype("float32")
        outputs = [keras.ops.convert_to_numpy(layer(x, training=True)) for layer in pair]
        np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4, err_msg=f"step {step}")
    for ours, theirs in zip(pair[0].get_weights(), pair[1].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        *(keras.ops.convert_to_numpy(layer(x, training=False)) for layer in pair), rtol=1e-4, atol=1e-4
    )


@tensorflow_only
def test_batch_normalization_gradients_are_keras():
    rng = np.random.default_rng(2)
    pair = twins(faster.BatchNormalization, keras.layers.BatchNormalization)
    shape = (4, 5, 6, 3)
    set_same_weights(pair, shape, rng)
    x, dy = rng.normal(size=shape).astype("float32"), rng.normal(size=shape).astype("float32")
    for ours, theirs in zip(*(gradients(layer, x, dy) for layer in pair), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_frozen_batch_normalization_keeps_its_state():
    layer = faster.BatchNormalization()
    layer.build((2, 4, 4, 3))
    layer.trainable = False
    before = layer.get_weights()
    x = np.random.default_rng(3).normal(5, 2, (2, 4, 4, 3)).astype("float32")
    outputs = keras.ops.convert_to_numpy(layer(x, training=True))
    np.testing.assert_allclose(outputs, x / np.sqrt(1 + layer.epsilon), rtol=1e-4)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_number_formats(policy):
    """Half-precision activations, single-precision state, and outputs near those of single precision."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(8, 8, 8, 4)).astype("float32")
    pair = faster.BatchNormalization(dtype=policy), faster.BatchNormalization(dtype="float32")
    set_same_weights(pair, x.shape, rng)
    outputs = [layer(x, training=True) for layer in pair]
    assert keras.backend.standardize_dtype(outputs[0].dtype) == policy.removeprefix("mixed_")
    assert all(keras.backend.standardize_dtype(v.dtype) == "float32" for v in pair[0].weights)
    ours, theirs = (keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")) for y in outputs)
    np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=0.03)


def test_saved_model_keeps_its_numbers(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    model = keras.Model(inputs, faster.BatchNormalization(name="bn")(x))
    set_same_weights((model.get_layer("bn"),), (None, 8, 8, 4), np.random.default_rng(5))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert isinstance(loaded.get_layer("bn"), faster.BatchNormalization)
    x = np.random.default_rng(6).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


@tensorflow_only
def test_saved_model_gives_the_same_on_jax(tmp_path):
    pytest.importorskip("jax", reason="jax is an extra: pip install -e '.[test]'")
    inputs = keras.Input((8, 8, 3))
    x = faster.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs))
    model = keras.Model(inputs, x)
    set_same_weights((model.layers[-1],), (None, 8, 8, 4), np.random.default_rng(7))
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(8).normal(size=(2, 8, 8, 3)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    script = (
        "import keras, numpy as np\nimport hw2.models.layers\n"
        "assert keras.backend.backend() == 'jax'\n"
        "model = keras.models.load_model('model.keras')\n"
        "np.save('outputs.npy', model.predict(np.load('images.npy'), verbose=0))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"KERAS_BACKEND": "jax"}, check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "outputs.npy"), model.predict(images, verbose=0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("size", [(2, 2), (1, 2), (1, 1), (3, 2), (8, 5), (9, 8)])
def test_convolution_is_keras_on_maps_of_any_size(size):
    rng = np.random.default_rng(5)
    pair = twins(faster.Conv2D, keras.layers.Conv2D, filters=5, kernel_size=3, padding="same", activation="relu")
    set_same_weights(pair, (None, *size, 4), rng)
    x = rng.normal(0, 1, (6, *size, 4)).astype("float32")
    ours, theirs = (keras.ops.convert_to_numpy(layer(x)) for layer in pair)
    assert ours.shape == (6, *size, 5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@tensorflow_only
@pytest.mark.parametrize("size", [(2, 2), (3, 2), (8, 7), (9, 9)])
@pytest.mark.parametrize(
    "options", [{}, {"strides": 2}, {"padding": "valid", "kernel_size": 2}, {"groups": 2}, {"dilation_rate": 2}]
)
def test_convolution_gradients_are_keras(options, size):
    rng = np.random.default_rng(6)
    options = {"filters": 6, "kernel_size": 3, "padding": "same"} | options
    pair = twins(faster.Conv2D, keras.layers.Conv2D, **options)
    set_same_weights(pair, (None, *size, 4), rng)
    shapes = (3, *size, 4), pair[0].compute_output_shape((3, *size, 4))
    x, dy = (rng.normal(0, 1, shape).astype("float32") for shape in shapes)
    for ours, theirs in zip(*(gradients(layer, x, dy) for layer in pair), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_convolution_is_a_matrix_product_on_small_maps_and_loads_again(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the convolution was called")

    monkeypatch.setattr(keras.layers.Conv2D, "convolution_op", refuse)
    inputs = keras.Input((2, 2, 4))
    model = keras.Model(inputs, faster.Conv2D(5, 3, padding="same")(inputs))
    with pytest.raises(AssertionError, match="was called"):
        faster.Conv2D(5, 3, padding="same")(np.zeros((1, 9, 9, 4), "float32"))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is faster.Conv2D
    x = np.random.default_rng(7).normal(0, 1, (2, 2, 2, 4)).astype("float32")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@tensorflow_only
def test_the_gradient_of_a_kernel_is_matrix_products_on_maps_up_to_8x8():
    import tensorflow as tf

    def operations(size):
        layer = faster.Conv2D(5, 3, padding="same")
        layer.build((2, size, size, 4))

        @tf.function
        def gradient(inputs):
            with tf.GradientTape() as tape:
                outputs = layer(inputs)
            return tape.gradient(outputs, layer.trainable_variables)

        graph = gradient.get_concrete_function(tf.TensorSpec((2, size, size, 4))).graph
        return [operation.type for operation in graph.get_operations()]

    assert operations(8).count("MatMul") == 9 and "Conv2DBackpropFilter" not in operations(8)
    assert "MatMul" not in operations(9) and "Conv2DBackpropFilter" in operations(9)
