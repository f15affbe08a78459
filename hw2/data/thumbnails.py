"""Thumbnails of test images, masks and probability maps, stored in `predictions.npz` for the report. No Keras."""

import io

import numpy as np
from PIL import Image

from hw2.data.voc2012 import from_square

SIZE = 160  # height and width at most, in pixels
QUALITY = 90  # of JPEG
PANEL = 24  # test images of which every run stores its predictions


def panel(num_images):
    """Return the positions of the test images in the panel, (24,) or fewer, evenly spaced: the same for all runs."""
    return np.linspace(0, num_images - 1, min(PANEL, num_images)).astype(int)


def of_image(image):
    """Return a thumbnail of an image (height, width, 3) uint8 RGB as a JPEG file: its bytes, (n,) uint8."""
    return encode(np.asarray(_resize(image, Image.Resampling.BILINEAR)))


def of_mask(mask):
    """Return a thumbnail of labels (height, width) uint8, by nearest neighbour, so that labels stay labels."""
    return np.asarray(_resize(mask, Image.Resampling.NEAREST))


def of_prediction(probability, height, width):
    """Return `{"probability": ...}` and, for several classes, "prediction", both (h, w) uint8, as high as `of_mask`.

    probability: (size, size) of the foreground, or (size, size, classes). height, width: of the original image.
    "probability" is 255 times that of the foreground, "prediction" the labels.
    """
    small = from_square(probability, *_shape(height, width))
    if small.ndim == 2:
        return {"probability": _to_bytes(small)}
    return {"probability": _to_bytes(1 - small[..., 0]), "prediction": small.argmax(-1).astype(np.uint8)}


def encode(image):
    """Return an image (height, width, 3) uint8 RGB as the bytes of a JPEG file, (n,) uint8."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=QUALITY)
    return np.frombuffer(file.getvalue(), np.uint8)


def decode(jpeg):
    """Return the image (height, width, 3) uint8 RGB of which `encode` or `of_image` returned the bytes."""
    return np.asarray(Image.open(io.BytesIO(jpeg.tobytes())))


def _shape(height, width):
    scale = min(1, SIZE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resize(array, resampling):
    height, width = _shape(*array.shape[:2])
    return Image.fromarray(array).resize((width, height), resampling)


def _to_bytes(probability):
    return np.rint(255 * probability.clip(0, 1)).astype(np.uint8)
