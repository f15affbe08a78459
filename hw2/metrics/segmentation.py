"""Metrics of segmentation on NumPy arrays, each with its definition and source. No Keras.

Masks are (height, width) labels: 0 is background, labels above it are foreground, and `VOID` pixels are ignored. Which
metric answers which question: Maier-Hein et al., "Metrics Reloaded", Nature Methods 2024.

Images are evaluated one at a time: `foreground_row` and `class_row` return the figures and the pixel counts of one
image, `foreground_figures` and `class_figures` aggregate those of a data set.

Empty masks. A ratio with an empty denominator is 1, because nothing was wrong: Dice, IoU, precision, recall, boundary
IoU and boundary F1 of two empty masks, the precision of an empty prediction and the recall of an empty truth. If only
one of the masks is empty, overlap and boundary scores are 0, and the distances, which have no finite value, are set to
the greatest possible one, the image diagonal.
"""

import functools

import numpy as np
from scipy.ndimage import distance_transform_cdt, distance_transform_edt, uniform_filter
from scipy.special import expit, softmax

from hw2.data.voc2012 import from_square
from hw2.labels import VOID
from hw2.metrics.intervals import bootstrap_mean, bootstrap_total

BOUNDARY_WIDTH = 0.02  # of the diagonal; Cheng et al., "Boundary IoU", CVPR 2021, section 4
BOUNDARY_TOLERANCE = 0.0075  # of the diagonal; Csurka et al., "What is a good evaluation measure ...?", BMVC 2013
LEVELS = 256  # thresholds of the precision-recall curve: multiples of 1 / 256
POOLED = ("iou", "dice")  # figures over all pixels that get an interval
STRIDES = (2, 4, 8)  # of a decoder's steps, in pixels of its output


def probabilities_of(logits, of_mirror=None):
    """Return the probabilities (n, height, width) of the foreground for one logit per pixel, else those of the classes.

    logits: (n, height, width, outputs). of_mirror: logits of the mirror images, whose probabilities are mirrored back
    and averaged with the others.
    """
    probabilities = expit(logits[..., 0]) if logits.shape[-1] == 1 else softmax(logits, axis=-1)
    return probabilities if of_mirror is None else (probabilities + probabilities_of(of_mirror)[:, :, ::-1]) / 2


def mean_of_maps(maps):
    """Return the mean of maps of probabilities, (size, size[, classes]) float32, at the size of the first one."""
    first, *others = maps
    return np.mean([first, *(from_square(one, *first.shape[:2]) for one in others)], axis=0, dtype=np.float32)


def foreground_row(prediction, truth, contour=None):
    """Return `(row, counts)` of one image, for foreground against background.

    prediction: (height, width) bool. truth: (height, width) labels. contour: `TrueContour(truth)`, where it has been
    computed before. row: {"foreground_share": of the labelled pixels, and the figures of `overlap` and `boundary`}.
    counts: see `counts`.
    """
    pixels = counts(prediction, truth)
    figures = _floats(overlap(pixels)) | boundary(prediction, contour or TrueContour(truth))
    return _foreground_share(pixels) | figures, pixels


def foreground_figures(rows, counts_of_images):
    """Return the figures of a data set from the rows and the counts of its images, as `foreground_row` returns them.

    "dataset": `overlap` over all pixels; "intervals": {name: {"low", "high"}} of IoU and Dice over all pixels, by a
    bootstrap over images; "images": {name: {"mean", "low", "high"}}, means over images with bootstrap intervals; "iou"
    and "accuracy" of the data set.
    """
    dataset = _floats(overlap(np.sum(counts_of_images, 0)))
    return {
        "dataset": dataset,
        "intervals": {
            name: _interval(counts_of_images, lambda total, name=name: overlap(total)[name]) for name in POOLED
        },
        "images": _means(rows),
        "iou": dataset["iou"],
        "accuracy": dataset["pixel_accuracy"],
    }


def class_row(prediction, truth, num_classes):
    """Return `(row, matrix)` of one image, for several classes.

    prediction, truth: (height, width) labels. row: "foreground_share"; "iou", the mean over the classes in the truth or
    in the prediction; "pixel_accuracy"; for everything but background the figures of `overlap`, named "foreground_...",
    and of `boundary`. matrix: see `confusion`.
    """
    matrix = confusion(prediction, truth, num_classes)
    pixels = _foreground_counts(matrix)
    row = {
        "iou": float(np.nanmean(class_iou(matrix))),
        "pixel_accuracy": float(np.trace(matrix) / max(1, matrix.sum())),
        **{f"foreground_{name}": value for name, value in _floats(overlap(pixels)).items()},
    }
    return _foreground_share(pixels) | row | boundary(prediction > 0, TrueContour(truth)), matrix


