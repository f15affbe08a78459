"""The decoders' parts: the two ways of up-sampling, and a decoder compiled as on a GPU."""

import keras
import numpy as np
import pytest

from hw2.models import registry, segmenters
from hw2.models.cost import multiply_adds


def test_both_decoders_have_the_same_weights_and_bilinear_costs_more():
    transpose, bilinear = (
        registry.build("seg_book", 2, image_size=32, decoder=decoder, width=0.25)
        for decoder in ("transpose", "bilinear")
    )
    assert transpose.count_params() == bilinear.count_params()
    assert multiply_adds(transpose) < multiply_adds(bilinear)
    with pytest.raises(ValueError, match="'nearest'"):
        registry.build("seg_book", 2, decoder="nearest")


def test_bilinear_upsampling_convolves_the_enlarged_map():
    """With the identity as kernel, the output is Keras' bilinear resizing of the map."""
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, segmenters.apply_upsampling(inputs, 2, "bilinear", name="up"))
    kernel = np.zeros((3, 3, 2, 2))
    kernel[1, 1] = np.eye(2)
    model.get_layer("up").set_weights([kernel, np.zeros(2)])
    images = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype("float32")
    expected = keras.ops.image.resize(images, (8, 8), interpolation="bilinear")
    np.testing.assert_allclose(*(keras.ops.convert_to_numpy(x) for x in (model(images), expected)), atol=1e-5)


def test_bilinear_decoder_trains_as_on_a_gpu():
    """With TensorFlow on a GPU, Keras compiles by XLA and numbers have 16 bits; both are possible on a CPU."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu")(inputs)
    x = segmenters.apply_upsampling(x, 2, "bilinear", name="decoder")
    model = keras.Model(inputs, segmenters.apply_logits(x, 2, enlarge=2))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=True)
    assert np.isfinite(model.train_on_batch(np.ones((2, 4, 4, 3)), np.ones((2, 16, 16, 1))))


def test_logits_of_a_short_decoder_are_enlarged():
    """A decoder with fewer steps than VGG16 has skips costs less and gives logits of the same size."""
    full, short = (
        registry.build("seg_unet_vgg16", 21, image_size=32, decoder_filters=filters, width=1 / 16)
        for filters in ((8, 8, 8, 8), (8, 8))
    )
    assert full.output_shape == short.output_shape == (None, 32, 32, 21)
    assert short.get_layer("decoder_logits").output.shape[1:3] == (8, 8)
    assert multiply_adds(short) < multiply_adds(full)
