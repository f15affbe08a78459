"""The three parts that a classification experiment sees: train and validation to decide on, test at the very end."""

from typing import NamedTuple

import numpy as np

from hw2.data import cifar100, synthetic


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
