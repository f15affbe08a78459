"""Use finished runs: list the models that they left, load one when it is first asked, infer one image.

What is offered as a model is a run (`vgg16_full`), a run with test-time augmentation where its figures are known
(`vgg16_full+mirror`), or an ensemble of runs. Nothing here unpickles, and Keras loads in safe mode: a model file is
data, and cannot run code.
"""

import dataclasses
import functools
import importlib
import json
import pkgutil
import re
import threading
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image
from scipy.special import expit, softmax

from hw2 import ensemble, evaluate, metrics, models, results, segmentation_metrics
from hw2.data import splits
from hw2.data.voc2012 import from_square
from hw2.precision import choose_precision

for _module in pkgutil.iter_modules(models.__path__):  # a saved model names its layers' classes: this registers them
    importlib.import_module(f"{models.__name__}.{_module.name}")

# A model is loaded once, and one image is inferred at a time: TensorFlow spreads each over all cores by itself.
_lock = threading.RLock()


class ModelError(Exception):
    """A model that cannot be used; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Model:
    """What can be asked for an image.

    key: name of the run, with "+mirror" or "+mirror_shift" for test-time augmentation. folder: of the run. metrics: of
    the run. members: folders of the runs whose models are loaded: itself, or those of an ensemble. weights: theirs.
    """

    key: str
    folder: Path
    task: str
    metrics: dict
    members: tuple[Path, ...]
    weights: tuple[float, ...] = (1.0,)
    augmentation: str | None = None

    @property
    def run(self):
        return self.folder.name

    @property
    def figures(self):
        """Test figures of the run, of its augmented predictions for a model with test-time augmentation."""
        if self.augmentation:
            return self.metrics["test_time_augmentation"][self.augmentation]["test"]
        return self.metrics["test"]


class Classification(NamedTuple):
    """classes: (k,) CIFAR-100 numbers, most probable first. probabilities: (k,), calibrated. columns: (k,) positions
    of the classes in the model's output. temperature: what the logits were divided by, None if it is not known.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    columns: np.ndarray
    temperature: float | None
    load_seconds: float
    seconds: float


class Segmentation(NamedTuple):
    """foreground: (height, width) float32 probability. labels: (height, width) uint8, of each pixel the most probable
    VOC class apart from the background; None if the model tells only foreground from background.
    """

    foreground: np.ndarray
    labels: np.ndarray | None
    load_seconds: float
    seconds: float


def read_runs(results_dir):
    """Return `(runs, problems)`: `{name: metrics}` of the finished runs and `{name: sentence}` of those not to be read.

    Like `results.finished_runs`, but one damaged folder does not keep the others from being shown.
    """
    runs, problems = {}, {}
    for path in sorted(Path(results_dir).glob(f"*/{results.FINAL}")):
        try:
            runs[path.parent.name] = results.read_metrics(path.parent)
        except (results.ResultsError, OSError) as error:
            problems[path.parent.name] = str(error)
    return runs, problems


def catalogue(results_dir):
    """Return `(models, figures_only)`: the models to be offered, best first, and `{name: reason}` of the other runs.

    Best is: on real data, of all classes (of images) or of two (of pixels), of the highest figure on validation images.
    """
    results_dir = Path(results_dir)
    runs, figures_only = read_runs(results_dir)
    whole, found = {}, []
    for name, run in runs.items():
        if run.get("task") in ("classification", "segmentation"):
            whole[name] = why_unusable(results_dir / name)
    for name, run in runs.items():
        task, members, weights = run.get("task"), (name,), (1.0,)
        if task == "ensemble":
            members = tuple(run["members"])
            if run.get("chosen") == "weighted_probabilities":
                weights = tuple(member["weight"] for member in run["members"].values())
            else:
                weights = (1 / len(members),) * len(members)
        reasons = [f"{member}: {whole.get(member, 'it is not there')}" for member in members if whole.get(member, True)]
        if task not in ("classification", "segmentation", "ensemble") or "test" not in run:
            figures_only[name] = "it trains no model"
        elif reasons:
            figures_only[name] = whole[name] if members == (name,) else "it needs " + "; ".join(reasons)
        else:
            folders = tuple(results_dir / member for member in members)
            found.append(Model(name, results_dir / name, task, run, folders, weights))
            found += [
                dataclasses.replace(found[-1], key=f"{name}+{way}", augmentation=way)
                for way in ensemble.AUGMENTED
                if way in run.get("test_time_augmentation", {})
            ]
    return sorted(found, key=_rank, reverse=True), figures_only


def _rank(model):
    data = model.metrics.get("data", {})
    if model.augmentation:
        validation = model.metrics["test_time_augmentation"][model.augmentation]["validation"]
    else:
        validation = model.metrics.get("validation", {})
    if model.task == "segmentation":  # foreground before classes: it is what the page asks first
        return data.get("source") != "synthetic", -data.get("classes", 2), validation.get("iou", 0.0)
    return data.get("source") != "synthetic", data.get("classes", 100), validation.get("accuracy", 0.0)


def why_unusable(folder):
    """Return why the model in `folder` cannot be loaded, or None: a look that takes milliseconds, without weights."""
    path = Path(folder) / results.MODEL
    try:
        with zipfile.ZipFile(path) as archive:
            if not {"config.json", "model.weights.h5"} <= set(archive.namelist()):
                return "its model file is not one of Keras"
            unknown = {name for name in _own_classes(json.loads(archive.read("config.json"))) if _unregistered(name)}
    except FileNotFoundError:
        return "its model is not stored here"
    except (OSError, zipfile.BadZipFile, ValueError, KeyError):
        return "its model file is damaged"
    return f"its model is of another version of this program (it has {', '.join(sorted(unknown))})" if unknown else None


