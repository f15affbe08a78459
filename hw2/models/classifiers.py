"""The classifiers by the names that `hw2.experiments` uses: functions from `num_classes` and options to a model."""

from hw2.models.scratch import scratch_classifier, whitened_classifier
from hw2.models.vgg16 import vgg16_classifier

__all__ = ["scratch_classifier", "vgg16_classifier", "whitened_classifier"]
