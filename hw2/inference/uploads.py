"""Read untrusted uploads: every file becomes a small RGB array or an ImageError with the reason."""

import contextlib
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from hw2.errors import ImageError
from hw2.labels import VOC_PALETTE, VOID

MAX_PIXELS = 64_000_000  # checked before decoding; more than a phone's camera takes by default
MAX_SIDE = 1024  # of the arrays that `read_image` returns; several times the input of any model here
MAX_SCANS = 64  # of a JPEG: each is a pass over the whole image; an ordinary progressive one has about ten
# Formats that browsers and cameras write. Pillow's others start external programs (EPS) or are little tested.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM")


def read_image(path, max_side=MAX_SIDE):
    """Return the image in a file as (height, width, 3) uint8 RGB, upright, its longer side at most `max_side`.

    The orientation in EXIF data is applied, transparency becomes white, an animation is represented by its first frame,
    and channels of 16 and 32 bits are scaled to 8. Raises ImageError for all other files, and before decoding for
    images of more than MAX_PIXELS.
    """
    with _opened(path) as image:
        # a JPEG can be decoded at a half, a quarter or an eighth of its size, with a fraction of the memory
        image.draft("RGB", (max_side, max_side))
        image.load()
        image = _upright(_reduced(_eight_bits(image), max_side))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
        image.thumbnail((max_side, max_side), Image.Resampling.BOX)
        return np.array(image)


def read_mask(path, shape):
    """Return the mask in a file as (height, width) uint8: 0 background, 1 object, 255 void (not counted).

    shape: (height, width) of the image to which the mask belongs; the mask is scaled to it by nearest neighbour, which
    blends no labels. The orientation in EXIF data is applied. Accepted are label images in the palette of PASCAL VOC
    (indexed, as colours or as plain numbers of any width), black-and-white images, and images with transparency, whose
    opaque part is the object. Raises ImageError for all others.
    """
    height, width = shape
    with _opened(path) as image:
        image.load()
        image = _upright(image)
        ratio = image.width / image.height * height / width
        if abs(np.log(ratio)) > max(
            0.02, 2 / min(*image.size, height, width)
        ):  # differences that rounding of sizes explains
            raise ImageError(
                f"The mask ({image.width} x {image.height} pixels) differs in shape from the image: they do not belong "
                "together."
            )
        image = image.resize((width, height), Image.Resampling.NEAREST)
        if image.mode == "P" and "transparency" not in image.info:
            indices = np.asarray(image)
            colours = np.zeros((256, 3), np.uint8)
            stored = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            colours[: len(stored)] = stored
            used = np.unique(indices)
            # colours are compared, because a black-and-white image may have a palette too
            if np.array_equal(colours[used], VOC_PALETTE[used]):
                return np.where(indices == VOID, VOID, indices > 0).astype(np.uint8)
            return _mask_of_colours(colours[indices])
        if image.has_transparency_data:
            alpha = np.asarray(image.convert("RGBA"))[..., 3]
            if alpha.min() < 255:
                return (alpha >= 128).astype(np.uint8)
        if image.mode in ("1", "L"):
            return _mask_of_labels(np.asarray(image.convert("L")))
        if image.mode.startswith(("I", "F")):
            values = np.asarray(image)
            if np.isin(values, np.arange(256)).all():  # numbers of eight bits, which scaling would make black
                return _mask_of_labels(values.astype(np.uint8))
        return _mask_of_colours(np.asarray(_eight_bits(image).convert("RGB")))


