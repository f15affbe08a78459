"""Classify and segment single images with finished models, each of which is loaded at its first use.

Nothing here unpickles, and Keras loads in safe mode: a model file is data and cannot run code.
"""

import json
import re
import threading
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image
from scipy.special import softmax

from hw2 import files, runs
from hw2.data import splits
from hw2.data.voc2012 import from_square
from hw2.errors import ModelError, ResultsError
from hw2.experiments.schema import training_command
from hw2.hardware import choose_precision
from hw2.inference.catalogue import register_layers
from hw2.metrics import segmentation as segmentation_metrics
from hw2.metrics.combine import combine, mean_of_probabilities, predict_views, sizes_of_scales
from hw2.models import registry
from hw2.models.grad_cam import grad_cam

# A model is loaded once, and meanwhile those in memory answer. One image is computed at a time: TensorFlow spreads each
# over all cores by itself.
_models = {}
_loading, _computing = threading.Lock(), threading.Lock()


class Classification(NamedTuple):
    """classes: (k,) CIFAR-100 numbers, most probable first. probabilities: (k,), calibrated. columns: (k,) positions
    of the classes in the model's output. temperature: the number by which the logits were divided.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    columns: np.ndarray
    temperature: float
    load_seconds: float
    seconds: float


class Segmentation(NamedTuple):
    """foreground: (height, width) float32 probability. labels: (height, width) uint8, the most probable VOC class of
    each pixel, background excluded; None if the model only separates foreground from background.

    With labels, the probability is that of the label against the background alone. From 0.5 on, the label is the most
    probable of all classes, which is how masks are evaluated.
    """

    foreground: np.ndarray
    labels: np.ndarray | None
    load_seconds: float
    seconds: float


def load(folder, image_size=None):
    """Return the Keras model of the run in `folder`, from memory if it was loaded before. Raises ModelError.

    image_size: build the network for images of another size than that of the run.
    """
    path = Path(folder) / runs.MODEL
    try:
        key = path, path.stat().st_mtime_ns, image_size  # after a retraining the file holds another model
        if key not in _models:
            own_size = load(folder) if image_size else None
            with _loading:
                if key not in _models:
                    _models[key] = _at_size(own_size, path, image_size) if image_size else _load(path)
        return _models[key]
    except ModelError:
        raise
    except Exception as error:  # Keras raises nearly every exception on a damaged or foreign file
        reason, *_ = str(error).splitlines() or [repr(error)]
        # the message is shown to visitors, whom folders do not concern
        reason, shown = reason.replace(str(path), path.name), Path("PATH/TO", *path.parts[-4:-1])
        try:
            budget = files.read_json(path.with_name(runs.CONFIG))["budget"]
        except (ResultsError, TypeError, KeyError, OSError):
            budget = "BUDGET"
        command = training_command(shown, budget, force=True)
        raise ModelError(f"The model of {shown.name} cannot be loaded ({reason}). Train it again: {command}") from error


def _load(path):
    register_layers()
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    if choose_precision() == "float32" and "mixed_" in (config := json.dumps(model.get_config())):
        # trained where 16 bits are fast; here they would be emulated, several times as slow
        model, trained = keras.Model.from_config(json.loads(re.sub(r"mixed_b?float16", "float32", config))), model
        model.set_weights(trained.get_weights())
    _predict(model, np.zeros((1, *model.input_shape[1:])))  # the first call compiles, which is part of loading
    return model


def _at_size(trained, path, image_size):
    """Return the network of the run with the model file `path`, for another size.

    It has the weights of `trained` and its number format, in which the run was measured at all sizes.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(next(layer for layer in trained.layers if layer.weights).dtype_policy)
    try:
        model = registry.build_model(files.read_json(path.with_name(runs.CONFIG)), image_size)
    finally:
        keras.config.set_dtype_policy(policy)
    model.set_weights(trained.get_weights())
    _predict(model, np.zeros((2, *model.input_shape[1:])))  # compiled for an image and its mirror image
    return model


