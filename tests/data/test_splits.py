"""Parts of the data sets: sizes, what they have in common, and counts from the lists alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hw2 import files
from hw2.data import cifar100, splits, voc2012
from hw2.errors import DataError

RESULTS = Path(__file__).parents[2] / "results" / "cpu"
NAMES = {"train": [f"t{i}" for i in range(10)], "val": ["v0", "v1"], "sbd": ["s0", "t3", "v1", "s1"]}
VOC = {"source": "voc2012", "sbd": True, "classes": 2}
SYNTHETIC = {"source": "synthetic", "sbd": False, "classes": 2, "train": 5, "validation": 3, "test": 4}


def write_lists(data_dir, names=NAMES):
    folder = data_dir / voc2012.FOLDER / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    for split, members in names.items():
        (folder / f"{split}.txt").write_text("\n".join(members))


def write_pairs(data_dir):
    root = data_dir / voc2012.FOLDER
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug"):
        (root / folder).mkdir(parents=True)
    for name in {name for members in NAMES.values() for name in members}:
        Image.new("RGB", (9, 6)).save(root / "JPEGImages" / f"{name}.jpg")
        for label, folder in enumerate(("SegmentationClass", "SegmentationClassAug"), start=1):
            Image.new("L", (9, 6), label).save(root / folder / f"{name}.png")


def test_splits_of_voc_do_not_overlap(tmp_path):
    write_lists(tmp_path)
    write_pairs(tmp_path)
    train, validation = splits.load_training_masks(VOC, tmp_path, 8)
    assert len(validation.identifiers) == 2 and train.images.shape == (10, 8, 8, 3)
    assert set(train.identifiers) == {*NAMES["train"], "s0", "s1"} - set(validation.identifiers)
    # masks of SBD only for the images that VOC has no masks for
    for name, mask in zip(train.identifiers, train.labels, strict=True):
        assert (mask == (2 if name.startswith("s") else 1)).all()
    assert splits.load_training_masks(VOC, tmp_path, 8)[1].identifiers == validation.identifiers
    without, same = splits.load_training_masks(VOC | {"sbd": False}, tmp_path, 8)
    assert same.identifiers == validation.identifiers and without.identifiers == train.identifiers[:8]
    test = splits.load_test_masks(VOC, tmp_path, 8)
    assert test.identifiers == NAMES["val"]
    counts = {"train": len(train.images), "validation": len(validation.images), "test": len(test.images)}
    assert splits.mask_counts(VOC, tmp_path) == VOC | counts | {"source": "voc2012-subset"}
    for name in train.identifiers:  # the validation part alone reads no other photographs
        (tmp_path / voc2012.FOLDER / "JPEGImages" / f"{name}.jpg").unlink()
    np.testing.assert_array_equal(splits.load_validation_masks(VOC, tmp_path, 8).images, validation.images)
    (tmp_path / voc2012.FOLDER / "JPEGImages" / "v0.jpg").unlink()
    assert (splits.load_mask(VOC, tmp_path, "v0") == 1).all()


def test_validation_images_of_voc_are_those_of_earlier_runs(monkeypatch):
    """Otherwise runs would be compared, and combined, that were measured on other images."""
    monkeypatch.setattr(voc2012, "identifiers", lambda data_dir, split: [f"t{index}" for index in range(20)])
    held_out = splits._pairs({"sbd": False}, None, "validation")
    assert [name for name, _ in held_out] == ["t10", "t12", "t14", "t9"]


def test_parts_of_cifar100(monkeypatch):
    """Training and validation images are the publisher's training images, which are brighter here than the others."""

    def load(data_dir, split):
        count, level = {"train": (1000, 200), "test": (300, 50)}[split]
        return np.full((count, 32, 32, 3), level, np.uint8), np.arange(count) % 100

    monkeypatch.setattr(cifar100, "load", load)
    data = {"source": "cifar100", "train": 900, "validation": 100, "test": 300, "classes": 100}
    train, validation = splits.load_training(data, None)
    assert len(train.labels) == 900 and len(validation.labels) == 100
    assert not set(train.indices) & set(validation.indices)
    test = splits.load_test(data, None)
    assert len(test.labels) == 300 and (test.images == 50).all()
    assert (train.images == 200).all() and (validation.images == 200).all()


