"""Draw the examples that are not photographs: `python demo/examples/draw.py` writes them to its own folder.

horse_mask.png is an input: a silhouette from scikit-image's data, see README.md here.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HERE = Path(__file__).resolve().parent
SCALE = 3  # drawn three times as large and averaged down, for smooth edges


def gradient(width, height, top, bottom):
    """Return an image whose colour goes from `top` to `bottom`."""
    share = np.linspace(0, 1, height)[:, None, None]
    rows = np.array(top) * (1 - share) + np.array(bottom) * share
    return Image.fromarray(np.broadcast_to(rows, (height, width, 3)).round().astype(np.uint8))


def grained(image, strength, seed):
    """Return the image with a little noise, as photographs have it."""
    noise = np.random.default_rng(seed).normal(0, strength, (image.height, image.width, 1))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def finished(image):
    """Return the image at its final size."""
    return image.resize((image.width // SCALE, image.height // SCALE), Image.Resampling.LANCZOS)


def apple(size=384):
    """A red apple on a table."""
    n = size * SCALE
    image = gradient(n, n, (226, 230, 226), (196, 202, 198))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0.72 * n, n, n), fill=(150, 112, 78))
    shadow = Image.new("L", image.size)
    ImageDraw.Draw(shadow).ellipse((0.2 * n, 0.78 * n, 0.86 * n, 0.92 * n), fill=150)
    image.paste((70, 48, 34), mask=shadow.filter(ImageFilter.GaussianBlur(0.02 * n)))
    y, x = (np.mgrid[:n, :n] + 0.5) / n
    y, x = 0.56 + (y - 0.56) * 1.08, 0.5 + (x - 0.5) * 0.9
    angle = np.arctan2(y - 0.56, x - 0.5)
    # a heart-like outline: two shoulders above, narrower below
    outline = 0.31 * (1 + 0.10 * np.cos(2 * angle + np.pi) - 0.10 * np.exp(-((angle + np.pi / 2) ** 2) / 0.06))
    inside = np.hypot(x - 0.5, y - 0.56) < outline
    light = np.exp(-((x - 0.39) ** 2 + (y - 0.43) ** 2) / 0.06)
    depth = np.clip(np.hypot(x - 0.46, y - 0.5) / 0.36, 0, 1) ** 2
    streaks = 0.5 + 0.5 * np.sin(9 * angle + 5 * np.hypot(x - 0.5, y - 0.4))
    red = np.stack([214 - 90 * depth, 40 + 34 * streaks * (1 - depth), 38 - 10 * depth], -1)
    red += light[..., None] * (50, 90, 80)
    pixels = np.asarray(image).copy()
    pixels[inside] = red[inside].clip(0, 255)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.line(
        [(0.5 * n, 0.34 * n), (0.51 * n, 0.26 * n), (0.55 * n, 0.18 * n)], (92, 62, 36), round(0.022 * n), "curve"
    )
    leaf = [(0.53 * n, 0.25 * n), (0.62 * n, 0.15 * n), (0.75 * n, 0.16 * n), (0.66 * n, 0.25 * n)]
    draw.polygon(leaf, fill=(86, 140, 60))
    draw.line([leaf[0], leaf[2]], (58, 104, 44), round(0.006 * n))
    return grained(finished(image), 3, 0)


def clock(size=384):
    """A wall clock at ten past ten."""
    n = size * SCALE
    image = gradient(n, n, (206, 214, 204), (184, 194, 184))
    shadow = Image.new("L", image.size)
    ImageDraw.Draw(shadow).ellipse((0.11 * n, 0.13 * n, 0.93 * n, 0.95 * n), fill=140)
    image.paste((96, 104, 98), mask=shadow.filter(ImageFilter.GaussianBlur(0.02 * n)))
    draw = ImageDraw.Draw(image)

    def disc(radius, fill):
        draw.ellipse(((0.5 - radius) * n, (0.5 - radius) * n, (0.5 + radius) * n, (0.5 + radius) * n), fill=fill)

    def hand(turn, start, end, width, fill):
        direction = np.array([np.sin(2 * np.pi * turn), -np.cos(2 * np.pi * turn)])
        points = [tuple((0.5 + direction * radius) * n) for radius in (start, end)]
        draw.line(points, fill, round(width * n))

    disc(0.41, (58, 62, 70))
    disc(0.37, (244, 241, 232))
    for minute in range(60):
        hour = minute % 5 == 0
        hand(minute / 60, 0.30 if hour else 0.335, 0.35, 0.014 if hour else 0.005, (50, 52, 58))
    hand(10 / 12 + 1 / 72, -0.04, 0.20, 0.026, (40, 42, 48))
    hand(10 / 60, -0.05, 0.29, 0.018, (40, 42, 48))
    hand(36 / 60, -0.07, 0.31, 0.006, (190, 60, 44))
    disc(0.022, (190, 60, 44))
    return grained(finished(image), 3, 1)


def tree(size=384):
    """An oak on a hill, under clouds."""
    n = size * SCALE
    rng = np.random.default_rng(2)
    image = gradient(n, n, (112, 164, 214), (216, 230, 238))
    clouds = Image.new("L", image.size)
    draw = ImageDraw.Draw(clouds)
    for x, y, r in ((0.12, 0.2, 0.07), (0.2, 0.17, 0.09), (0.29, 0.2, 0.07), (0.8, 0.12, 0.06), (0.88, 0.11, 0.08)):
        draw.ellipse(((x - 1.4 * r) * n, (y - 0.6 * r) * n, (x + 1.4 * r) * n, (y + 0.6 * r) * n), fill=220)
    image.paste((250, 250, 250), mask=clouds.filter(ImageFilter.GaussianBlur(0.018 * n)))
    draw = ImageDraw.Draw(image)
    draw.ellipse((-0.5 * n, 0.76 * n, 1.6 * n, 2.2 * n), fill=(112, 146, 70))
    trunk = [
        (0.46, 0.84),
        (0.475, 0.55),
        (0.40, 0.42),
        (0.43, 0.42),
        (0.5, 0.5),
        (0.58, 0.4),
        (0.61, 0.41),
        (0.535, 0.56),
    ]
    draw.polygon([(x * n, y * n) for x, y in [*trunk, (0.56, 0.84)]], fill=(86, 66, 48))
    for _ in range(420):
        angle, radius = rng.uniform(0, 2 * np.pi), 0.30 * np.sqrt(rng.uniform())
        x, y, r = 0.51 + 1.08 * radius * np.cos(angle), 0.36 + 0.8 * radius * np.sin(angle), rng.uniform(0.018, 0.045)
        light = 0.62 + 0.38 * (0.5 - (y - 0.36) / 0.5 - (x - 0.51) / 0.9) + rng.uniform(-0.12, 0.12)
        colour = tuple(int(c * min(max(light, 0.4), 1.15)) for c in (98, 142, 58))
        draw.ellipse(((x - r) * n, (y - r) * n, (x + r) * n, (y + r) * n), fill=colour)
    return grained(finished(image), 4, 2)


def horse(mask):
    """A horse on a meadow. mask: (height, width) bool, where the horse is."""
    height, width = mask.shape
    rng = np.random.default_rng(4)
    image = np.asarray(gradient(width, height, (150, 190, 222), (226, 236, 236))).astype(float)
    y, x = np.mgrid[:height, :width]
    hills = y > height * (0.55 + 0.05 * np.sin(x / 55) + 0.03 * np.sin(x / 23 + 1))
    image[hills] = (124, 150, 104)
    meadow = y > 0.68 * height
    blades = rng.normal(0, 1, (height, width))
    blades = np.stack([np.roll(blades, shift, 0) for shift in range(5)]).mean(0)
    image[meadow] = ((118, 152, 66) + 46 * blades[..., None])[meadow]
    light = (y / height - 0.15)[..., None]
    coat = (146, 94, 58) * (1.18 - 0.75 * light) + 10 * rng.normal(0, 1, (height, width, 1))
    soft = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7))
    share = np.asarray(soft)[..., None] / 255
    image = image * (1 - share) + coat * share
    return grained(Image.fromarray(image.clip(0, 255).astype(np.uint8)), 3, 5)


def main():
    for draw in (apple, clock, tree):
        draw().save(HERE / f"{draw.__name__}.jpg", quality=90)
    horse(np.asarray(Image.open(HERE / "horse_mask.png").convert("L")) > 127).save(HERE / "horse.jpg", quality=90)


if __name__ == "__main__":
    main()
