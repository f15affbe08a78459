import numpy as np
import pytest

from hw2.data import augment


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 16, 12, 3), np.uint8)


@pytest.mark.parametrize("function", [augment.flip, augment.shift])
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
