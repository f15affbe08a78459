"""Confidence intervals by the bootstrap over test images. No Keras."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval, in the unit of the data."""

    estimate: float
    low: float
    high: float


def bootstrap_mean(values, *, confidence=0.95, resamples=10_000, seed=0):
    """Return the mean of `values` (n,) with its percentile bootstrap interval, as an `Interval`.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. Drawing images with replacement is one
    multinomial draw over the distinct values, of which right and wrong answers have only a few. For the difference of
    two models, `values` are the differences on each image.
    """
    values, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    number, mean = counts.sum(), counts @ values / counts.sum()
    rng = np.random.default_rng(seed)
    # in slices, because the counts of 10,000 resamples of 10,000 values would take 800 MB
    means = np.concatenate(
        [rng.multinomial(number, counts / number, size=500) @ values / number for _ in range(-(-resamples // 500))]
    )[:resamples]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(mean), float(low), float(high))


def bootstrap_total(counts, statistic, *, confidence=0.95, resamples=2000, seed=0):
    """Return a figure of a data set with its percentile bootstrap interval over images, as an `Interval`.

    counts: (n, ...), of each image. statistic: function from their sum (...) to the figure, such as IoU from pixels.
    """
    counts = np.asarray(counts, np.float64)
    drawn = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    figures = [statistic(np.tensordot(times, counts, 1)) for times in drawn]
    low, high = np.quantile(figures, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(counts.sum(0))), float(low), float(high))
