import numpy as np
import pytest
from scipy.ndimage import affine_transform

from hw2.data import augment
from hw2.labels import VOID


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 16, 12, 3), np.uint8)


@pytest.mark.parametrize("function", augment.AUGMENTATIONS.values())
def test_seeded_same_type_and_input_untouched(function, images):
    before = images.copy()
    first, second = (function(np.random.default_rng(7), images) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(images, before)
    assert first.shape == images.shape and first.dtype == images.dtype
    assert not np.array_equal(first, function(np.random.default_rng(8), images))


def test_flip_mirrors_whole_images_about_half_of_the_time(images):
    flipped = augment.flip(np.random.default_rng(0), images)
    mirrored = [np.array_equal(out, image[:, ::-1]) for out, image in zip(flipped, images, strict=True)]
    same = [np.array_equal(out, image) for out, image in zip(flipped, images, strict=True)]
    assert np.logical_xor(mirrored, same).all() and 10 < sum(mirrored) < 30


def test_shift_is_a_crop_of_the_reflected_image(images):
    """Every output is one of the (2 * 2 + 1) * (2 * 2 + 1) crops, and all offsets turn up."""
    shifted = augment.shift(np.random.default_rng(0), np.repeat(images[:1], 400, axis=0))
    padded = np.pad(images[0], ((2, 2), (2, 2), (0, 0)), mode="reflect")
    crops = {padded[top : top + 16, left : left + 12].tobytes() for top in range(5) for left in range(5)}
    assert {image.tobytes() for image in shifted} == crops


def test_erase_changes_one_rectangle_of_about_half_of_the_images():
    images = np.zeros((400, 24, 24, 3), np.uint8)
    changed = augment.erase(np.random.default_rng(0), images, area=(0.1, 0.2)).any(-1)
    sizes = changed.sum((1, 2))
    assert 0.4 < np.mean(sizes > 0) < 0.6
    whole = 0
    for image in changed[sizes > 0]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # a full rectangle
        inside = rows[0] > 0 and rows[-1] < 23 and columns[0] > 0 and columns[-1] < 23
        whole += inside
        assert not inside or 0.07 < image.mean() < 0.25
    assert whole > 50


@pytest.mark.parametrize("function", [augment.mixup, augment.cutmix])
def test_mixing_keeps_the_sum_of_targets_and_the_share_of_each_image(function):
    """Image k is all k and its target is unit vector k, so the image's mean is the mean of its target's classes."""
    classes = np.arange(50)
    images = np.broadcast_to(classes[:, None, None, None], (50, 16, 16, 3)).astype(np.uint8)
    before = images.copy()
    mixed, targets = function(np.random.default_rng(0), images, np.eye(50, dtype=np.float32))
    np.testing.assert_array_equal(images, before)
    assert targets.dtype == np.float32 and mixed.shape == images.shape
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(targets @ classes, mixed.mean((1, 2, 3)), rtol=1e-4, atol=1e-3)
    assert ((targets > 0).sum(1) == 2).any()


def test_cutmix_pixels_come_from_one_of_two_images():
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    mixed, targets = augment.cutmix(np.random.default_rng(1), images, np.eye(20, dtype=np.float32))
    assert mixed.dtype == np.uint8
    for index, (image, target) in enumerate(zip(mixed, targets, strict=True)):
        others = [images[other] for other in np.flatnonzero(target)] + [images[index]]
        assert np.any([(image == other).all(-1) for other in others], axis=0).all()


def own_shares(function, side, count):
    """Return the share of its own target that each of `count` images keeps when it is mixed with another one."""
    targets = np.eye(count, dtype=np.float16)
    _, mixed = function(np.random.default_rng(0), np.zeros((count, side, side, 1), np.uint8), targets)
    return mixed[np.arange(count), np.arange(count)]


def test_shares_of_mixed_images_have_their_distributions():
    """Beta(a, a) has the variance 1 / (8 a + 4).

    A square of side s (as a share) centred anywhere covers s - s^2 / 4 of each side on average; s^2 is uniform.
    """
    assert own_shares(augment.mixup, 1, 4000).var() == pytest.approx(1 / (8 * 0.2 + 4), abs=0.01)
    assert 1 - own_shares(augment.cutmix, 32, 2000).mean() == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.02)


MASKS = np.random.default_rng(1).choice(np.array([0, 1, 5, 255], np.uint8), (40, 16, 12))


def painted(masks):
    """Images that show their mask, so that image and mask can be seen to move together."""
    return np.repeat(masks[..., None], 3, -1)


@pytest.mark.parametrize("function", [augment.joint_flip, augment.joint_scale_crop])
def test_image_and_mask_move_together_and_labels_stay_labels(function):
    # blocks of 4x4, so that most pixels are far from an edge, where interpolation and nearest neighbour agree
    masks = MASKS[:, :4, :3].repeat(4, 1).repeat(4, 2)
    images = painted(masks)
    before = images.copy(), masks.copy()
    moved, moved_masks = function(np.random.default_rng(3), images, masks)
    again, _ = function(np.random.default_rng(3), images, masks)
    np.testing.assert_array_equal(moved, again)
    np.testing.assert_array_equal((images, painted(masks)), (before[0], painted(before[1])))
    assert moved.dtype == np.uint8 and set(np.unique(moved_masks)) <= {0, 1, 5, 255}
    agree = (moved == painted(moved_masks)).all(-1)
    assert agree.mean() > (0.99 if function is augment.joint_flip else 0.72)  # off by one pixel: 0.66
    assert (moved_masks != masks).any((1, 2)).mean() > 0.4


