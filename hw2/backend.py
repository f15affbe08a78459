"""The backend of Keras and its settings, chosen before Keras is imported."""

import importlib.util
import os

BACKENDS = ("tensorflow", "jax")


def refusal(backend=None):
    """Return in words why Keras cannot run on this backend here, or None if it can.

    backend: None for that of the environment, or else TensorFlow.
    """
    backend = backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in BACKENDS:
        return f"KERAS_BACKEND is {backend}; this runs on {' or '.join(BACKENDS)}"
    return None if is_installed(backend) else f"{backend} is not installed: pip install {backend}"


def is_installed(package):
    """Return whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def set_up_for_training(backend=None):
    """Choose a backend, None for that of the environment, and the kernels with which it trains fastest.

    By default TensorFlow uses its oneDNN kernels only on processors with AVX512-VNNI or later. On older ones they make
    training two to four times as fast (see scripts/benchmark.py). For a single image they take up to forty times as
    long there, so that the demo leaves the choice to TensorFlow.
    """
    if backend:
        os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