def _own_classes(config):
    """Yield the registered names in a model's configuration."""
    if isinstance(config, dict):
        if isinstance(config.get("registered_name"), str):
            yield config["registered_name"]
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _own_classes(value)


def _unregistered(name):
    return name.startswith("hw2>") and keras.saving.get_registered_object(name) is None


def load(folder):
    """Return the Keras model of the run in `folder`, from memory if it was loaded before. Raises ModelError."""
    path = Path(folder) / results.MODEL
    with _lock:
        try:
            return _load(path, path.stat().st_mtime_ns)
        except Exception as error:  # Keras raises nearly everything on a damaged or foreign file
            name, (reason, *_) = Path(folder).name, str(error).splitlines() or [repr(error)]
            reason = reason.replace(str(path), path.name)  # whoever reads it need not know where it lies
            raise ModelError(
                f"The model of {name} cannot be loaded ({reason}). Train it again: python scripts/train_all.py --only "
                f"{name.partition('-seed')[0]} --force"
            ) from error


@functools.cache
def _load(path, modified):  # `modified`: a run that was trained again is another model
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    if choose_precision() == "float32" and "mixed_" in (config := json.dumps(model.get_config())):
        # trained where 16 bits are fast; here they would be emulated, and several times as slow
        model, trained = keras.Model.from_config(json.loads(re.sub(r"mixed_b?float16", "float32", config))), model
        model.set_weights(trained.get_weights())
    _predict(model, np.zeros((1, *model.input_shape[1:])))  # the first call compiles: that is part of loading
    return model


def calibration(folder, augmentation=None):
    """Return `(temperature, classes)` of a finished run from its stored predictions.

    The temperature has the least cross-entropy on the validation images. classes: (k,) int64, what the columns of the
    logits stand for, None for all 100. Both are None if there are no predictions to tell.
    """
    path = Path(folder) / results.PREDICTIONS
    try:
        return _calibration(path, path.stat().st_mtime_ns, f"_{augmentation}" if augmentation else "")
    except (results.ResultsError, OSError, KeyError):
        return None, None


@functools.cache
def _calibration(path, modified, suffix):
    arrays = results.read_arrays(path)
    temperature = metrics.fit_temperature(
        arrays[f"validation_logits{suffix}"], arrays["validation_labels"].astype(np.int64)
    )
    return temperature, arrays["classes"].astype(np.int64) if "classes" in arrays else None


def classify(model, image):
    """Return a Classification of `image`, (32, 32, 3) uint8 RGB, by `model`, a Model. Raises ModelError."""
    with _lock:
        began = time.perf_counter()
        members = [load(folder) for folder in model.members]
        temperature, classes = calibration(model.folder, model.augmentation)
        loaded = time.perf_counter()
        logits = np.stack([_augmented_logits(member, image[None], model.augmentation) for member in members])
        if len(members) > 1:
            combined = ensemble.combine({"image": logits}, np.array(model.weights))
            logits = combined[model.metrics["chosen"]]["image"][None]
        took = time.perf_counter() - loaded
    probabilities = softmax(logits[0, 0].astype(np.float64) / (temperature or 1.0))
    columns = np.argsort(-probabilities, kind="stable")
    if classes is None:
        classes = np.arange(100) if len(probabilities) == 100 else splits.class_subset(len(probabilities))
    return Classification(classes[columns], probabilities[columns], columns, temperature, loaded - began, took)


def _augmented_logits(keras_model, images, augmentation):
    """Return logits (n, classes) of images (n, height, width, 3) uint8."""

    def predict(images):
        return _predict(keras_model, images)

    if augmentation == "mirror_shift":
        return evaluate.predict_augmented(predict, images)[augmentation]
    if augmentation == "mirror":
        return evaluate.mean_of_probabilities([predict(images), predict(images[:, :, ::-1])])
    return predict(images)


def _predict(keras_model, images):
    """Return the output of a Keras model for a batch of images, uint8, as float32."""
    return np.asarray(keras_model.predict_on_batch(np.asarray(images, np.float32)), np.float32)


def segment(model, image):
    """Return a Segmentation of `image`, (height, width, 3) uint8 RGB of any size, by `model`. Raises ModelError."""
    with _lock:
        began = time.perf_counter()
        keras_model = load(model.folder)
        loaded = time.perf_counter()
        height, width = keras_model.input_shape[1:3]
        square = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)  # Pillow's is antialiased
        logits = _predict(keras_model, np.asarray(square)[None])[0]
    if logits.shape[-1] == 1:
        foreground, labels = from_square(expit(logits[..., 0]), *image.shape[:2]), None
    else:
        probabilities = from_square(softmax(logits, axis=-1), *image.shape[:2])
        foreground, labels = 1 - probabilities[..., 0], (probabilities[..., 1:].argmax(-1) + 1).astype(np.uint8)
    return Segmentation(foreground.clip(0, 1), labels, loaded - began, time.perf_counter() - loaded)


def agreement(mask, truth):
    """Return `{"dice": d, "iou": i}` of a mask, (height, width) bool, against the truth: 0, 1 or VOID, not counted."""
    figures = segmentation_metrics.overlap(segmentation_metrics.counts(mask, truth))
    return {name: float(figures[name]) for name in ("dice", "iou")}
