"""Views of an image, with a function whose predictions are known; the format of stored logits; ensembles."""

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from hw2.metrics import combine
from hw2.metrics.combine import predict_views, storable_logits


def test_views_are_averaged():
    """A bright pixel, and a "model" that tells its column: the views can be read from the average."""
    images = np.zeros((1, 9, 9, 3), np.uint8)
    images[0, 4, 3] = 255

    def predict(views):
        return 20 * (views[:, 4, :, 0] / 255.0)

    views = predict_views(predict, images)
    assert set(views) == set(combine.VIEWS)
    mirror = softmax(views["mirror"].astype(float), -1)[0]
    np.testing.assert_allclose(mirror[[3, 5]], 0.5, atol=1e-3)
    # the shifts up and down leave the row empty (4 of 10 views, which give a uniform answer)
    both = softmax(views["mirror_shift"].astype(float), -1)[0]
    counts = {3: 1 + 1, 5: 1 + 1, 1: 1, 7: 1}  # 3, and by shifts 3 + 2, 3 - 2; mirrored 5, and by shifts 5 - 2, 5 + 2
    for column, count in counts.items():
        assert both[column] == pytest.approx(count / 10 + 0.4 / 9, abs=2e-3)


def test_storable_logits_are_float16_or_refused():
    logits = np.array([[65_504.0, -65_504.0, 1.0009765625, 0.1]])
    stored = storable_logits(logits)
    assert stored.dtype == np.float16 and stored[0, :3].tolist() == [65_504, -65_504, 1.0009765625]
    assert float(stored[0, 3]) == 0.0999755859375  # the nearest float16
    assert storable_logits(np.zeros((0, 5))).shape == (0, 5)
    # 65,519 would still be rounded to the largest float16, but every value beyond the range is refused alike
    for value in (65_519, -1e6, np.inf, -np.inf, np.nan):
        with pytest.raises(OverflowError, match="beyond the range of float16"):
            storable_logits(np.array([[0.0, value]]))


def test_ways_of_combining_by_hand():
    """Two members of one image and two classes, with probabilities 0.9 and 0.5 of the first class."""
    logits = np.log([[[0.9, 0.1]], [[0.5, 0.5]]])
    ways = combine.combine({"test": logits}, np.array([0.75, 0.25]))
    found = {way: softmax(parts["test"].astype(float), -1)[0, 0] for way, parts in ways.items()}
    expected = {
        "mean_logits": 3 / (3 + 1),  # odds 9 and 1: their geometric mean is 3
        "mean_probabilities": 0.7,
        "weighted_probabilities": 0.75 * 0.9 + 0.25 * 0.5,
    }
    assert found == pytest.approx(expected, abs=1e-3)
    only_second = combine.mean_of_probabilities(logits, np.array([0.0, 1.0]))
    np.testing.assert_allclose(softmax(only_second, -1), [[0.5, 0.5]])


def test_weights_have_the_lowest_cross_entropy_of_a_grid():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    logits = np.stack([strength * np.eye(4)[labels] + rng.normal(size=(300, 4)) for strength in (1.2, 1.0, 0.0)])
    weights = combine.fit_weights(logits, labels)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all() and weights[0] > weights[1] > weights[2]

    def loss(weights):
        probabilities = np.tensordot(weights, softmax(logits, -1), 1)
        return -np.mean(np.log(probabilities[np.arange(300), labels]))

    grid = [(a, b, 1 - a - b) for a, b in itertools.product(np.arange(0, 1.01, 0.05), repeat=2) if a + b <= 1]
    assert loss(weights) <= min(map(loss, grid)) + 1e-6 and weights[1] > 0.1


def test_accuracy_by_size_by_hand():
    """Three members, each certain; the third is always wrong about the second image."""
    answers = np.array([[0, 1, 2], [0, 1, 0], [0, 2, 2]])
    logits = log_softmax(10.0 * np.eye(3)[answers] + np.array([0.3, 0.2, 0.1])[:, None, None] * np.eye(3)[answers], -1)
    rows = combine.accuracy_by_size(logits, np.array([0, 1, 2]))
    assert [row["members"] for row in rows] == [1, 2, 3]
    assert (rows[0]["least"], rows[0]["most"]) == pytest.approx((2 / 3, 1)) and rows[0]["mean"] == pytest.approx(7 / 9)
    assert rows[2]["least"] == rows[2]["most"] == 1  # the majority is right about each image
