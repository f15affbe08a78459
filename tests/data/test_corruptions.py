import numpy as np
import pytest

from hw2.data.corruptions import STRENGTHS, corrupt
from hw2.data.synthetic import classification

IMAGES, _ = classification(30, seed=1)


@pytest.mark.parametrize("corruption", STRENGTHS)
def test_deterministic_same_form_and_worse_with_strength(corruption):
    before = IMAGES.copy()
    errors = []
    for strength in STRENGTHS[corruption]:
        first, second = (corrupt(IMAGES, corruption, strength) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert first.shape == IMAGES.shape and first.dtype == np.uint8
        errors.append(np.abs(first.astype(float) - IMAGES).mean())
    np.testing.assert_array_equal(IMAGES, before)
    assert 0 < errors[0] < errors[1] < errors[2]


def test_noise_has_its_deviation():
    grey = np.full((20, 32, 32, 3), 128, np.uint8)
    noise = corrupt(grey, "gaussian_noise", 16).astype(float) - 128
    assert abs(noise.mean()) < 0.2 and abs(noise.std() - 16) < 0.2


def test_contrast_shrinks_distances_to_the_mean():
    image = np.array([[100, 200], [100, 200]], np.uint8)[None, :, :, None].repeat(3, -1)
    np.testing.assert_array_equal(corrupt(image, "contrast", 0.4)[0, :, :, 0], [[130, 170], [130, 170]])


def test_blur_mixes_neither_images_nor_channels():
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[0, :, :, 1] = 255
    np.testing.assert_array_equal(corrupt(images, "blur", 1.2), images)


def test_pixelation_to_half_averages_squares():
    pixelated = corrupt(IMAGES, "pixelation", 16)
    means = IMAGES.reshape(30, 16, 2, 16, 2, 3).mean((2, 4))
    np.testing.assert_allclose(pixelated[:, ::2, ::2], means, atol=1)  # PIL rounds after each direction
    np.testing.assert_array_equal(pixelated[:, ::2, ::2], pixelated[:, 1::2, 1::2])


def test_unknown_corruption():
    with pytest.raises(ValueError, match="fog"):
        corrupt(IMAGES, "fog", 1)
