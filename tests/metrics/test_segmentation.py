"""Against scikit-learn, slow loops over all pairs of pixels, and masks worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_recall_curve, precision_score

from hw2.data.voc2012 import from_square
from hw2.labels import VOID
from hw2.metrics import segmentation as metrics
from hw2.metrics.segmentation import TrueContour


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
    figures = metrics.overlap(metrics.counts(prediction, truth)) | metrics.boundary(prediction, TrueContour(truth))
    for name in ("dice", "iou", "boundary_iou", "boundary_f1"):
        assert figures[name] == score, name
    for name in ("hausdorff_95", "average_surface_distance"):
        assert figures[name] == distance, name
    # an empty prediction has no wrong pixel, an empty truth no missed one
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


def slow_settled(prediction, truth, filled):
    """Void pixels take the truth's side if the nearest pixels of both sides, by all distances, are predicted right."""
    settled = prediction.copy()
    sides = [np.argwhere(truth == 0), np.argwhere((truth > 0) & (truth != VOID))]
    for pixel in np.argwhere(truth == VOID):
        right = True
        for side in sides:
            distances = np.hypot(*(side - pixel).T)
            nearest = side[distances == distances.min()]
            agree = [prediction[tuple(p)] == filled[tuple(p)] for p in nearest]
            if len(set(agree)) > 1:  # which of equally near pixels decides is not defined
                agree = [metrics.settle_void(prediction, TrueContour(truth))[tuple(pixel)] == filled[tuple(pixel)]]
            right = right and agree[0]
        if right:
            settled[tuple(pixel)] = filled[tuple(pixel)]
    return settled


@pytest.mark.parametrize("seed", range(3))
def test_boundary_against_a_slow_loop(seed):
    prediction, truth = blobs(seed)
    contour = TrueContour(truth)
    settled = slow_settled(prediction, truth, contour.foreground)
    np.testing.assert_array_equal(metrics.settle_void(prediction, contour), settled)
    expected = slow_boundary(settled, contour.foreground, truth != VOID)
    assert metrics.boundary(prediction, contour) == pytest.approx(expected)


def test_a_contour_serves_several_predictions():
    prediction, truth = blobs(0)
    contour = TrueContour(truth)
    for other in (prediction, ~prediction, np.zeros_like(prediction), truth > 0):
        before = other.copy()
        assert metrics.boundary(other, contour) == metrics.boundary(other, TrueContour(truth))
        np.testing.assert_array_equal(other, before)


def test_boundary_by_hand():
    """A square of 5 moved by 3 in an image of 12x16, diagonal 20: each contour has 5 pixels 3 away."""
    truth, prediction = np.zeros((12, 16), np.uint8), np.zeros((12, 16), bool)
    truth[2:7, 2:7] = 1
    prediction[2:7, 5:10] = True
    figures = metrics.boundary(prediction, TrueContour(truth))
    # contour of one square: 16 pixels, of which its far column (5 pixels) is 3 away from the other
    assert figures["hausdorff_95"] == pytest.approx(3 / 20)
    # the width of the band, 0.4, becomes 1: the contours share 2 pixels each in the top and the bottom row
    assert figures["boundary_iou"] == pytest.approx(4 / 28)


def test_boundary_of_a_large_image_by_hand():
    """An image of 300x400, diagonal 500: bands are 10 pixels wide, contours may be 3.75 apart."""
    truth, square = np.zeros((300, 400), np.uint8), np.zeros((300, 400), bool)
    truth[100:200, 100:200], square[100:200, 100:200] = 1, True
    band = square.copy()
    band[110:190, 110:190] = False
    for shift, close in ((3, True), (4, False)):
        figures = metrics.boundary(np.roll(square, shift, 1), TrueContour(truth))
        shifted = np.roll(band, shift, 1)
        assert figures["boundary_iou"] == pytest.approx((band & shifted).sum() / (band | shifted).sum())
        assert (figures["boundary_f1"] == 1) == close


