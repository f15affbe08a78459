"""ImageNet weights: features equal those of Keras' own networks; files that are missing or do not fit."""

import functools
import os
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from hw2.errors import DataError
from hw2.models import mobilenet_v2, registry, vgg16
from hw2.models.registry import VGG16_BLOCKS

DATA = Path(os.environ.get("HW2_DATA_DIR") or Path(__file__).parents[2] / "data")
ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/"
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
# name of a small network, and the published file for its layers
SMALL = {
    "vgg16_classifier": (vgg16.WEIGHTS, {"width": 1 / 16}),
    "seg_mobilenetv2": (mobilenet_v2.WEIGHTS, {"width": 0.35, "image_size": 32}),
}


def write_file(path, layers):
    """Write weights in the layout of Keras' old HDF5 files. layers: {name: arrays}."""
    with h5py.File(path, "w") as file:
        for name, arrays in layers.items():
            group, keys = file.create_group(name), [f"{name}/weight_{index}:0" for index in range(len(arrays))]
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key, array in zip(keys, arrays, strict=True):
                group.create_dataset(key, data=array)


def random_weights(model, without=("decoder", "head")):
    """Return positive random weights (some are variances) for each layer of `model`, small enough not to overflow."""
    rng = np.random.default_rng(1)
    return {
        layer.name: [rng.uniform(0.5, 1.5, w.shape) * (0.05 if w.ndim > 1 else 1) for w in layer.get_weights()]
        for layer in model.layers
        if layer.weights and not layer.name.startswith(without)
    }


@functools.cache
def small_network(name):
    return registry.build(name, 2, **SMALL[name][1])


@pytest.fixture(params=SMALL)
def small(request, tmp_path):
    """Return `(model, load, weights, path)`: a small network, and a file of random weights for it at `path`."""
    model, published = small_network(request.param), SMALL[request.param][0]
    weights, path = random_weights(model), tmp_path / published.name
    write_file(path, weights)
    return model, lambda: registry.load_imagenet_weights(request.param, model, tmp_path), weights, path


def test_every_layer_but_the_new_ones_gets_the_weights_of_its_name(small):
    model, load, weights, _ = small
    new = {layer.name: layer.get_weights() for layer in model.layers if layer.name.startswith(("decoder", "head"))}
    load()
    for name, arrays in (weights | new).items():
        for expected, found in zip(arrays, model.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected.astype("float32"), err_msg=name)


def damage_missing(weights, path):
    write_file(path, dict(list(weights.items())[:-1]))


def damage_shape(weights, path):
    name, arrays = list(weights.items())[-1]
    write_file(path, weights | {name: [array[..., :-1] for array in arrays]})


def damage_number(weights, path):
    name, arrays = list(weights.items())[-1]
    write_file(path, weights | {name: arrays[:-1]})


def damage_content(weights, path):
    path.write_bytes(b"no weights")


@pytest.mark.parametrize("damage", [damage_missing, damage_shape, damage_number, damage_content])
def test_a_file_that_does_not_fit_is_named(damage, small):
    _, load, weights, path = small
    damage(weights, path)
    with pytest.raises(DataError) as raised:
        load()
    assert f"{path} does not contain the weights" in str(raised.value)
    assert f"https://storage.googleapis.com/tensorflow/keras-applications/{_folder(path)}/{path.name}" in str(
        raised.value
    )


def test_a_failed_download_names_the_address_and_the_place(small, monkeypatch):
    def get_file(*arguments, **options):
        raise Exception("URL fetch failure: no network")  # as Keras does

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    _, load, _, path = small
    path.unlink()
    with pytest.raises(DataError) as raised:
        load()
    for part in ("no network", f"{ADDRESS}{_folder(path)}/{path.name}", f"to {path}"):
        assert part in str(raised.value)


def test_without_a_file_the_download_is_used(small, monkeypatch, tmp_path):
    model, load, weights, path = small
    downloaded = path.rename(tmp_path / "downloaded.h5")
    monkeypatch.setattr(keras.utils, "get_file", lambda name, url, **options: str(downloaded))
    load()
    name, arrays = next(iter(weights.items()))
    np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], arrays[0].astype("float32"))


def _folder(path):
    return "vgg16" if path.name.startswith("vgg16") else "mobilenet_v2"


def assert_same_features(ours, theirs, layers, images, preprocessed):
    """Compare the outputs of some layers of our model for images with those of Keras' model for preprocessed images."""
    outputs = []
    for model, inputs in ((ours, images), (theirs, preprocessed)):
        part = keras.Model(model.inputs[0], [model.get_layer(name).output for name in layers])
        outputs.append([keras.ops.convert_to_numpy(output) for output in part(inputs, training=False)])
    for name, one, other in zip(layers, *outputs, strict=True):
        assert np.abs(other).max() > 0.01
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(other).max(), err_msg=name)


def folder_of_weights(published, reference, tmp_path):
    """Return the folder of Keras' file, which the reference loads, or else of a file with the reference's weights."""
    if (DATA / published.name).exists():
        reference.load_weights(DATA / published.name)
        return DATA
    write_file(tmp_path / published.name, {layer.name: layer.get_weights() for layer in reference.layers})
    return tmp_path


def test_features_are_those_of_keras_vgg16(tmp_path):
    """Preprocessing, up-sampling and blocks: RGB from 0 to 255 at 32 px gives Keras' features at 64 px."""
    keras.utils.set_random_seed(0)
    reference = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3))
    folder = folder_of_weights(vgg16.WEIGHTS, reference, tmp_path)
    small = IMAGES[:, ::2, ::2]
    enlarged = keras.ops.convert_to_numpy(keras.ops.image.resize(small, (64, 64), interpolation="bilinear"))
    layers = [f"{block}_conv{convolutions}" for block, (convolutions, _) in VGG16_BLOCKS.items()]
    for name, arguments, images, seen in (
        ("vgg16_classifier", {}, small, enlarged),
        ("seg_unet_vgg16", {"decoder_filters": (8, 8)}, IMAGES, IMAGES),
    ):
        model = registry.build(name, 2, image_size=64, **arguments)
        registry.load_imagenet_weights(name, model, folder)
        assert_same_features(model, reference, layers, images, keras.applications.vgg16.preprocess_input(seen.copy()))


def test_features_are_those_of_keras_mobilenet_v2(tmp_path):
    """Preprocessing and all blocks. Running statistics are random, because the initial ones would hide errors."""
    reference = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3))
    for name, weights in random_weights(reference).items():
        reference.get_layer(name).set_weights(weights)
    folder = folder_of_weights(mobilenet_v2.WEIGHTS, reference, tmp_path)
    model = registry.build("seg_mobilenetv2", 2, image_size=64)
    registry.load_imagenet_weights("seg_mobilenetv2", model, folder)
    layers = [*mobilenet_v2.SKIPS, "block_16_project_BN"]
    preprocessed = keras.applications.mobilenet_v2.preprocess_input(IMAGES.copy())
    assert_same_features(model, reference, layers, IMAGES, preprocessed)
