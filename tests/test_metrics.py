"""Against scikit-learn, a slow loop or figures worked out by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from hw2 import evaluate, metrics
from hw2.labels import CIFAR100_CLASSES


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, 2000)
    logits = rng.normal(size=(2000, 100)) + 3 * np.eye(100)[labels] * rng.random((2000, 1))
    return logits, labels


def test_against_scikit_learn(predictions):
    logits, labels = predictions
    classes = np.arange(100)
    assert metrics.accuracy(logits, labels) == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert metrics.top_k_accuracy(logits, labels, 5) == pytest.approx(
        top_k_accuracy_score(labels, logits, k=5, labels=classes)
    )
    assert metrics.cross_entropy(logits, labels) == pytest.approx(log_loss(labels, softmax(logits, 1), labels=classes))


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
    assert metrics.expected_calibration_error(2 * logits, labels) == pytest.approx(expected)


def test_calibration_error_by_hand():
    """Two sure answers, one of them wrong, and two at 60 %, both right: 2/4 * |0.5 - 1| + 2/4 * |1 - 0.6|."""
    logits = np.log([[1 - 1e-12, 1e-12], [1 - 1e-12, 1e-12], [0.6, 0.4], [0.4, 0.6]])
    assert metrics.expected_calibration_error(logits, np.array([0, 1, 0, 1])) == pytest.approx(0.45)


def test_superclass_accuracy_by_hand():
    name = {name: index for index, name in enumerate(CIFAR100_CLASSES)}
    labels = np.array([name["beaver"], name["rose"], name["tractor"]])
    guesses = np.array([name["whale"], name["rose"], name["bus"]])  # same superclass, same class, vehicles 1 for 2
    assert metrics.superclass_accuracy(np.eye(100)[guesses], labels) == pytest.approx(2 / 3)


def test_evaluation_is_of_the_logits_that_are_stored(predictions):
    logits, labels = predictions
    stored, figures = evaluate.classification(lambda images: logits, None, labels)
    assert stored.dtype == np.float16
    assert figures == evaluate.classification_figures(stored, labels)
    assert set(figures) == {"accuracy", "top5_accuracy", "loss", "ece", "superclass_accuracy"}
