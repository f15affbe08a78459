"""Test-time augmentation, robustness, calibration: with functions that predict something known."""

import numpy as np
import pytest
from scipy.special import softmax

from hw2 import evaluate, metrics
from hw2.data import corruptions


def test_augmented_predictions_average_over_the_views_they_name():
    """A bright pixel, and a "model" that tells in which column it is: the views can be read off the average."""
    images = np.zeros((1, 9, 9, 3), np.uint8)
    images[0, 4, 3] = 255

    def predict(views):
        return 20 * (views[:, 4, :, 0] / 255.0)

    augmented = evaluate.predict_augmented(predict, images)
    mirror = softmax(augmented["mirror"].astype(float), -1)[0]
    np.testing.assert_allclose(mirror[[3, 5]], 0.5, atol=1e-3)
    # the row is left empty by the shifts up and down (4 of 10 views: uniform), 2 of 10 views for each other column
    both = softmax(augmented["mirror_shift"].astype(float), -1)[0]
    columns = [3, 5, 1, 7]  # in place; then right, left: 3 + 2 = 5, 3 - 2 = 1; mirrored 5 - 2 = 3, 5 + 2 = 7
    counts = {3: 1 + 1, 5: 1 + 1, 1: 1, 7: 1}
    for column in columns:
        assert both[column] == pytest.approx(counts[column] / 10 + 0.4 / 9, abs=2e-3)


def test_robustness_is_accuracy_on_corrupted_images():
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    means = images.mean((1, 2, 3))
    labels = (means > np.median(means)).astype(int)
    seen = []

    def predict(batch):
        seen.append(batch)
        score = batch.mean((1, 2, 3)) - np.median(means)
        return np.stack([-score, score], 1)

    figures = evaluate.robustness(predict, images, labels)
    assert {name: len(values) for name, values in figures.items()} == {n: 3 for n in corruptions.STRENGTHS}
    np.testing.assert_array_equal(
        seen[0], np.concatenate([corruptions.corrupt(images, "gaussian_noise", s) for s in (8, 16, 32)])
    )
    assert min(figures["blur"]) >= 0.9  # blur keeps an image's mean


def test_temperature_undoes_a_scale():
    """Labels drawn from the probabilities themselves: the right temperature is 1, and 3 once logits are tripled."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    cumulative = softmax(logits, -1).cumsum(-1)
    labels = (rng.random((len(logits), 1)) > cumulative).sum(-1)
    assert metrics.fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)
    assert metrics.fit_temperature(3 * logits, labels) == pytest.approx(3, abs=0.1)
    outcome = evaluate.calibration(3 * logits[:10_000], labels[:10_000], 3 * logits[10_000:], labels[10_000:])
    assert outcome["before"]["ece"] > 0.1 and outcome["after"]["ece"] < 0.02
    assert (
        outcome["after"]["loss"] < outcome["before"]["loss"] and outcome["after"]["brier"] < outcome["before"]["brier"]
    )


def test_brier_score_against_scikit_learn():
    from sklearn.metrics import brier_score_loss

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(100, 2)), rng.integers(0, 2, 100)
    # scikit-learn's binary score looks at one class; both are off by as much
    expected = 2 * brier_score_loss(labels, softmax(logits, -1)[:, 1])
    assert metrics.brier_score(logits, labels) == pytest.approx(expected)


def test_superclass_accuracy_of_a_subset_of_classes():
    from hw2.labels import CIFAR100_CLASSES

    classes = np.array([CIFAR100_CLASSES.index(name) for name in ("rose", "beaver", "whale")])
    logits = np.eye(3)[[1, 1, 0]]
    assert metrics.superclass_accuracy(logits, np.array([2, 1, 1]), classes) == pytest.approx(2 / 3)
