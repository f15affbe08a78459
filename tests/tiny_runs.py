"""Finished runs with models of a few hundred weights, written in seconds without training."""

import keras
import numpy as np
from factories import classifier, configuration, history, segmenter

from hw2 import files, runs
from hw2.data.splits import class_subset
from hw2.models import float16_file, registry
from hw2.training import ensemble

SUBSET = class_subset(5)


def write_all(folder):
    """Write classifiers, one of them on a subset of classes and one with augmentation, an ensemble, segmenters."""
    write_classifier(folder / "plain", 0)
    write_classifier(folder / "best", 1, augmented=True, residual=True, advantage=2.0)
    write_classifier(folder / "few", 2, classes=len(SUBSET))
    write_classifier(folder / "rehearsal", 3, source="synthetic", advantage=9.0)
    write_ensemble(folder / "both", ["plain", "best"])
    write_segmenter(folder / "seg_book_transpose", "nearest")
    write_segmenter(folder / "seg_book_bilinear", "bilinear", iou=0.6)
    write_segmenter(folder / "seg_classes", "bilinear", classes=21)
    return folder


def write_classifier(folder, seed, augmented=False, classes=100, source="cifar100", advantage=1.0, residual=False):
    """Write a run whose figures grow with `advantage`; its model is random, for `classes` classes."""
    arguments = {"stem_filters": 4, "filters": (4, 6, 8), "residual": residual}
    extras = ["test_time_augmentation"] if augmented else []
    config = configuration(
        folder.name, "classification", classes=classes, arguments=arguments, extras=extras, source=source
    )
    keras.utils.set_random_seed(seed)
    model = registry.build(config["model"], classes, **config["model_arguments"])
    rng = np.random.default_rng(seed)
    model.get_layer("head_logits").set_weights([rng.normal(0, 0.05, (8, classes)), rng.normal(0, 0.5, classes)])
    metrics, predictions, logits = classifier(config, seed=seed, advantage=advantage, parameters=model.count_params())
    files.write_arrays(folder / runs.PREDICTIONS, predictions)
    files.write_arrays(folder / runs.LOGITS, logits)
    finish(folder, config, metrics, model, history("accuracy"))


def write_ensemble(folder, members):
    """Combine the runs `members` beside `folder`."""
    config = {"experiment": folder.name, "budget": "cpu", "seed": 0, "task": "ensemble", "members": members}
    ensemble.run(folder.name, config, results_dir=folder.parent)


def write_segmenter(folder, interpolation, classes=2, iou=0.5, size=32):
    """Write a run whose model predicts foreground where an image is more red than blue, on squares of 4 pixels."""
    outputs = 1 if classes == 2 else classes
    inputs = keras.Input((size, size, 3))
    x = keras.layers.AveragePooling2D(4)(inputs)
    x = keras.layers.Conv2D(outputs, 1, name="logits")(x)
    x = keras.layers.UpSampling2D(4, interpolation=interpolation)(x)
    model = keras.Model(inputs, x)
    kernel = np.zeros((1, 1, 3, outputs))
    kernel[0, 0, 0, -1], kernel[0, 0, 2, -1] = 0.1, -0.1
    model.get_layer("logits").set_weights([kernel, np.zeros(outputs)])
    arguments = {"image_size": size, "decoder": "transpose" if "transpose" in folder.name else "bilinear"}
    extras = ["test_time_augmentation"] if classes > 2 else []
    config = configuration(folder.name, "segmentation", classes=classes, arguments=arguments, extras=extras)
    finish(folder, config, segmenter(config, iou=iou, parameters=model.count_params()), model, history("iou"))


def finish(folder, config, metrics, model, history):
    """Write the rest of a run and mark it as finished."""
    float16_file.round_kernels(model)
    with files.atomic_path(folder / runs.MODEL) as temporary:
        float16_file.save(model, temporary)
    files.write_json(folder / runs.CONFIG, config)
    files.write_csv(folder / runs.HISTORY, history)
    files.write_json(folder / runs.METRICS, metrics)
    runs.write_final(folder, "2026-01-01T00:00:00+00:00")
