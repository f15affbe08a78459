"""The three parts that a classification experiment sees: train and validation to decide on, test at the very end."""

from typing import NamedTuple

import numpy as np

from hw2.data import cifar100, synthetic


class Split(NamedTuple):
    """images: (n, 32, 32, 3) uint8. labels: (n,) int64. indices: (n,) int32, positions in the file they come from."""

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


def load(data, data_dir, part):
    """Return the "train", "validation" or "test" part of the data set that `data` describes.

    data: {"source": "cifar100" or "synthetic", "train": n, "validation": n, "test": n}. Train and validation are
    disjoint parts of the official training images; "test" is the official test set, or the first n images of it.
    """
    if data["source"] == "synthetic":
        seed = ("train", "validation", "test").index(part)
        images, labels = synthetic.classification(data[part], seed=seed)
        return Split(images, labels, np.arange(len(labels), dtype=np.int32))
    images, labels = cifar100.load(data_dir, "test" if part == "test" else "train")
    if part == "test":
        indices = np.arange(data["test"])
    else:
        train, validation = cifar100.split_indices(labels, data["validation"])
        indices = train[: data["train"]] if part == "train" else validation
    return Split(images[indices], labels[indices], indices.astype(np.int32))
