"""What `hw2.train` needs to know of classification: data, targets, loss, and what is measured at the end."""

import functools

import keras
import numpy as np

from hw2 import evaluate, explain
from hw2.data import splits
from hw2.data.batches import predict
from hw2.models import classifiers as models  # noqa: F401  by name, for `hw2.train`

METRIC = "accuracy"


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


def measure(config, model, train, validation, data_dir, folder):
    """Return `(data, figures, predictions)`: what was measured on, what came out, and the logits behind it.

    The test images are loaded here, at the end of a run, and nowhere else.
    """
    figures, predictions, augmented = {}, {}, {}
    logits_of = functools.partial(predict, model)
    test = splits.load_test(config["data"], data_dir)
    classes = splits.class_subset(num_classes(config)) if "classes" in config["data"] else None
    for part, split in (("validation", validation), ("test", test)):
        logits, figures[part] = evaluate.classification(logits_of, split.images, split.labels, classes)
        predictions |= {
            f"{part}_logits": logits,
            f"{part}_labels": split.labels.astype(np.uint8),
            f"{part}_indices": split.indices,
        }
        if "test_time_augmentation" in config.get("extras", ()):
            for kind, logits in evaluate.predict_augmented(logits_of, split.images).items():
                predictions[f"{part}_logits_{kind}"] = logits
                augmented.setdefault(kind, {})[part] = evaluate.classification_figures(logits, split.labels, classes)
    if augmented:
        figures["test_time_augmentation"] = augmented
    if "robustness" in config.get("extras", ()):
        figures["robustness"] = evaluate.robustness(logits_of, test.images, test.labels)
    if "grad_cam" in config.get("extras", ()):
        predictions |= grad_cam_examples(model, test)
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


def grad_cam_examples(model, test, count=8):
    """Return arrays that show where the model looked on test images; for the report, which has no model.

    They lie at equal distances in the file: chosen by nobody, and of many classes even where it is sorted by class.
    """
    chosen = np.arange(count) * len(test.labels) // count
    images, labels = test.images[chosen], test.labels[chosen]
    answers = model.predict_on_batch(images.astype(np.float32)).argmax(-1)
    return {
        "grad_cam_images": images,
        "grad_cam_labels": labels.astype(np.uint8),
        "grad_cam_answers": answers.astype(np.uint8),
        "grad_cam_maps": np.stack([explain.grad_cam([model], *pair) for pair in zip(images, answers, strict=True)]),
    }