def test_scale_crop_against_scipy():
    """Two channels hold the coordinates of each pixel, so the output tells which window of the image it shows.

    Everything else follows from the window: SciPy's interpolation of the third channel, and void beyond the image.
    """
    count, size = 30, np.array([20, 14])
    rng = np.random.default_rng(0)
    grid = np.moveaxis(np.mgrid[: size[0], : size[1]], 0, -1)
    images = np.concatenate([np.broadcast_to(grid, (count, *grid.shape)), rng.normal(100, 30, (count, *size, 1))], -1)
    images = np.ascontiguousarray(images, np.float32)
    masks = np.zeros((count, *size), np.uint8)
    moved, moved_masks = augment.joint_scale_crop(np.random.default_rng(5), images, masks)
    step, first = np.empty((2, count, 2))
    for index in range(count):
        # these pixels lie inside the image even if the window is as large as possible
        for axis, line in enumerate((moved[index, 7:13, 7, 0], moved[index, 10, 5:9, 1])):
            step[index, axis] = (line[-1] - line[0]) / (len(line) - 1)
            first[index, axis] = line[0] - step[index, axis] * (7, 5)[axis]
        for channel in range(3):
            beyond = images[index, ..., channel].mean()
            expected = affine_transform(
                images[index, ..., channel], step[index], first[index], order=1, mode="grid-constant", cval=beyond
            )
            np.testing.assert_allclose(moved[index, ..., channel], expected, atol=0.05)
        inside = [
            (c > -0.5) & (c < s - 0.5) for c, s in zip(_lines(first[index], step[index], size), size, strict=True)
        ]
        np.testing.assert_array_equal(moved_masks[index] == VOID, ~np.outer(*inside))
    assert (moved_masks == VOID).any() and (moved_masks[moved_masks != VOID] == 0).all()
    # small windows lie inside the image, large ones contain it, and sides and aspects are in their ranges
    start = first + 0.5 - step / 2
    end = start + step * size
    small = step <= 1
    assert small.any() and (~small).any()
    assert (start[small] > -0.01).all() and (end <= size + 0.01)[small].all()
    assert (start[~small] < 0.01).all() and (end >= size - 0.01)[~small].all()
    sides, aspects = np.sqrt(step.prod(1)), step[:, 1] / step[:, 0]
    assert sides.min() > 0.499 and sides.max() < 1.251 and aspects.min() > 0.799 and aspects.max() < 1.251
    assert np.ptp(np.log(sides)) > 0.5 and np.ptp(np.log(aspects)) > 0.3


def _lines(first, step, size):
    """Return the source coordinates of the pixels along each axis."""
    return [first[axis] + step[axis] * np.arange(size[axis]) for axis in (0, 1)]


def test_scale_crop_of_the_whole_image_changes_nothing(images):
    masks = MASKS.copy()
    same, same_masks = augment.joint_scale_crop(np.random.default_rng(0), images, masks, scale=(1, 1), aspect=(1, 1))
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(same_masks, masks)


def test_jitter_changes_colours_within_range_and_no_grey_image_gets_colour():
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    changed = augment.jitter(np.random.default_rng(1), images)
    assert changed.dtype == np.uint8 and not np.array_equal(changed, images)
    grey = np.repeat(images[..., :1], 3, -1)
    changed = augment.jitter(np.random.default_rng(1), grey)
    np.testing.assert_array_equal(changed[..., 0], changed[..., 2])
    means = changed.mean((1, 2, 3)) / grey.mean((1, 2, 3))
    assert 0.7 < means.min() < 0.9 and 1.1 < means.max() < 1.3


def test_jitter_changes_each_image_by_factors_of_their_ranges():
    """Brightness changes the mean, contrast also the deviation of grey levels, saturation also that of colours."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-20, 20, (500, 8, 8, 3)) + rng.uniform(70, 150, (500, 1, 1, 1))
    changed = augment.jitter(rng, images.astype(np.float32)).astype(float)
    grey, changed_grey = images.mean(-1), changed.mean(-1)
    brightness = changed_grey.mean((1, 2)) / grey.mean((1, 2))
    contrast = changed_grey.std((1, 2)) / grey.std((1, 2)) / brightness
    colours = [(x - x.mean(-1, keepdims=True)).std((1, 2, 3)) for x in (changed, images)]
    saturation = colours[0] / colours[1] / brightness / contrast
    for factors, most in ((brightness, 0.2), (contrast, 0.3), (saturation, 0.4)):
        assert 0.95 * most < np.abs(factors - 1).max() < 1.001 * most
