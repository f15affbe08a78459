"""Against scikit-learn, slow loops over all pairs of pixels, and masks worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_recall_curve, precision_score

from hw2 import segmentation_metrics as metrics
from hw2.labels import VOID


def blobs(seed, size=(30, 40)):
    """A random smooth mask with a void band, and a prediction that is a shifted copy of it."""
    from scipy.ndimage import binary_dilation, gaussian_filter

    rng = np.random.default_rng(seed)
    mask = gaussian_filter(rng.normal(size=size), 4) > 0.02
    truth = mask.astype(np.uint8)
    truth[binary_dilation(mask) & ~mask] = VOID
    return np.roll(mask, (2, -1), (0, 1)), truth


@pytest.mark.parametrize("seed", range(3))
def test_overlap_against_scikit_learn(seed):
    prediction, truth = blobs(seed)
    valid = truth != VOID
    p, t = prediction[valid], truth[valid] > 0
    figures = metrics.overlap(metrics.counts(prediction, truth))
    assert figures["dice"] == pytest.approx(f1_score(t, p))
    assert figures["iou"] == pytest.approx(jaccard_score(t, p))
    assert figures["iou_background"] == pytest.approx(jaccard_score(~t, ~p))
    assert figures["precision"] == pytest.approx(precision_score(t, p))
    assert figures["pixel_accuracy"] == pytest.approx((t == p).mean())
    assert figures["dice"] == pytest.approx(2 * figures["iou"] / (1 + figures["iou"]))


def test_void_counts_nowhere():
    truth = np.array([[1, 1, VOID, 0, 0]], np.uint8)
    for middle in (False, True):
        prediction = np.array([[True, False, middle, True, False]])
        np.testing.assert_array_equal(metrics.counts(prediction, truth), [1, 1, 1, 1])


@pytest.mark.parametrize("predicted, true, score, distance", [(0, 0, 1, 0), (1, 0, 0, 1), (0, 1, 0, 1), (1, 1, 1, 0)])
def test_empty_and_full_masks(predicted, true, score, distance):
    prediction, truth = np.full((6, 8), bool(predicted)), np.full((6, 8), true, np.uint8)
    figures = metrics.overlap(metrics.counts(prediction, truth)) | metrics.boundary(prediction, truth)
    for name in ("dice", "iou", "boundary_iou", "boundary_f1"):
        assert figures[name] == score, name
    for name in ("hausdorff_95", "average_surface_distance"):
        assert figures[name] == distance, name
    # nothing wrong in an empty prediction, nothing missed of an empty truth
    assert figures["precision"] == (0.0 if predicted and not true else 1.0)
    assert figures["recall"] == (0.0 if true and not predicted else 1.0)


def slow_boundary(prediction, foreground, valid):
    """The definitions, pixel by pixel, without a distance transform."""
    height, width = foreground.shape
    diagonal = np.hypot(height, width)

    def depth(mask, y, x):
        steps = 1
        while True:
            for yy in range(y - steps, y + steps + 1):
                for xx in range(x - steps, x + steps + 1):
                    if not (0 <= yy < height and 0 <= xx < width) or not mask[yy, xx]:
                        return steps
            steps += 1

    depths = [
        {(y, x): depth(mask, y, x) for y, x in zip(*np.nonzero(mask), strict=True)} for mask in (foreground, prediction)
    ]
    band = max(1, round(0.02 * diagonal))
    bands = [{p for p, d in of.items() if d <= band and valid[p]} for of in depths]
    contours = [np.array([p for p, d in of.items() if d == 1]) for of in depths]
    nearest = [
        np.array([min(np.hypot(*(one - other)) for other in contours[1 - i]) for one in contours[i]]) for i in (0, 1)
    ]
    tolerance = max(1.0, 0.0075 * diagonal)
    recall, precision = ((distances <= tolerance).mean() for distances in nearest)
    both = np.concatenate(nearest) / diagonal
    return {
        "boundary_iou": len(bands[0] & bands[1]) / len(bands[0] | bands[1]),
        "boundary_f1": 2 * precision * recall / (precision + recall),
        "hausdorff_95": np.percentile(both, 95),
        "average_surface_distance": both.mean(),
    }


@pytest.mark.parametrize("seed", range(3))
def test_boundary_against_a_slow_loop(seed):
    prediction, truth = blobs(seed)
    filled = metrics.fill_void(truth)
    settled = metrics.settle_void(prediction, truth, filled)
    expected = slow_boundary(settled, filled, truth != VOID)
    assert metrics.boundary(prediction, truth) == pytest.approx(expected)


def test_boundary_by_hand():
    """A square of 5 moved by 3 in an image of 12x16, diagonal 20: each contour has 5 pixels 3 away."""
    truth, prediction = np.zeros((12, 16), np.uint8), np.zeros((12, 16), bool)
    truth[2:7, 2:7] = 1
    prediction[2:7, 5:10] = True
    figures = metrics.boundary(prediction, truth)
    # contour of one square: 16 pixels, of which its far column (5 pixels) is 3 away from the other
    assert figures["hausdorff_95"] == pytest.approx(3 / 20)
    # width 0 of the band rounds up to 1: the contours share the columns' overlap in the top and bottom rows, 2 each
    assert figures["boundary_iou"] == pytest.approx(4 / 28)


def test_contour_runs_through_the_middle_of_the_void_band():
    truth = np.zeros((20, 20), np.uint8)
    truth[4:16, 4:16] = VOID
    truth[8:12, 8:12] = 1
    middle = np.zeros((20, 20), bool)
    middle[6:14, 6:14] = True
    filled = metrics.fill_void(truth)
    assert (filled != middle).sum() <= 12  # but for the rounded corners
    # whatever is predicted in the void band
    for prediction in (filled, truth == 1, truth > 0, (truth == 1) | ((truth == VOID) & (np.arange(20) % 3 == 0))):
        assert metrics.boundary(prediction, truth) == {
            "boundary_iou": 1, "boundary_f1": 1, "hausdorff_95": 0, "average_surface_distance": 0
        }  # fmt: skip
    # a mask that is too large by two pixels beyond the band, at its top: nothing there is settled, below it is
    large = truth > 0
    large[2:4, 4:16] = True
    settled = metrics.settle_void(large, truth, filled)
    assert settled[2:6, 8:12].all() and not settled[14:, 8:12].any()
    figures = metrics.boundary(large, truth)
    assert figures["boundary_iou"] < 1 and figures["hausdorff_95"] == pytest.approx(4 / np.hypot(20, 20), abs=0.01)


def test_only_void_is_predicted_and_nothing_is_there():
    truth = np.zeros((20, 20), np.uint8)
    truth[5:8, 5:8] = VOID
    assert metrics.boundary(truth == VOID, truth)["boundary_iou"] == 1


def test_confusion_and_class_iou_against_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([0, 1, 2, 4, VOID], np.uint8), (20, 30))
    prediction = rng.integers(0, 3, (20, 30))
    matrix = metrics.confusion(prediction, truth, 6)
    valid = truth != VOID
    np.testing.assert_array_equal(matrix, confusion_matrix(truth[valid], prediction[valid], labels=list(range(6))))
    expected = jaccard_score(truth[valid], prediction[valid], labels=list(range(5)), average=None)
    np.testing.assert_allclose(metrics.class_iou(matrix)[[0, 1, 2, 4]], expected[[0, 1, 2, 4]])
    assert np.isnan(metrics.class_iou(matrix)[[3, 5]]).all()


def test_curve_against_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([0, 1, VOID], np.uint8), (40, 50))
    probability = (rng.integers(0, 256, (40, 50)) + 0.5 + 60 * (truth == 1)).clip(0, 255.5) / 256
    thresholds, precision, recall, iou = metrics.curve(metrics.threshold_histograms(probability, truth))
    valid = truth != VOID
    p, r, t = precision_recall_curve(truth[valid] > 0, np.floor(probability[valid] * 256) / 256)
    at = np.searchsorted(thresholds, t)
    np.testing.assert_allclose(precision[at], p[:-1])
    np.testing.assert_allclose(recall[at], r[:-1])
    best = int(iou.argmax())
    assert iou[best] == pytest.approx(jaccard_score(truth[valid] > 0, probability[valid] >= thresholds[best]))


def test_checkerboard_sees_a_pattern_of_the_strides_and_nothing_else():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    noise = rng.normal(0, 0.02, (20, 96, 96))
    smooth = 1 / (1 + np.exp((np.hypot(y - 40, x - 50) - 25) / 2)) + noise
    assert metrics.checkerboard(smooth) == pytest.approx(1, abs=0.2)
    for period in (2, 4, 8):
        pattern = 0.1 * ((y % period == 0) & (x % period == 0))
        assert metrics.checkerboard(smooth + pattern) > 3, period
    assert metrics.checkerboard(smooth + 0.1 * (x % 5 == 0)) < 1.3  # no stride of the decoder
    assert metrics.checkerboard(np.zeros((1, 96, 96))) == pytest.approx(1)
    with pytest.raises(ValueError, match="multiple"):
        metrics.checkerboard(smooth[:, :50, :50])
