"""Against scikit-learn, figures worked out by hand, and functions whose predictions are known."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from hw2.data import corruptions
from hw2.labels import CIFAR100_CLASSES, CIFAR100_SUPERCLASS_OF
from hw2.metrics.classification import (
    accuracy,
    classification_figures,
    figures_and_answers,
    robustness,
    superclass_accuracy,
    top_k_accuracy,
)
from hw2.metrics.combine import storable_logits


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, 2000)
    return rng.normal(size=(2000, 100)) + 3 * np.eye(100)[labels] * rng.random((2000, 1)), labels


def test_against_scikit_learn(predictions):
    logits, labels = predictions
    assert accuracy(logits, labels) == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert top_k_accuracy(logits, labels, 5) == pytest.approx(
        top_k_accuracy_score(labels, logits, k=5, labels=np.arange(100))
    )


def test_superclass_accuracy_by_hand():
    name = {name: index for index, name in enumerate(CIFAR100_CLASSES)}
    labels = np.array([name["beaver"], name["rose"], name["tractor"]])
    guesses = np.array([name["whale"], name["rose"], name["bus"]])  # same superclass, same class, another superclass
    assert superclass_accuracy(np.eye(100)[guesses], labels) == pytest.approx(2 / 3)


def test_superclass_accuracy_of_a_subset_of_classes():
    classes = np.array([CIFAR100_CLASSES.index(name) for name in ("rose", "beaver", "whale")])
    logits = np.eye(3)[[1, 1, 0]]
    assert superclass_accuracy(logits, np.array([2, 1, 1]), classes) == pytest.approx(2 / 3)


def test_figures_are_those_of_the_stored_logits(predictions):
    logits, labels = predictions
    stored = storable_logits(logits)
    figures = classification_figures(stored, labels)
    probabilities = softmax(stored.astype(np.float64), 1)
    assert figures["loss"] == pytest.approx(log_loss(labels, probabilities, labels=np.arange(100)))
    assert figures["accuracy"] == pytest.approx(accuracy_score(labels, stored.argmax(1)))
    assert set(figures) == {"accuracy", "top5_accuracy", "loss", "ece", "superclass_accuracy"}


def test_every_figure_of_a_subset_of_classes():
    """Against scikit-learn and NumPy; without ties, whose order is not defined."""
    rng = np.random.default_rng(0)
    classes, labels = rng.permutation(100)[:10], rng.integers(0, 10, 600)
    logits = 0.25 * rng.permuted(np.tile(np.arange(10.0), (600, 1)), axis=1)
    figures = classification_figures(logits, labels, classes)
    assert figures["top5_accuracy"] == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=np.arange(10)))
    superclass = CIFAR100_SUPERCLASS_OF[classes]
    assert figures["superclass_accuracy"] == np.mean(superclass[logits.argmax(1)] == superclass[labels])
    confidence = softmax(logits, 1).max(1)[0]  # of every answer: all rows hold the same numbers
    assert figures["ece"] == pytest.approx(abs(figures["accuracy"] - confidence), abs=1e-6)


def test_calibration_error_has_15_bins():
    """Answers at 0.61 are all right, those at 0.69 all wrong: they fall into two of 15 bins, but into one of 10."""
    logits = np.log([[0.61, 0.39], [0.69, 0.31]] * 50)
    figures = classification_figures(logits, np.array([0, 1] * 50))
    assert figures["ece"] == pytest.approx((0.39 + 0.69) / 2, abs=1e-3)


def test_answers_and_confidences_lead_to_the_same_figures():
    rng = np.random.default_rng(0)
    numbers = {"validation": 400, "test": 300}
    classes = np.array([70, 3, 41, 8, 99])
    labels = {part: rng.integers(0, 5, n) for part, n in numbers.items()}
    indices = {part: rng.permutation(n).astype(np.int32) for part, n in numbers.items()}
    logits = {
        part: {
            view: storable_logits(strength * np.eye(5)[labels[part]] + rng.normal(0, 2, (n, 5)))
            for view, strength in (("", 2.0), ("mirror", 3.0))
        }
        for part, n in numbers.items()
    }
    figures, predictions, stored = figures_and_answers(logits, labels, indices, classes)
    assert set(figures) == {"validation", "test", "calibration", "test_time_augmentation"}
    assert set(predictions) == {"validation_labels", "test_labels", "test_indices", "classes"} | {
        f"{part}_{kind}{view}"
        for part in numbers
        for kind in ("answers", "confidences", "calibrated_confidences")
        for view in ("", "_mirror")
    }
    by_view = {"": figures, "mirror": figures["test_time_augmentation"]["mirror"]}
    assert by_view["mirror"]["test"]["accuracy"] > figures["test"]["accuracy"]
    for view, of_view in by_view.items():
        suffix = f"_{view}" if view else ""
        temperature = of_view["calibration"]["temperature"]
        for part, n in numbers.items():
            answers, confidences, calibrated = (
                predictions[f"{part}_{kind}{suffix}"] for kind in ("answers", "confidences", "calibrated_confidences")
            )
            assert answers.dtype == np.uint8 and confidences.dtype == calibrated.dtype == np.float16
            right = answers == predictions[f"{part}_labels"]
            assert of_view[part]["accuracy"] == pytest.approx(right.mean())
            of_part = logits[part][view].astype(np.float64)
            for found, divisor in ((confidences, 1), (calibrated, temperature)):
                probabilities = np.exp(of_part / divisor)
                probabilities = (probabilities / probabilities.sum(1, keepdims=True))[np.arange(n), answers]
                np.testing.assert_allclose(found, probabilities, atol=2**-11)
            # the stored logits give the figures again
            assert classification_figures(stored[f"{part}_logits{suffix}"], labels[part], classes) == of_view[part]
    np.testing.assert_array_equal(predictions["classes"], classes)
    np.testing.assert_array_equal(predictions["test_indices"], indices["test"])
    for part in numbers:
        np.testing.assert_array_equal(stored[f"{part}_labels"], labels[part])
        np.testing.assert_array_equal(stored[f"{part}_indices"], indices[part])
    plain, arrays, _ = figures_and_answers({part: {"": logits[part][""]} for part in numbers}, labels, indices)
    assert "test_time_augmentation" not in plain and "classes" not in arrays


def test_robustness_is_accuracy_on_corrupted_images():
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    means = images.mean((1, 2, 3))
    labels = (means > np.median(means)).astype(int)
    seen = []

    def predict(batch):
        seen.append(batch)
        score = batch.mean((1, 2, 3)) - np.median(means)
        return np.stack([-score, score], 1)

    figures = robustness(predict, images, labels)
    assert {name: len(values) for name, values in figures.items()} == {n: 3 for n in corruptions.STRENGTHS}
    np.testing.assert_array_equal(
        seen[0], np.concatenate([corruptions.corrupt(images, "gaussian_noise", s) for s in (8, 16, 32)])
    )
    assert min(figures["blur"]) >= 0.9  # blur keeps the mean of an image
