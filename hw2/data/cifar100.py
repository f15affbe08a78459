"""CIFAR-100 from the official "binary version": no pickle, one record of 3,074 bytes an image.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. A record is the coarse label, the fine label
and 3,072 bytes of pixels: the red, green and blue planes of a 32x32 image, row by row.
"""

from pathlib import Path

import numpy as np

from hw2.data import download
from hw2.errors import DataError
from hw2.labels import CIFAR100_CLASSES, CIFAR100_SUPERCLASS_OF

FOLDER = "cifar-100-binary"
ARCHIVE = download.Archive(
    name="cifar-100-binary.tar.gz",
    urls=("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
    md5="03b5dce01913d631647c71ecec9e9cb8",
    extracts_to=FOLDER,
)
NUM_IMAGES = {"train": 50_000, "test": 10_000}
RECORD_BYTES = 2 + 3 * 32 * 32


def load(data_dir, split):
    """Return `(images, labels)` of the "train" or "test" split; download the data set first if it is not there.

    images: (50000 or 10000, 32, 32, 3) uint8, RGB. labels: (50000 or 10000,) int64 from 0 to 99, the "fine" classes.
    Raises DataError for a file that is missing, has the wrong size or holds impossible labels; the message says what
    to do.
    """
    folder = download.ensure(ARCHIVE, data_dir)
    names = folder / "fine_label_names.txt"
    if names.exists() and tuple(names.read_text().split()) != CIFAR100_CLASSES:
        raise DataError(f"{names} does not list the 100 classes of CIFAR-100. {_again(folder)}")
    return read_records(folder / f"{split}.bin", NUM_IMAGES[split])


def read_records(path, num_images):
    """Return `(images, labels)` of one file of records; see `load`."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} is missing. {_again(path.parent)}")
    expected = num_images * RECORD_BYTES
    if path.stat().st_size != expected:
        raise DataError(
            f"{path} has {path.stat().st_size:,} bytes, but {num_images:,} images take {expected:,}: "
            f"it is truncated or another data set. {_again(path.parent)}"
        )
    records = np.fromfile(path, np.uint8).reshape(num_images, RECORD_BYTES)
    coarse, labels = records[:, 0].astype(np.int64), records[:, 1].astype(np.int64)
    if labels.max() >= len(CIFAR100_CLASSES) or not np.array_equal(CIFAR100_SUPERCLASS_OF[labels], coarse):
        raise DataError(f"{path} holds labels that CIFAR-100 does not have. {_again(path.parent)}")
    images = records[:, 2:].reshape(num_images, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


def split_indices(labels, num_validation, seed=0):
    """Split image indices into `(train, validation)`, both sorted and stratified by class.

    labels: (n,) integers. num_validation: size of the validation part; a remainder that does not divide evenly among
    the classes goes to the first of them. The seed is fixed, so that all experiments, whatever their own seeds, share
    the same validation images.
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    shares = num_validation * counts // len(labels)
    shares[: num_validation - shares.sum()] += 1
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[:share] for label, share in zip(classes, shares, strict=True)
    ]
    validation = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def _again(folder):
    return f"Delete {folder} and start again to download it anew."
