"""What the server keeps for some minutes: decoded pictures and masks in memory, images of answers as files."""

import collections
import hashlib
import io
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gradio import processing_utils

from hw2.errors import ImageError
from hw2.inference import predict
from hw2.inference.decoder import Decoder

KEEP_SECONDS = 15 * 60  # time to try several models on a picture
ENTRIES = 24  # a picture and its probabilities take up to 8 MB

decoder = Decoder()


class Picture(NamedTuple):
    """pixels: (height, width, 3) uint8 RGB. key: identifies the content of the file. name: of the file, without its
    suffix, reduced to characters that every system accepts.
    """

    pixels: np.ndarray
    key: tuple
    name: str


class Recent:
    """The latest results of computations, by key; each is forgotten KEEP_SECONDS after it was computed."""

    def __init__(self, entries=ENTRIES, seconds=KEEP_SECONDS):
        self.entries, self.seconds = entries, seconds
        self._found, self._lock = collections.OrderedDict(), threading.Lock()

    def get(self, key, compute):
        """Return the result kept under `key`, or that of `compute()`, which is kept then."""
        self.expire()
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key][1]
        result = compute()
        with self._lock:
            self._found[key] = time.monotonic(), result
            while len(self._found) > self.entries:
                self._found.popitem(last=False)
        return result

    def expire(self):
        """Forget what is too old."""
        oldest = time.monotonic() - self.seconds
        with self._lock:
            for key in [key for key, (computed, _) in self._found.items() if computed < oldest]:
                del self._found[key]

    def __len__(self):
        return len(self._found)


recent = Recent()


def picture(path):
    """Return the Picture in an uploaded file. Raises ImageError."""
    key = _key(path)
    pixels = recent.get(("picture", key), lambda: decoder.read_image(path))
    return Picture(pixels, key, file_name(Path(path).stem))


def mask(path, shape):
    """Return the mask in an uploaded file for an image of a shape (height, width). Raises ImageError."""
    return recent.get(("mask", _key(path), shape), lambda: decoder.read_mask(path, shape))


def segment(model, found):
    """Return the Segmentation of a Picture by a model, computed or remembered. Raises ModelError."""
    return recent.get(("segment", model.key, found.key), lambda: predict.segment(model, found.pixels))


def _key(path):
    """Return what identifies the content of an uploaded file: Gradio names its folder after the content's digest."""
    try:
        return str(path), Path(path).stat().st_size
    except OSError:
        raise ImageError(
            "The image is no longer on the server, which deletes uploads after a while. Upload it again."
        ) from None


def file_name(text):
    """Return a text as part of a file's name: letters, digits and hyphens, at most 40 of them."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40] or "picture"


def save(image, name, exact=True):
    """Write a Pillow image for a visitor and return the path. exact: as PNG, else as JPEG."""
    return write(encoded(image, exact), f"{name}.{'png' if exact else 'jpg'}")


def encoded(image, exact=True):
    """Return a Pillow image as the content of a file. exact: PNG, else JPEG, which takes a tenth of the time."""
    content = io.BytesIO()
    image.save(content, **({"format": "PNG", "compress_level": 1} if exact else {"format": "JPEG", "quality": 88}))
    return content.getvalue()


def write(content, name):
    """Write the content of a file for a visitor and return the path, in a folder named after the content.

    The file is put in place in one step, also where an equal one exists: somebody may be reading that, and a new file
    is kept for the full time.
    """
    path = Path(processing_utils.get_upload_folder()) / hashlib.sha256(content).hexdigest() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    with open(handle, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)
    return str(path)
