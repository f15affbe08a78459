"""Augmentation in NumPy on whole batches: seeded, and the same on every Keras backend.

Each function takes `(rng, images)` with images of shape (batch, height, width, channels) and returns a new array of
the same shape and type; `images` is not changed. `mixup` and `cutmix`, which mix images, also take and return the
targets. Functions whose names begin with `joint` also take and return masks, (batch, height, width) labels, and move
them together with the images, by nearest neighbour, so that labels stay labels.
"""

import numpy as np

from hw2.labels import VOID


def flip(rng, images):
    """Mirror each image left to right with probability 1/2."""
    mirrored = rng.random(len(images)) < 0.5
    images = images.copy()
    images[mirrored] = images[mirrored, :, ::-1]
    return images


def shift(rng, images, fraction=1 / 8):
    """Shift each image by up to `fraction` of its size in both directions, filling the border by reflection.

    The pad-and-crop of He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2 (4 pixels of 32),
    with reflection instead of zeros.
    """
    height, width = images.shape[1:3]
    most = max(1, round(fraction * height)), max(1, round(fraction * width))
    padded = np.pad(images, ((0, 0), (most[0], most[0]), (most[1], most[1]), (0, 0)), mode="reflect")
    tops = rng.integers(0, 2 * most[0] + 1, len(images))
    lefts = rng.integers(0, 2 * most[1] + 1, len(images))
    rows = tops[:, None] + np.arange(height)
    columns = lefts[:, None] + np.arange(width)
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def erase(rng, images, probability=0.5, area=(0.02, 0.25), aspect=(0.3, 3.3)):
    """Fill a rectangle of random position and shape with random pixels, in each image with `probability`.

    Zhong et al., "Random Erasing Data Augmentation", 2020, algorithm 1. area: range of the rectangle's share of the
    image; aspect: range of its height over its width. Rectangles that extend beyond the image are cut off at its edges.
    """
    count, height, width = images.shape[:3]
    sizes = rng.uniform(*area, count) * height * width
    aspects = np.exp(rng.uniform(*np.log(aspect), count))
    inside = _rectangles(rng, np.sqrt(sizes * aspects) / height, np.sqrt(sizes / aspects) / width, height, width)
    inside &= (rng.random(count) < probability)[:, None, None]
    return np.where(inside[..., None], rng.integers(0, 256, images.shape).astype(images.dtype), images)


def mixup(rng, images, targets, alpha=0.2):
    """Return weighted means of pairs of images and of their targets: `(images, targets)`, both float32.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, section 2. The weight of the first image is drawn
    from Beta(alpha, alpha) for each pair.
    """
    share, partner = rng.beta(alpha, alpha, len(images)).astype(np.float32), rng.permutation(len(images))
    weights = share[:, None, None, None]
    mixed = weights * images + (1 - weights) * images[partner]
    return mixed, _mixed_targets(share, targets, partner)


def cutmix(rng, images, targets, alpha=1.0):
    """Paste a rectangle of another image into each image and mix the targets by area: `(images, targets)`.

    Yun et al., "CutMix", 2019, section 3.1. The rectangle's share of the image is drawn from Beta(alpha, alpha); the
    rectangle is then cut off at the image's edges. Images keep their type, targets become float32.
    """
    count, height, width = images.shape[:3]
    side, partner = np.sqrt(1 - rng.beta(alpha, alpha, count)), rng.permutation(count)
    inside = _rectangles(rng, side, side, height, width)
    share = 1 - inside.mean((1, 2), dtype=np.float32)
    return np.where(inside[..., None], images[partner], images), _mixed_targets(share, targets, partner)


def joint_flip(rng, images, masks):
    """Mirror each image with its mask left to right with probability 1/2."""
    mirrored = rng.random(len(images)) < 0.5
    images, masks = images.copy(), masks.copy()
    images[mirrored], masks[mirrored] = images[mirrored, :, ::-1], masks[mirrored, :, ::-1]
    return images, masks


