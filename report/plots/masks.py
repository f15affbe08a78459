"""Photographs with masks: examples of the data, outputs of segmenters, enlarged details."""

import numpy as np
from runs import PANEL
from scipy.ndimage import gaussian_filter

from hw2.data.thumbnails import decode
from hw2.labels import VOC_CLASSES, VOC_PALETTE, VOID
from plots.palette import BLUE, ORANGE, PALE, RED
from plots.style import WIDTH, subplots, waiting


def panel(runs, run, position):
    """Return one of the test images that all runs share, with a run's output for it.

    A dictionary of arrays (height, width) uint8: truth (classes), probability (of foreground, times 255), of 21 classes
    also prediction (classes), and image (height, width, 3). run: None for image and truth alone.
    """
    shared, own = runs.arrays(PANEL), runs.arrays(run) if run else {}
    found = {"image": decode(shared[f"panel_{position}_image"]), "truth": shared[f"panel_{position}_truth"]}
    keys = ("probability", "prediction")
    return found | {key: own[f"panel_{position}_{key}"] for key in keys if f"panel_{position}_{key}" in own}


def example(runs, run, identifier):
    """Return one of a run's own examples, as `panel` does. identifier: one of `metrics["examples"]`."""
    arrays = runs.arrays(run)
    start = f"example_{list(arrays['example_identifiers']).index(identifier)}_"
    found = {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
    return found | {"image": decode(found["image"])}


def overlay(image, mask, colour=None, strength=0.55):
    """Return the image with a mask laid over it: foreground in one colour, or each class in VOC's."""
    inside = (mask > 0) & (mask != VOID)
    paint = VOC_PALETTE[mask] if colour is None else np.broadcast_to(colour, image.shape)
    mixed = np.where(inside[..., None], (1 - strength) * image + strength * paint, image)
    return mixed.astype(np.uint8)


def pictures(axes, images):
    for ax, image in zip(axes, images, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_axis_off()


def headings(axes, titles):
    """Write the title of each column of pictures above its first one. axes: the first row."""
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=8, fontweight="normal", loc="center")


def errors(prediction, truth):
    """Return a picture of right and wrong pixels: found blue, missed orange, false positives red, void pale."""
    foreground, void = (truth > 0) & (truth != VOID), truth == VOID
    picture = np.full((*truth.shape, 3), 255, np.uint8)
    for where, colour in (
        (foreground & prediction, BLUE),
        (foreground & ~prediction, ORANGE),
        (~foreground & prediction, RED),
        (void, PALE),
    ):
        picture[where] = [int(colour[index : index + 2], 16) for index in (1, 3, 5)]
    return picture


def voc_examples(runs, count=4):
    """A few test images with mask and overlay in the official colours."""
    if not runs.has_panel(PANEL):
        return waiting([PANEL])
    shown = range(min(count, len(runs.arrays(PANEL)["panel_identifiers"])))
    fig, axes = subplots(3, len(shown), figsize=(WIDTH, 3.3), squeeze=False)
    for column, position in enumerate(shown):
        found = panel(runs, None, position)
        mask = VOC_PALETTE[found["truth"]]
        pictures(axes[:, column], [found["image"], mask, overlay(found["image"], found["truth"])])
    return fig


OUTPUTS = {"best": 1, "median": 2, "worst": 1, "worst_large": 1}  # number of examples of each kind that are shown


def examples(runs, run, kind):
    """Return the identifiers of a run's test images that `outputs` shows of a kind."""
    return list(dict.fromkeys(runs.get(run, f"examples.{kind}") or []))[: OUTPUTS[kind]]


def outputs(runs, names):
    """Best, median and worst test images by IoU: image, truth, probability, right and wrong pixels."""
    run = next((name for name in runs.first(names) if "example_identifiers" in runs.arrays(name)), None)
    if run is None:
        return waiting(names)
    chosen = [(kind, identifier) for kind in OUTPUTS for identifier in examples(runs, run, kind)]
    threshold = runs.get(run, "threshold") or 0.5
    table = runs.images(run)
    scores = {} if table.empty else dict(zip(table["identifier"].astype(str), table["iou"], strict=True))
    fig, axes = subplots(len(chosen), 4, figsize=(WIDTH, 0.98 * len(chosen)), squeeze=False)
    headings(axes[0], ("image", "truth", "probability", "right and wrong"))
    for row, (kind, identifier) in zip(axes, chosen, strict=True):
        found = example(runs, run, identifier)
        probability = found["probability"]
        answer = found["prediction"] > 0 if "prediction" in found else probability >= 255 * threshold
        wrong = errors(answer, found["truth"])
        pictures(row, [found["image"], overlay(found["image"], found["truth"]), probability, wrong])
        score = scores.get(identifier)
        label = kind.replace("_large", ",\nlarge") + ("" if score is None else f"\nIoU {score:.2f}")
        row[0].text(-0.06, 0.5, label, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    return fig


def class_outputs(runs, run, count=6):
    """Test images at equal distances in the panel: image, truth and answer in the official colours, classes by name."""
    if not runs.has_panel(run):
        return waiting(runs.missing([PANEL, run]) or [run])
    panels = len(runs.arrays(run)["panel_identifiers"])
    shown = np.unique(np.linspace(0, panels - 1, min(count, panels)).astype(int))
    fig, axes = subplots(3, len(shown), figsize=(WIDTH, 3.7), squeeze=False)
    for column, position in zip(axes.T, shown, strict=True):
        found = panel(runs, run, position)
        masks = found["truth"], found["prediction"]
        pictures(column, [found["image"], *(overlay(found["image"], mask) for mask in masks)])
        for ax, mask in zip(column[1:], masks, strict=True):
            named = [VOC_CLASSES[index] for index in range(1, 21) if (mask == index).mean() > 0.01]
            text = ", ".join(named[:2]) + (" ..." if len(named) > 2 else "")
            ax.text(0.5, -0.04, text, transform=ax.transAxes, ha="center", va="top", fontsize=6.5)
    for ax, title in zip(axes[:, 0], ("image", "truth", "answer"), strict=True):
        ax.text(-0.06, 0.5, title, transform=ax.transAxes, ha="right", va="center", fontsize=8)
    return fig


def zoom(runs, names, count=3):
    """The same details of the probability maps of two decoders, enlarged without smoothing, and their fine structure.

    Fine structure: a map minus its Gaussian blur, amplified by the same factor for both decoders.
    """
    pair = runs.first(names)
    if len(pair) < 2 or not all(runs.has_panel(run) for run in pair):
        return waiting([PANEL, *names])
    crops = []
    for position in range(len(runs.arrays(PANEL)["panel_identifiers"])):
        found = [panel(runs, run, position) for run in pair]
        window = busiest(found[0]["truth"])
        crops.append((border_share(found[0]["truth"][window]), window, found))
    crops = sorted(crops, key=lambda crop: -crop[0])[:count]
    fig, axes = subplots(len(crops), 6, figsize=(WIDTH, 1.15 * len(crops)), squeeze=False)
    headings(axes[0], ("image", "truth", "transposed", "bilinear", "transposed, fine", "bilinear, fine"))
    for row, (_, window, (one, two)) in zip(axes, crops, strict=True):
        maps = [found["probability"].astype(float) for found in (one, two)]
        fine = np.stack([(values - gaussian_filter(values, 4))[window] for values in maps])
        fine = 127.5 * (1 + fine / np.quantile(np.abs(fine), 0.98).clip(1))
        parts = [one["image"], overlay(one["image"], one["truth"]), *maps]
        pictures(row, [*(part[window] for part in parts), *fine])
    return fig


def busiest(truth, size=56):
    """Return the window with the most boundary of the truth, as slices."""
    edges = contour(truth)
    height, width = (min(size, side) for side in truth.shape)
    total = np.pad(edges.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return slice(top, top + height), slice(left, left + width)


def border_share(truth):
    return float(contour(truth).mean())


def contour(truth):
    inside = (truth > 0) & (truth != VOID)
    edges = np.zeros(truth.shape, int)
    edges[:, 1:] |= inside[:, 1:] ^ inside[:, :-1]
    edges[1:] |= inside[1:] ^ inside[:-1]
    return edges
