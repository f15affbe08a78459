"""Augmentation in NumPy on whole batches: seeded, and the same on every Keras backend.

Each function takes `(rng, images)` with images of shape (batch, height, width, channels) and returns a new array of
the same shape and type; `images` itself stays as it is.
"""

import numpy as np


def flip(rng, images):
    """Mirror each image left to right with probability 1/2."""
    mirrored = rng.random(len(images)) < 0.5
    images = images.copy()
    images[mirrored] = images[mirrored, :, ::-1]
    return images


def shift(rng, images, fraction=1 / 8):
    """Shift each image by up to `fraction` of its size in both directions; what enters is a reflection of the image.

    The pad-and-crop of He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2 (4 pixels of 32),
    with reflection in place of zeros.
    """
    height, width = images.shape[1:3]
    most = max(1, round(fraction * height)), max(1, round(fraction * width))
    padded = np.pad(images, ((0, 0), (most[0], most[0]), (most[1], most[1]), (0, 0)), mode="reflect")
    tops = rng.integers(0, 2 * most[0] + 1, len(images))
    lefts = rng.integers(0, 2 * most[1] + 1, len(images))
    rows = tops[:, None] + np.arange(height)
    columns = lefts[:, None] + np.arange(width)
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
