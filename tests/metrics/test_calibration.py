"""Against scikit-learn, a slow loop, figures worked out by hand, and logits whose temperature is known."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from hw2.metrics.calibration import (
    brier_score,
    calibration,
    cross_entropy,
    expected_calibration_error,
    fit_temperature,
)


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, 2000)
    return rng.normal(size=(2000, 100)) + 3 * np.eye(100)[labels] * rng.random((2000, 1)), labels


def test_cross_entropy_against_scikit_learn(predictions):
    logits, labels = predictions
    assert cross_entropy(logits, labels) == pytest.approx(log_loss(labels, softmax(logits, 1), labels=np.arange(100)))


def test_calibration_error_against_a_loop(predictions):
    logits, labels = predictions
    probabilities = softmax(2 * logits, 1)
    expected = 0.0
    for lower in range(15):
        inside = (probabilities.max(1) > lower / 15) & (probabilities.max(1) <= (lower + 1) / 15)
        if inside.any():
            correct = (probabilities.argmax(1) == labels)[inside].mean()
            expected += inside.mean() * abs(correct - probabilities.max(1)[inside].mean())
    assert expected > 0.05
    assert expected_calibration_error(2 * logits, labels) == pytest.approx(expected)


def test_calibration_error_by_hand():
    """Two certain answers, one of them wrong, and two right ones at 60 %: 2/4 * |0.5 - 1| + 2/4 * |1 - 0.6|."""
    logits = np.log([[1 - 1e-12, 1e-12], [1 - 1e-12, 1e-12], [0.6, 0.4], [0.4, 0.6]])
    assert expected_calibration_error(logits, np.array([0, 1, 0, 1])) == pytest.approx(0.45)


def test_brier_score_against_scikit_learn():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(100, 2)), rng.integers(0, 2, 100)
    # scikit-learn's binary score counts one of two classes, whose errors are equal
    expected = 2 * brier_score_loss(labels, softmax(logits, -1)[:, 1])
    assert brier_score(logits, labels) == pytest.approx(expected)


def test_temperature_undoes_a_scale():
    """Labels drawn from the probabilities themselves: the right temperature is 1, and 3 if the logits are tripled."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    cumulative = softmax(logits, -1).cumsum(-1)
    labels = (rng.random((len(logits), 1)) > cumulative).sum(-1)
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, abs=0.1)
    outcome = calibration(3 * logits[:10_000], labels[:10_000], 3 * logits[10_000:], labels[10_000:])
    assert outcome["before"]["ece"] > 0.1 and outcome["after"]["ece"] < 0.02
    for score in ("loss", "brier"):
        assert outcome["after"][score] < outcome["before"][score]


def test_the_temperature_is_that_of_the_validation_images():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (2, 400, 5)), rng.integers(0, 5, (2, 400))
    logits[0] += 3 * np.eye(5)[labels[0]]
    found = calibration(logits[0], labels[0], logits[1], labels[1])
    assert found["temperature"] == fit_temperature(logits[0], labels[0]) != fit_temperature(logits[1], labels[1])
