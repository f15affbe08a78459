"""The cache of features: values, interruption, damage, and one computation for several processes."""

import functools
import json
import threading
import time

import keras
import numpy as np
import pytest

from hw2.data.batches import Batches
from hw2.errors import DataError
from hw2.training import feature_cache
from hw2.training.feature_cache import cached_features

FACTORS = (0.5, 1.0, 2.0, -1.0)


@pytest.fixture(autouse=True)
def chunks_of_three_images(monkeypatch):
    monkeypatch.setattr(feature_cache, "CHUNK_IMAGES", 3)


@pytest.fixture
def predicted(monkeypatch):
    """The numbers of images that the network was applied to, one per chunk. Eager: tracing would take seconds."""
    counts = []

    def counting(model, images):
        counts.append(len(images))
        return keras.ops.convert_to_numpy(model(images.astype("float32"), training=False))

    monkeypatch.setattr(feature_cache, "predict", counting)
    return counts


@functools.cache
def network(factors=FACTORS, activation=None):
    """The mean colour of an image, times each factor: a function that NumPy computes as well."""
    inputs = keras.Input((4, 4, 3), name="images")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(inputs)
    x = keras.layers.Dense(len(factors), activation=activation, use_bias=False, name="factors")(x)
    model = keras.Model(inputs, x, name="frozen")
    model.get_layer("factors").set_weights([np.tile(np.divide(factors, 3), (3, 1))])
    return model


IMAGES = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8)
EXPECTED = IMAGES.mean((1, 2, 3))[:, None] * FACTORS


def features_of(folder, model=None, images=IMAGES):
    return cached_features(model or network(), images, folder, log=lambda line: None)


def stored(folder, suffix):
    return next((folder / "cache").glob(f"*{suffix}"))


def test_features_are_a_read_only_memory_map_that_batches_can_read(tmp_path):
    features, seconds, cpu_seconds = features_of(tmp_path)
    assert isinstance(features, np.memmap) and features.dtype == np.float16 and not features.flags.writeable
    np.testing.assert_allclose(features, EXPECTED, rtol=1e-3)
    assert seconds > 0 and cpu_seconds >= 0
    again = features_of(tmp_path)
    assert again[1:] == (seconds, cpu_seconds)  # those of the computation
    batches = Batches(again[0], np.arange(8), 4, shuffle=True)
    for index in range(2):
        batch, labels = batches[index]
        assert batch.dtype == np.float32
        np.testing.assert_allclose(batch, EXPECTED[labels], rtol=1e-3)
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) in (
        [".json", ".lock", ".npy"],
        [".json", ".npy"],  # on Windows, a lock's file is removed
    )


def test_other_weights_and_other_images_are_other_files(tmp_path, predicted):
    features_of(tmp_path)
    np.testing.assert_allclose(features_of(tmp_path, network((1.0, 2.0, 4.0, -2.0)))[0], 2 * EXPECTED, rtol=1e-3)
    np.testing.assert_allclose(features_of(tmp_path, images=IMAGES[::-1])[0], EXPECTED[::-1], rtol=1e-3)
    assert sum(predicted) == 3 * len(IMAGES)


def test_other_layers_with_the_same_weights_are_other_files(tmp_path, predicted):
    features_of(tmp_path)
    np.testing.assert_allclose(features_of(tmp_path, network(activation="relu"))[0], EXPECTED.clip(0), rtol=1e-3)


def test_of_several_that_need_a_file_one_computes_it(tmp_path, predicted, monkeypatch):
    predict, model = feature_cache.predict, network()
    monkeypatch.setattr(feature_cache, "predict", lambda *given: (time.sleep(0.1), predict(*given))[1])
    threads = [threading.Thread(target=features_of, args=(tmp_path, model)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert predicted == [3, 3, 2]


def test_an_interrupted_computation_loses_one_chunk(tmp_path, predicted, monkeypatch):
    predict = feature_cache.predict

    def interrupted(model, images):
        if len(predicted) == 2:
            raise KeyboardInterrupt
        return predict(model, images)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(feature_cache, "predict", interrupted)
        features_of(tmp_path)
    assert not list((tmp_path / "cache").glob("*.npy"))
    with open(stored(tmp_path, ".partial"), "ab") as file:
        file.write(b"part of a chunk that was killed while it was written")
    features, seconds, _ = features_of(tmp_path)
    assert predicted == [3, 3, 2]
    np.testing.assert_allclose(features, EXPECTED, rtol=1e-3)
    chunks = json.loads(stored(tmp_path, ".json").read_text())
    assert seconds == sum(chunk["seconds"] for chunk in chunks) and len(chunks) == 3


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": (".npy", flip_a_bit),
    "a truncated file": (".npy", lambda path: path.write_bytes(path.read_bytes()[:-10])),
    "an empty file": (".npy", lambda path: path.write_bytes(b"")),
    "a damaged header": (".npy", lambda path: path.write_bytes(b"\0" + path.read_bytes()[1:])),
    "a damaged record": (".json", lambda path: path.write_text('[{"images": 3')),
    "no record": (".json", lambda path: path.unlink()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_again(damage, tmp_path, predicted):
    features_of(tmp_path)
    suffix, harm = DAMAGE[damage]
    harm(stored(tmp_path, suffix))
    np.testing.assert_allclose(features_of(tmp_path)[0], EXPECTED, rtol=1e-3)
    assert sum(predicted) == 2 * len(IMAGES)
    features_of(tmp_path)
    assert sum(predicted) == 2 * len(IMAGES)


def test_a_map_survives_that_its_file_is_computed_again(tmp_path, predicted):
    """Another process may have mapped the file: writing to a mapped file could end that process."""
    features, *_ = features_of(tmp_path)
    stored(tmp_path, ".json").unlink()
    features_of(tmp_path)
    np.testing.assert_allclose(features, EXPECTED, rtol=1e-3)


@pytest.mark.parametrize("factor", [1e4, np.nan])
def test_features_that_float16_cannot_hold_are_an_error(factor, tmp_path, predicted):
    with pytest.raises(DataError, match="float16"):
        features_of(tmp_path, network((factor,) * 4))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"(?s)cannot be stored in .*cache.*--data-dir"):
        features_of(tmp_path)
