"""Untrusted uploads: intact and unusual files are read correctly; damaged and hostile ones are refused in words."""

import struct

import numpy as np
import pytest
from hostile_files import encoded, hostile, many_scans, png
from PIL import Image, ImageFile

from hw2.errors import ImageError
from hw2.inference import uploads
from hw2.labels import VOC_PALETTE, VOID


@pytest.fixture
def halves():
    """A 60x40 image, red on the left and blue on the right."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30], pixels[:, 30:] = (200, 30, 20), (20, 30, 200)
    return Image.fromarray(pixels)


def read(tmp_path, content, name="image"):
    path = tmp_path / name
    path.write_bytes(content)
    return uploads.read_image(path)


def near(pixel, colour, tolerance=12):
    return np.abs(np.asarray(pixel, int) - colour).max() <= tolerance


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 95}),
        ("WEBP", {"quality": 95}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
    ],
)
def test_the_format_is_detected_whatever_the_name(tmp_path, halves, kind, options):
    pixels = read(tmp_path, encoded(halves, kind, **options), "image.svg")
    assert pixels.shape == (40, 60, 3) and pixels.dtype == np.uint8
    assert near(pixels[20, 5], (200, 30, 20)) and near(pixels[20, 55], (20, 30, 200))


def test_exif_orientation(tmp_path, halves):
    for orientation, shape, top_left in (
        (1, (40, 60, 3), (200, 30, 20)),
        (3, (40, 60, 3), (20, 30, 200)),
        (6, (60, 40, 3), (200, 30, 20)),  # rotated clockwise on display: the left side becomes the top
        (8, (60, 40, 3), (20, 30, 200)),
    ):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind, options in (("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"quality": 95}), ("TIFF", {})):
            pixels = read(tmp_path, encoded(halves, kind, exif=exif.tobytes(), **options))
            assert pixels.shape == shape and near(pixels[2, 2], top_left), (kind, orientation)
    # a large image, which is reduced on the way
    exif[0x0112] = 6
    pixels = read(tmp_path, encoded(halves.resize((6000, 4000)), "JPEG", exif=exif.tobytes()))
    assert pixels.shape == (1024, 683, 3) and near(pixels[2, 2], (200, 30, 20), 20)
    assert read(tmp_path, encoded(halves, "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)).shape == (40, 60, 3)


def test_transparent_becomes_white(tmp_path, halves):
    alpha = Image.new("L", halves.size, 0)
    alpha.paste(255, (0, 0, 30, 40))
    clear = halves.copy()
    clear.putalpha(alpha)
    kinds = [("PNG", clear), ("WEBP", clear), ("PNG", clear.convert("LA")), ("TIFF", clear)]
    for kind, image in kinds:
        pixels = read(tmp_path, encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
        assert near(pixels[20, 55], (255, 255, 255)) and not near(pixels[20, 5], (255, 255, 255), 60)
    palette = halves.convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    index = int(np.asarray(palette)[0, 59])
    for kind in ("PNG", "GIF"):
        pixels = read(tmp_path, encoded(palette, kind, transparency=index))
        assert near(pixels[20, 55], (255, 255, 255)) and near(pixels[20, 5], (200, 30, 20))
    half = Image.new("RGBA", (40, 40), (0, 0, 0, 128))
    assert near(read(tmp_path, encoded(half, "PNG"))[20, 20], (127, 127, 127), 2)
    large = clear.resize((6000, 4000))
    pixels = read(tmp_path, encoded(large, "PNG", compress_level=1))
    assert pixels.shape == (683, 1024, 3) and near(pixels[300, 1000], (255, 255, 255))


def test_grey_palette_cmyk_and_one_bit(tmp_path, halves):
    assert near(read(tmp_path, encoded(halves.convert("CMYK"), "JPEG", quality=95))[20, 5], (200, 30, 20), 20)
    assert near(read(tmp_path, encoded(halves.convert("CMYK"), "TIFF"))[20, 55], (20, 30, 200), 20)
    assert near(read(tmp_path, encoded(halves.convert("P"), "PNG"))[20, 5], (200, 30, 20), 40)
    grey = read(tmp_path, encoded(Image.new("L", (5, 5), 77), "PNG"))
    assert near(grey[2, 2], (77, 77, 77), 0)
    bits = np.zeros((4, 4), bool)
    bits[:, 2:] = True
    pixels = read(tmp_path, encoded(Image.fromarray(bits), "PNG"))
    assert pixels[0, 0].tolist() == [0, 0, 0] and pixels[0, 3].tolist() == [255, 255, 255]


def test_16_and_32_bits(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    expected = ramp / 257
    for kind in ("PNG", "TIFF"):
        pixels = read(tmp_path, encoded(Image.fromarray(ramp.astype(np.uint16)), kind))
        assert np.abs(pixels[..., 0] - expected).max() <= 1.01, kind
    pixels = read(tmp_path, encoded(Image.fromarray(ramp.astype(np.int32)), "TIFF"))
    assert np.abs(pixels[..., 0] - expected).max() <= 1.01
    real = (ramp / 65535 - 0.5).astype(np.float32)
    real[0, 1] = np.nan
    assert np.ptp(read(tmp_path, encoded(Image.fromarray(real), "TIFF"))) == 255
    assert read(tmp_path, encoded(Image.new("F", (3, 3), 7.0), "TIFF")).shape == (3, 3, 3)
    # three channels of 16 bits, which Pillow reads but does not write
    rows = b"".join(b"\0" + struct.pack(">3H", 40000, 20000, 1000) * 4 for _ in range(4))
    assert near(read(tmp_path, png(4, 4, rows, depth=16))[1, 1], (156, 78, 4), 1)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_show_their_first_frame(tmp_path, halves, kind):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert near(read(tmp_path, content)[10, 10], (250, 0, 0))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (20_000, 1), (1, 20_000), (3000, 2000)])
def test_sizes(tmp_path, size):
    pixels = read(tmp_path, encoded(Image.new("RGB", size, (10, 200, 30)), "PNG"))
    assert max(pixels.shape[:2]) == min(max(size), uploads.MAX_SIDE) and min(pixels.shape[:2]) >= 1
    assert near(pixels[0, 0], (10, 200, 30), 0)
    small = uploads.classifier_input(pixels)
    assert small.shape == (32, 32, 3) and small.dtype == np.uint8 and near(small[16, 16], (10, 200, 30), 1)


def test_hostile_files_are_refused_with_a_message(tmp_path, halves):
    for name, content in hostile(halves).items():
        with pytest.raises(ImageError) as caught:
            read(tmp_path, content, name)
        message = str(caught.value)
        assert message.endswith(".") and str(tmp_path) not in message and len(message) > 15, name
    with pytest.raises(ImageError, match="Upload it again"):
        uploads.read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError):
        uploads.read_image(tmp_path)


def test_bombs_are_refused_before_decoding(tmp_path, halves, monkeypatch):
    def decode(*_):
        raise AssertionError("decoded")

    files = hostile(halves)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    for name in ("bomb.png", "bomb_13000.png", "bomb.gif", "bomb.bmp"):
        with pytest.raises(ImageError, match="too large"):
            read(tmp_path, files[name], name)


def test_a_jpeg_of_many_scans_is_refused_before_decoding(tmp_path, monkeypatch):
    assert read(tmp_path, many_scans(40)).shape == (64, 64, 3)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"more than 64 scans.*too long to decode"):
        read(tmp_path, many_scans(300))


def test_truncated_and_altered_bytes_give_an_image_or_a_message(tmp_path, halves):
    rng = np.random.default_rng(1)
    noisy = Image.fromarray(rng.integers(0, 256, (50, 70, 3)).astype(np.uint8))
    refused = 0
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        content = encoded(noisy, kind)
        for attempt in range(25):
            spoiled = bytearray(content[: rng.integers(1, len(content))] if attempt % 2 else content)
            for place in rng.integers(0, len(spoiled), 0 if attempt % 2 else 12):
                spoiled[place] = rng.integers(256)
            try:
                pixels = read(tmp_path, bytes(spoiled))
                assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
            except ImageError:
                refused += 1
    assert refused > 60


def test_classifier_input_is_the_mean_of_the_central_square():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 100, 3)).astype(np.uint8)
    expected = image[:, 18:82].reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(uploads.classifier_input(image) - expected).max() <= 1.01  # each direction is rounded
    small = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    np.testing.assert_array_equal(uploads.classifier_input(small), small)


def read_mask(tmp_path, image, shape=(20, 30), kind="PNG", **options):
    path = tmp_path / "mask"
    path.write_bytes(encoded(image, kind, **options))
    return uploads.read_mask(path, shape)


def test_masks_in_every_form(tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 5:20], labels[5:15, 20:22] = 15, VOID
    expected = np.where(labels == 15, 1, labels)
    palette = Image.fromarray(labels).convert("P")
    palette.putpalette(VOC_PALETTE.ravel().tolist())
    np.testing.assert_array_equal(read_mask(tmp_path, palette), expected)
    np.testing.assert_array_equal(read_mask(tmp_path, Image.fromarray(labels)), expected)  # the plain numbers
    np.testing.assert_array_equal(read_mask(tmp_path, Image.fromarray(VOC_PALETTE[labels])), expected)  # the colours
    binary = (labels == 15).astype(np.uint8)
    for image in (
        Image.fromarray(binary * 255),
        Image.fromarray(binary),
        Image.fromarray(binary.astype(bool)),
        Image.fromarray(binary * 255).convert("RGB"),
        Image.fromarray(binary * 255).convert("P"),
        Image.fromarray(binary.astype(np.uint16) * 65535),
        Image.fromarray(np.dstack([np.full((20, 30, 3), 90, np.uint8), binary * 255])),  # a cut-out
        Image.fromarray(binary * 255).convert("RGBA"),
    ):
        np.testing.assert_array_equal(read_mask(tmp_path, image), binary, err_msg=image.mode)
    np.testing.assert_array_equal(read_mask(tmp_path, Image.fromarray(binary * 255), kind="JPEG", quality=95), binary)
    np.testing.assert_array_equal(read_mask(tmp_path, Image.fromarray(binary * 0)), 0 * binary)
    np.testing.assert_array_equal(read_mask(tmp_path, palette.resize((60, 40), 0)), expected)  # scaled without blending


@pytest.mark.parametrize("shape", [(20, 30), (20, 20)])
def test_exif_orientation_of_masks(tmp_path, shape):
    """As that of images; labels, palettes and transparency survive it."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated clockwise on display
    labels = np.zeros(shape, np.uint8)
    labels[5:15, 2:10], labels[5:15, 10:12] = 15, VOID
    expected = np.where(labels == 15, 1, labels)
    stored, opaque = np.rot90(labels), np.rot90(expected == 1)
    palette = Image.fromarray(stored).convert("P")
    palette.putpalette(VOC_PALETTE.ravel().tolist())
    cut_out = Image.fromarray(opaque.astype(np.uint8)).convert("P")
    for image, mask, options in (
        (palette, expected, {}),
        (Image.fromarray(stored), expected, {}),
        (Image.fromarray(stored.astype(np.uint16)), expected, {}),
        (Image.fromarray(VOC_PALETTE[stored]), expected, {}),
        (cut_out, expected == 1, {"transparency": 0}),
        (Image.fromarray(opaque), expected == 1, {}),
    ):
        found = read_mask(tmp_path, image, shape, exif=exif.tobytes(), **options)
        np.testing.assert_array_equal(found, mask, err_msg=image.mode)
    damaged = read_mask(tmp_path, Image.fromarray(labels), shape, exif=b"Exif\0\0" + b"\xff" * 40)
    np.testing.assert_array_equal(damaged, expected)


