"""The outputs of frozen layers, computed once and kept on disk as memory-mapped arrays."""

import hashlib
import io
import json
import math
import time
import zlib
from pathlib import Path

import filelock
import keras
import numpy as np

from hw2.data.batches import predict
from hw2.errors import DataError, ResultsError
from hw2.files import read_json, write_json

# Features are written in chunks of at most this many images and bytes: an interruption loses one chunk, and several
# copies of one chunk are in memory while it is computed.
CHUNK_IMAGES, CHUNK_BYTES = 5_000, 2**26
READ_BYTES = 2**20


def cached_features(frozen, images, data_dir, log=print):
    """Return `(features, seconds, cpu_seconds)`: the outputs of `frozen` for all images, from the cache if possible.

    frozen: keras.Model without random operations. images: (n, height, width, 3) uint8.
    features: (n, ...) float16, a read-only memory map, of which the system keeps in memory as much as there is room
    for. seconds, cpu_seconds: the wall-clock time and the processor time of all cores that the features took, now or
    when they were stored.

    A file is named after a digest of everything that determines its content: layers, number format, weights, images
    and backend. It is therefore never stale, and unused files can be deleted. Its checksums are compared on every call;
    a damaged or truncated file is computed again. Of several processes that need a file, one computes it.

    Raises DataError if a feature exceeds float16's range or the features cannot be stored.
    """
    path = Path(data_dir) / "cache" / f"features-{_digest(frozen, images)}.npy"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock")):
            header = _header((len(images), *frozen.output_shape[1:]))
            chunks = _intact_chunks(path, path, header)
            if sum(chunk["images"] for chunk in chunks) < len(images):
                chunks = _compute(frozen, images, path, header, log)
    except OSError as error:
        raise DataError(
            f"The outputs of frozen layers cannot be stored in {path.parent}: {error}. Free some space or choose "
            "another folder with --data-dir. The chunks stored so far are kept."
        ) from error
    costs = (sum(chunk[key] for chunk in chunks) for key in ("seconds", "cpu_seconds"))
    return np.load(path, mmap_mode="r"), *costs


def _digest(frozen, images):
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(frozen.get_config(), sort_keys=True, default=str).encode())
    digest.update(keras.backend.backend().encode())
    for weights in frozen.get_weights():
        digest.update(np.ascontiguousarray(weights))
    digest.update(np.ascontiguousarray(images))
    return digest.hexdigest()


def _header(shape):
    """Return the bytes before the numbers in a float16 `.npy` file."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _record(path):
    """Return the path of the list of a file's chunks, each with its images, bytes, checksum and cost."""
    return path.with_suffix(".json")


def _intact_chunks(stored, path, header):
    """Return the records of the first chunks of the file `stored`, up to the first that is missing or damaged.

    stored: `path`, or the partial file that will become `path`.
    """
    chunks = []
    try:
        with open(stored, "rb") as file:
            if file.read(len(header)) != header:
                return []
            for chunk in read_json(_record(path)) or []:
                checksum, left = 0, chunk["bytes"]
                while left and (content := file.read(min(READ_BYTES, left))):
                    checksum, left = zlib.crc32(content, checksum), left - len(content)
                if left or checksum != chunk["crc32"]:
                    break
                chunks.append(chunk)
    except (FileNotFoundError, ResultsError):
        return []
    return chunks


def _compute(frozen, images, path, header, log):
    """Write the features of all images to `path`, continuing a partial file if there is one; return their chunks.

    A finished file is never written to, because another process may have mapped it: chunks are appended to a partial
    file, which replaces `path` at the end.
    """
    partial = path.with_suffix(".partial")
    chunks = _intact_chunks(partial, path, header)
    done = sum(chunk["images"] for chunk in chunks)
    image_bytes = np.dtype(np.float16).itemsize * math.prod(frozen.output_shape[1:])
    size = min(CHUNK_IMAGES, max(1, CHUNK_BYTES // image_bytes))
    with open(partial, "r+b" if chunks else "wb") as file:
        file.write(header)
        file.seek(sum(chunk["bytes"] for chunk in chunks), io.SEEK_CUR)
        file.truncate()
        for start in range(done, len(images), size):
            part = images[start : start + size]
            began = np.array([time.perf_counter(), time.process_time()])
            features = predict(frozen, part)
            seconds, cpu_seconds = (np.array([time.perf_counter(), time.process_time()]) - began).tolist()
            if not np.abs(features).max() <= np.finfo(np.float16).max:  # also refuses NaN
                raise DataError("The outputs of the frozen layers exceed float16's range; cut the network elsewhere.")
            content = features.astype("<f2").tobytes()
            file.write(content)
            file.flush()
            chunks.append(
                {
                    "images": len(part),
                    "bytes": len(content),
                    "crc32": zlib.crc32(content),
                    "seconds": seconds,
                    "cpu_seconds": cpu_seconds,
                }
            )
            write_json(_record(path), chunks)
            log(f"  features of {start + len(part):,} of {len(images):,} images ({len(part) / seconds:,.0f} a second)")
    partial.replace(path)
    return chunks
