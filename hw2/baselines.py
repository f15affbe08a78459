"""What needs no training: the figures that a segmenter has to beat. `seg_baselines` measures them as any other run.

Two constant answers, an ellipse in the middle (photographers centre what they mean), and GrabCut (Rother et al.,
"GrabCut", SIGGRAPH 2004, in OpenCV), which separates what is inside a centred rectangle from the colours outside it.
"""

import time
from pathlib import Path

import cv2
import numpy as np

from hw2 import evaluate, results, segmentation_metrics
from hw2.data import splits, voc2012
from hw2.data.voc2012 import from_square
from hw2.precision import device_name

SIZE = 160  # what GrabCut works on; as what the networks see
ELLIPSE_SIZES = np.arange(0.4, 1.45, 0.1)  # axes as shares of the image's sides; above 1 only the corners are left
GRABCUT_MARGIN, GRABCUT_ITERATIONS = 0.05, 5


def run(name, config, *, data_dir, results_dir, force=False):
    """Evaluate the baselines on the validation and test images unless that is finished; return the metrics.

    There are no predictions to dump, so `predictions.npz` holds what `voc2012.explore` finds: the facts of the data.
    """
    folder = Path(results_dir) / name
    if not force and results.open_run(folder, config):
        return results.read_metrics(folder)
    began, cpu_began = time.perf_counter(), time.process_time()
    _, validation = splits.load_training_masks(config["data"] | {"sbd": False}, data_dir, SIZE)
    test = splits.load_test_masks(config["data"], data_dir, SIZE)
    truths = {
        part: [splits.load_original(config["data"], data_dir, identifier)[1] for identifier in split.identifiers]
        for part, split in (("validation", validation), ("test", test))
    }
    sizes = {size: _iou(_repeat(ellipse(size), validation), truths["validation"]) for size in ELLIPSE_SIZES.tolist()}
    axis = max(sizes, key=sizes.get)
    methods = {
        "all_background": lambda split: _repeat(np.zeros((SIZE, SIZE)), split),
        "all_foreground": lambda split: _repeat(np.ones((SIZE, SIZE)), split),
        "centred_ellipse": lambda split: _repeat(ellipse(axis), split),
        "grabcut": lambda split: np.stack([grabcut(image) for image in split.images]),
    }
    baselines = {
        method: {
            part: evaluate.foreground(predict(split), truths[part], 0.5)[0]
            for part, split in (("validation", validation), ("test", test))
        }
        for method, predict in methods.items()
    }
    best = max(baselines, key=lambda method: baselines[method]["validation"]["iou"])
    metrics = {
        **{key: config[key] for key in ("task", "budget", "seed")},
        "backend": "none",
        "precision": "float32",
        "data": {
            "source": splits.masks_source(config["data"], data_dir),
            "classes": 2,
            "image_size": SIZE,
            "train": 0,
            "validation": len(validation.labels),
            "test": len(test.labels),
        },
        **baselines[best],
        "best": best,
        "ellipse_axis": axis,
        "baselines": {method: figures["test"] for method, figures in baselines.items()},
        "cost": {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu_began,
            "parameters": 0,
            "device": device_name(),
        },
    }
    explored = config["data"]["source"] == "voc2012"
    facts = {split: voc2012.explore(data_dir, split) for split in ("train", "val", "sbd")} if explored else {}
    if force:  # not before all is there to replace it
        results.open_run(folder, config, force=True)
    if facts:
        results.write_arrays(
            folder / results.PREDICTIONS,
            {f"{split}_{name}": values for split, arrays in facts.items() for name, values in arrays.items()},
        )
    results.write_json(folder / results.METRICS, metrics)
    results.close_run(folder, needed=(results.CONFIG, results.METRICS))
    return metrics


def ellipse(axis):
    """Return (SIZE, SIZE): 1 inside the centred ellipse whose axes are `axis` times the sides, 0 outside."""
    offset = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    return (np.hypot(offset[:, None], offset) <= axis / 2).astype(float)


def grabcut(image):
    """Return (SIZE, SIZE): 1 where GrabCut sees foreground, begun with a rectangle that leaves out a narrow margin.

    image: (SIZE, SIZE, 3) uint8, RGB. An image of one colour, in which nothing can be told apart, is all background.
    """
    mask, margin = np.zeros((SIZE, SIZE), np.uint8), round(GRABCUT_MARGIN * SIZE)
    rectangle = (margin, margin, SIZE - 2 * margin, SIZE - 2 * margin)
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(
            np.ascontiguousarray(image), mask, rectangle, *models, GRABCUT_ITERATIONS, mode=cv2.GC_INIT_WITH_RECT
        )
    except cv2.error:
        return np.zeros((SIZE, SIZE))
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(float)


def _repeat(answer, split):
    return np.broadcast_to(answer, (len(split.labels), *answer.shape))


def _iou(predictions, truths):
    """Return the data set's foreground IoU alone: the contours' figures take a hundred times as long."""
    total = sum(
        segmentation_metrics.counts(from_square(prediction, *truth.shape) >= 0.5, truth)
        for prediction, truth in zip(predictions, truths, strict=True)
    )
    return float(segmentation_metrics.overlap(total)["iou"])
