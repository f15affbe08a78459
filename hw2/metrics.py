"""Metrics on NumPy arrays, each with its definition and source. No Keras: they are the same on every backend."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from hw2.labels import CIFAR100_SUPERCLASS_OF


def accuracy(logits, labels):
    """Share of images whose highest logit is the label's. logits: (n, classes); labels: (n,) integers."""
    return float(np.mean(logits.argmax(1) == labels))


def top_k_accuracy(logits, labels, k=5):
    """Share of images with fewer than k logits above the label's (a tie counts as correct)."""
    of_label = np.take_along_axis(logits, labels[:, None], 1)
    return float(np.mean((logits > of_label).sum(1) < k))


def superclass_accuracy(logits, labels, classes=None):
    """Share of images whose predicted CIFAR-100 class lies in the superclass of the label.

    classes: (k,) the class that each column of `logits` stands for; None for all 100 in their order.
    """
    superclass_of = CIFAR100_SUPERCLASS_OF if classes is None else CIFAR100_SUPERCLASS_OF[classes]
    return float(np.mean(superclass_of[logits.argmax(1)] == superclass_of[labels]))


def cross_entropy(logits, labels):
    """Mean negative log-likelihood of the labels, in nats."""
    log_probabilities = log_softmax(np.asarray(logits, np.float64), axis=1)
    return float(-np.mean(log_probabilities[np.arange(len(labels)), labels]))


def expected_calibration_error(logits, labels, num_bins=15):
    """Mean gap between confidence and accuracy over equal-width bins of confidence, weighted by their images.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3. A bin holds confidences in
    (lower, upper]; empty bins count nothing.
    """
    probabilities = np.exp(log_softmax(np.asarray(logits, np.float64), axis=1))
    confidence, correct = probabilities.max(1), logits.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def brier_score(logits, labels):
    """Mean squared distance between the probabilities and the one-hot labels, from 0 to 2.

    Brier, "Verification of forecasts expressed in terms of probability", 1950, equation 2 (summed over classes).
    """
    probabilities = np.exp(log_softmax(np.asarray(logits, np.float64), axis=1))
    probabilities[np.arange(len(labels)), labels] -= 1
    return float(np.mean(np.sum(probabilities**2, axis=1)))


def fit_temperature(logits, labels):
    """Return the number that logits are to be divided by for the least cross-entropy, between 0.05 and 20."""
    logits = np.asarray(logits, np.float64)
    found = minimize_scalar(
        lambda log_temperature: cross_entropy(logits / np.exp(log_temperature), labels),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))
