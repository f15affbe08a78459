"""From a function that predicts, and arrays, to metrics. Knows no model."""

import numpy as np

from hw2 import metrics


def classification(predict, images, labels):
    """Return `(logits, figures)` for images (n, height, width, 3) and labels (n,).

    predict: function from images to logits (n, classes). The logits are rounded to float16, as they are stored, before
    anything is computed from them: whoever reads them back computes the same figures.
    """
    logits = np.asarray(predict(images), np.float32).astype(np.float16)
    return logits, classification_figures(logits, labels)


def classification_figures(logits, labels):
    """Return accuracy, top5_accuracy, loss, ece and superclass_accuracy of stored logits, for `metrics.json`."""
    logits = np.asarray(logits, np.float32)
    return {
        "accuracy": metrics.accuracy(logits, labels),
        "top5_accuracy": metrics.top_k_accuracy(logits, labels, 5),
        "loss": metrics.cross_entropy(logits, labels),
        "ece": metrics.expected_calibration_error(logits, labels),
        "superclass_accuracy": metrics.superclass_accuracy(logits, labels),
    }
