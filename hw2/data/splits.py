"""The parts of the data of an experiment: training and validation for decisions, test for the reported figures."""

import functools
from typing import NamedTuple

import numpy as np

from hw2.data import cifar100, synthetic, voc2012
from hw2.errors import DataError
from hw2.labels import CIFAR100_CLASSES


class Split(NamedTuple):
    """images: (n, 32, 32, 3) uint8. labels: (n,) int64. indices: (n,) int32, positions in the file they come from.

    Where the data are a subset of the classes, a label is a position in `class_subset`.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


def load_training(data, data_dir):
    """Return the `(train, validation)` parts, disjoint, of the official training images.

    data: {"source": "cifar100" or "synthetic", "train": n, "validation": n, "test": n, "classes": n}. The counts are
        those of all 100 classes, and the training and test images of CIFAR-100 are always complete; fewer than 100
        "classes" keep the images of `class_subset`.

    Raises DataError, see `hw2.data.cifar100.load`, and for counts that do not add up.
    """
    if data["source"] == "synthetic":
        parts = _synthetic(data["train"], seed=0), _synthetic(data["validation"], seed=1)
    else:
        images, labels = cifar100.load(data_dir, "train")
        if data["train"] + data["validation"] != len(labels):
            raise DataError(
                f"CIFAR-100 has {len(labels):,} training images, and {data['train']:,} for training and "
                f"{data['validation']:,} for validation are not all of them. Only the second number can be chosen."
            )
        parts = (
            Split(images[part], labels[part], part.astype(np.int32))
            for part in cifar100.split_indices(labels, data["validation"])
        )
    return tuple(_of_classes(part, data["classes"]) for part in parts)


def load_test(data, data_dir):
    """Return the official test images. data: see `load_training`."""
    if data["source"] == "synthetic":
        test = _synthetic(data["test"], seed=2)
    else:
        images, labels = cifar100.load(data_dir, "test")
        test = Split(images, labels, np.arange(len(labels), dtype=np.int32))
    return _of_classes(test, data["classes"])


def class_subset(num_classes):
    """Return the numbers of `num_classes` of the 100 classes; a larger subset begins with every smaller one."""
    return np.random.default_rng(0).permutation(len(CIFAR100_CLASSES))[:num_classes]


def _of_classes(split, num_classes):
    if num_classes == len(CIFAR100_CLASSES):  # all of them, in their own order
        return split
    position = np.full(len(CIFAR100_CLASSES), -1)
    position[class_subset(num_classes)] = np.arange(num_classes)
    labels = position[split.labels]
    kept = labels >= 0
    return Split(split.images[kept], labels[kept], split.indices[kept])


def _synthetic(num_images, seed):
    images, labels = synthetic.classification(num_images, seed=seed)
    return Split(images, labels, np.arange(num_images, dtype=np.int32))


class MaskSplit(NamedTuple):
    """images: (n, size, size, 3) uint8. labels: (n, size, size) uint8 masks. identifiers: list of n names."""

    images: np.ndarray
    labels: np.ndarray
    identifiers: list


SYNTHETIC_MASK_SIZE = 72  # of synthetic images and masks before they are scaled to the size that the network sees
PARTS = ("train", "validation", "test")  # the seed of a synthetic part is its position here


def load_training_masks(data, data_dir, image_size):
    """Return the `(train, validation)` parts of VOC's official "train": four fifths and one fifth, fixed.

    data: {"source": "voc2012" or "voc2012-subset", "sbd": whether the training part includes the images of SBD}, or
    {"source": "synthetic", "train": n, "validation": n, "test": n}. image_size: height and width, in pixels.

    Raises DataError, see `hw2.data.voc2012`.
    """
    return _load_masks(data, data_dir, "train", image_size), load_validation_masks(data, data_dir, image_size)


def load_validation_masks(data, data_dir, image_size):
    """Return the validation part of `load_training_masks` without reading the other one, which takes gigabytes."""
    return _load_masks(data, data_dir, "validation", image_size)


def load_test_masks(data, data_dir, image_size):
    """Return VOC's official "val", used as the test part because the official test masks are not public.

    data, image_size: see `load_training_masks`.
    """
    return _load_masks(data, data_dir, "test", image_size)


def mask_counts(data, data_dir):
    """Return `data` with the counts "train", "validation" and "test" of its images, and its source.

    data: see `load_training_masks`; other keys are kept. The source becomes "voc2012-subset" if not all of the official
    pairs are in the data folder. Only VOC's lists are read, which are downloaded with the images if they are not there.
    """
    if data["source"] == "synthetic":
        return data
    counts = {part: len(_pairs(data, data_dir, part)) for part in PARTS}
    return data | {"source": voc2012.source(data_dir)} | counts


def masks_are_here(data, data_dir):
    """Return whether the lists that `mask_counts` reads are on this machine; nothing is downloaded."""
    lists = ("train", "val", "sbd") if data["sbd"] else ("train", "val")
    return data["source"] == "synthetic" or all(voc2012.list_path(data_dir, split).exists() for split in lists)


def load_original(data, data_dir, identifier):
    """Return `(image, mask)` of an official image, or of a synthetic one, at its own size."""
    if data["source"] != "synthetic":
        return voc2012.load_pair(data_dir, identifier)
    _, seed, index = identifier.split("-")
    images, masks = _synthetic_originals(data[PARTS[int(seed)]], int(seed))
    return images[int(index)], masks[int(index)]


def load_mask(data, data_dir, identifier):
    """Return the mask of `load_original` without decoding the photograph."""
    if data["source"] != "synthetic":
        return voc2012.load_mask(data_dir, identifier)
    return load_original(data, data_dir, identifier)[1]


def _load_masks(data, data_dir, part, image_size):
    if data["source"] != "synthetic":
        pairs = _pairs(data, data_dir, part)
        return MaskSplit(*voc2012.load_arrays(data_dir, pairs, image_size), [name for name, _ in pairs])
    seed = PARTS.index(part)
    originals = zip(*_synthetic_originals(data[part], seed), strict=True)
    squares = [voc2012.to_square(image, mask, image_size) for image, mask in originals]
    images, masks = (np.stack(arrays) for arrays in zip(*squares, strict=True))
    return MaskSplit(images, masks, [f"synthetic-{seed}-{index}" for index in range(data[part])])


def _pairs(data, data_dir, part):
    """Return the list of `(identifier, whether the mask is SBD's)` of a part of VOC."""
    if part == "test":
        return [(name, False) for name in voc2012.identifiers(data_dir, "val")]
    official = voc2012.identifiers(data_dir, "train")
    held_out = set(np.random.default_rng(0).permutation(sorted(official))[: len(official) // 5].tolist())
    if part == "validation":
        return [(name, False) for name in sorted(held_out)]
    train = [(name, False) for name in official if name not in held_out]
    if data["sbd"]:
        taken = {*official, *voc2012.identifiers(data_dir, "val")}
        train += [(name, True) for name in voc2012.identifiers(data_dir, "sbd") if name not in taken]
    return train


@functools.lru_cache(maxsize=1)  # of the part whose masks are read one after another
def _synthetic_originals(num_images, seed):
    return synthetic.segmentation(num_images, SYNTHETIC_MASK_SIZE, seed=seed)
