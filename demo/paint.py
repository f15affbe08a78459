"""What the page shows of a model's answer, as images: NumPy arrays in, Pillow images out."""

import numpy as np
from PIL import Image, ImageFilter

from hw2.labels import VOC_PALETTE, VOID

# Anchors of two colour scales whose lightness rises evenly, so that they can be read without telling hues apart.
HEAT = ((24, 26, 48), (94, 32, 98), (176, 52, 84), (232, 108, 54), (250, 186, 72), (252, 246, 186))
RIGHT, MISSED, EXTRA = (74, 158, 160), (240, 170, 48), (196, 62, 84)  # of an error map


def scale(values, anchors=HEAT):
    """Return (..., 3) uint8 colours of values from 0 to 1."""
    places = np.linspace(0, 1, len(anchors))
    channels = [np.interp(values, places, [anchor[channel] for anchor in anchors]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def heat_over(image, heat, side=384):
    """Return the square middle of an image with a map (size, size) of 0 to 1 over it: warm where the map is high."""
    height, width = image.shape[:2]
    square = min(height, width)
    top, left = (height - square) // 2, (width - square) // 2
    below = Image.fromarray(image[top : top + square, left : left + square])
    below = np.asarray(below.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    heat = Image.fromarray(np.ascontiguousarray(heat, np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    heat = np.asarray(heat).clip(0, 1)[..., None]
    grey = below.mean(-1, keepdims=True) * 0.6 + 40
    return _image(
        grey * (1 - heat) * 0.75 + below * 0.25 * (1 - heat) + heat * (0.45 * below + 0.55 * scale(heat[..., 0]))
    )


def pixels(image, side):
    """Return a small image enlarged so that its pixels are squares."""
    return Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)


def overlay(image, mask, colour, opacity, labels=None):
    """Return an image with a mask (height, width) bool over it, in one colour or in those of its labels."""
    tint = np.array(colour) if labels is None else VOC_PALETTE[labels]
    blend = np.where(mask[..., None], image * (1 - opacity) + tint * opacity, image).astype(np.float32)
    edge = _outline(mask)
    blend[edge] = np.array(colour if labels is None else (255, 255, 255))
    return _image(blend)


def _outline(mask):
    """Return the pixels of a mask that touch its outside."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def black_and_white(mask):
    """Return a mask as an image."""
    return Image.fromarray(mask.astype(np.uint8) * 255)


def probability(foreground):
    """Return a map of probabilities in colours."""
    return Image.fromarray(scale(foreground))


def cut_out(image, mask):
    """Return the image without what the mask leaves out; opacity rises over the first pixels inside.

    What is transparent is black underneath: a cut-out that is passed on should not hold what was cut away.
    """
    soft = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1.5))
    alpha = np.where(mask, 2 * np.asarray(soft, np.float32) - 255, 0).clip(0, 255)
    alpha = alpha.round().astype(np.uint8)
    return Image.fromarray(np.dstack([np.where(alpha[..., None] > 0, image, 0), alpha]))


def errors(image, mask, truth):
    """Return where a mask agrees with the truth (0, 1 or VOID), what it missed and what it has too many."""
    grey = np.repeat(image.mean(-1, keepdims=True) * 0.5 + 90, 3, axis=-1)
    for where, colour in (
        (mask & (truth == 1), RIGHT),
        (~mask & (truth == 1), MISSED),
        (mask & (truth == 0), EXTRA),
    ):
        grey[where] = 0.3 * grey[where] + 0.7 * np.array(colour)
    grey[truth == VOID] = 245
    return _image(grey)


def parse_colour(text):
    """Return (red, green, blue) of "#rrggbb", "#rgb", "rgb(r, g, b)" or "rgba(...)". Raises ValueError."""
    text = text.strip()
    if text.startswith("#") and len(text) in (4, 7):
        digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
        return tuple(int(digits[place : place + 2], 16) for place in (0, 2, 4))
    if text.startswith("rgb") and text.endswith(")"):
        numbers = [float(number) for number in text[text.index("(") + 1 : -1].split(",")[:3]]
        if len(numbers) == 3:
            return tuple(round(min(max(number, 0), 255)) for number in numbers)
    raise ValueError(f"{text!r} is not a colour such as #1d6f72")


def _image(values):
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
