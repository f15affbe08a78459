import contextlib
import threading
import time

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from hw2.data import sbd, voc2012
from hw2.errors import DataError
from hw2.labels import VOC_CLASSES, VOC_PALETTE, VOID


@pytest.fixture
def devkit(tmp_path):
    """A development kit with one pair, whose mask is a palette PNG as in the original."""
    root = tmp_path / voc2012.FOLDER
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    mask = np.zeros((6, 9), np.uint8)
    mask[1:5, 2:7], mask[2:4, 3:6] = VOID, 15
    picture = Image.frombytes("P", (9, 6), mask.tobytes())
    picture.putpalette(VOC_PALETTE.ravel().tolist())
    picture.save(root / "SegmentationClass" / "2007_000032.png")
    Image.new("RGB", (9, 6), (200, 30, 30)).save(root / "JPEGImages" / "2007_000032.jpg", quality=95)
    for split in ("train", "val"):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("2007_000032\n")
    return tmp_path, root, mask


def test_reads_labels_and_not_colours(devkit):
    data_dir, _, mask = devkit
    assert voc2012.identifiers(data_dir, "train") == ["2007_000032"]
    image, read = voc2012.load_pair(data_dir, "2007_000032")
    np.testing.assert_array_equal(read, mask)
    assert image.shape == (6, 9, 3) and np.abs(image.astype(int) - (200, 30, 30)).max() < 8
    np.testing.assert_array_equal(VOC_PALETTE[read][2, 3], (192, 128, 128))  # person, as in the development kit


def test_incomplete_lists_are_a_subset(devkit, monkeypatch):
    assert voc2012.source(devkit[0]) == "voc2012-subset"
    monkeypatch.setattr(voc2012, "VOC_PAIRS", {"train": 1, "val": 1})
    assert voc2012.source(devkit[0]) == "voc2012"


def test_masks_are_read_without_their_photographs(devkit):
    data_dir, root, mask = devkit
    facts = voc2012.explore(data_dir, "train")
    (root / "JPEGImages" / "2007_000032.jpg").unlink()
    np.testing.assert_array_equal(voc2012.load_mask(data_dir, "2007_000032"), mask)
    for name, values in voc2012.explore(data_dir, "train").items():
        np.testing.assert_array_equal(values, facts[name])


def test_broken_data_is_named(devkit):
    data_dir, root, mask = devkit
    with pytest.raises(DataError, match=r"trainval\.txt is missing.*Restore.*or delete VOCdevkit/VOC2012"):
        voc2012.identifiers(data_dir, "trainval")
    with pytest.raises(DataError, match=r"2008_000001\.jpg cannot be read.*Restore.*or delete VOCdevkit/VOC2012"):
        voc2012.load_pair(data_dir, "2008_000001")
    path = root / "SegmentationClass" / "2007_000032.png"
    Image.fromarray(mask[:-1]).save(path)
    with pytest.raises(DataError, match=r"is 9x5, its image 9x6.*Restore.*or delete VOCdevkit/VOC2012"):
        voc2012.load_pair(data_dir, "2007_000032")
    Image.fromarray(np.where(mask == 15, 21, mask).astype(np.uint8)).save(path)
    with pytest.raises(DataError, match=r"does not have: \[21\].*Restore.*or delete VOCdevkit/VOC2012"):
        voc2012.load_pair(data_dir, "2007_000032")
    Image.fromarray(VOC_PALETTE[mask]).save(path)
    with pytest.raises(DataError, match=r"holds colours.*Restore.*or delete VOCdevkit/VOC2012"):
        voc2012.load_pair(data_dir, "2007_000032")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot be read"):
        voc2012.load_pair(data_dir, "2007_000032")


def test_palette_by_hand():
    """From the development kit's documentation: aeroplane, bicycle, tv/monitor, void."""
    assert len(VOC_CLASSES) == 21
    for label, rgb in ((0, (0, 0, 0)), (1, (128, 0, 0)), (2, (0, 128, 0)), (20, (0, 64, 128)), (255, (224, 224, 192))):
        assert tuple(VOC_PALETTE[label]) == rgb


def test_exploration_by_hand(devkit):
    data_dir, root, _ = devkit
    mask = np.zeros((6, 40), np.uint8)
    mask[:, 10:16], mask[:, 16:20] = VOID, 3  # a band of 6 pixels, 0.5, 1.5 and 2.5 from its edges
    Image.fromarray(mask).save(root / "SegmentationClass" / "2007_000032.png")
    Image.new("RGB", (40, 6)).save(root / "JPEGImages" / "2007_000032.jpg")
    facts = voc2012.explore(data_dir, "train")
    assert facts["sizes"].tolist() == [[6, 40]] and facts["void"].tolist() == [36]
    assert facts["pixels"][0, [0, 3]].tolist() == [6 * 30, 24] and facts["pixels"].sum() == 6 * 34
    assert facts["border_width"][0] == pytest.approx(6)


