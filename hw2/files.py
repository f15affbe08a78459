"""Reading and writing files: every write is atomic, nothing is ever unpickled."""

import contextlib
import csv
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from hw2.errors import ResultsError


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`. On exit it replaces `path` in one step; after an exception it is deleted.

    The file is flushed to disk before it is renamed, so readers see either the old file or the new one, even after a
    crash or a power cut. The temporary name has the suffix of `path`, for writers that depend on it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".writing-", suffix="-" + path.name, dir=path.parent)
    os.close(handle)
    temporary = Path(temporary)
    try:
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Write `value` as indented JSON, NumPy's numbers as numbers.

    Raises ValueError for NaN and infinity, which JSON cannot represent.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False, default=_numpy_number) + "\n")


def _numpy_number(value):
    """Return a NumPy number as one of Python."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")


def read_json(path):
    """Return the content of a JSON file, or None if there is no such file. Raises ResultsError for a damaged one."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise damaged(path, error) from error


def damaged(path, reason):
    """Return a ResultsError for a file that is not what was written."""
    return ResultsError(
        f"{path} is damaged ({reason}). Restore it, or write it again with the command that wrote it; for a run, "
        "that is train_all.py with --force."
    )


def write_csv(path, rows):
    """Write a header and `rows`: dictionaries with the same keys in the same order."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())


def read_csv(path):
    """Return the rows that `write_csv` wrote: numbers as int or float, empty and missing cells as None.

    Raises ResultsError for a damaged file.
    """
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise damaged(path, error) from error
    for number, row in enumerate(rows, 1):
        if None in row:
            raise damaged(path, f"row {number} has more cells than the header")
    return [{key: _number(cell) for key, cell in row.items()} for row in rows]


def _number(cell):
    if cell is None:  # a truncated file
        return None
    if "_" in cell:  # an image of VOC such as "2007_000032", which Python would read as a number
        return cell
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell or None


def write_arrays(path, arrays, compress=True):
    """Write a dictionary of arrays as one `.npz` file.

    compress: with zlib, and maps (height, width) uint8 as PNG images in the archive, NAME.png, because PNG stores the
    differences of neighbouring pixels, which compress better.
    """
    maps = {name: array for name, array in arrays.items() if compress and _is_map(array)}
    others = {name: array for name, array in arrays.items() if name not in maps}
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            (np.savez_compressed if compress else np.savez)(file, **others)
        with zipfile.ZipFile(temporary, "a") as archive:
            for name, array in maps.items():
                picture = io.BytesIO()
                Image.fromarray(array).save(picture, "png", optimize=True)
                archive.writestr(zipfile.ZipInfo(f"{name}.png"), picture.getvalue())  # without the time of writing


def _is_map(array):
    return array.dtype == np.uint8 and array.ndim == 2 and array.size > 0


def read_arrays(path):
    """Return the arrays of an `.npz` file as a dictionary, without unpickling. Raises ResultsError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name.removesuffix(".png"): _array(name, file[name]) for name in file.files}
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:  # NumPy and `zipfile` raise nearly every exception on damaged archives
        raise damaged(path, error) from error


def _array(name, found):
    return np.asarray(Image.open(io.BytesIO(found), formats=["png"])) if name.endswith(".png") else found
