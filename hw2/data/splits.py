"""The three parts that a classification experiment sees: train and validation to decide on, test at the very end."""

from typing import NamedTuple

import numpy as np

from hw2.data import cifar100, synthetic


class Split(NamedTuple):
    """images: (n, 32, 32, 3) uint8. labels: (n,) int64. indices: (n,) int32, positions in the file they come from."""

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


def load_training(data, data_dir):
    """Return the `(train, validation)` parts, disjoint, of the official training images.

    data: {"source": "cifar100" or "synthetic", "train": n, "validation": n, "test": n}; of CIFAR-100 train and test are
    always all there is.
    """
    if data["source"] == "synthetic":
        return _synthetic(data["train"], seed=0), _synthetic(data["validation"], seed=1)
    images, labels = cifar100.load(data_dir, "train")
    train, validation = cifar100.split_indices(labels, data["validation"])
    return tuple(Split(images[part], labels[part], part.astype(np.int32)) for part in (train, validation))


def load_test(data, data_dir):
    """Return the official test images."""
    if data["source"] == "synthetic":
        return _synthetic(data["test"], seed=2)
    images, labels = cifar100.load(data_dir, "test")
    return Split(images, labels, np.arange(len(labels), dtype=np.int32))


def _synthetic(num_images, seed):
    images, labels = synthetic.classification(num_images, seed=seed)
    return Split(images, labels, np.arange(num_images, dtype=np.int32))
