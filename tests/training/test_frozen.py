"""Frozen layers: which ones they are, and that training on their cached outputs equals training on images."""

import dataclasses

import keras
import numpy as np
import pytest

from hw2.data import splits, synthetic
from hw2.experiments.schema import Phase
from hw2.models import registry
from hw2.training.frozen import inputs_of_phase, set_trainable

HEAD = Phase(epochs=1, learning_rate=1e-3, trainable="head")


def outputs(model, inputs):
    return keras.ops.convert_to_numpy(model(inputs.astype("float32"), training=False))


def classifier(**arguments):
    keras.utils.set_random_seed(0)
    model = registry.build("vgg16_classifier", 100, width=1 / 16, **arguments)
    set_trainable(model, "head")
    return model


@pytest.fixture(scope="module")
def data():
    images, labels = synthetic.classification(12, seed=0)
    return splits.Split(images, labels, np.arange(12))


def inputs(model, phase, data, folder):
    return inputs_of_phase(model, phase, data.images, data.labels, data.images, folder, lambda line: None)


def test_layers_are_trained_from_the_first_of_the_name():
    model = classifier()
    set_trainable(model, "block5")
    trained = [layer.name for layer in model.layers if layer.trainable]
    assert trained[0] == "block5_conv1" and all(name.startswith(("block5", "pool", "head")) for name in trained)
    set_trainable(model, "")
    assert all(layer.trainable for layer in model.layers)
    with pytest.raises(ValueError, match="'block6'"):
        set_trainable(model, "block6")


def test_cached_features_give_the_outputs_of_images(data, tmp_path):
    """Up to the float16 of the cache, for the images and for their mirror images."""
    model = classifier()
    rest, features, of_validation, labels, took = inputs(model, HEAD, data, tmp_path)
    assert rest is not model and features.shape == (12, 32) and took[0] > 0
    np.testing.assert_array_equal(features, of_validation)
    np.testing.assert_allclose(outputs(rest, features), outputs(model, data.images), rtol=2e-3, atol=2e-3)
    _, mirrored, of_validation, labels, _ = inputs(model, dataclasses.replace(HEAD, mirrored=True), data, tmp_path)
    assert mirrored.shape == (24, 32) and of_validation.shape == (12, 32)
    np.testing.assert_array_equal(labels, [*data.labels, *data.labels])
    expected = outputs(model, data.images[:, :, ::-1])
    np.testing.assert_allclose(outputs(rest, mirrored[12:]), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("options", [{"augment": ("flip",)}, {"joint": ("joint_flip",)}, {"mix": ("mixup",)}])
def test_random_inputs_are_not_cached(options, data, tmp_path):
    model = classifier()
    trained, images, _, _, took = inputs(model, dataclasses.replace(HEAD, **options), data, tmp_path)
    assert trained is model and images is data.images and took == [0, 0] and not list(tmp_path.iterdir())


def test_dropout_before_the_cut_is_not_cached(data, tmp_path):
    model = classifier(dropout=0.5)
    set_trainable(model, "head_logits")
    assert inputs(model, HEAD, data, tmp_path)[0] is model
    set_trainable(model, "head_dropout")  # the dropout itself is trained on: it follows the cut
    assert inputs(model, HEAD, data, tmp_path)[0] is not model


def test_layers_without_weights_are_not_worth_a_cache(data, tmp_path):
    model = classifier()
    set_trainable(model, "block1")
    assert inputs(model, HEAD, data, tmp_path)[0] is model


def test_a_network_with_skips_trains_on_cached_features(tmp_path):
    """All maps that cross the cut are in the features, and training changes the decoder alone."""
    keras.utils.set_random_seed(0)
    model = registry.build("seg_unet_vgg16", 21, image_size=32, decoder_filters=(8, 4), width=1 / 16)
    set_trainable(model, "decoder")
    images, masks = synthetic.segmentation(6, image_size=32, seed=0)
    data = splits.MaskSplit(images, masks, None)
    phase = Phase(epochs=1, learning_rate=1e-2, trainable="decoder")
    rest, features, _, labels, _ = inputs(model, phase, data, tmp_path)
    assert features.shape == (6, 8 * 8 * 16 + 4 * 4 * 32 + 2 * 2 * 32)
    np.testing.assert_allclose(outputs(rest, features), outputs(model, images), rtol=2e-3, atol=2e-3)
    before = model.get_weights()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    rest.compile("sgd", loss, run_eagerly=True)
    rest.train_on_batch(features.astype("float32"), labels)
    for variable, old in zip(model.weights, before, strict=True):
        moved = np.abs(keras.ops.convert_to_numpy(variable) - old).max() > 0
        assert moved == ("decoder" in variable.path), variable.path
