import subprocess
import sys

import numpy as np
from PIL import Image

from hw2.data import thumbnails
from hw2.labels import VOID


def test_jpeg_bytes_hold_the_image_and_fit_into_an_array_file(tmp_path):
    y, x = np.mgrid[:90, :120]
    image = np.stack([2 * x, 2 * y, x + y], -1).astype(np.uint8)
    jpeg = thumbnails.encode(image)
    assert jpeg.ndim == 1 and jpeg.dtype == np.uint8 and jpeg.nbytes < image.nbytes / 5
    np.savez(tmp_path / "arrays.npz", image=jpeg)
    decoded = thumbnails.decode(np.load(tmp_path / "arrays.npz")["image"])
    assert decoded.shape == image.shape and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - image).mean() < 2
    (tmp_path / "image.jpg").write_bytes(jpeg.tobytes())
    with Image.open(tmp_path / "image.jpg") as file:
        assert file.format == "JPEG" and file.size == (120, 90)


def test_thumbnails_of_one_image_have_the_same_size():
    rng = np.random.default_rng(0)
    for height, width, expected in (
        (375, 500, (120, 160)),
        (400, 200, (160, 80)),
        (50, 70, (50, 70)),
        (2, 900, (1, 160)),
    ):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        mask = rng.choice(np.array([0, 7, VOID], np.uint8), (height, width))
        small = thumbnails.of_mask(mask)
        assert thumbnails.decode(thumbnails.of_image(image)).shape == (*expected, 3) and small.shape == expected
        assert set(np.unique(small)) <= {0, 7, VOID}
        if max(height, width) <= thumbnails.SIZE:
            np.testing.assert_array_equal(small, mask)
        for channels in ((), (3,)):
            for stored in thumbnails.of_prediction(rng.random((32, 32, *channels)), height, width).values():
                assert stored.shape == expected and stored.dtype == np.uint8


def test_predictions_by_hand():
    probability = np.array([[0, 0.5], [1, 0.25]])
    assert thumbnails.of_prediction(probability, 2, 2)["probability"].tolist() == [[0, 128], [255, 64]]
    of_classes = np.array([[[0.2, 0.7, 0.1], [1, 0, 0]], [[0.4, 0.25, 0.35], [0, 0, 1]]])
    stored = thumbnails.of_prediction(of_classes, 2, 2)
    assert stored["prediction"].tolist() == [[1, 0], [0, 2]]
    assert stored["probability"].tolist() == [[204, 0], [153, 255]]  # of everything but background


def test_the_panel_is_spread_over_all_images():
    panel = thumbnails.panel(669)
    assert len(panel) == thumbnails.PANEL and panel[0] == 0 and panel[-1] == 668
    assert set(np.diff(panel)) == {29, 30}
    assert thumbnails.panel(10).tolist() == list(range(10))


def test_the_report_can_import_them_without_keras():
    code = "import sys, hw2.data.thumbnails; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
