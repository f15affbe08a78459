"""Quality of predicted probabilities: proper scores, calibration error, and temperature scaling. No Keras.

logits: (n, classes), any real type. labels: (n,) integers.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def cross_entropy(logits, labels):
    """Return the mean negative log-likelihood of the labels, in nats."""
    log_probabilities = log_softmax(np.asarray(logits, np.float64), axis=1)
    return float(-np.mean(log_probabilities[np.arange(len(labels)), labels]))


def expected_calibration_error(logits, labels, num_bins=15):
    """Return the mean gap between confidence and accuracy over equal-width bins of confidence, from 0 to 1.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3: bins are weighted by their images. A
    bin holds confidences in (lower, upper].
    """
    probabilities = np.exp(log_softmax(np.asarray(logits, np.float64), axis=1))
    confidence, correct = probabilities.max(1), logits.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def brier_score(logits, labels):
    """Return the mean squared distance between the probabilities and the one-hot labels, from 0 to 2.

    Brier, "Verification of forecasts expressed in terms of probability", 1950, equation 2 (summed over classes).
    """
    probabilities = np.exp(log_softmax(np.asarray(logits, np.float64), axis=1))
    probabilities[np.arange(len(labels)), labels] -= 1
    return float(np.mean(np.sum(probabilities**2, axis=1)))


def fit_temperature(logits, labels):
    """Return the divisor of the logits that gives the lowest cross-entropy, between 0.05 and 20."""
    logits = np.asarray(logits, np.float64)
    found = minimize_scalar(
        lambda log_temperature: cross_entropy(logits / np.exp(log_temperature), labels),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def calibration(validation_logits, validation_labels, logits, labels):
    """Return `{"temperature": t, "before": figures, "after": figures}`: loss, ece and brier before and after scaling.

    The temperature is fitted on the validation images, the figures are those of the others. Guo et al., "On Calibration
    of Modern Neural Networks", ICML 2017, section 4.2.
    """

    def figures(logits):
        return {
            "loss": cross_entropy(logits, labels),
            "ece": expected_calibration_error(logits, labels),
            "brier": brier_score(logits, labels),
        }

    temperature = fit_temperature(validation_logits, validation_labels)
    logits = np.asarray(logits, np.float64)
    return {"temperature": temperature, "before": figures(logits), "after": figures(logits / temperature)}
