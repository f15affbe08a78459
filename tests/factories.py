"""Records of made-up runs, in the form that training leaves (see `hw2.runs`): configurations, figures, predictions.

Nothing here imports Keras. `tests/test_factories.py` compares the keys of these metrics with those of committed runs.
"""

import functools

import numpy as np

from hw2.data import corruptions
from hw2.data.splits import class_subset
from hw2.experiments.resolve import CIFAR100
from hw2.experiments.schema import Phase, pick
from hw2.metrics import segmentation
from hw2.metrics.classification import figures_and_answers
from hw2.metrics.combine import MASK_VIEWS, VIEWS, storable_logits
from hw2.models.registry import NETWORKS

VOC2012 = {"source": "voc2012-subset", "sbd": False, "train": 663, "validation": 132, "test": 669}
MODELS = {"classification": "scratch_classifier", "segmentation": "seg_book"}
METHODS = {"all_background": 0.0, "centred_ellipse": 0.37, "grabcut": 0.39}  # baselines and their IoU


def configuration(name, task, *, classes=None, model=None, arguments=None, extras=(), source=None):
    """Return a complete configuration of a run on the cpu budget, as `hw2.experiments.resolve` makes them.

    classes: by default those of the task's main question. model: name in the registry. arguments: of the model, where
    they are not the registry's. source: of the data, if not the real one.
    """
    config = {"experiment": name, "budget": "cpu", "seed": 0, "task": task}
    data = CIFAR100 | {"classes": classes or 100} if task == "classification" else VOC2012 | {"classes": classes or 2}
    config["data"] = data | ({"source": source} if source else {})
    if task == "baselines":
        return config
    model = model or MODELS[task]
    return config | {
        "model": model,
        "model_arguments": pick(NETWORKS[model].arguments | (arguments or {}), "cpu"),
        "weights": None,
        "phases": [pick(vars(Phase(epochs=3, learning_rate=0.01)), "cpu")],
        "extras": list(extras),
    }


def classifier(config, *, seed=0, advantage=1.0, images=200, parameters=1000):
    """Return `(metrics, predictions, logits)` of a classifier whose figures grow with `advantage`.

    The labels do not depend on the seed, as the members of an ensemble need it. The logits of the views of test-time
    augmentation are twice those of the image itself, so that their temperatures differ.
    """
    classes = config["data"]["classes"]
    rng, labels = np.random.default_rng(seed), np.random.default_rng(99).integers(0, classes, images)
    logits = {}
    for part in ("validation", "test"):
        own = storable_logits(advantage * np.eye(classes)[labels] + rng.normal(0, 1, (images, classes)))
        views = VIEWS if "test_time_augmentation" in config["extras"] else ()
        logits[part] = {"": own} | {view: storable_logits(2.0 * own) for view in views}
    indices = np.arange(images, dtype=np.int32)
    figures, predictions, stored = figures_and_answers(
        logits,
        {part: labels for part in logits},
        {part: indices for part in logits},
        None if classes == 100 else class_subset(classes),
    )
    if "robustness" in config["extras"]:
        accuracy = figures["test"]["accuracy"]
        figures["robustness"] = {kind: [accuracy / 2] * len(steps) for kind, steps in corruptions.STRENGTHS.items()}
    return _metrics(config, figures, _cost(parameters)), predictions, stored


def segmenter(config, *, iou=0.5, parameters=1000):
    """Return the metrics of a segmenter with an IoU of the foreground, from 0 to 1 in steps of 0.01.

    With several classes, it is also the IoU of the only class besides the background.
    """
    figures = _segmentation_figures(iou, config["data"]["classes"])
    kinds = ("best", "median", "worst", "worst_large")
    figures = {
        "threshold": 0.4 if config["data"]["classes"] == 2 else None,
        "network_iou": iou,
        "validation": figures,
        "test": figures,
        "checkerboard": None,  # of maps as small as those of the tests
        "examples": {kind: [f"2007_{index:06}"] for index, kind in enumerate(kinds)},
    }
    if "test_time_augmentation" in config["extras"]:
        keys = ("threshold", "network_iou", "validation", "test", "checkerboard")
        figures["test_time_augmentation"] = {view: {key: figures[key] for key in keys} for view in MASK_VIEWS}
    return _metrics(config, figures, _cost(parameters))


def baselines(config):
    """Return the metrics of the segmentations without training, METHODS."""
    measured = {method: _segmentation_figures(iou, 2) for method, iou in METHODS.items()}
    figures = {"best": "grabcut", "ellipse_axis": 0.7, "baselines": measured}
    figures |= {part: measured["grabcut"] for part in ("validation", "test")}
    cost = {"seconds": 60.0, "cpu_seconds": 60.0, "parameters": 0, "device": "none"}
    metrics = _metrics(config, figures, cost) | {"backend": "none"}
    return {key: value for key, value in metrics.items() if key not in ("events", "started_from", "teachers")}


def history(metric):
    """Return three rows of `history.csv`. metric: "accuracy" or "iou"."""
    return [
        {
            "epoch": epoch,
            "phase": 1,
            "loss": 3.0 / epoch,
            metric: 0.12 * epoch,
            "val_loss": 4.0 / epoch,
            f"val_{metric}": 0.1 * epoch,
            "learning_rate": 0.01,
            "seconds": 20.0,
            "cpu_seconds": 20.0,
            "images": 200,
        }
        for epoch in (1, 2, 3)
    ]


def _metrics(config, figures, cost):
    return {
        **{key: config[key] for key in ("task", "budget", "seed", "data")},
        "backend": "tensorflow",
        "precision": "float32",
        "commit": None,
        "versions": {"python": "3.13.0", "numpy": "2.0.0", "keras": "3.0.0", "tensorflow": "2.0.0"},
        **figures,
        "cost": cost,
        "events": [{"epoch": 3, "event": "went back to the weights of epoch 2"}],
        "started_from": None,
        "teachers": None,
    }


def _cost(parameters):
    return {
        "seconds": 60.0,
        "cpu_seconds": 60.0,
        "feature_seconds": 0.0,
        "feature_cpu_seconds": 0.0,
        "epochs": 3,
        "images_per_second": 10.0,
        "parameters": parameters,
        "trainable_parameters": parameters,
        "multiply_adds": 50 * parameters,
        "device": "none",
        "peak_memory_mib": 100.0,
    }


@functools.cache  # the bootstrap takes most of the time
def _segmentation_figures(iou, classes):
    """Return the figures of three images whose true object has 100 pixels; the predictions are parts of it."""
    truth = np.zeros((16, 16), np.uint8)
    truth[3:13, 3:13] = 15
    rows, counts = [], []
    for pixels in (round(100 * iou),) * 3:
        prediction = np.zeros_like(truth)
        prediction[tuple(place[:pixels] for place in np.nonzero(truth))] = 15
        measured = (
            segmentation.foreground_row(prediction > 0, truth)
            if classes == 2
            else segmentation.class_row(prediction, truth, classes)
        )
        for values, value in zip((rows, counts), measured, strict=True):
            values.append(value)
    return (segmentation.foreground_figures if classes == 2 else segmentation.class_figures)(rows, counts)
