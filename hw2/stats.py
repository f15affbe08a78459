"""Is a difference between two models more than chance? On the same test images, for paired answers."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval, in the unit of the data."""

    estimate: float
    low: float
    high: float


def bootstrap_mean(values, *, confidence=0.95, resamples=10_000, seed=0):
    """Return the mean of `values` (n,) with its percentile bootstrap interval.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. Images are drawn with replacement; how
    often each value comes up in a resample is one multinomial draw over the different values, of which answers that are
    right or wrong have few.
    """
    values, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    number, mean = counts.sum(), counts @ values / counts.sum()
    rng = np.random.default_rng(seed)
    # in slices: counts of 10,000 resamples of 10,000 values at once would take 800 MB
    means = np.concatenate(
        [rng.multinomial(number, counts / number, size=500) @ values / number for _ in range(-(-resamples // 500))]
    )[:resamples]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(mean), float(low), float(high))


def bootstrap_total(counts, statistic, *, confidence=0.95, resamples=2000, seed=0):
    """Return a figure of a whole data set with its percentile bootstrap interval, for images drawn with replacement.

    counts: (n, ...) of each image. statistic: function from their sum, (...), to the figure, such as IoU from pixels.
    """
    counts = np.asarray(counts, np.float64)
    drawn = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    figures = [statistic(np.tensordot(times, counts, 1)) for times in drawn]
    low, high = np.quantile(figures, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(counts.sum(0))), float(low), float(high))


def accuracy_difference(logits, other_logits, labels, **options):
    """Return by how much the second model's accuracy exceeds the first's, with a paired bootstrap interval.

    logits, other_logits: (n, classes) of the same images. labels: (n,). Both models are resampled on the same images,
    so that images which both find hard do not widen the interval.
    """
    correct, other_correct = (model.argmax(1) == labels for model in (logits, other_logits))
    return bootstrap_mean(other_correct.astype(np.float64) - correct, **options)


def mcnemar(logits, other_logits, labels):
    """Return the two-sided p value that both models err equally often: McNemar's test, exact.

    McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", 1947. Only
    the images on which one is right and the other is wrong tell; under the hypothesis each is a fair coin.
    """
    correct, other_correct = (model.argmax(1) == labels for model in (logits, other_logits))
    only_first, only_second = int((correct & ~other_correct).sum()), int((other_correct & ~correct).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)
