import numpy as np
import pytest

from hw2.data import augment


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 16, 12, 3), np.uint8)


@pytest.mark.parametrize("function", [augment.flip, augment.shift, augment.erase])
def test_seeded_same_type_and_input_untouched(function, images):
    before = images.copy()
    first, second = (function(np.random.default_rng(7), images) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(images, before)
    assert first.shape == images.shape and first.dtype == images.dtype
    assert not np.array_equal(first, function(np.random.default_rng(8), images))


def test_flip_mirrors_whole_images_about_half_of_the_time(images):
    flipped = augment.flip(np.random.default_rng(0), images)
    mirrored = [np.array_equal(out, image[:, ::-1]) for out, image in zip(flipped, images, strict=True)]
    same = [np.array_equal(out, image) for out, image in zip(flipped, images, strict=True)]
    assert np.logical_xor(mirrored, same).all() and 10 < sum(mirrored) < 30


def test_shift_is_a_crop_of_the_reflected_image(images):
    """Every output is one of the (2 * 2 + 1) * (2 * 2 + 1) crops, and all offsets turn up."""
    shifted = augment.shift(np.random.default_rng(0), np.repeat(images[:1], 400, axis=0))
    padded = np.pad(images[0], ((2, 2), (2, 2), (0, 0)), mode="reflect")
    crops = {padded[top : top + 16, left : left + 12].tobytes() for top in range(5) for left in range(5)}
    assert {image.tobytes() for image in shifted} == crops


def test_erase_changes_one_rectangle_of_about_half_of_the_images():
    images = np.zeros((400, 24, 24, 3), np.uint8)
    changed = augment.erase(np.random.default_rng(0), images, area=(0.1, 0.2)).any(-1)
    sizes = changed.sum((1, 2))
    assert 0.4 < np.mean(sizes > 0) < 0.6
    whole = 0
    for image in changed[sizes > 0]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # a full rectangle
        inside = rows[0] > 0 and rows[-1] < 23 and columns[0] > 0 and columns[-1] < 23
        whole += inside
        assert not inside or 0.07 < image.mean() < 0.25
    assert whole > 50


@pytest.mark.parametrize("function", [augment.mixup, augment.cutmix])
def test_mixing_keeps_the_sum_of_targets_and_the_share_of_each_image(function):
    """Image k is all k and its target is unit vector k, so the image's mean is the mean of its target's classes."""
    classes = np.arange(50)
    images = np.broadcast_to(classes[:, None, None, None], (50, 16, 16, 3)).astype(np.uint8)
    before = images.copy()
    mixed, targets = function(np.random.default_rng(0), images, np.eye(50, dtype=np.float32))
    np.testing.assert_array_equal(images, before)
    assert targets.dtype == np.float32 and mixed.shape == images.shape
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(targets @ classes, mixed.mean((1, 2, 3)), rtol=1e-4, atol=1e-3)
    assert ((targets > 0).sum(1) == 2).any()


def test_cutmix_pixels_come_from_one_of_two_images():
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    mixed, targets = augment.cutmix(np.random.default_rng(1), images, np.eye(20, dtype=np.float32))
    assert mixed.dtype == np.uint8
    for index, (image, target) in enumerate(zip(mixed, targets, strict=True)):
        others = [images[other] for other in np.flatnonzero(target)] + [images[index]]
        assert np.any([(image == other).all(-1) for other in others], axis=0).all()