def test_masks_of_sbd_are_explored_in_their_folder(devkit):
    data_dir, root, _ = devkit
    (root / sbd.LIST).write_text("2008_000008\n")
    (root / sbd.MASKS).mkdir()
    Image.new("L", (9, 6), 4).save(root / sbd.MASKS / "2008_000008.png")
    assert voc2012.explore(data_dir, "sbd")["pixels"][0, 4] == 54


def test_to_square_and_back():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (30, 40, 3), np.uint8), rng.choice(np.array([0, 7, 255], np.uint8), (30, 40))
    square, labels = voc2012.to_square(image, mask, 16)
    assert square.shape == (16, 16, 3) and labels.shape == (16, 16) and set(np.unique(labels)) <= {0, 7, 255}
    ramp = np.tile(np.arange(16, dtype=np.float32), (16, 1))
    back = voc2012.from_square(ramp, 30, 40)
    assert back.shape == (30, 40)
    inner = (np.arange(40) + 0.5) * 16 / 40 - 0.5  # where the centres of the new pixels lie on the old ones
    np.testing.assert_allclose(back[3], inner.clip(0, 15), atol=1e-3)
    assert voc2012.from_square(np.stack([ramp, 2 * ramp], -1), 30, 40).shape == (30, 40, 2)


def test_an_image_that_shrinks_is_averaged():
    """A chequered pattern of single pixels becomes grey."""
    chequered = np.repeat((255 * (np.indices((64, 64)).sum(0) % 2)).astype(np.uint8)[..., None], 3, -1)
    image, _ = voc2012.to_square(chequered, np.zeros((64, 64), np.uint8), 16)
    assert np.abs(image[1:-1, 1:-1].astype(int) - 127).max() < 5


def test_sbd_becomes_label_pngs_and_a_list_without_official_images(devkit):
    """MATLAB files as the publisher writes them: a struct "GTcls" whose field "Segmentation" is the mask."""
    data_dir, root, mask = devkit
    folder = data_dir / "benchmark_RELEASE" / "dataset" / "cls"
    folder.mkdir(parents=True)
    labels = np.where(mask == VOID, 0, mask)
    for name in ("2007_000032", "2008_000008", "2008_000009"):  # official, new, new without a photograph
        savemat(folder / f"{name}.mat", {"GTcls": {"Segmentation": labels, "Boundaries": 0}})
    Image.new("RGB", (9, 6)).save(root / "JPEGImages" / "2008_000008.jpg")
    assert voc2012.identifiers(data_dir, "sbd") == ["2008_000008"]
    _, read = voc2012.load_pair(data_dir, "2008_000008", augmented=True)
    np.testing.assert_array_equal(read, labels)
    (folder / "2008_000008.mat").write_bytes(b"no longer read")
    assert voc2012.identifiers(data_dir, "sbd") == ["2008_000008"]
    (root / "ImageSets" / "Segmentation" / "sbd.txt").unlink()
    with pytest.raises(DataError, match=r"2008_000008\.mat cannot be read"):
        voc2012.identifiers(data_dir, "sbd")


def test_sbd_without_any_mask_for_a_photograph_is_explained(devkit):
    """Otherwise an empty list would be kept, and every later run would train without SBD."""
    data_dir, root, _ = devkit
    (data_dir / "benchmark_RELEASE").mkdir()
    for _ in range(2):
        with pytest.raises(DataError, match=r"holds no mask for a photograph.*delete .*benchmark_RELEASE"):
            voc2012.identifiers(data_dir, "sbd")
    assert not (root / "ImageSets" / "Segmentation" / "sbd.txt").exists()


def test_of_several_that_need_sbd_one_converts_it(devkit, monkeypatch):
    data_dir, root, _ = devkit
    converted = []

    def convert(source, voc, path):
        converted.append(path)
        time.sleep(0.3)
        path.write_text("2008_000008\n")

    monkeypatch.setattr(sbd, "convert", convert)
    (data_dir / "benchmark_RELEASE").mkdir()
    threads = [threading.Thread(target=sbd.ensure, args=(root, data_dir)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert converted == [root / sbd.LIST]


def test_any_damage_to_a_file_of_sbd_is_explained(tmp_path):
    path, rng = tmp_path / "cls" / "a.mat", np.random.default_rng(0)
    path.parent.mkdir()
    mask = rng.integers(0, 21, (40, 50), np.uint8)
    savemat(path, {"GTcls": {"Segmentation": mask, "Boundaries": 0}}, do_compression=True)
    np.testing.assert_array_equal(sbd.read_mask(path), mask)
    whole = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(whole) + 1)])
        with contextlib.suppress(DataError):
            assert sbd.read_mask(path).dtype == np.uint8
