"""Images of a model's answer: heat maps, overlays, masks, cut-outs and errors, as Pillow images of NumPy arrays."""

import re

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy import ndimage

from hw2.labels import VOC_CLASSES, VOC_PALETTE, VOID

# Anchors of a colour scale whose lightness rises evenly, so that it is readable without distinguishing hues.
HEAT = ((24, 26, 48), (94, 32, 98), (176, 52, 84), (232, 108, 54), (250, 186, 72), (252, 246, 186))
MIN_NAMED = 0.004  # share of the image from which on the name of a region is written on it
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
    """Return an image with a mask (height, width) bool painted over it, in one colour or in those of its labels.

    A white line within a dark one marks the outline, so that the mask shows on objects of any colour. With labels, the
    name of each large region is written on it.
    """
    tint = np.array(colour) if labels is None else VOC_PALETTE[labels]
    blend = np.where(mask[..., None], image * (1 - opacity) + tint * opacity, image).astype(np.float32)
    outer = _outline(~mask) if min(mask.shape) > 2 else np.zeros_like(mask)
    blend[outer] = 0.3 * blend[outer]
    blend[_outline(mask)] = 255
    painted = _image(blend)
    return painted if labels is None else _with_names(painted, labels)


def _outline(mask):
    """Return the pixels of a mask that have a neighbour outside it."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _with_names(image, labels):
    """Write the name of each class on its regions of at least MIN_NAMED of the image."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(14, min(image.size) // 16))
    for label in np.unique(labels[labels > 0]):
        regions, _ = ndimage.label(labels == label)
        sizes = np.bincount(regions.ravel())
        for region in np.flatnonzero(sizes[1:] >= MIN_NAMED * labels.size) + 1:
            rows, columns = np.nonzero(regions == region)
            nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)  # within the region
            name = VOC_CLASSES[label]
            left, top, right, bottom = draw.textbbox((0, 0), name, font=font, anchor="mm")
            x = min(max(columns[nearest], 4 - left), image.width - 4 - right)
            y = min(max(rows[nearest], 4 - top), image.height - 4 - bottom)
            draw.rectangle((x + left - 4, y + top - 3, x + right + 4, y + bottom + 3), fill=(20, 26, 28))
            draw.text((x, y), name, (255, 255, 255), font, anchor="mm")
    return image


def resized(foreground, shape):
    """Return a map (height, width) float32 at another shape, interpolated bilinearly."""
    image = Image.fromarray(np.ascontiguousarray(foreground, np.float32))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BILINEAR))


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


def before_background(cut, image, background, behind=None):
    """Return a cut-out in front of a background: "white", "black", "blurred", "grey", or another picture.

    image: the picture that it was cut from. behind: (height, width, 3) uint8, the other picture; its central part of
    the right shape is used.
    """
    if behind is not None:
        below = ImageOps.fit(Image.fromarray(behind), cut.size)
    elif background == "blurred":
        below = Image.fromarray(image).filter(ImageFilter.GaussianBlur(max(cut.size) / 60))
    elif background == "grey":
        below = Image.fromarray(image).convert("L").convert("RGB")
    else:
        below = Image.new("RGB", cut.size, background)
    below.paste(cut, mask=cut.getchannel("A"))
    return below


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
    text = str(text).strip() if isinstance(text, str) else ""
    if re.fullmatch("#([0-9a-fA-F]{3}){1,2}", text):
        digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
        return tuple(int(digits[place : place + 2], 16) for place in (0, 2, 4))
    number = r"\s*(-?[0-9]{1,9}(?:\.[0-9]*)?)\s*"
    if found := re.fullmatch(rf"rgba?\({number},{number},{number}(?:,{number})?\)", text):
        return tuple(round(min(max(float(value), 0), 255)) for value in found.groups()[:3])
    raise ValueError(f"{text[:40]!r} is not a colour. Write it as #rrggbb, for example #1d6f72.")


def _image(values):
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
