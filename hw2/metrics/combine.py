"""Combine several predictions of an image, from several models or from several views of the image. No Keras.

There are three ways for models: the mean of the logits, the mean of the probabilities, and a weighted mean of the
probabilities, whose weights minimise the cross-entropy. Dietterich, "Ensemble Methods in Machine Learning", 2000;
Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", 2017.
"""

import itertools

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax

VIEWS = ("mirror", "mirror_shift")  # of classifiers
MASK_VIEWS = ("mirror", "mirror_scales")  # of segmenters
SCALES = (0.6, 0.8, 1.0, 1.2)  # of the image size of a segmenter
STRIDE = 32  # pixels; encoders halve an image five times
SHIFTS = ((0, 0), (0, 2), (0, -2), (2, 0), (-2, 0))  # pixels down and to the right


def storable_logits(logits):
    """Return logits (..., classes) as float16, as `logits.npz` holds them.

    All figures are computed from the rounded logits, so that the stored ones reproduce them. Raises OverflowError if a
    logit is not finite or exceeds the range of float16 (65,504).
    """
    logits = np.asarray(logits, np.float32)
    greatest = np.abs(logits).max(initial=0.0)
    if not greatest <= np.finfo(np.float16).max:
        raise OverflowError(f"its logits reach {greatest:.3g}, beyond the range of float16")
    return logits.astype(np.float16)


def mean_of_probabilities(logits, weights=None):
    """Return the logarithm of the (weighted) mean of several models' probabilities, (n, classes), to use as logits.

    logits: (models, n, classes). weights: (models,), summing to 1; equal ones if None.
    """
    logits = np.asarray(logits, np.float64)
    weights = np.full(len(logits), 1 / len(logits)) if weights is None else np.asarray(weights)
    with np.errstate(divide="ignore"):  # a weight of 0
        return logsumexp(log_softmax(logits, axis=-1) + np.log(weights)[:, None, None], axis=0)


def predict_views(predict, images):
    """Return `{"mirror": logits, "mirror_shift": logits}`, (n, classes) float16, of averaged probabilities.

    mirror: mean over the image and its mirror image, 2 predictions. mirror_shift: mean over both in 5 positions two
    pixels apart, with borders filled by reflection, 10 predictions. predict: function from images (m, height, width, 3)
    to logits (m, classes). Raises OverflowError, see `storable_logits`.
    """
    most = max(abs(offset) for shift in SHIFTS for offset in shift)
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="reflect")
    views = []
    for down, right in SHIFTS:
        view = padded[:, most - down : most - down + height, most - right : most - right + width]
        views += [view, view[:, :, ::-1]]
    logits = np.asarray(predict(np.concatenate(views)))  # one call, because each call of Keras' predict has an overhead
    logits = logits.reshape(len(views), len(images), -1)
    return {
        "mirror": storable_logits(mean_of_probabilities(logits[:2])),
        "mirror_shift": storable_logits(mean_of_probabilities(logits)),
    }


def sizes_of_scales(image_size):
    """Return the image sizes of the view "mirror_scales", that of the network first. image_size: in pixels."""
    sizes = {max(1, round(scale * image_size / STRIDE)) * STRIDE for scale in SCALES}
    return [image_size, *sorted(sizes - {image_size})]


def combine(logits, weights):
    """Return `{way: {part: logits}}` of the three ways, (n, classes) float16.

    logits: {part: (members, n, classes)}. weights: (members,), of the third way.
    """
    return {
        "mean_logits": {part: storable_logits(np.mean(logits[part], 0, dtype=np.float32)) for part in logits},
        "mean_probabilities": {part: storable_logits(mean_of_probabilities(logits[part])) for part in logits},
        "weighted_probabilities": {
            part: storable_logits(mean_of_probabilities(logits[part], weights)) for part in logits
        },
    }


def fit_weights(logits, labels):
    """Return the weights (members,) for which the weighted mean of the probabilities has the lowest cross-entropy.

    logits: (members, n, classes). labels: (n,). The weights are a softmax of free parameters, so they are positive and
    sum to 1.
    """
    images = np.arange(len(labels))
    of_label = log_softmax(np.asarray(logits, np.float64), axis=-1)[:, images, labels]

    def cross_entropy(free):
        return -np.mean(logsumexp(of_label + log_softmax(free)[:, None], axis=0))

    return softmax(minimize(cross_entropy, np.zeros(len(logits)), method="L-BFGS-B").x)


def accuracy_by_size(logits, labels):
    """Return the mean, least and greatest accuracy of all ensembles of each size, a list of rows by size.

    logits: (members, n, classes). labels: (n,). Probabilities are averaged with equal weights. A row holds "members",
    "mean", "least" and "most".
    """
    probabilities = softmax(np.asarray(logits, np.float64), axis=-1)
    rows = []
    for size in range(1, len(logits) + 1):
        accuracies = [
            float(np.mean(probabilities[list(chosen)].sum(0).argmax(1) == labels))
            for chosen in itertools.combinations(range(len(logits)), size)
        ]
        rows.append(
            {"members": size, "mean": float(np.mean(accuracies)), "least": min(accuracies), "most": max(accuracies)}
        )
    return rows
