"""What `hw2.train` needs to know of classification: data, targets, loss, and what is measured at the end."""

import keras
import numpy as np

from hw2 import evaluate
from hw2.data import splits
from hw2.models import classifiers as models  # noqa: F401  by name, for `hw2.train`

METRIC = "accuracy"
PREDICTION_BATCH_SIZE = 250


def load_training(config, data_dir):
    """Return the `(train, validation)` parts of the data that `config` names."""
    return splits.load_training(config["data"], data_dir)


def num_classes(config):
    return config["data"].get("classes", 100)


def targets(labels, config):
    """Return one-hot float32 rows (n, classes)."""
    return np.eye(num_classes(config), dtype=np.float32)[labels]


def loss_and_metric(phase, config):
    return (
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=phase.label_smoothing),
        keras.metrics.CategoricalAccuracy(METRIC),
    )


def measure(config, predict, train, validation, data_dir, folder):
    """Return `(data, figures, predictions)`: what was measured on, what came out, and the logits behind it.

    predict: function from images to logits. The test images are loaded here, at the end of a run, and nowhere else.
    """
    figures, predictions, augmented = {}, {}, {}
    test = splits.load_test(config["data"], data_dir)
    classes = splits.class_subset(num_classes(config)) if "classes" in config["data"] else None
    for part, split in (("validation", validation), ("test", test)):
        logits, figures[part] = evaluate.classification(predict, split.images, split.labels, classes)
        predictions |= {
            f"{part}_logits": logits,
            f"{part}_labels": split.labels.astype(np.uint8),
            f"{part}_indices": split.indices,
        }
        if "test_time_augmentation" in config.get("extras", ()):
            for kind, logits in evaluate.predict_augmented(predict, split.images).items():
                predictions[f"{part}_logits_{kind}"] = logits
                augmented.setdefault(kind, {})[part] = evaluate.classification_figures(logits, split.labels, classes)
    if augmented:
        figures["test_time_augmentation"] = augmented
    if "robustness" in config.get("extras", ()):
        figures["robustness"] = evaluate.robustness(predict, test.images, test.labels)
    if classes is not None:
        predictions["classes"] = classes.astype(np.uint8)
    data = {
        "source": config["data"]["source"],
        "classes": num_classes(config),
        "train": len(train.labels),
        "validation": len(validation.labels),
        "test": len(test.labels),
    }
    return data, figures, predictions
