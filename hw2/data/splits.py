"""The three parts that an experiment sees: train and validation to decide on, test at the very end."""

from typing import NamedTuple

import numpy as np

from hw2.data import cifar100, synthetic, voc2012


class Split(NamedTuple):
    """images: (n, 32, 32, 3) uint8. labels: (n,) int64. indices: (n,) int32, positions in the file they come from.

    Where the data is a subset of the classes, a label is a position in `class_subset`.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


def load_training(data, data_dir):
    """Return the `(train, validation)` parts, disjoint, of the official training images.

    data: {"source": "cifar100" or "synthetic", "train": n, "validation": n, "test": n}, before classes are chosen; of
        CIFAR-100 train and test are always all there is. "classes": n, if there, keeps the images of `class_subset(n)`.
    """
    if data["source"] == "synthetic":
        parts = _synthetic(data["train"], seed=0), _synthetic(data["validation"], seed=1)
    else:
        images, labels = cifar100.load(data_dir, "train")
        parts = (
            Split(images[part], labels[part], part.astype(np.int32))
            for part in cifar100.split_indices(labels, data["validation"])
        )
    return tuple(_of_classes(part, data.get("classes")) for part in parts)


def load_test(data, data_dir):
    """Return the official test images."""
    if data["source"] == "synthetic":
        test = _synthetic(data["test"], seed=2)
    else:
        images, labels = cifar100.load(data_dir, "test")
        test = Split(images, labels, np.arange(len(labels), dtype=np.int32))
    return _of_classes(test, data.get("classes"))


def class_subset(num_classes):
    """Return the numbers of `num_classes` of the 100 classes; a larger subset begins with every smaller one."""
    return np.random.default_rng(0).permutation(100)[:num_classes]


def _of_classes(split, num_classes):
    if num_classes is None:
        return split
    position = np.full(100, -1)
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


SYNTHETIC_MASK_SIZE = 72  # of the stand-ins for photographs, which are then scaled to what the network sees


def load_training_masks(data, data_dir, image_size):
    """Return the `(train, validation)` parts of VOC's official "train": four fifths and one fifth, fixed.

    data: {"source": "voc2012"}, with "sbd": True for the SBD images as further training data; or {"source":
    "synthetic", "train": n, "validation": n, "test": n}.
    """
    if data["source"] == "synthetic":
        return tuple(
            _synthetic_masks(data[part], seed, image_size) for seed, part in enumerate(("train", "validation"))
        )
    official = voc2012.identifiers(data_dir, "train")
    held_out = set(np.random.default_rng(0).permutation(sorted(official))[: len(official) // 5].tolist())
    train = [(name, False) for name in official if name not in held_out]
    if data.get("sbd"):
        taken = {*official, *voc2012.identifiers(data_dir, "val")}
        train += [(name, True) for name in voc2012.identifiers(data_dir, "sbd") if name not in taken]
    return _voc(data_dir, train, image_size), _voc(data_dir, [(n, False) for n in sorted(held_out)], image_size)


def load_test_masks(data, data_dir, image_size):
    """Return VOC's official "val", whose figures are the reported ones: the official test masks are not public."""
    if data["source"] == "synthetic":
        return _synthetic_masks(data["test"], 2, image_size)
    return _voc(data_dir, [(name, False) for name in voc2012.identifiers(data_dir, "val")], image_size)


def load_original(data, data_dir, identifier):
    """Return `(image, mask)` of an official image, or of a synthetic one, at its own size."""
    if data["source"] == "synthetic":
        _, seed, index = identifier.split("-")
        images, masks = synthetic.segmentation(int(index) + 1, SYNTHETIC_MASK_SIZE, seed=int(seed))
        return images[-1], masks[-1]
    return voc2012.load_pair(data_dir, identifier)


def masks_source(data, data_dir):
    """Return "voc2012", "voc2012-subset" (not all of the official pairs are there) or "synthetic"."""
    return data["source"] if data["source"] == "synthetic" else voc2012.source(data_dir)


def _voc(data_dir, pairs, image_size):
    images, masks = voc2012.load_arrays(data_dir, pairs, image_size)
    return MaskSplit(images, masks, [name for name, _ in pairs])


def _synthetic_masks(num_images, seed, image_size):
    originals = zip(*synthetic.segmentation(num_images, SYNTHETIC_MASK_SIZE, seed=seed), strict=True)
    squares = [voc2012.to_square(image, mask, image_size) for image, mask in originals]
    images, masks = (np.stack(arrays) for arrays in zip(*squares, strict=True))
    return MaskSplit(images, masks, [f"synthetic-{seed}-{index}" for index in range(num_images)])