def classify(model, image):
    """Return a Classification of `image`, (32, 32, 3) uint8 RGB, by `model`, a Model.

    `hw2.inference.uploads.classifier_input` makes such an image of a photograph. Raises ModelError if the model cannot
    be loaded, and ValueError for an image of another shape, for which the answer would be wrong.
    """
    if image.shape != (32, 32, 3):
        raise ValueError(
            f"The image has the shape {image.shape}, not (32, 32, 3). hw2.inference.uploads.classifier_input scales it."
        )
    began = time.perf_counter()
    members = [load(folder) for folder in model.members]
    load_seconds = time.perf_counter() - began
    with _computing:
        began = time.perf_counter()
        logits = np.stack([_logits(member, image[None], model.view) for member in members])
        if len(members) > 1:
            logits = combine({"image": logits}, np.array(model.weights))[model.metrics["chosen"]]["image"][None]
        seconds = time.perf_counter() - began
    temperature = model.figures["calibration"]["temperature"]
    probabilities = softmax(logits[0, 0].astype(np.float64) / temperature)
    columns = np.argsort(-probabilities, kind="stable")
    count = len(probabilities)
    classes = np.arange(100) if count == 100 else splits.class_subset(count)
    return Classification(classes[columns], probabilities[columns], columns, temperature, load_seconds, seconds)


def _logits(keras_model, images, view):
    """Return logits (n, classes) of images (n, height, width, 3) uint8, with the test-time augmentation `view`."""

    def predict(images):
        return _predict(keras_model, images)

    if view == "mirror":  # two predictions; `predict_views` makes ten for both views
        return mean_of_probabilities([predict(images), predict(images[:, :, ::-1])])
    return predict_views(predict, images)[view] if view else predict(images)


def _predict(keras_model, images):
    """Return the output of a Keras model for a batch of images, uint8, as float32."""
    return np.asarray(keras_model.predict_on_batch(np.asarray(images, np.float32)), np.float32)


def heat_map(model, image, column):
    """Return the Grad-CAM map, (size, size) float32 from 0 to 1, of a classifier for one column of its logits.

    model: a Model. image: (32, 32, 3) uint8 RGB. Returns None where a network has no maps large enough or the backend
    cannot differentiate (see `hw2.models.grad_cam`). Raises ModelError.
    """
    members = [load(folder) for folder in model.members]
    with _computing:
        try:
            return grad_cam(members, image, column, model.weights)
        except (NotImplementedError, ValueError):
            return None


def segment(model, image):
    """Return a Segmentation of `image`, (height, width, 3) uint8 RGB of any size, by `model`. Raises ModelError.

    With the view "mirror", probabilities are averaged with those of the mirror image, mirrored back; with
    "mirror_scales", with those of the image at other sizes too.
    """
    began = time.perf_counter()
    members = [load(model.folder)]
    if model.view == "mirror_scales":
        _, *others = sizes_of_scales(members[0].input_shape[1])
        members += [load(model.folder, size) for size in others]
    load_seconds = time.perf_counter() - began
    with _computing:
        began = time.perf_counter()
        maps = [_probabilities(member, image, mirrored=bool(model.view)) for member in members]
    probabilities = from_square(segmentation_metrics.mean_of_maps(maps), *image.shape[:2])
    if probabilities.ndim == 2:
        foreground, labels = probabilities, None
    else:
        foreground, labels = _against_background(probabilities)
    return Segmentation(foreground.clip(0, 1), labels, load_seconds, time.perf_counter() - began)


def _probabilities(keras_model, image, mirrored):
    """Return the probabilities of an image (height, width, 3) uint8 at the size that a segmenter sees."""
    height, width = keras_model.input_shape[1:3]
    square = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)  # Pillow's is antialiased
    logits = _predict(keras_model, np.stack([square, np.asarray(square)[:, ::-1]] if mirrored else [square]))
    (probabilities,) = segmentation_metrics.probabilities_of(logits[:1], logits[1:] if mirrored else None)
    return probabilities


def _against_background(probabilities):
    """Return `(foreground, labels)` of a Segmentation from the probabilities (height, width, classes)."""
    labels = probabilities[..., 1:].argmax(-1) + 1
    background, best = probabilities[..., 0], probabilities[..., 1:].max(-1)
    half = np.float32(0.5)
    below = np.minimum(best / (background + best), np.nextafter(half, np.float32(0)))  # rounding must not reach 0.5
    foreground = np.where(best > background, np.maximum(best / (background + best), half), below)
    return foreground.astype(np.float32), labels.astype(np.uint8)


def agreement(mask, truth):
    """Return `{"dice": d, "iou": i}` of a mask, (height, width) bool, and a truth of 0, 1 and VOID (not counted)."""
    figures = segmentation_metrics.overlap(segmentation_metrics.counts(mask, truth))
    return {name: float(figures[name]) for name in ("dice", "iou")}