def class_figures(rows, matrices):
    """Return the figures of a data set from the rows and matrices of its images, as `class_row` returns them.

    "iou": mean over the classes, and "accuracy", both over all pixels; "intervals": {"iou": {"low", "high"}} by a
    bootstrap over images; "class_iou": of each class, None if it never occurs; "confusion": in pixels; "images": see
    `foreground_figures`; "foreground": {"dataset": `overlap` over all pixels of everything but background}.
    """
    matrix = np.sum(matrices, 0)
    ious = class_iou(matrix)
    return {
        "iou": float(np.nanmean(ious)),
        "accuracy": float(np.trace(matrix) / matrix.sum()),
        "intervals": {"iou": _interval(matrices, lambda total: np.nanmean(class_iou(total)))},
        "class_iou": [None if np.isnan(iou) else float(iou) for iou in ious],
        "confusion": matrix.tolist(),
        "images": _means(rows),
        "foreground": {"dataset": _floats(overlap(_foreground_counts(matrix)))},
    }


def counts(prediction, truth):
    """Return `[true positive, false positive, false negative, true negative]` pixels, (4,) int64, without void ones.

    prediction: (height, width) bool. truth: (height, width) labels.
    """
    valid, foreground = truth != VOID, (truth > 0) & (truth != VOID)
    inside = prediction & valid
    both = np.count_nonzero(inside & foreground)
    predicted, true, pixels = np.count_nonzero(inside), np.count_nonzero(foreground), np.count_nonzero(valid)
    return np.array([both, predicted - both, true - both, pixels - predicted - true + both])