def test_counts_need_the_lists_alone(tmp_path, monkeypatch):
    write_lists(tmp_path)
    expected = {"source": "voc2012-subset", "train": 10, "validation": 2, "test": 2}
    assert splits.mask_counts(VOC, tmp_path) == VOC | expected
    assert splits.mask_counts(VOC | {"sbd": False}, tmp_path) == VOC | expected | {"sbd": False, "train": 8}
    monkeypatch.setattr(voc2012, "VOC_PAIRS", {"train": 10, "val": 2})
    assert splits.mask_counts(VOC, tmp_path)["source"] == "voc2012"
    counted = splits.mask_counts(VOC, tmp_path)
    assert splits.mask_counts(counted, tmp_path) == counted
    assert splits.mask_counts(SYNTHETIC, tmp_path / "nothing") == SYNTHETIC


def test_looking_for_the_lists_downloads_nothing(tmp_path, monkeypatch):
    def ensure(*arguments):
        raise AssertionError("a download was started")

    monkeypatch.setattr("hw2.data.download.ensure", ensure)
    without_sbd = VOC | {"sbd": False}
    assert splits.masks_are_here(SYNTHETIC, tmp_path)
    assert not splits.masks_are_here(without_sbd, tmp_path)
    write_lists(tmp_path, {split: NAMES[split] for split in ("train", "val")})
    assert splits.masks_are_here(without_sbd, tmp_path) and not splits.masks_are_here(VOC, tmp_path)
    write_lists(tmp_path)
    assert splits.masks_are_here(VOC, tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_synthetic_masks_and_their_originals_agree():
    train, validation = splits.load_training_masks(SYNTHETIC, None, splits.SYNTHETIC_MASK_SIZE)
    test = splits.load_test_masks(SYNTHETIC, None, splits.SYNTHETIC_MASK_SIZE)
    assert [len(part.images) for part in (train, validation, test)] == [5, 3, 4]
    for part in (train, validation, test):
        for image, mask, name in zip(*part, strict=True):
            original, truth = splits.load_original(SYNTHETIC, None, name)
            np.testing.assert_array_equal(image, original)
            np.testing.assert_array_equal(mask, truth)
            np.testing.assert_array_equal(splits.load_mask(SYNTHETIC, None, name), truth)
    assert not np.array_equal(train.images[:3], validation.images)


def test_a_subset_of_classes_numbers_them_anew():
    data = {"source": "synthetic", "train": 300, "validation": 200, "test": 200, "classes": 100}
    every, few = (splits.load_test(data | {"classes": classes}, None) for classes in (100, 5))
    assert len(every.labels) == 200 and set(np.unique(every.labels)) == set(range(100))
    np.testing.assert_array_equal(every.indices, np.arange(200))
    classes = splits.class_subset(5)
    assert len(few.labels) == 10 and set(few.labels) == set(range(5))
    np.testing.assert_array_equal(classes[few.labels], every.labels[few.indices])
    np.testing.assert_array_equal(few.images, every.images[few.indices])
    np.testing.assert_array_equal(splits.class_subset(20)[:5], classes)
    train, validation = splits.load_training(data | {"classes": 5}, None)
    assert len(train.labels) == 15 and len(validation.labels) == 10


@pytest.mark.skipif(not RESULTS.exists(), reason="no runs are stored here")
def test_a_subset_of_classes_is_that_of_the_stored_runs():
    for count in (10, 20, 50):
        stored = files.read_arrays(RESULTS / f"scratch_residual_{count}classes" / "predictions.npz")["classes"]
        np.testing.assert_array_equal(splits.class_subset(count), stored)


def test_missing_data_raise_a_data_error(tmp_path):
    (tmp_path / cifar100.FOLDER).mkdir()
    (tmp_path / voc2012.FOLDER).mkdir(parents=True)
    with pytest.raises(DataError, match=r"train\.bin is missing"):
        splits.load_training({"source": "cifar100", "validation": 5000, "classes": 100}, tmp_path)
    with pytest.raises(DataError, match=r"train\.txt is missing"):
        splits.mask_counts(VOC, tmp_path)