def test_contour_runs_through_the_middle_of_the_void_band():
    truth = np.zeros((20, 20), np.uint8)
    truth[4:16, 4:16] = VOID
    truth[8:12, 8:12] = 1
    middle = np.zeros((20, 20), bool)
    middle[6:14, 6:14] = True
    contour = TrueContour(truth)
    filled = contour.foreground
    assert (filled != middle).sum() <= 12  # except for rounded corners
    # whatever is predicted in the void band
    for prediction in (filled, truth == 1, truth > 0, (truth == 1) | ((truth == VOID) & (np.arange(20) % 3 == 0))):
        assert metrics.boundary(prediction, contour) == {
            "boundary_iou": 1, "boundary_f1": 1, "hausdorff_95": 0, "average_surface_distance": 0
        }  # fmt: skip
    # a mask that extends two pixels beyond the band at the top: it is settled at the bottom but not there
    large = truth > 0
    large[2:4, 4:16] = True
    settled = metrics.settle_void(large, contour)
    assert settled[2:6, 8:12].all() and not settled[14:, 8:12].any()
    figures = metrics.boundary(large, contour)
    assert figures["boundary_iou"] < 1 and figures["hausdorff_95"] == pytest.approx(4 / np.hypot(20, 20), abs=0.01)


def test_a_prediction_in_void_alone_is_no_error():
    truth = np.zeros((20, 20), np.uint8)
    truth[5:8, 5:8] = VOID
    assert metrics.boundary(truth == VOID, TrueContour(truth))["boundary_iou"] == 1


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
    histograms = metrics.threshold_histograms(metrics.to_levels(probability), truth)
    thresholds, precision, recall, iou = metrics.curve(histograms)
    valid = truth != VOID
    p, r, t = precision_recall_curve(truth[valid] > 0, np.floor(probability[valid] * 256) / 256)
    at = np.searchsorted(thresholds, t)
    np.testing.assert_allclose(precision[at], p[:-1])
    np.testing.assert_allclose(recall[at], r[:-1])
    true, predicted = truth[valid] > 0, probability[valid] >= thresholds[:, None]
    scores = (predicted & true).sum(1) / (predicted | true).sum(1)
    np.testing.assert_allclose(iou, scores)
    assert metrics.best_threshold(histograms) == thresholds[scores.argmax()]


def test_levels_are_compared_as_the_probabilities():
    edges = np.arange(257) / 256
    probability = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 1)]).clip(0, 1).astype(np.float32)
    for threshold in (0.0, 1 / 256, 0.5, 255 / 256):
        np.testing.assert_array_equal(
            metrics.to_levels(probability) >= metrics.LEVELS * threshold, probability >= threshold
        )


def test_foreground_figures_by_hand():
    """Two images of 4x4, network size 2x2: the mean over images and the figure of the data set differ."""
    truths = [np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)]
    truths[0][:, :2] = 7  # predicted: the left half, which is right
    truths[1][:2, :2] = 3  # predicted: everything
    probabilities = [from_square(np.array(p), 4, 4) for p in ([[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.9], [0.9, 0.9]])]
    evaluated = [metrics.foreground_row(p >= 0.5, truth) for p, truth in zip(probabilities, truths, strict=True)]
    rows, counts = zip(*evaluated, strict=True)
    figures = metrics.foreground_figures(rows, counts)
    assert [row["iou"] for row in rows] == [1, 4 / 16] and [row["foreground_share"] for row in rows] == [0.5, 0.25]
    assert figures["dataset"]["iou"] == pytest.approx(12 / 24) and figures["images"]["iou"]["mean"] == 0.625
    assert figures["dataset"]["dice"] == pytest.approx(2 * 12 / (2 * 12 + 12))
    assert figures["iou"] == figures["dataset"]["iou"] and figures["accuracy"] == pytest.approx(20 / 32)
    # one in four draws with replacement is the first image twice, one the second twice: IoU 1 and 1/4 are the ends
    assert figures["intervals"]["iou"] == {"low": 0.25, "high": 1.0}
    histograms = sum(
        metrics.threshold_histograms(metrics.to_levels(p), truth)
        for p, truth in zip(probabilities, truths, strict=True)
    )
    assert 0.1 < metrics.best_threshold(histograms) <= 0.9


