"""Images of a model's answer: heat maps, overlays, masks, cut-outs and errors, as Pillow images of NumPy arrays."""

import numpy as np
from PIL import Image, ImageFilter

from hw2.labels import VOC_PALETTE, VOID

# Anchors of a colour scale whose lightness rises evenly, so that it is readable without distinguishing hues.
HEAT = ((24, 26, 48), (94, 32, 98), (176, 52, 84), (232, 108, 54), (250, 186, 72), (252, 246, 186))
RIGHT, MISSED, EXTRA = (74, 158, 160), (240, 170, 48), (196, 62, 84)  # colours of an error map


def scale(values, anchors=HEAT):
    """Return (..., 3) uint8 colours of values from 0 to 1."""
    places = np.linspace(0, 1, len(anchors))
    channels = [np.interp(values, places, [anchor[channel] for anchor in anchors]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def heat_over(image, heat, side=384):
    """Return the central square of an image under a heat map (size, size) from 0 to 1: warm where the map is high."""
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
    """Return a small image enlarged without interpolation, so that its pixels show as squares."""
    return Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)


def overlay(image, mask, colour, opacity, labels=None):
    """Return an image with a mask (height, width) bool painted over it, in one colour or in those of its labels."""
    tint = np.array(colour) if labels is None else VOC_PALETTE[labels]
    blend = np.where(mask[..., None], image * (1 - opacity) + tint * opacity, image).astype(np.float32)
    edge = _outline(mask)
    blend[edge] = np.array(colour if labels is None else (255, 255, 255))
    return _image(blend)


def _outline(mask):
    """Return the pixels of a mask that have a neighbour outside it."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def black_and_white(mask):
    """Return a mask (height, width) bool as an image, True in white."""
    return Image.fromarray(mask.astype(np.uint8) * 255)


def probability(foreground):
    """Return a map (height, width) of probabilities as an image in the colours of HEAT."""
    return Image.fromarray(scale(foreground))


def cut_out(image, mask):
    """Return the part of an image inside a mask, the rest transparent; opacity rises over the first pixels inside.

    Transparent pixels are black underneath, so that a cut-out does not contain the removed background.
    """
    soft = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1.5))
    alpha = np.where(mask, 2 * np.asarray(soft, np.float32) - 255, 0).clip(0, 255)
    alpha = alpha.round().astype(np.uint8)
    return Image.fromarray(np.dstack([np.where(alpha[..., None] > 0, image, 0), alpha]))


def errors(image, mask, truth):
    """Return an image that marks correct, missed and falsely predicted pixels. truth: (height, width) of 0, 1, VOID."""
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
