"""Classification as a task: data, targets, loss, and the measurement at the end of a run."""

import functools

import keras
import numpy as np

from hw2.data import splits
from hw2.data.batches import predict
from hw2.metrics.classification import figures_and_answers, robustness
from hw2.metrics.combine import predict_views, storable_logits
from hw2.models.grad_cam import grad_cam
from hw2.tasks.protocol import Measurement

METRIC = "accuracy"


def data_is_here(config, data_dir):
    """Return True, since the counts of CIFAR-100 are fixed and are not read from the data."""
    return True


def count_data(config, data_dir):
    """Return `config["data"]`, whose counts are those of all classes."""
    return config["data"]


def load_training(config, data_dir):
    """Return the `(train, validation)` parts of the data that `config` names, as `hw2.data.splits.Split`."""
    return splits.load_training(config["data"], data_dir)


def load_validation(config, data_dir):
    """Return the validation part of `load_training`. CIFAR-100 keeps both parts in one file, which is read whole."""
    return splits.load_training(config["data"], data_dir)[1]


def targets(labels, config):
    """Return one-hot float32 rows (n, classes)."""
    return np.eye(config["data"]["classes"], dtype=np.float32)[labels]


def sampling_weights(labels, config):
    """Return equal weights (n,): CIFAR-100 has equally many images of each class."""
    return np.ones(len(labels))


def loss_and_metric(phase, config):
    """Return the cross-entropy with the label smoothing of the phase, and the accuracy."""
    return (
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=phase.label_smoothing),
        keras.metrics.CategoricalAccuracy(METRIC),
    )


def measure(config, model, validation, data_dir):
    """Return the Measurement of a classifier on the validation and test images.

    figures, predictions and logits: see `hw2.metrics.classification.figures_and_answers`; also "robustness" and the
    arrays grad_cam_* if they are among the extras.

    Raises OverflowError where logits are not finite or exceed the range of float16.
    """
    logits_of = functools.partial(predict, model)
    test = splits.load_test(config["data"], data_dir)
    num_classes, extras = config["data"]["classes"], config["extras"]
    classes = None if num_classes == 100 else splits.class_subset(num_classes)
    logits, labels, indices = {}, {}, {}
    for part, split in (("validation", validation), ("test", test)):
        logits[part] = {"": storable_logits(logits_of(split.images))}
        if "test_time_augmentation" in extras:
            logits[part] |= predict_views(logits_of, split.images)
        labels[part], indices[part] = split.labels, split.indices
    figures, predictions, stored = figures_and_answers(logits, labels, indices, classes)
    if "robustness" in extras:
        figures["robustness"] = robustness(logits_of, test.images, test.labels)
    if "grad_cam" in extras:
        predictions |= grad_cam_examples(model, test)
    return Measurement(figures, predictions, stored)


def grad_cam_examples(model, test, count=8):
    """Return Grad-CAM maps of test images, with images, labels and answers, as arrays of `predictions.npz`.

    The images are evenly spaced in the file, so that they are not selected by hand and show many classes even if the
    file is sorted by class.
    """
    chosen = np.arange(count) * len(test.labels) // count
    images, labels = test.images[chosen], test.labels[chosen]
    answers = model.predict_on_batch(images.astype(np.float32)).argmax(-1)
    return {
        "grad_cam_images": images,
        "grad_cam_labels": labels.astype(np.uint8),
        "grad_cam_answers": answers.astype(np.uint8),
        "grad_cam_maps": np.stack([grad_cam([model], *pair) for pair in zip(images, answers, strict=True)]),
    }