def joint_scale_crop(rng, images, masks, scale=(0.5, 1.25), aspect=(0.8, 1.25)):
    """Replace each image by a window of it, which may extend beyond the image, resized to the size of the image.

    scale: range of the window's side as a share of the image's; aspect: range of the window's width over its height,
    relative to the image's. The logarithms of both are drawn uniformly. Beyond the image, pixels have the image's mean
    colour, and the mask is void, which no loss counts.
    """
    import cv2  # here, so that reading the table of experiments does not need OpenCV

    count, height, width = masks.shape
    sides, aspects = (np.exp(rng.uniform(*np.log(bounds), count)) for bounds in (scale, aspect))
    rows = _window(rng, sides / np.sqrt(aspects), height)
    columns = _window(rng, sides * np.sqrt(aspects), width)
    cropped_images, cropped_masks = np.empty_like(images), np.empty_like(masks)
    for image, mask, (top, down), (left, right), out, out_mask in zip(
        images, masks, rows, columns, cropped_images, cropped_masks, strict=True
    ):
        # OpenCV releases Python's lock; NumPy takes six times as long at 320 pixels, more than a training step on a GPU
        where = np.array([[right - left, 0, left], [0, down - top, top]]), (width, height)
        bilinear, nearest = (cv2.WARP_INVERSE_MAP | kind for kind in (cv2.INTER_LINEAR, cv2.INTER_NEAREST))
        cv2.warpAffine(image, *where, out, bilinear, cv2.BORDER_CONSTANT, image.mean((0, 1)).tolist())
        cv2.warpAffine(mask, *where, out_mask, nearest, cv2.BORDER_CONSTANT, VOID)
    return cropped_images, cropped_masks


def jitter(rng, images, brightness=0.2, contrast=0.3, saturation=0.4):
    """Change brightness, contrast and saturation of each image by random factors around 1.

    images: pixels from 0 to 255. brightness, contrast, saturation: greatest distance of the factors from 1.
    """
    count = len(images)

    def factors(most):
        return rng.uniform(1 - most, 1 + most, (count, 1, 1, 1)).astype(np.float32)

    # contrast * (grey + saturation * (values - grey)) + (1 - contrast) * mean, times brightness, in one pass
    values = images.astype(np.float32)
    grey = values.mean(-1, keepdims=True)
    brightness, contrast, saturation = factors(brightness), factors(contrast), factors(saturation)
    mean = grey.mean((1, 2, 3), keepdims=True)
    grey *= brightness * contrast * (1 - saturation)
    grey += brightness * (1 - contrast) * mean
    values *= brightness * contrast * saturation
    values += grey
    values.clip(0, 255, out=values)
    return np.rint(values, out=values).astype(images.dtype) if images.dtype == np.uint8 else values


def _window(rng, shares, size):
    """Return source coordinates (n, 2) of the first two pixels of windows whose sides are the given shares of `size`.

    A window is placed at random inside the image, or, if it is larger, at random around the whole image. Coordinates
    are those of pixel centres: those of the whole image are 0, 1, ..., size - 1.
    """
    starts = rng.uniform(0, 1, len(shares)) * (1 - shares) * size
    return starts[:, None] + (np.arange(2) + 0.5) * shares[:, None] - 0.5


def _rectangles(rng, heights, widths, height, width):
    """Return masks (n, height, width) of rectangles with random centres; their sides are shares of the image's."""

    def covered(size, shares):
        extents = np.round(shares * size)
        starts = rng.integers(0, size, len(shares)) - extents // 2
        positions = np.arange(size)
        return (positions >= starts[:, None]) & (positions < (starts + extents)[:, None])

    return covered(height, heights)[:, :, None] & covered(width, widths)[:, None, :]


def _mixed_targets(share, targets, partner):
    return (share[:, None] * targets + (1 - share[:, None]) * targets[partner]).astype(np.float32)


# by the names that entries of the table of experiments use
AUGMENTATIONS = {function.__name__: function for function in (flip, shift, erase, jitter)}
JOINT_AUGMENTATIONS = {function.__name__: function for function in (joint_flip, joint_scale_crop)}
MIXING = {function.__name__: function for function in (mixup, cutmix)}
