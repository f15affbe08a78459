"""Finished runs with models of a few hundred weights, made in seconds without training: what the demo's tests use."""

import keras
import numpy as np

from hw2 import ensemble, evaluate, results
from hw2.labels import CIFAR100_CLASSES
from hw2.models import compact
from hw2.models.scratch import scratch_classifier

SUBSET = np.array([70, 3, 41, 8, 99])


def write_all(folder):
    """Write classifiers, one of them on a subset of classes and one with augmentation, an ensemble, segmenters."""
    write_classifier(folder / "plain", 0)
    write_classifier(folder / "best", 1, augmented=True, residual=True, advantage=2.0)
    write_classifier(folder / "few", 2, classes=SUBSET)
    write_classifier(folder / "rehearsal", 3, source="synthetic", advantage=9.0)
    config = {"experiment": "both", "budget": "cpu", "seed": 0, "task": "ensemble", "members": ["plain", "best"]}
    ensemble.run("both", config, results_dir=folder)
    write_segmenter(folder / "seg_book_transpose", "nearest")
    write_segmenter(folder / "seg_book_bilinear", "bilinear", iou=0.6)
    write_segmenter(folder / "seg_classes", "bilinear", outputs=21)
    return folder


def write_classifier(folder, seed, augmented=False, classes=None, source="cifar100", advantage=1.0, residual=False):
    """Write a run whose test figures grow with `advantage`; its model is random, of all classes or of `classes`."""
    rng = np.random.default_rng(seed)
    number = len(CIFAR100_CLASSES) if classes is None else len(classes)
    keras.utils.set_random_seed(seed)
    model = scratch_classifier(number, stem_filters=4, filters=(4, 6, 8), residual=residual)
    model.get_layer("head_logits").set_weights([rng.normal(0, 0.05, (8, number)), rng.normal(0, 0.5, number)])
    labels = np.random.default_rng(99).integers(0, number, 200)  # the same for all, as an ensemble needs it
    arrays, figures = {}, {}
    for part in ("validation", "test"):
        logits = evaluate.stored(advantage * np.eye(number)[labels] + rng.normal(0, 1, (200, number)))
        arrays |= {f"{part}_labels": labels.astype(np.uint8), f"{part}_indices": np.arange(200, dtype=np.int32)}
        arrays[f"{part}_logits"] = logits
        figures[part] = evaluate.classification_figures(logits, labels, classes)
        if augmented:
            arrays[f"{part}_logits_mirror"] = arrays[f"{part}_logits_mirror_shift"] = evaluate.stored(2.0 * logits)
    if augmented:
        figures["test_time_augmentation"] = {way: figures | {} for way in ("mirror", "mirror_shift")}
    if classes is not None:
        arrays["classes"] = classes.astype(np.uint8)
    history = [{"epoch": epoch, "val_accuracy": 0.1 * epoch, "val_loss": 4.0 / epoch} for epoch in (1, 2, 3)]
    data = {"source": source, "classes": number}
    results.write_arrays(folder / results.PREDICTIONS, arrays)
    finish(folder, model, {"task": "classification", "data": data, **figures}, history)


def write_segmenter(folder, interpolation, outputs=1, iou=0.5, size=32):
    """Write a run whose model takes for foreground what is more red than blue, on squares of 4 pixels."""
    inputs = keras.Input((size, size, 3))
    x = keras.layers.AveragePooling2D(4)(inputs)
    x = keras.layers.Conv2D(outputs, 1, name="logits")(x)
    x = keras.layers.UpSampling2D(4, interpolation=interpolation)(x)
    model = keras.Model(inputs, x)
    kernel = np.zeros((1, 1, 3, outputs))
    kernel[0, 0, 0, -1], kernel[0, 0, 2, -1] = 0.1, -0.1
    model.get_layer("logits").set_weights([kernel, np.zeros(outputs)])
    overall = {"dice": 2 * iou / (1 + iou), "iou": iou, "pixel_accuracy": 0.9}
    part = {"dataset": overall, "iou": iou, "accuracy": 0.9}
    data = {"source": "voc2012", "classes": 2 if outputs == 1 else outputs, "image_size": size}
    threshold = 0.4 if outputs == 1 else None
    history = [{"epoch": epoch, "val_iou": 0.1 * epoch, "val_loss": 1.0 / epoch} for epoch in (1, 2, 3)]
    metrics = {"task": "segmentation", "data": data, "threshold": threshold, "validation": part, "test": part}
    finish(folder, model, metrics, history)


def finish(folder, model, metrics, history):
    """Write the rest of a run and mark it as finished."""
    compact.round_kernels(model)
    with results.atomic_path(folder / results.MODEL) as temporary:
        compact.save(model, temporary)
    cost = {"seconds": 60.0, "parameters": model.count_params(), "device": "none"}
    shared = {"budget": "cpu", "seed": 0, "backend": "tensorflow", "precision": "float32", "cost": cost}
    results.write_json(folder / results.CONFIG, {"experiment": folder.name})
    results.write_csv(folder / results.HISTORY, history)
    results.write_json(folder / results.METRICS, metrics | shared)
    results.write_json(folder / results.FINAL, {"experiment": folder.name})
