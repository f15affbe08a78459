"""What frozen layers make of images, computed once and kept on disk."""

import hashlib
import json
import math
import time
from pathlib import Path

import keras
import numpy as np

from hw2 import DataError
from hw2.data.batches import predict
from hw2.results import ResultsError, read_arrays, write_arrays

CHUNK = 5_000  # images a file: an interrupted extraction loses at most the chunk that it is at
CHUNK_BYTES = 2**28  # and where features are large, fewer: what is predicted is in memory several times


def cached_features(frozen, images, data_dir, log=print):
    """Return `(features, seconds, cpu_seconds)`: `frozen` applied to images, from the cache where it has been before.

    frozen: keras.Model without anything random. images: (n, height, width, 3) uint8.
    features: (n, ...) float16. seconds, cpu_seconds: what computing them took by the clock and by all cores together,
    now or when they were put into the cache.

    A file is named by a digest of what the numbers in it depend on: the layers and their number format, the weights,
    the images, the backend. So nothing stale is ever read, and what is no longer used can just be deleted.
    """
    model_digest = hashlib.blake2b(digest_size=16)
    model_digest.update(json.dumps(frozen.get_config(), sort_keys=True, default=str).encode())
    model_digest.update(keras.backend.backend().encode())
    for weights in frozen.get_weights():
        model_digest.update(np.ascontiguousarray(weights))
    collected, total = np.empty((len(images), *frozen.output_shape[1:]), np.float16), np.zeros(2)
    chunk = min(CHUNK, max(1, CHUNK_BYTES // (math.prod(frozen.output_shape[1:]) * np.dtype(np.float16).itemsize)))
    for start in range(0, len(images), chunk):
        part = images[start : start + chunk]
        digest = model_digest.copy()
        digest.update(np.ascontiguousarray(part))
        path = Path(data_dir) / "cache" / f"features-{digest.hexdigest()}.npz"
        stored = _read(path)
        if stored is None:
            began = np.array([time.perf_counter(), time.process_time()])
            computed = predict(frozen, part)
            seconds, cpu_seconds = np.array([time.perf_counter(), time.process_time()]) - began
            if not np.abs(computed).max() <= np.finfo(np.float16).max:
                raise DataError("The frozen layers give numbers beyond float16's range; cut the network elsewhere.")
            stored = {"features": computed.astype(np.float16), "seconds": seconds, "cpu_seconds": cpu_seconds}
            write_arrays(path, stored, compress=False)
            log(f"  features of {start + len(part):,} of {len(images):,} images ({len(part) / seconds:,.0f} a second)")
        collected[start : start + len(part)] = stored["features"]
        total += [stored["seconds"], stored["cpu_seconds"]]
    return collected, *total.tolist()


def _read(path):
    """Return the arrays of a cached file, or None where there is no readable one: it is then computed again."""
    try:
        return read_arrays(path)
    except (FileNotFoundError, ResultsError):
        return None
