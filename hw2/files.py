"""Reading and writing files: every write is atomic, nothing is ever unpickled."""

import contextlib
import csv
import io
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from hw2.errors import ResultsError


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`; on leaving, put it in place of `path` in one step, or leave no trace.

    The file is flushed to disk before it is renamed, so a reader, a crash or a power cut sees the old file or the
    new one, never a part. The temporary name ends like `path`, for writers that look at the suffix.
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
    """Write `value` as indented JSON. Raises ValueError for NaN or infinity, which JSON does not have."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path):
    """Return the content of a JSON file, or None if there is no such file."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ResultsError(
            f"{path} is damaged ({error}). Delete the folder {Path(path).parent} or train it again with --force."
        ) from error


def write_csv(path, rows):
    """Write rows, dictionaries with the same keys in the same order, under a header."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())


def read_csv(path):
    """Return the rows of a file that `write_csv` wrote: numbers as int or float, empty or missing cells as None."""
    with open(path, newline="") as file:
        return [{key: _number(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def _number(cell):
    if cell is None:  # a file that was cut off
        return None
    if "_" in cell:  # Python would read "2007_000032", an image of VOC, as a number
        return cell
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell or None


def write_arrays(path, arrays, compress=True):
    """Write named arrays as one `.npz` file."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **arrays)


def read_arrays(path):
    """Return the arrays of an `.npz` file as a dictionary; never unpickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ResultsError(
            f"{path} is damaged ({error}). Train {Path(path).parent.name} again with --force."
        ) from error
