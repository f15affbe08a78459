"""Against SciPy's bootstrap and the normal approximation."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from hw2.metrics import intervals

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("values", [RNG.exponential(size=300), RNG.integers(-1, 2, 300)], ids=["all differ", "three"])
def test_bootstrap_against_scipy(values):
    ours = intervals.bootstrap_mean(values)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert ours == intervals.bootstrap_mean(values)  # seeded


def test_bootstrap_of_a_total_against_scipy():
    """A ratio of sums is not the mean of ratios."""
    part = RNG.integers(0, 50, 120)
    whole = part + RNG.integers(1, 200, 120)
    ours = intervals.bootstrap_total(np.stack([part, whole], 1), lambda total: total[0] / total[1])
    theirs = bootstrap(
        (part, whole), lambda a, b: a.sum() / b.sum(), method="percentile", paired=True, vectorized=False, rng=1
    ).confidence_interval
    assert ours.estimate == pytest.approx(part.sum() / whole.sum())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_interval_narrows_with_confidence_and_number():
    values = np.random.default_rng(0).normal(size=400)
    wide, narrow = (intervals.bootstrap_mean(values, confidence=confidence) for confidence in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high
    # the normal approximation: 1.96 standard errors on either side
    interval = intervals.bootstrap_mean(values)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_difference_of_two_models_is_paired():
    """Two models right on 800 and 830 of 1,000 images, the 800 among the 830: the interval excludes zero."""
    one, other = np.arange(1000) < 800, np.arange(1000) < 830
    difference = intervals.bootstrap_mean(other.astype(int) - one)
    assert difference.estimate == pytest.approx(0.03)
    # 30 of 1,000 differ: standard error sqrt(0.03 * 0.97 / 1000) = 0.0054
    assert (difference.low, difference.high) == pytest.approx((0.03 - 1.96 * 0.0054, 0.03 + 1.96 * 0.0054), abs=0.002)
    assert intervals.bootstrap_mean(one.astype(int) - other).estimate == pytest.approx(-0.03)
