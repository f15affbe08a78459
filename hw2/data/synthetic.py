"""Generated data with the shapes and types of the real sets, for tests and for the smoke budget.

They are learnable but not trivial: a small network is far above chance after seconds, but not perfect.
"""

import numpy as np

from hw2.labels import VOID


def classification(num_images, num_classes=100, image_size=32, seed=0):
    """Return `(images, labels)`: coloured gratings whose orientation, frequency and hue depend on the class.

    images: (num_images, image_size, image_size, 3) uint8; labels: (num_images,) int64, all classes as equally frequent
    as possible.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_images) % num_classes)
    class_rng = np.random.default_rng(0)  # the appearance of a class does not depend on the seed
    angles = class_rng.permutation(num_classes) * np.pi / num_classes
    frequencies = class_rng.uniform(1.5, 6, num_classes)
    colours = class_rng.uniform(-1, 1, (num_classes, 3))
    y, x = np.mgrid[:image_size, :image_size] / image_size
    across = np.cos(angles)[labels, None, None] * x + np.sin(angles)[labels, None, None] * y
    phase = rng.uniform(0, 2 * np.pi, (num_images, 1, 1))
    grating = np.sin(2 * np.pi * frequencies[labels, None, None] * across + phase)
    tints = (colours[labels] + rng.normal(0, 0.4, (num_images, 3)))[:, None, None]
    images = 128 + (60 * grating[..., None] + 40) * tints + rng.normal(0, 20, (*grating.shape, 3))
    return images.clip(0, 255).astype(np.uint8), labels


def segmentation(num_images, image_size=64, num_classes=21, seed=0):
    """Return `(images, masks)`: one to three ellipses, coloured by class, over a noisy gradient.

    images: (num_images, image_size, image_size, 3) uint8. masks: (num_images, image_size, image_size) uint8, 0 for
    background, 1 to num_classes - 1 for objects, and a void border of about a pixel around each object.
    """
    rng = np.random.default_rng(seed)
    colours = np.random.default_rng(0).uniform(40, 255, (num_classes, 3))
    y, x = (np.mgrid[:image_size, :image_size] + 0.5) / image_size
    images = np.empty((num_images, image_size, image_size, 3), np.uint8)
    masks = np.zeros((num_images, image_size, image_size), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        direction = rng.uniform(-60, 60, (2, 3))
        canvas = 90 + x[..., None] * direction[0] + y[..., None] * direction[1]
        for _ in range(rng.integers(1, 4)):
            label = rng.integers(1, num_classes)
            centre, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.3, 2)
            distance = np.hypot((x - centre[0]) / radius[0], (y - centre[1]) / radius[1])
            border = 1 / (image_size * radius.min())
            canvas[distance < 1] = colours[label]
            mask[distance < 1 + border] = VOID
            mask[distance < 1] = label
        image[:] = (canvas + rng.normal(0, 10, canvas.shape)).clip(0, 255)
    return images, masks
