"""Metrics of segmentation on NumPy arrays, each with its definition and source. No Keras.

Masks are (height, width) labels: 0 background, above it foreground, `VOID` counted nowhere. Which metric suits which
question: Maier-Hein et al., "Metrics Reloaded", Nature Methods 2024.

Empty masks. A ratio whose denominator is empty is a question that nothing could get wrong, so it is 1: Dice, IoU,
precision, recall, boundary IoU and boundary F1 of two empty masks, and also the precision of an empty prediction, which
found nothing wrong, and the recall of an empty truth, of which nothing was missed. Else, where just one of the masks is
empty, overlap and boundary scores are 0, and the distances, which have no finite value, are the greatest possible: 1
image diagonal.
"""

import numpy as np
from scipy.ndimage import distance_transform_cdt, distance_transform_edt, uniform_filter

from hw2.labels import VOID

BOUNDARY_WIDTH = 0.02  # of the diagonal; Cheng et al., "Boundary IoU", CVPR 2021, section 4
BOUNDARY_TOLERANCE = 0.0075  # of the diagonal; Csurka et al., "What is a good evaluation measure ...?", BMVC 2013


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

    pixel_counts: (..., 4) as `counts` returns them; summed over a data set first for figures of the set. Dice is
    2 TP / (2 TP + FP + FN), IoU is TP / (TP + FP + FN): on one mask Dice = 2 IoU / (1 + IoU), so they rank masks alike;
    their means over images need not.
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


def boundary(prediction, truth):
    """Return boundary IoU, boundary F1, 95th-percentile Hausdorff distance and average surface distance of one image.

    prediction: (height, width) bool. truth: (height, width) labels. Distances are shares of the image's diagonal.

    boundary_iou: IoU of the parts of both masks within `BOUNDARY_WIDTH` of their own contour (Cheng et al., 2021).
    boundary_f1: harmonic mean of the shares of each contour within `BOUNDARY_TOLERANCE` of the other (Csurka et al.,
    2013). hausdorff_95: 95th percentile, and average_surface_distance: mean, of the distances from every pixel of
    either contour to the nearest one of the other (Taha and Hanbury, "Metrics for evaluating 3D medical image
    segmentation", 2015).

    The true contour lies somewhere in the void band around each object: it is drawn through the band's middle, and so
    is the predicted one where it runs within the band (`settle_void`), so that there nothing is right or wrong. Void
    pixels are counted neither in the intersection nor in the union of boundary IoU.
    """
    foreground, valid = fill_void(truth), truth != VOID
    prediction = settle_void(prediction, truth, foreground)
    diagonal = np.hypot(*truth.shape)
    if not foreground.any() or not prediction.any():
        same = not foreground.any() and not prediction.any()
        score, distance = (1.0, 0.0) if same else (0.0, 1.0)
        return {
            "boundary_iou": score,
            "boundary_f1": score,
            "hausdorff_95": distance,
            "average_surface_distance": distance,
        }
    width = max(1, round(BOUNDARY_WIDTH * diagonal))
    bands = [mask & (_distance_to_outside(mask) <= width) & valid for mask in (foreground, prediction)]
    contours = [mask & (_distance_to_outside(mask) == 1) for mask in (foreground, prediction)]
    to_truth, to_prediction = (distance_transform_edt(~contour) for contour in contours)
    from_truth, from_prediction = to_prediction[contours[0]], to_truth[contours[1]]
    tolerance = max(1.0, BOUNDARY_TOLERANCE * diagonal)
    precision, recall = np.mean(from_prediction <= tolerance), np.mean(from_truth <= tolerance)
    distances = np.concatenate([from_truth, from_prediction]) / diagonal
    return {
        "boundary_iou": float(_ratio((bands[0] & bands[1]).sum(), (bands[0] | bands[1]).sum())),
        "boundary_f1": float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0,
        "hausdorff_95": float(np.percentile(distances, 95)),
        "average_surface_distance": float(distances.mean()),
    }


def fill_void(truth):
    """Return the foreground (height, width) bool with each void pixel taking the side of its nearest labelled one."""
    void = truth == VOID
    if not void.any() or void.all():
        return (truth > 0) & ~void
    nearest = distance_transform_edt(void, return_distances=False, return_indices=True)
    return truth[tuple(nearest)] > 0


