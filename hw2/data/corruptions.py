"""Five corruptions of photographs at three strengths, for measuring the robustness of a classifier.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", 2019,
section 3. The strengths are our own, for 32x32 images, so figures cannot be compared with those of that paper.
"""

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

STRENGTHS = {
    "gaussian_noise": (8, 16, 32),  # standard deviation, of 255
    "blur": (0.5, 0.8, 1.2),  # standard deviation of the Gaussian, pixels
    "contrast": (0.6, 0.4, 0.2),  # factor on the distance of each pixel from the image's mean
    "jpeg": (60, 30, 15),  # quality setting
    "pixelation": (24, 16, 12),  # size to which 32 pixels are reduced before they are enlarged again
}


def corrupt(images, corruption, strength, seed=0):
    """Return corrupted images, the same for the same arguments.

    images: (n, height, width, 3) uint8, as the result. corruption, strength: a name in `STRENGTHS` and one of its
    values. seed: of the noise. Raises ValueError for an unknown corruption.
    """
    if corruption == "gaussian_noise":
        noise = np.random.default_rng(seed).normal(0, strength, images.shape)
        return _to_bytes(images + noise)
    if corruption == "blur":
        return _to_bytes(gaussian_filter(images.astype(np.float64), (0, strength, strength, 0)))
    if corruption == "contrast":
        mean = images.mean((1, 2, 3), keepdims=True)
        return _to_bytes(mean + strength * (images - mean))
    if corruption == "jpeg":
        return np.stack([_jpeg(image, strength) for image in images])
    if corruption == "pixelation":
        return np.stack([_pixelate(image, strength) for image in images])
    raise ValueError(f"there is no corruption {corruption!r}")


def _to_bytes(values):
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=quality)
    return np.asarray(Image.open(buffer))


def _pixelate(image, size):
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((size * width // 32, size * height // 32), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
