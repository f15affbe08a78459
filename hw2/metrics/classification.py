"""Metrics of classification on NumPy arrays, each with its definition and source. No Keras."""

import numpy as np
from scipy.special import softmax

from hw2.data import corruptions
from hw2.labels import CIFAR100_SUPERCLASS_OF
from hw2.metrics.calibration import calibration, cross_entropy, expected_calibration_error


def accuracy(logits, labels):
    """Return the share of images whose highest logit is the label's. logits: (n, classes); labels: (n,) integers."""
    return float(np.mean(logits.argmax(1) == labels))


def top_k_accuracy(logits, labels, k=5):
    """Return the share of images with fewer than k logits above the label's (a tie counts as correct)."""
    of_label = np.take_along_axis(logits, labels[:, None], 1)
    return float(np.mean((logits > of_label).sum(1) < k))


def superclass_accuracy(logits, labels, classes=None):
    """Return the share of images whose predicted CIFAR-100 class lies in the superclass of the label.

    classes: (k,) the CIFAR-100 class of each column of `logits` (n, k); None for all 100 in their order. labels: (n,)
    columns.
    """
    superclass_of = CIFAR100_SUPERCLASS_OF if classes is None else CIFAR100_SUPERCLASS_OF[classes]
    return float(np.mean(superclass_of[logits.argmax(1)] == superclass_of[labels]))


def classification_figures(logits, labels, classes=None):
    """Return accuracy, top5_accuracy, loss, ece and superclass_accuracy of stored logits, for `metrics.json`.

    logits: (n, k). classes: see `superclass_accuracy`.
    """
    logits = np.asarray(logits, np.float32)
    return {
        "accuracy": accuracy(logits, labels),
        "top5_accuracy": top_k_accuracy(logits, labels, 5),
        "loss": cross_entropy(logits, labels),
        "ece": expected_calibration_error(logits, labels),
        "superclass_accuracy": superclass_accuracy(logits, labels, classes),
    }


def figures_and_answers(logits, labels, indices, classes=None):
    """Return `(figures, predictions, stored_logits)` of a classifier or an ensemble, from its logits.

    logits: {part: {view: (n, k) float16}} for the parts "validation" and "test"; the view "" is the image itself, the
        others are those of `hw2.metrics.combine.VIEWS`. labels, indices: {part: (n,)}. classes: see
        `superclass_accuracy`.
    figures: for `metrics.json`: {"validation": ..., "test": ..., "calibration": ...} of the image itself, and the same
        for each other view under "test_time_augmentation".
    predictions: for `predictions.npz`, with `_VIEW` at the end of a name for the other views: PART_answers (n,) uint8,
        the column with the highest logit; PART_confidences and PART_calibrated_confidences (n,) float16, its
        probability before and after temperature scaling; PART_labels; test_indices; classes, if they are a subset.
    stored_logits: for `logits.npz`: PART_logits, PART_labels and PART_indices.
    """
    parts = ("validation", "test")
    predictions = {f"{part}_labels": labels[part].astype(np.uint8) for part in parts}
    stored = predictions | {f"{part}_indices": indices[part] for part in parts}
    predictions["test_indices"] = indices["test"]
    if classes is not None:
        predictions["classes"] = classes.astype(np.uint8)
    by_view = {}
    for view in logits["test"]:
        suffix = f"_{view}" if view else ""
        of_view = {part: logits[part][view] for part in parts}
        by_view[view] = {part: classification_figures(of_view[part], labels[part], classes) for part in parts}
        by_view[view]["calibration"] = calibration(
            of_view["validation"], labels["validation"], of_view["test"], labels["test"]
        )
        temperature = by_view[view]["calibration"]["temperature"]
        for part in parts:
            stored[f"{part}_logits{suffix}"] = of_view[part]
            values = of_view[part].astype(np.float64)
            predictions |= {
                f"{part}_answers{suffix}": values.argmax(1).astype(np.uint8),
                f"{part}_confidences{suffix}": softmax(values, axis=1).max(1).astype(np.float16),
                f"{part}_calibrated_confidences{suffix}": softmax(values / temperature, axis=1)
                .max(1)
                .astype(np.float16),
            }
    augmented = {view: figures for view, figures in by_view.items() if view}
    figures = by_view[""] | ({"test_time_augmentation": augmented} if augmented else {})
    return figures, predictions, stored


def robustness(predict, images, labels):
    """Return `{corruption: [accuracy at each strength]}` over `hw2.data.corruptions.STRENGTHS`.

    predict: function from images (n, 32, 32, 3) uint8 to logits (n, classes). labels: (n,) columns of the logits.
    """
    accuracies = {}
    for corruption, strengths in corruptions.STRENGTHS.items():
        corrupted = np.concatenate([corruptions.corrupt(images, corruption, strength) for strength in strengths])
        logits = np.asarray(predict(corrupted)).reshape(len(strengths), len(images), -1)
        accuracies[corruption] = [accuracy(of_strength, labels) for of_strength in logits]
    return accuracies
