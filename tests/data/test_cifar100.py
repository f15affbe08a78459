import numpy as np
import pytest

from hw2.data import cifar100
from hw2.errors import DataError
from hw2.labels import CIFAR100, CIFAR100_CLASSES, CIFAR100_SUPERCLASS_OF, CIFAR100_SUPERCLASSES


def write_records(path, labels, images):
    """Write the layout as documented, byte by byte, independently of the reader under test."""
    with open(path, "wb") as file:
        for label, image in zip(labels, images, strict=True):
            file.write(bytes([CIFAR100_SUPERCLASS_OF[label], label]))
            for channel in range(3):
                for row in range(32):
                    file.write(bytes(image[row, :, channel].tolist()))


@pytest.fixture
def records(tmp_path):
    rng = np.random.default_rng(0)
    labels, images = rng.integers(0, 100, 5), rng.integers(0, 256, (5, 32, 32, 3), np.uint8)
    write_records(tmp_path / "train.bin", labels, images)
    return tmp_path / "train.bin", images, labels


def test_reads_what_the_publisher_writes(records):
    path, images, labels = records
    read_images, read_labels = cifar100.read_records(path, 5)
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)
    assert read_images.dtype == np.uint8


def test_truncated_file_is_refused(records):
    path, *_ = records
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="15,369 bytes, but 5 images take 15,370"):
        cifar100.read_records(path, 5)


@pytest.mark.parametrize("position, value", [(1, 100), (0, 20), (0, None)])
def test_impossible_labels_are_refused(records, position, value):
    path, *_ = records
    content = bytearray(path.read_bytes())
    content[position] = (content[0] + 1) % 20 if value is None else value
    path.write_bytes(content)
    with pytest.raises(DataError, match="labels that CIFAR-100 does not have"):
        cifar100.read_records(path, 5)


def test_missing_file_and_foreign_names_are_named(tmp_path):
    with pytest.raises(DataError, match=r"test\.bin is missing"):
        cifar100.read_records(tmp_path / "test.bin", 5)
    folder = tmp_path / cifar100.FOLDER
    folder.mkdir()
    (folder / "fine_label_names.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match="does not list the 100 classes"):
        cifar100.load(tmp_path, "train")


def test_split_is_stratified_disjoint_and_fixed():
    labels = np.repeat(np.arange(100), 50)
    np.random.default_rng(0).shuffle(labels)
    train, validation = cifar100.split_indices(labels, 500)
    assert (np.bincount(labels[validation], minlength=100) == 5).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(5000))
    again = cifar100.split_indices(labels, 500)
    np.testing.assert_array_equal(validation, again[1])


def test_split_of_uneven_classes_has_the_asked_size():
    labels = np.array([0] * 7 + [1] * 11 + [2] * 3)
    train, validation = cifar100.split_indices(labels, 5)
    assert len(validation) == 5 and len(train) == 16


def test_validation_images_are_those_of_earlier_runs():
    """Otherwise runs would be compared, and combined, that were measured on other images."""
    _, validation = cifar100.split_indices(np.arange(50_000) % 100, 5_000)
    assert validation[:5].tolist() == [24, 40, 70, 77, 81]


def test_label_names():
    assert len(CIFAR100_CLASSES) == 100 and len(CIFAR100_SUPERCLASSES) == 20
    for index, name in enumerate(CIFAR100_CLASSES):
        assert name in CIFAR100[CIFAR100_SUPERCLASSES[CIFAR100_SUPERCLASS_OF[index]]]
