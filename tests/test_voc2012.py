import numpy as np
import pytest
from PIL import Image

from hw2 import DataError
from hw2.data import voc2012
from hw2.labels import VOC_CLASSES, VOC_PALETTE, VOID


@pytest.fixture
def devkit(tmp_path):
    """A development kit of one pair, its mask a palette PNG as the publisher writes it."""
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
    np.testing.assert_array_equal(voc2012.colour(read)[2, 3], (192, 128, 128))  # person, as in the development kit


def test_a_part_of_the_data_says_so(devkit):
    assert voc2012.source(devkit[0]) == "voc2012-subset"


def test_broken_data_is_named(devkit):
    data_dir, root, mask = devkit
    with pytest.raises(DataError, match=r"sbd\.txt is missing.*SegmentationClassAug"):
        voc2012.identifiers(data_dir, "sbd")
    with pytest.raises(DataError, match=r"2008_000001\.jpg cannot be read"):
        voc2012.load_pair(data_dir, "2008_000001")
    path = root / "SegmentationClass" / "2007_000032.png"
    Image.fromarray(mask[:-1]).save(path)
    with pytest.raises(DataError, match="is 9x5, its image 9x6"):
        voc2012.load_pair(data_dir, "2007_000032")
    Image.fromarray(np.where(mask == 15, 21, mask).astype(np.uint8)).save(path)
    with pytest.raises(DataError, match=r"does not have: \[21\]"):
        voc2012.load_pair(data_dir, "2007_000032")
    Image.fromarray(VOC_PALETTE[mask]).save(path)
    with pytest.raises(DataError, match="holds colours"):
        voc2012.load_pair(data_dir, "2007_000032")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot be read"):
        voc2012.load_pair(data_dir, "2007_000032")


def test_palette_by_hand():
    """From the development kit's documentation: aeroplane, bicycle, tv/monitor, void."""
    assert len(VOC_CLASSES) == 21
    for label, rgb in ((0, (0, 0, 0)), (1, (128, 0, 0)), (2, (0, 128, 0)), (20, (0, 64, 128)), (255, (224, 224, 192))):
        assert tuple(VOC_PALETTE[label]) == rgb
