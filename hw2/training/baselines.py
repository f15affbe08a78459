"""Segmentations without training, which every segmenter has to beat: the run `seg_baselines` evaluates them.

Everything background, everything foreground, a centred ellipse (photographers centre their subjects), and GrabCut
(Rother et al., "GrabCut", SIGGRAPH 2004, in OpenCV), which separates the inside of a centred rectangle from the colours
outside it.
"""

import time
from pathlib import Path

import cv2
import numpy as np

from hw2 import files, runs
from hw2.data import splits, thumbnails, voc2012
from hw2.data.voc2012 import from_square
from hw2.hardware import device_name
from hw2.metrics.segmentation import TrueContour, counts, foreground_figures, foreground_row, overlap
from hw2.tasks import segmentation
from hw2.training.run import with_data_counts

SIZE = 160  # height and width of the images that the baselines see, in pixels, as for the networks
ELLIPSE_AXES = np.arange(0.4, 1.45, 0.1)  # as shares of the image's sides; above 1 only the corners are background
GRABCUT_MARGIN, GRABCUT_ITERATIONS = 0.05, 5


def run(name, config, *, data_dir, results_dir, force=False):
    """Evaluate the baselines on the validation and test images unless the run is finished; return its metrics.

    data_dir: folder of the data sets. results_dir: folder that gets `<name>/`. force: discard an earlier run.
    metrics: "baselines" {name: test figures}, "best" on the validation images, whose figures are "validation" and
    "test", and "ellipse_axis", chosen on the validation images.
    `predictions.npz`: thumbnails of the panel, which all segmentation runs share (panel_identifiers, panel_{i}_image,
    panel_{i}_truth, see `hw2.data.thumbnails`), and the facts of `hw2.data.voc2012.explore` for VOC and SBD.

    Raises ResultsError (the folder holds another or a damaged run) and DataError (no data).
    """
    folder = Path(results_dir) / name
    config = with_data_counts(config, segmentation, data_dir, None if force else folder)
    if not force and runs.is_finished(folder, config):
        return runs.read_metrics(folder)
    began, cpu_began = time.perf_counter(), time.process_time()
    validation = splits.load_validation_masks(config["data"], data_dir, SIZE)
    test = splits.load_test_masks(config["data"], data_dir, SIZE)
    axis = best_ellipse_axis(config, validation, data_dir)
    masks = {"background": np.zeros((SIZE, SIZE)), "foreground": np.ones((SIZE, SIZE)), "ellipse": ellipse(axis)}
    methods = {
        "all_background": lambda image: masks["background"],
        "all_foreground": lambda image: masks["foreground"],
        "centred_ellipse": lambda image: masks["ellipse"],
        "grabcut": grabcut,
    }
    of_validation, of_test = (evaluate(config, split, data_dir, methods) for split in (validation, test))
    best = max(methods, key=lambda method: of_validation[method]["iou"])
    metrics = {
        **{key: config[key] for key in ("task", "budget", "seed", "data")},
        "backend": "none",
        "precision": "float32",
        **runs.provenance(),
        "validation": of_validation[best],
        "test": of_test[best],
        "best": best,
        "ellipse_axis": axis,
        "baselines": of_test,
        "cost": {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu_began,
            "parameters": 0,
            "device": device_name(),
        },
    }
    predictions = panel(config, test, data_dir)
    if config["data"]["source"] != "synthetic":
        for split in ("train", "val", "sbd"):
            facts = voc2012.explore(data_dir, split)
            predictions |= {f"{split}_{name}": values for name, values in facts.items()}
    runs.begin_run(folder, config, force)
    files.write_arrays(folder / runs.PREDICTIONS, predictions)
    files.write_json(folder / runs.METRICS, metrics)
    runs.close_run(folder, needed=(runs.CONFIG, runs.METRICS, runs.PREDICTIONS))
    return metrics


def evaluate(config, split, data_dir, methods):
    """Return `{method: figures}`. methods: {name: function from an image to a mask (SIZE, SIZE) of 0 and 1}."""
    evaluated = {method: [] for method in methods}
    for image, identifier in zip(split.images, split.identifiers, strict=True):
        truth = splits.load_mask(config["data"], data_dir, identifier)
        contour = TrueContour(truth)
        for method, answer in methods.items():
            prediction = from_square(answer(image), *truth.shape) >= 0.5
            evaluated[method].append(foreground_row(prediction, truth, contour))
    return {method: foreground_figures(*zip(*pairs, strict=True)) for method, pairs in evaluated.items()}


def best_ellipse_axis(config, split, data_dir):
    """Return the axis in `ELLIPSE_AXES` whose ellipse has the greatest IoU over all pixels; the smallest of equals."""
    ellipses = {axis: ellipse(axis) for axis in ELLIPSE_AXES.tolist()}
    totals = dict.fromkeys(ellipses, 0)
    for identifier in split.identifiers:
        truth = splits.load_mask(config["data"], data_dir, identifier)
        for axis, mask in ellipses.items():
            totals[axis] = totals[axis] + counts(from_square(mask, *truth.shape) >= 0.5, truth)
    return max(totals, key=lambda axis: overlap(totals[axis])["iou"])


def panel(config, test, data_dir):
    """Return the images and the true masks of the panel as arrays of `predictions.npz`."""
    identifiers = [test.identifiers[position] for position in thumbnails.panel(len(test.identifiers))]
    arrays = {"panel_identifiers": np.array(identifiers)}
    for index, identifier in enumerate(identifiers):
        image, truth = splits.load_original(config["data"], data_dir, identifier)
        arrays[f"panel_{index}_image"] = thumbnails.of_image(image)
        arrays[f"panel_{index}_truth"] = thumbnails.of_mask(truth)
    return arrays


def ellipse(axis):
    """Return (SIZE, SIZE): 1 inside the centred ellipse whose axes are `axis` times the sides, 0 outside."""
    offset = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    return (np.hypot(offset[:, None], offset) <= axis / 2).astype(float)


def grabcut(image):
    """Return (SIZE, SIZE): 1 where GrabCut finds foreground, starting from a rectangle that omits a narrow margin.

    image: (SIZE, SIZE, 3) uint8, RGB. An image of one colour, in which nothing can be separated, is all background.
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