def overlap(pixel_counts):
    """Return pixel accuracy, precision, recall, Dice, IoU of foreground and background and their mean.

    pixel_counts: (..., 4) as `counts` returns them; for figures of a data set, their sum. Dice is 2 TP / (2 TP + FP +
    FN), IoU is TP / (TP + FP + FN). Since Dice = 2 IoU / (1 + IoU) on one mask, both rank single masks alike; their
    means over images may rank differently.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(pixel_counts, np.float64), -1, 0)
    iou, iou_background = _ratio(tp, tp + fp + fn), _ratio(tn, tn + fp + fn)
    return {
        "pixel_accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "dice": _ratio(2 * tp, 2 * tp + fp + fn),
        "iou": iou,
        "iou_background": iou_background,
        "mean_iou": (iou + iou_background) / 2,
    }


class TrueContour:
    """The distances of a true mask that `boundary` needs, computed once for any number of predictions.

    truth: (height, width) labels.
    """

    def __init__(self, truth):
        self.void = truth == VOID
        self.foreground = fill_void(truth)
        sides = [truth == 0, (truth > 0) & ~self.void] if self.void.any() else []
        # for each side, the positions (2, void pixels) of the pixels of that side that are nearest to the void pixels
        self.nearest = [_nearest(side)[:, self.void] for side in sides if side.any()]
        if self.foreground.any():
            self.band, self.contour = _band_and_contour(self.foreground)
            self.distance = distance_transform_edt(~self.contour)


def boundary(prediction, true):
    """Return boundary IoU, boundary F1, 95th-percentile Hausdorff distance and average surface distance of one image.

    prediction: (height, width) bool. true: `TrueContour` of the truth. Distances are shares of the image's diagonal.

    boundary_iou: IoU of the parts of both masks within `BOUNDARY_WIDTH` of their own contour (Cheng et al., 2021).
    boundary_f1: harmonic mean of the shares of each contour within `BOUNDARY_TOLERANCE` of the other (Csurka et al.,
    2013). hausdorff_95: 95th percentile, and average_surface_distance: mean, of the distances from every pixel of
    either contour to the nearest one of the other (Taha and Hanbury, "Metrics for evaluating 3D medical image
    segmentation", 2015).

    The true contour lies somewhere in the void band around each object. It is drawn through the middle of the band, and
    so is the predicted contour where it stays within the band (`settle_void`), so that such a prediction is neither
    rewarded nor penalised. Void pixels belong neither to the intersection nor to the union of boundary IoU.
    """
    prediction = settle_void(prediction, true)
    diagonal = np.hypot(*prediction.shape)
    if not true.foreground.any() or not prediction.any():
        same = not true.foreground.any() and not prediction.any()
        score, distance = (1.0, 0.0) if same else (0.0, 1.0)
        return {
            "boundary_iou": score,
            "boundary_f1": score,
            "hausdorff_95": distance,
            "average_surface_distance": distance,
        }
    band, contour = _band_and_contour(prediction)
    from_truth, from_prediction = distance_transform_edt(~contour)[true.contour], true.distance[contour]
    tolerance = max(1.0, BOUNDARY_TOLERANCE * diagonal)
    precision, recall = np.mean(from_prediction <= tolerance), np.mean(from_truth <= tolerance)
    distances = np.concatenate([from_truth, from_prediction]) / diagonal
    both, either = ((of_bands & ~true.void).sum() for of_bands in (true.band & band, true.band | band))
    return {
        "boundary_iou": float(_ratio(both, either)),
        "boundary_f1": float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0,
        "hausdorff_95": float(np.percentile(distances, 95)),
        "average_surface_distance": float(distances.mean()),
    }


def fill_void(truth):
    """Return the foreground (height, width) bool, each void pixel taking the side of the nearest labelled pixel."""
    void = truth == VOID
    if not void.any() or void.all():
        return (truth > 0) & ~void
    return truth[tuple(_nearest(~void))] > 0


def settle_void(prediction, true):
    """Return the prediction (height, width) bool, set to the truth in those void pixels around which it is right.

    It is right around a void pixel if it is right at the nearest foreground pixel and at the nearest background pixel.
    Where the prediction crosses the band on one side, it stays as it is: correcting the band alone would turn a mask
    that is too large into the true contour and a ring around it.

    prediction: (height, width) bool. true: `TrueContour` of the truth.
    """
    agrees, filled = prediction == true.foreground, true.foreground[true.void]
    right = np.ones(len(filled), bool)
    for nearest in true.nearest:
        right &= agrees[tuple(nearest)]
    settled = prediction.copy()
    settled[true.void] = np.where(right, filled, prediction[true.void])
    return settled


def _nearest(mask):
    """Return the position (2, height, width) of the nearest pixel of the mask, for each pixel."""
    return distance_transform_edt(~mask, return_distances=False, return_indices=True)


def _band_and_contour(mask):
    """Return the pixels of a mask within `BOUNDARY_WIDTH` of its outside, and those that touch the outside.

    Steps may be diagonal, and the outside of the image is outside of the mask: the pixels within n steps are those that
    n erosions with a 3x3 square remove.
    """
    steps = distance_transform_cdt(np.pad(mask, 1), metric="chessboard")[1:-1, 1:-1]
    width = max(1, round(BOUNDARY_WIDTH * np.hypot(*mask.shape)))
    return mask & (steps <= width), mask & (steps == 1)


def confusion(prediction, truth, num_classes):
    """Return pixel counts (num_classes, num_classes): row the true class, column the predicted one; without void."""
    valid = truth != VOID
    pairs = truth[valid].astype(np.int64) * num_classes + prediction[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_iou(matrix):
    """Return the IoU of each class (num_classes,) from a confusion matrix; nan for a class that is in neither."""
    of_both = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - of_both
    return np.divide(of_both, union, out=np.full(len(matrix), np.nan), where=union > 0)


def to_levels(probability):
    """Return probabilities from 0 to 1 as uint8, rounded down to multiples of 1 / `LEVELS`; 1 is in the top level.

    `to_levels(p) >= LEVELS * threshold` is the same as `p >= threshold` for every threshold of `curve`.
    """
    return np.minimum((probability * LEVELS).astype(int), LEVELS - 1).astype(np.uint8)


def threshold_histograms(levels, truth):
    """Return counts (2, LEVELS) of background and foreground pixels at each level; void pixels are left out.

    levels: (height, width), see `to_levels`. truth: (height, width) labels. Sums over images give the curve of a data
    set, see `curve`.
    """
    valid = truth != VOID
    label = (truth[valid] > 0).astype(int)
    return np.bincount(label * LEVELS + levels[valid], minlength=2 * LEVELS).reshape(2, LEVELS)


def curve(histograms):
    """Return `(thresholds, precision, recall, iou)`, each (LEVELS,); foreground is every pixel at or above a threshold.

    histograms: (2, LEVELS), see `threshold_histograms`.
    """
    false, true = (np.cumsum(row[::-1])[::-1].astype(np.float64) for row in histograms)
    thresholds = np.arange(LEVELS) / LEVELS
    return thresholds, _ratio(true, true + false), _ratio(true, true[0]), _ratio(true, true[0] + false)


def best_threshold(histograms):
    """Return the threshold with the greatest foreground IoU, see `curve`; the lowest of equals."""
    thresholds, _, _, iou = curve(histograms)
    return float(thresholds[iou.argmax()])


def has_stride_energies(size):
    """Return whether maps of (size, size) can be measured by `stride_energies`."""
    return size % max(STRIDES) == 0 and size >= 12 * max(STRIDES)


def stride_energies(probabilities):
    """Return the excess energy of probability maps at the frequencies of each of `STRIDES`: logarithms (n, strides).

    probabilities: (n, size, size), size a multiple of the largest stride and at least 12 times as large; else
    ValueError. See `checkerboard`, which summarises the rows of any number of images.
    """
    lattice, around, stride_of, window = _lattice(probabilities.shape[1])
    rows = np.empty((len(probabilities), len(STRIDES)))
    for row, probability in zip(rows, probabilities, strict=True):
        centred = (probability - np.average(probability, weights=window)) * window
        energy = uniform_filter(np.abs(np.fft.fft2(centred)) ** 2, 3, mode="wrap")
        energy = np.log(energy + 1e-12 * energy.max() + 1e-20)  # above rounding errors, so that a flat map gives 1
        excess = energy[lattice[:, 0], lattice[:, 1]] - energy[around[..., 0], around[..., 1]].mean(1)
        row[:] = [excess[stride_of == stride].mean() for stride in STRIDES]
    return rows


def checkerboard(energies):
    """Return how much stronger probability maps are at the frequencies of a decoder's strides than next to them.

    energies: (n, strides), the rows of `stride_energies` for all images. 1: no pattern.

    A transposed convolution whose kernel size is no multiple of its stride covers some pixels more often than others
    and leaves a pattern with the period of the stride s (Odena et al., "Deconvolution and Checkerboard Artifacts",
    Distill 2016): energy at the frequencies that are multiples of size / s in both directions. The measure is the ratio
    of their energy to that of their neighbours, 4 and 5 steps away, after a Hann window that suppresses the edges of
    the map and spreads a pattern over 3x3 frequencies, whose energies are added. The geometric mean is taken over the
    images, over the frequencies that a stride adds to those of the smaller ones, and over the strides.
    """
    return float(np.exp(np.mean(energies)))


@functools.cache
def _lattice(size):
    """Return the frequencies (k, 2) of the strides, their neighbours (k, m, 2), their smallest strides, and the window.

    Frequencies are positions in the Fourier transform of a map of (size, size).
    """
    if not has_stride_energies(size):
        raise ValueError(f"maps of {size} pixels are no multiple of {max(STRIDES)}, or too small to have neighbours")
    step = size // max(STRIDES)
    window = np.hanning(size + 1)[:-1]
    offsets = np.array([(y, x) for y in range(-5, 6) for x in range(-5, 6) if max(abs(y), abs(x)) >= 4])
    lattice = np.array([(y, x) for y in range(0, size, step) for x in range(0, size, step)])[1:]
    stride_of = [next(s for s in STRIDES if not (frequency % (size // s)).any()) for frequency in lattice]
    return lattice, (lattice[:, None] + offsets) % size, np.array(stride_of), window[:, None] * window


def _ratio(part, whole):
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)


def _floats(figures):
    return {name: float(value) for name, value in figures.items()}


def _foreground_counts(matrix):
    """Return the `counts` of everything but background from a confusion matrix."""
    return np.array([matrix[1:, 1:].sum(), matrix[0, 1:].sum(), matrix[1:, 0].sum(), matrix[0, 0]])


def _foreground_share(pixels):
    return {"foreground_share": float((pixels[0] + pixels[2]) / max(1, pixels.sum()))}


def _interval(counts_of_images, statistic):
    interval = bootstrap_total(counts_of_images, statistic)
    return {"low": interval.low, "high": interval.high}


def _means(rows):
    return {
        name: dict(zip(("mean", "low", "high"), bootstrap_mean([row[name] for row in rows]), strict=True))
        for name in rows[0]
    }