def settle_void(prediction, truth, foreground):
    """Return the prediction with the truth's side in those void pixels around which it is right.

    Right around a void pixel: at the nearest pixel that is labelled foreground and at the nearest one that is labelled
    background. Where the prediction runs over the band to one side it stays as it is: with the band alone corrected, a
    mask that is too large would get the true contour, and a ring besides.

    foreground: (height, width) bool, what `fill_void` makes of the truth.
    """
    right = truth == VOID
    for side in (truth == 0, (truth > 0) & (truth != VOID)):
        if side.any() and right.any():
            nearest = distance_transform_edt(~side, return_distances=False, return_indices=True)
            right = right & (prediction == foreground)[tuple(nearest)]
    return np.where(right, foreground, prediction)


def _distance_to_outside(mask):
    """Return how many steps, diagonal ones included, each pixel is from the outside of the mask or of the image.

    A mask within `width` steps is what is left of it after `width` erosions with a 3x3 square, subtracted from it.
    """
    return distance_transform_cdt(np.pad(mask, 1), metric="chessboard")[1:-1, 1:-1]


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


def threshold_histograms(probability, truth, bins=256):
    """Return counts (2, bins) of background and foreground pixels by predicted probability; void ones left out.

    probability: (height, width) from 0 to 1. Sums over images give the curve of a data set, see `curve`.
    """
    valid = truth != VOID
    index = np.minimum((probability[valid] * bins).astype(int), bins - 1)
    label = (truth[valid] > 0).astype(int)
    return np.bincount(label * bins + index, minlength=2 * bins).reshape(2, bins)


def curve(histograms):
    """Return `(thresholds, precision, recall, iou)`, each (bins,): foreground is what has at least the threshold."""
    false, true = (np.cumsum(row[::-1])[::-1].astype(np.float64) for row in histograms)
    thresholds = np.arange(histograms.shape[1]) / histograms.shape[1]
    return thresholds, _ratio(true, true + false), _ratio(true, true[0]), _ratio(true, true[0] + false)


def checkerboard(probabilities, strides=(2, 4, 8)):
    """Return how much stronger a probability map is at the frequencies of a decoder's strides than next to them.

    probabilities: (n, size, size), size a multiple of the largest stride s. A transposed convolution whose kernel is
    no multiple of its stride covers some pixels more often than others, and prints a pattern with the period of the
    stride (Odena et al., "Deconvolution and Checkerboard Artifacts", Distill 2016): energy at the frequencies that are
    multiples of size / s in both directions. The measure is the geometric mean of their energy over that of their
    neighbours, 4 and 5 steps away, after a Hann window that keeps the map's edges from leaking into them and spreads a
    pattern over 3x3 frequencies, whose energy is taken together. The mean is over the images, over the frequencies
    that a stride adds to those of the smaller ones, and over the strides. 1: no pattern.
    """
    size = probabilities.shape[1]
    step = size // max(strides)
    if size % max(strides) or step < 12:
        raise ValueError(f"maps of {size} pixels are no multiple of {max(strides)}, or too small to have neighbours")
    window = np.hanning(size + 1)[:-1]
    window = window[:, None] * window
    offsets = np.array([(y, x) for y in range(-5, 6) for x in range(-5, 6) if max(abs(y), abs(x)) >= 4])
    lattice = np.array([(y, x) for y in range(0, size, step) for x in range(0, size, step)])[1:]
    around = (lattice[:, None] + offsets) % size
    # the smallest stride that each frequency is a multiple of
    stride_of = np.array(
        [next(s for s in sorted(strides) if not (frequency % (size // s)).any()) for frequency in lattice]
    )
    logarithms = []
    for probability in probabilities:
        centred = (probability - np.average(probability, weights=window)) * window
        energy = uniform_filter(np.abs(np.fft.fft2(centred)) ** 2, 3, mode="wrap")
        energy = np.log(energy + 1e-12 * energy.max() + 1e-20)  # what rounding leaves, so that a flat map gives 1
        neighbours = energy[around[..., 0], around[..., 1]].mean(1)
        excess = energy[lattice[:, 0], lattice[:, 1]] - neighbours
        logarithms.append([excess[stride_of == stride].mean() for stride in strides])
    return float(np.exp(np.mean(logarithms)))


def _ratio(part, whole):
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)
