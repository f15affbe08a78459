"""The Semantic Boundaries Dataset: masks for VOC photographs that have none, as further training data.

Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011. Its masks are MATLAB files without a void
border. They are converted to label PNGs beside VOC's own masks, with a list of the photographs for which VOC itself has
no mask.
"""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from hw2.data import download
from hw2.errors import DataError
from hw2.files import atomic_path
from hw2.labels import VOC_CLASSES, VOC_PALETTE

ARCHIVE = download.Archive(
    name="benchmark.tgz",
    urls=("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",),
    md5="82b4d87ceb2ed10f6038a1cba92111cb",
    extracts_to="benchmark_RELEASE",
)
MASKS, LIST = "SegmentationClassAug", "ImageSets/Segmentation/sbd.txt"


def ensure(voc, data_dir):
    """Return the list of SBD's identifiers under the VOC folder `voc`; download and convert SBD if it is not there.

    The list is written last, so if it is there, all masks are. Raises DataError as `download.ensure` does, for a mask
    that cannot be read, and where no mask has a photograph.
    """
    path = voc / LIST
    if path.exists():
        return path
    source = download.ensure(ARCHIVE, data_dir) / "dataset" / "cls"
    with download.alone(data_dir, MASKS):
        if not path.exists():  # otherwise another process has converted them meanwhile
            convert(source, voc, path)
    return path


def convert(source, voc, path):
    """Write the masks in the folder `source` as PNGs under `voc`, and then the list `path` of them.

    Masks of VOC's official images and masks without a photograph are left out.
    """
    lists = voc / "ImageSets" / "Segmentation"
    official = {*(lists / "train.txt").read_text().split(), *(lists / "val.txt").read_text().split()}
    (voc / MASKS).mkdir(exist_ok=True)
    names = []
    for mask in sorted(source.glob("*.mat")):
        if mask.stem in official or not (voc / "JPEGImages" / f"{mask.stem}.jpg").exists():
            continue
        image = Image.fromarray(read_mask(mask)).convert("P")
        image.putpalette(VOC_PALETTE.ravel().tolist())
        image.save(voc / MASKS / f"{mask.stem}.png")
        names.append(mask.stem)
    if not names:
        raise DataError(
            f"{source} holds no mask for a photograph under {voc / 'JPEGImages'}. One of the two is incomplete: delete "
            f"{source.parents[1]} or {voc} and start again."
        )
    with atomic_path(path) as temporary:
        Path(temporary).write_text("".join(f"{name}\n" for name in names))


def read_mask(path):
    """Return the labels (height, width) uint8 of one of SBD's MATLAB files. Raises DataError for any other file."""
    try:
        labels = loadmat(path)["GTcls"][0, 0]["Segmentation"]
    except (MatReadError, zlib.error, OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path} cannot be read ({error}). Delete {path.parents[2]} and start again.") from error
    if labels.ndim != 2 or labels.max() >= len(VOC_CLASSES):
        raise DataError(f"{path} holds labels that VOC does not have.")
    return labels.astype(np.uint8)
