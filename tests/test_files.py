"""Reading and writing files: what comes back, and what a crash, a full disk or a damaged file does."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from hw2 import files
from hw2.errors import ResultsError


def test_json_csv_and_arrays_come_back(tmp_path):
    value = {"a": [1, 2.5, None, "x"], "b": {"c": True}}
    files.write_json(tmp_path / "deep" / "a.json", value)
    assert files.read_json(tmp_path / "deep" / "a.json") == value
    rows = [{"epoch": 1, "loss": 0.1 + 0.2, "note": "a,b"}, {"epoch": 2, "loss": 1e-30, "note": None}]
    rows.append({"epoch": 3, "loss": 0.5, "note": "2007_000032"})  # an image of VOC and no number
    files.write_csv(tmp_path / "a.csv", rows)
    assert files.read_csv(tmp_path / "a.csv") == rows
    (tmp_path / "cut.csv").write_text("epoch,loss,note\n1,0.5")
    assert files.read_csv(tmp_path / "cut.csv") == [{"epoch": 1, "loss": 0.5, "note": None}]
    arrays = {"logits": np.arange(6, dtype=np.float16).reshape(2, 3), "indices": np.array([3, 1])}
    files.write_arrays(tmp_path / "a.npz", arrays)
    read = files.read_arrays(tmp_path / "a.npz")
    assert list(read) == ["logits", "indices"] and read["logits"].dtype == np.float16
    np.testing.assert_array_equal(read["indices"], [3, 1])


def test_maps_are_images_in_the_archive(tmp_path):
    y, x = np.mgrid[:90, :120]
    smooth = (127 + 120 * np.sin(x / 11) * np.cos(y / 17)).astype(np.uint8)
    arrays = {"a": np.arange(3), "map": smooth, "labels": np.uint8([[0, 255]]), "empty": np.zeros((0, 4), np.uint8)}
    files.write_arrays(tmp_path / "a.npz", arrays)
    read = files.read_arrays(tmp_path / "a.npz")
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(archive.read("map.png"), np.uint8), -1), smooth)
    np.savez_compressed(tmp_path / "plain.npz", **arrays)  # still readable, and larger
    np.testing.assert_array_equal(files.read_arrays(tmp_path / "plain.npz")["map"], smooth)
    assert (tmp_path / "a.npz").stat().st_size < 0.8 * (tmp_path / "plain.npz").stat().st_size
    whole = (tmp_path / "a.npz").read_bytes()
    files.write_arrays(tmp_path / "a.npz", arrays)
    assert (tmp_path / "a.npz").read_bytes() == whole  # no time of writing
    with zipfile.ZipFile(tmp_path / "broken.npz", "w") as archive:
        archive.writestr("map.png", b"no image")
    with pytest.raises(ResultsError, match=r"broken\.npz is damaged"):
        files.read_arrays(tmp_path / "broken.npz")


def test_numbers_of_numpy_are_numbers(tmp_path):
    files.write_json(tmp_path / "a.json", {"f1": np.float32(0.5), "n": np.int64(3), "good": np.bool_(True)})
    assert files.read_json(tmp_path / "a.json") == {"f1": 0.5, "n": 3, "good": True}
    with pytest.raises(TypeError, match=r"array\(\[1\]\) cannot be written as JSON"):
        files.write_json(tmp_path / "b.json", {"all": np.array([1])})


def test_not_a_number_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", logits=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ResultsError, match="allow_pickle"):
        files.read_arrays(tmp_path / "a.npz")


def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path):
    files.write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(OSError), files.atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert files.read_json(tmp_path / "a.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_kill_while_writing_keeps_the_old_file(tmp_path):
    files.write_json(tmp_path / "a.json", {"old": 1})
    script = (
        "import os, signal, sys\nfrom hw2 import files\n"
        "with files.atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('{')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.json")], env=os.environ)
    assert process.returncode == -signal.SIGKILL
    assert files.read_json(tmp_path / "a.json") == {"old": 1}


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(ResultsError, match=r"config\.json is damaged.*--force"):
        files.read_json(tmp_path / "config.json")
    files.write_arrays(tmp_path / "state.npz", {"a": np.arange(1000)})
    whole = (tmp_path / "state.npz").read_bytes()
    for content in (b"", whole[:100], whole[:-100], whole[:400] + b"x" * 50 + whole[450:]):
        (tmp_path / "state.npz").write_bytes(content)
        with pytest.raises(ResultsError, match=r"state\.npz is damaged"):
            files.read_arrays(tmp_path / "state.npz")


@pytest.mark.parametrize(
    "content",
    [b"epoch,loss\n1,0.5,7\n", b"epoch,loss\n1,\xff\xfe\n", b"epoch,loss\n1," + b"9" * 200_000],
    ids=["a surplus cell", "not UTF-8", "an endless cell"],
)
def test_a_damaged_table_is_named(tmp_path, content):
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(ResultsError, match=r"history\.csv is damaged.*--force"):
        files.read_csv(tmp_path / "history.csv")


def test_nested_beyond_measure_is_damaged(tmp_path):
    (tmp_path / "config.json").write_text("[" * 200_000)
    with pytest.raises(ResultsError, match=r"config\.json is damaged"):
        files.read_json(tmp_path / "config.json")


def test_arrays_in_another_kind_of_file_are_refused(tmp_path):
    """A single array under the name of several, and archives that Python cannot unpack."""
    np.save(tmp_path / "a.npy", np.arange(3))
    (tmp_path / "a.npy").rename(tmp_path / "logits.npz")
    with pytest.raises(ResultsError, match=r"logits\.npz is damaged"):
        files.read_arrays(tmp_path / "logits.npz")
    files.write_arrays(tmp_path / "whole.npz", {"a": np.arange(1000)})
    whole = (tmp_path / "whole.npz").read_bytes()
    for place in range(len(whole)):
        (tmp_path / "logits.npz").write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with contextlib.suppress(ResultsError):
            files.read_arrays(tmp_path / "logits.npz")
    with pytest.raises(FileNotFoundError):
        files.read_arrays(tmp_path / "absent.npz")
