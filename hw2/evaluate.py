"""From a function that predicts, and arrays, to metrics. Knows no model."""

import numpy as np
from scipy.special import log_softmax, logsumexp

from hw2 import metrics
from hw2.data import corruptions

SHIFTS = ((0, 0), (0, 2), (0, -2), (2, 0), (-2, 0))  # pixels down and to the right


def classification(predict, images, labels, classes=None):
    """Return `(logits, figures)` for images (n, height, width, 3) and labels (n,).

    predict: function from images to logits (n, classes). The logits are rounded to float16, as they are stored, before
    anything is computed from them: whoever reads them back computes the same figures. classes: see
    `classification_figures`.
    """
    logits = stored(predict(images))
    return logits, classification_figures(logits, labels, classes)


def stored(logits):
    """Return logits as `predictions.npz` holds them: float16."""
    return np.asarray(logits, np.float32).astype(np.float16)


def mean_of_probabilities(logits, weights=None):
    """Return the logarithm of the (weighted) mean of several models' probabilities: logits again.

    logits: (models, n, classes). weights: (models,), summing to 1; equal ones if None.
    """
    logits = np.asarray(logits, np.float64)
    weights = np.full(len(logits), 1 / len(logits)) if weights is None else np.asarray(weights)
    with np.errstate(divide="ignore"):  # a weight of 0
        return logsumexp(log_softmax(logits, axis=-1) + np.log(weights)[:, None, None], axis=0)


def predict_augmented(predict, images):
    """Return `{"mirror": logits, "mirror_shift": logits}`: probabilities averaged over altered copies of each image.

    mirror: the image and its mirror image, 2 predictions. mirror_shift: both in 5 positions two pixels apart, what
    enters being a reflection of the image, 10 predictions.
    """
    most = max(abs(offset) for shift in SHIFTS for offset in shift)
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="reflect")
    views = []
    for down, right in SHIFTS:
        view = padded[:, most - down : most - down + height, most - right : most - right + width]
        views += [predict(view), predict(view[:, :, ::-1])]
    return {
        "mirror": stored(mean_of_probabilities(views[:2])),
        "mirror_shift": stored(mean_of_probabilities(views)),
    }


def robustness(predict, images, labels):
    """Return `{corruption: [accuracy at each strength]}` over `hw2.data.corruptions.STRENGTHS`."""
    return {
        corruption: [
            metrics.accuracy(predict(corruptions.corrupt(images, corruption, strength)), labels)
            for strength in strengths
        ]
        for corruption, strengths in corruptions.STRENGTHS.items()
    }


def calibration(validation_logits, validation_labels, logits, labels):
    """Return `{"temperature": t, "before": figures, "after": figures}` with loss, ece and brier of the second set.

    The temperature is fitted on the first set alone: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """

    def figures(logits):
        return {
            "loss": metrics.cross_entropy(logits, labels),
            "ece": metrics.expected_calibration_error(logits, labels),
            "brier": metrics.brier_score(logits, labels),
        }

    temperature = metrics.fit_temperature(validation_logits, validation_labels)
    logits = np.asarray(logits, np.float64)
    return {"temperature": temperature, "before": figures(logits), "after": figures(logits / temperature)}


def classification_figures(logits, labels, classes=None):
    """Return accuracy, top5_accuracy, loss, ece and superclass_accuracy of stored logits, for `metrics.json`.

    classes: (k,) the CIFAR-100 number of each column of `logits` (n, k), where they are a subset of the classes.
    """
    logits = np.asarray(logits, np.float32)
    return {
        "accuracy": metrics.accuracy(logits, labels),
        "top5_accuracy": metrics.top_k_accuracy(logits, labels, 5),
        "loss": metrics.cross_entropy(logits, labels),
        "ece": metrics.expected_calibration_error(logits, labels),
        "superclass_accuracy": metrics.superclass_accuracy(logits, labels, classes),
    }
