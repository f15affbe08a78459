"""Augmentation in NumPy on whole batches: seeded, and the same on every Keras backend.

Each function takes `(rng, images)` with images of shape (batch, height, width, channels) and returns a new array of
the same shape and type; `images` itself stays as it is. Those that mix images, `mixup` and `cutmix`, take and return
the targets too, and those whose name begins with `joint` the masks, (batch, height, width) labels, which they move
along with the images, by nearest neighbour, so that labels stay labels.
"""

import cv2
import numpy as np

from hw2.labels import VOID


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


def erase(rng, images, probability=0.5, area=(0.02, 0.25), aspect=(0.3, 3.3)):
    """Fill a rectangle of random place and shape with random pixels, in each image with `probability`.

    Zhong et al., "Random Erasing Data Augmentation", 2020, algorithm 1. area: range of the rectangle's share of the
    image; aspect: range of its height over its width. Sides that would be longer than the image end at its edges.
    """
    count, height, width = images.shape[:3]
    sizes = rng.uniform(*area, count) * height * width
    aspects = np.exp(rng.uniform(*np.log(aspect), count))
    inside = _rectangles(rng, np.sqrt(sizes * aspects) / height, np.sqrt(sizes / aspects) / width, height, width)
    inside &= (rng.random(count) < probability)[:, None, None]
    return np.where(inside[..., None], rng.integers(0, 256, images.shape).astype(images.dtype), images)


def mixup(rng, images, targets, alpha=0.2):
    """Return weighted means of pairs of images and of their targets: `(images, targets)`, both float32.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, section 2. The share of the first is drawn from
    Beta(alpha, alpha) for each pair.
    """
    share, partner = rng.beta(alpha, alpha, len(images)).astype(np.float32), rng.permutation(len(images))
    weights = share[:, None, None, None]
    mixed = weights * images + (1 - weights) * images[partner]
    return mixed, _mixed_targets(share, targets, partner)


def cutmix(rng, images, targets, alpha=1.0):
    """Paste a rectangle of another image into each; the targets are mixed by the areas: `(images, targets)`.

    Yun et al., "CutMix", 2019, section 3.1. The rectangle's share of the image is drawn from Beta(alpha, alpha), then
    cut off at the image's edges; images keep their type, targets become float32.
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
    """Replace each image by a window of it, or by one that reaches beyond it, scaled to the same size.

    scale: range of the window's side as a share of the image's, drawn evenly in its logarithm; aspect: of its width
    over its height. What lies beyond the image is the image's mean colour, and void in the mask: no loss counts it.
    """
    count, height, width = masks.shape
    sides, aspects = (np.exp(rng.uniform(*np.log(bounds), count)) for bounds in (scale, aspect))
    rows = _window(rng, sides / np.sqrt(aspects), height)
    columns = _window(rng, sides * np.sqrt(aspects), width)
    cropped_images, cropped_masks = np.empty_like(images), np.empty_like(masks)
    for image, mask, (top, down), (left, right), out, out_mask in zip(
        images, masks, rows[:, :2], columns[:, :2], cropped_images, cropped_masks, strict=True
    ):
        # OpenCV's, in C and without Python's lock: at 320 pixels NumPy takes six times as long, more than a GPU's step
        where = np.array([[right - left, 0, left], [0, down - top, top]]), (width, height)
        bilinear, nearest = (cv2.WARP_INVERSE_MAP | kind for kind in (cv2.INTER_LINEAR, cv2.INTER_NEAREST))
        cv2.warpAffine(image, *where, out, bilinear, cv2.BORDER_CONSTANT, image.mean((0, 1)).tolist())
        cv2.warpAffine(mask, *where, out_mask, nearest, cv2.BORDER_CONSTANT, VOID)
    return cropped_images, cropped_masks


def jitter(rng, images, brightness=0.2, contrast=0.3, saturation=0.4):
    """Change brightness, contrast and saturation of each image by random factors around 1; pixels from 0 to 255."""
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
    """Return source coordinates (n, size) of windows with sides as shares of `size`, placed anywhere that they fit.

    A window larger than the image lies so that the image is whole inside it. Coordinates are those of pixel centres:
    those of the whole image are 0, 1, ..., size - 1.
    """
    starts = rng.uniform(0, 1, len(shares)) * (1 - shares) * size
    return starts[:, None] + (np.arange(size) + 0.5) * shares[:, None] - 0.5


def _rectangles(rng, heights, widths, height, width):
    """Return masks (n, height, width) of rectangles with sides as shares of the image, centred anywhere in it."""

    def covered(size, shares):
        extents = np.round(shares * size)
        starts = rng.integers(0, size, len(shares)) - extents // 2
        positions = np.arange(size)
        return (positions >= starts[:, None]) & (positions < (starts + extents)[:, None])

    return covered(height, heights)[:, :, None] & covered(width, widths)[:, None, :]


def _mixed_targets(share, targets, partner):
    return (share[:, None] * targets + (1 - share[:, None]) * targets[partner]).astype(np.float32)
