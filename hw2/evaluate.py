"""From a function that predicts, and arrays, to metrics. Knows no model."""

import numpy as np
from scipy.special import log_softmax, logsumexp

from hw2 import metrics, stats
from hw2 import segmentation_metrics as masks
from hw2.data import corruptions
from hw2.data.voc2012 import from_square

POOLED = ("iou", "dice")  # figures of all pixels that get an interval
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
        views += [view, view[:, :, ::-1]]
    logits = np.asarray(predict(np.concatenate(views)))  # in one go: every call of Keras' predict has its price
    logits = logits.reshape(len(views), len(images), -1)
    return {
        "mirror": stored(mean_of_probabilities(logits[:2])),
        "mirror_shift": stored(mean_of_probabilities(logits)),
    }


def robustness(predict, images, labels):
    """Return `{corruption: [accuracy at each strength]}` over `hw2.data.corruptions.STRENGTHS`."""
    accuracies = {}
    for corruption, strengths in corruptions.STRENGTHS.items():
        corrupted = np.concatenate([corruptions.corrupt(images, corruption, strength) for strength in strengths])
        logits = np.asarray(predict(corrupted)).reshape(len(strengths), len(images), -1)
        accuracies[corruption] = [metrics.accuracy(of_strength, labels) for of_strength in logits]
    return accuracies


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


def choose_threshold(probabilities, truths):
    """Return `(threshold, thresholds, precision, recall)`: the one with the greatest foreground IoU, and the curve.

    probabilities: (n, size, size) of foreground. truths: n masks of labels at the images' own sizes.
    """
    histograms = sum(
        masks.threshold_histograms(from_square(probability, *truth.shape), truth)
        for probability, truth in zip(probabilities, truths, strict=True)
    )
    thresholds, precision, recall, iou = masks.curve(histograms)
    return float(thresholds[iou.argmax()]), thresholds, precision, recall


def foreground(probabilities, truths, threshold):
    """Return `(figures, rows)` of foreground against background: over the data set, over images, and image by image.

    probabilities: (n, size, size). truths: n masks of labels at the images' own sizes, to which each probability map is
    brought before it is compared. figures: {"dataset": over all pixels, "intervals": {name: of IoU and Dice over all
    pixels, by a bootstrap over images}, "images": {name: mean over images with its bootstrap interval}, "iou",
    "accuracy"}; the last two of the data set.
    """
    counts, rows = [], []
    for probability, truth in zip(probabilities, truths, strict=True):
        prediction = from_square(probability, *truth.shape) >= threshold
        counts.append(masks.counts(prediction, truth))
        overlap = {name: float(value) for name, value in masks.overlap(counts[-1]).items()}
        rows.append(_foreground_share(counts[-1]) | overlap | masks.boundary(prediction, truth))
    dataset = {name: float(value) for name, value in masks.overlap(np.sum(counts, 0)).items()}
    return {
        "dataset": dataset,
        "intervals": {name: _interval(counts, lambda total, name=name: masks.overlap(total)[name]) for name in POOLED},
        "images": _means(rows),
        "iou": dataset["iou"],
        "accuracy": dataset["pixel_accuracy"],
    }, rows


def classes(probabilities, truths, num_classes):
    """Return `(figures, rows)` for several classes: mean IoU, that of each class, confusion, and the foreground's.

    probabilities: (n, size, size, num_classes). An image's "iou" is the mean over the classes that it or its prediction
    holds. figures: "class_iou" (None for a class that never occurs), "confusion" in pixels, "iou" (mean over classes)
    and "accuracy" of the data set, "intervals" of the first by a bootstrap over images, "images" as `foreground` has
    it, and in "foreground" the figures over all pixels of everything that is not background.
    """
    matrices, total, rows = [], np.zeros(4, np.int64), []
    for probability, truth in zip(probabilities, truths, strict=True):
        prediction = from_square(probability, *truth.shape).argmax(-1)
        matrices.append(matrix := masks.confusion(prediction, truth, num_classes))
        total += (counts := masks.counts(prediction > 0, truth))
        overlap = {f"foreground_{name}": float(value) for name, value in masks.overlap(counts).items()}
        figures = {
            "iou": float(np.nanmean(masks.class_iou(matrix))),
            "pixel_accuracy": float(np.trace(matrix) / max(1, matrix.sum())),
        }
        rows.append(_foreground_share(counts) | figures | overlap | masks.boundary(prediction > 0, truth))
    matrix = np.sum(matrices, 0)
    ious = masks.class_iou(matrix)
    return {
        "iou": float(np.nanmean(ious)),
        "accuracy": float(np.trace(matrix) / matrix.sum()),
        "intervals": {"iou": _interval(matrices, lambda total: np.nanmean(masks.class_iou(total)))},
        "class_iou": [None if np.isnan(iou) else float(iou) for iou in ious],
        "confusion": matrix.tolist(),
        "images": _means(rows),
        "foreground": {"dataset": {name: float(value) for name, value in masks.overlap(total).items()}},
    }, rows


def _foreground_share(counts):
    return {"foreground_share": float((counts[0] + counts[2]) / max(1, counts.sum()))}


def _interval(counts, statistic):
    interval = stats.bootstrap_total(counts, statistic)
    return {"low": interval.low, "high": interval.high}


def _means(rows):
    return {
        name: dict(zip(("mean", "low", "high"), stats.bootstrap_mean([row[name] for row in rows]), strict=True))
        for name in rows[0]
    }