def classifier_input(image, size=32):
    """Return the input of a classifier, (size, size, 3) uint8, from an image (height, width, 3) uint8.

    The largest central square is averaged down. It is cropped rather than padded because objects fill the frame of
    CIFAR-100's images, which have no bands of one colour. Smaller images are enlarged bilinearly.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    method = Image.Resampling.BOX if side >= size else Image.Resampling.BILINEAR
    return np.array(square.resize((size, size), method))


@contextlib.contextmanager
def _opened(path):
    """Yield the image in a file, not decoded yet, and convert every exception within the block into an ImageError."""
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        if Path(path).stat().st_size == 0:
            raise ImageError("The file is empty.")
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about size, where the check below is stricter, and about damaged EXIF data
            with Image.open(path, formats=formats) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ImageError(_too_large(f"{width} x {height} pixels"))
                if width < 1 or height < 1:
                    raise ImageError("The image has no pixels.")
                if image.format in ("JPEG", "MPO") and _scans(path) > MAX_SCANS:
                    raise ImageError(
                        f"The JPEG file has more than {MAX_SCANS} scans, so it takes too long to decode. Save it as an "
                        "ordinary (baseline) JPEG or as PNG first."
                    )
                yield image
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large("too many pixels")) from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            "This is not an image that can be read here. Use PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF; save SVG "
            "drawings, HEIC photographs and documents as PNG or JPEG first."
        ) from error
    except FileNotFoundError as error:
        raise ImageError(
            "The image is no longer on the server, which deletes uploads after a while. Upload it again."
        ) from error
    except MemoryError as error:
        raise ImageError(_too_large("it does not fit into memory")) from error
    except Exception as error:  # decoders raise nearly every exception on damaged data
        raise ImageError(
            "The image could not be decoded: the file is damaged, incomplete or of an unsupported kind."
        ) from error


def _scans(path):
    """Return the number of scans in a JPEG file; those of an embedded thumbnail count too."""
    return Path(path).read_bytes().count(b"\xff\xda")  # within compressed data, a zero follows every 0xff


def _too_large(size):
    return f"The image is too large ({size}; at most {MAX_PIXELS // 1_000_000} megapixels). Upload a smaller copy."


def _eight_bits(image):
    """Return an image with 8 bits a channel: integers scaled by the range of their type, floats by their own range."""
    if not image.mode.startswith(("I", "F")):
        return image
    exif = image.info.get("exif")
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        values = values >> 8
    else:
        values = np.where(np.isfinite(values), values, 0).astype(np.float32)
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 65535 or image.mode == "F":
            values = (values - low) * (255 / ((high - low) or 1))
        elif high > 255:  # 16 bits in a 32-bit image
            values = values / 257
    grey = Image.fromarray(values.astype(np.uint8))
    if exif:
        grey.info["exif"] = exif
    return grey


def _reduced(image, max_side):
    """Return an image averaged down by an integer factor, so that later steps process few pixels."""
    factor = max(image.size) // (2 * max_side)
    if factor < 2:
        return image
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif "transparency" in image.info:  # one colour or grey level marks transparent pixels
        image = image.convert("RGBA")
    return image.reduce((min(factor, image.width), min(factor, image.height)))


def _upright(image):
    """Return a decoded image with the orientation in its EXIF data applied; mode, palette and transparency stay."""
    with contextlib.suppress(Exception):  # damaged EXIF data; the image itself may be intact
        image = ImageOps.exif_transpose(image)
    return image


def _mask_of_labels(values):
    """Return a mask from one number a pixel: labels up to 20, with or without 255, or grey levels cut at 128.

    255 is void where some label covers more pixels. Else it is white: the few low numbers of a black-and-white image
    are no labels.
    """
    pixels = np.bincount(values.ravel(), minlength=256)
    if pixels[1:21].max() > pixels[VOID] and not pixels[21:VOID].any():
        return np.where(values == VOID, VOID, values > 0).astype(np.uint8)
    return (values >= 128).astype(np.uint8)


def _mask_of_colours(colours):
    """Return a mask from (height, width, 3) colours, of the VOC palette or grey. Raises ImageError for others."""
    codes = colours.astype(np.int32) @ (65536, 256, 1)
    palette = VOC_PALETTE[[*range(21), VOID]].astype(np.int32) @ (65536, 256, 1)
    if np.isin(codes, palette).all():
        return np.where(codes == palette[-1], VOID, codes != 0).astype(np.uint8)
    if (np.ptp(colours.astype(np.int16), axis=-1) <= 8).all():
        return _mask_of_labels(colours[..., 0])
    raise ImageError(
        "This is not a mask: it has colours that are neither black and white nor those of the PASCAL VOC palette."
    )
