"""Metrics on NumPy arrays, each with its definition and source. No Keras: they are the same on every backend."""

import numpy as np
from scipy.special import log_softmax

from hw2.labels import CIFAR100_SUPERCLASS_OF


def accuracy(logits, labels):
    """Share of images whose highest logit is the label's. logits: (n, classes); labels: (n,) integers."""
    return float(np.mean(logits.argmax(1) == labels))


def top_k_accuracy(logits, labels, k=5):
    """Share of images with fewer than k logits above the label's (a tie counts as correct)."""
    of_label = np.take_along_axis(logits, labels[:, None], 1)
    return float(np.mean((logits > of_label).sum(1) < k))


def superclass_accuracy(logits, labels):
    """Share of images whose predicted CIFAR-100 class lies in the superclass of the label."""
    return float(np.mean(CIFAR100_SUPERCLASS_OF[logits.argmax(1)] == CIFAR100_SUPERCLASS_OF[labels]))


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