def test_labels_as_plain_numbers_of_any_width(tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 5:20], labels[5:15, 20:22] = 15, VOID
    expected = np.where(labels == 15, 1, labels)
    for kind, image in (
        ("PNG", Image.fromarray(labels.astype(np.uint16))),
        ("TIFF", Image.fromarray(labels.astype(np.uint16))),
        ("TIFF", Image.fromarray(labels.astype(np.int32))),
        ("TIFF", Image.fromarray(labels.astype(np.float32))),
    ):
        np.testing.assert_array_equal(read_mask(tmp_path, image, kind=kind), expected, err_msg=image.mode)
    binary = expected == 1
    for largest, kind in ((1, np.uint16), (255, np.uint16), (1, np.int32), (255, np.int32), (65535, np.int32)):
        image = Image.fromarray((binary * largest).astype(kind))
        np.testing.assert_array_equal(read_mask(tmp_path, image, kind="TIFF"), binary, err_msg=f"{kind} {largest}")
    for real in (binary * 1.0, binary * 0.5, binary * 255.0):
        image = Image.fromarray(real.astype(np.float32))
        np.testing.assert_array_equal(read_mask(tmp_path, image, kind="TIFF"), binary)


def test_a_stray_grey_level_does_not_turn_the_object_into_void(tmp_path):
    pixels = np.zeros((20, 30), np.uint8)
    pixels[5:15, 5:20] = 255
    expected = (pixels == 255).astype(np.uint8)
    pixels[0, 0] = 2
    for image in (Image.fromarray(pixels), Image.fromarray(pixels).convert("RGB")):
        np.testing.assert_array_equal(read_mask(tmp_path, image), expected, err_msg=image.mode)


def test_void_in_the_palette_of_voc_is_void_without_an_object_too(tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 5:20] = VOID
    image = Image.fromarray(labels).convert("P")
    image.putpalette(VOC_PALETTE.ravel().tolist())
    np.testing.assert_array_equal(read_mask(tmp_path, image), labels)


def test_files_that_are_no_masks(tmp_path):
    with pytest.raises(ImageError, match="do not belong together"):
        read_mask(tmp_path, Image.new("L", (30, 30)))
    photograph = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    with pytest.raises(ImageError, match="not a mask"):
        read_mask(tmp_path, Image.fromarray(photograph))
    with pytest.raises(ImageError, match="not an image"):
        (tmp_path / "text").write_text("no")
        uploads.read_mask(tmp_path / "text", (20, 30))