def test_class_figures_by_hand():
    """Two images of 2x4 with three of four classes; class 3 never occurs."""
    truths = np.array([[[0, 0, 1, 1], [0, 0, 1, VOID]], [[0, 0, 0, 0], [0, 0, 2, 2]]], np.uint8)
    predictions = np.array([[[0, 0, 1, 1], [0, 0, 2, 2]], [[0, 0, 0, 0], [0, 1, 2, 2]]], np.uint8)
    evaluated = [metrics.class_row(*pair, 4) for pair in zip(predictions, truths, strict=True)]
    rows, matrices = zip(*evaluated, strict=True)
    figures = metrics.class_figures(rows, matrices)
    assert figures["confusion"] == [[9, 1, 0, 0], [0, 2, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert figures["class_iou"] == pytest.approx([9 / 10, 2 / 4, 2 / 3, None])
    assert figures["iou"] == pytest.approx((9 / 10 + 2 / 4 + 2 / 3) / 3)
    assert figures["accuracy"] == pytest.approx(13 / 15)
    assert rows[0]["iou"] == pytest.approx((1 + 2 / 3 + 0) / 3) and rows[1]["iou"] == pytest.approx((5 / 6 + 0 + 1) / 3)
    assert [row["pixel_accuracy"] for row in rows] == pytest.approx([6 / 7, 7 / 8])
    # foreground: all of the first image is found, one pixel too much in the second one
    assert [row["foreground_iou"] for row in rows] == pytest.approx([1, 2 / 3])
    assert figures["foreground"]["dataset"]["iou"] == pytest.approx(5 / 6)
    # the draws with replacement are the first image twice, the second twice, or both
    assert figures["intervals"]["iou"] == pytest.approx({"low": rows[0]["iou"], "high": figures["iou"]})
    for row, matrix, prediction, truth in zip(rows, matrices, predictions, truths, strict=True):
        for name, value in metrics.overlap(metrics.counts(prediction > 0, truth)).items():
            assert row[f"foreground_{name}"] == value, name
        assert matrix.sum() == (truth != VOID).sum()


def test_checkerboard_sees_a_pattern_of_the_strides_and_nothing_else():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    noise = rng.normal(0, 0.02, (20, 96, 96))
    smooth = 1 / (1 + np.exp((np.hypot(y - 40, x - 50) - 25) / 2)) + noise

    def checkerboard(maps):
        return metrics.checkerboard(metrics.stride_energies(maps))

    assert checkerboard(smooth) == pytest.approx(1, abs=0.2)
    slices = [metrics.stride_energies(part) for part in (smooth[:7], smooth[7:8], smooth[8:])]
    assert metrics.checkerboard(np.concatenate(slices)) == checkerboard(smooth)
    for period in (2, 4, 8):
        pattern = 0.1 * ((y % period == 0) & (x % period == 0))
        assert checkerboard(smooth + pattern) > 3, period
    assert checkerboard(smooth + 0.1 * (x % 5 == 0)) < 1.3  # no stride of the decoder
    assert checkerboard(np.zeros((1, 96, 96))) == pytest.approx(1)
    for size in (50, 88):  # no multiple of the largest stride; too small
        assert not metrics.has_stride_energies(size)
        with pytest.raises(ValueError, match="multiple"):
            checkerboard(smooth[:, :size, :size])


def slow_checkerboard(maps):
    """The definition, frequency by frequency."""
    size = maps.shape[1]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window, around = np.outer(hann, hann), range(-5, 6)
    logarithms = []
    for one in maps:
        power = np.abs(np.fft.fft2((one - (one * window).sum() / window.sum()) * window)) ** 2

        def energy(y, x, power=power):
            near = (-1, 0, 1)
            return np.log(np.mean([power[(y + a) % size, (x + b) % size] for a in near for b in near]))

        for stride in (2, 4, 8):
            step = size // stride
            excess = [
                energy(y, x)
                - np.mean([energy(y + a, x + b) for a in around for b in around if max(abs(a), abs(b)) in (4, 5)])
                for y in range(0, size, step)
                for x in range(0, size, step)
                if y % (2 * step) or x % (2 * step)  # not a frequency of a smaller stride
            ]
            logarithms.append(np.mean(excess))
    return np.exp(np.mean(logarithms))


def test_checkerboard_against_a_loop():
    y, x = np.mgrid[:96, :96]
    maps = np.stack([np.sin(x / 9) * np.cos(y / 7), 0.3 * ((x % 4 == 0) & (y % 4 == 0))])
    maps += np.random.default_rng(0).normal(0, 0.05, maps.shape)
    found = metrics.checkerboard(metrics.stride_energies(maps))
    assert found == pytest.approx(slow_checkerboard(maps), rel=1e-6)
