"""VGG16 against Keras' own, with the same weights."""

import h5py
import keras
import numpy as np
import pytest

from hw2 import DataError
from hw2.models import vgg16

NAMES = [f"block{b}_conv{c}" for b, (count, _) in enumerate(vgg16.BLOCKS, start=1) for c in range(1, count + 1)]


@pytest.fixture(scope="module")
def reference():
    keras.utils.set_random_seed(0)
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3))


@pytest.fixture(scope="module")
def weights_dir(reference, tmp_path_factory):
    """A file in the layout of the one that Keras publishes, with the reference's weights."""
    folder = tmp_path_factory.mktemp("weights")
    with h5py.File(folder / vgg16.WEIGHTS, "w") as file:
        for name in NAMES:
            group = file.create_group(name)
            keys = [f"{name}_W_1:0", f"{name}_b_1:0"]
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key, value in zip(keys, reference.get_layer(name).get_weights(), strict=True):
                group.create_dataset(key, data=value)
    return folder


def test_features_are_those_of_keras_vgg16(reference, weights_dir):
    """Preprocessing, up-sampling and blocks in one: RGB 0-255 at 32 px in, Keras' features at 64 px out."""
    model = vgg16.vgg16_classifier(10, image_size=64)
    vgg16.load_imagenet_weights(model, weights_dir)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    ours = keras.Model(model.inputs, model.get_layer("block5_pool").output).predict(images, verbose=0)
    enlarged = keras.ops.convert_to_numpy(keras.ops.image.resize(images, (64, 64), interpolation="bilinear"))
    theirs = reference.predict(keras.applications.vgg16.preprocess_input(enlarged.copy()), verbose=0)
    assert np.abs(theirs).max() > 0.01
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


def test_preprocessing_by_hand():
    """An orange pixel: blue, green, red, each minus its mean."""
    pixel = np.array([[[[255, 128, 0]]]], "float32")
    out = keras.ops.convert_to_numpy(vgg16.VGG16Preprocessing()(pixel))
    np.testing.assert_allclose(out.ravel(), [0 - 103.939, 128 - 116.779, 255 - 123.68], rtol=1e-5)


@pytest.mark.parametrize("head, parameters", [("linear", 51_300), ("dense", 627_812), ("dense_bn", 632_932)])
def test_heads(head, parameters):
    """512 * 100 + 100; with 1,024 hidden units; with two normalisations, one of which replaces the hidden bias."""
    model = vgg16.vgg16_classifier(100, head=head, dropout=0.5)
    in_head = sum(layer.count_params() for layer in model.layers if layer.name.startswith("head"))
    assert in_head == parameters and model.count_params() == parameters + 14_714_688
    assert model.output_shape == (None, 100)
    with pytest.raises(ValueError, match="'round'"):
        vgg16.vgg16_classifier(100, head="round")


def test_a_file_of_other_weights_is_refused(tmp_path):
    model = vgg16.vgg16_classifier(10, width=1 / 16)
    (tmp_path / vgg16.WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(DataError, match="is not the file"):
        vgg16.load_imagenet_weights(model, tmp_path)


def test_weights_that_cannot_be_had_are_named(tmp_path, monkeypatch):
    def get_file(*arguments, **options):
        raise Exception("URL fetch failure on https://...: no network")  # what Keras raises

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.raises(DataError, match=f"(?s)could not be downloaded.*{tmp_path}"):
        vgg16.load_imagenet_weights(vgg16.vgg16_classifier(10, width=1 / 16), tmp_path)
