"""The loss of a classifier, by hand."""

import numpy as np
import pytest
from scipy.special import log_softmax

from hw2.experiments.schema import Phase
from hw2.tasks import classification


def test_the_label_smoothing_is_that_of_the_phase():
    """A fifth of the target is spread evenly over all four classes."""
    phase = Phase(epochs=1, learning_rate=0.1, label_smoothing=0.2)
    loss, _ = classification.loss_and_metric(phase, {"data": {"classes": 4}})
    logits, smoothed = np.array([[2.0, 0, 0, 0]]), np.array([0.85, 0.05, 0.05, 0.05])
    expected = -(smoothed * log_softmax(logits[0])).sum()
    assert float(loss(np.eye(4)[:1], logits)) == pytest.approx(expected, rel=1e-5)
