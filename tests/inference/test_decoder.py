"""Decoding in another process: the same answers, a limit on the time, and no crash of this process."""

import functools
import multiprocessing
import os
import pickle
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hostile_files import encoded, png
from PIL import Image

from hw2.errors import ImageError
from hw2.inference import uploads
from hw2.inference.decoder import Decoder, _Worker


class Answering:
    """A worker whose process, taken over by a hostile file, answers with any bytes."""

    def __init__(self, decoder, *answers):
        decoder._idle.get()
        self.worker = object.__new__(_Worker)
        self.worker.connection, self.theirs = multiprocessing.Pipe()
        self.worker.process = multiprocessing.get_context("spawn").Process(target=print)
        self.worker.process.start()
        decoder._idle.put(self.worker)
        for answer in answers:
            self.theirs.send_bytes(answer)


class Bomb:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize(
    "answers",
    [
        [pickle.dumps(Bomb())],
        [b""],
        [b"\xff"],
        [b"[" * 200_000],
        [b"[]"],
        [b"{}"],
        [b'{"error": 3}'],
        [b'{"shape": [2, 2, 3]}', bytes(11)],
        [b'{"shape": [-1, -1, 3]}', bytes(3)],
        [b'{"shape": [2.0, 2]}', bytes(4)],
        [b'{"shape": [true, true]}', bytes(1)],
        [b'{"shape": 4}', bytes(4)],
        [b'{"shape": []}', bytes(1)],
        [b'{"shape": [1, 1, 1, 1]}', bytes(1)],
    ],
)
def test_no_answer_of_a_process_is_unpickled_or_believed(answers, capsys):
    decoder = Decoder(processes=1, seconds=1)
    answering = Answering(decoder, *answers)
    with pytest.raises(ImageError, match="could not be decoded"):
        decoder.read_image("photo.png")
    assert decoder._idle.queue[0] is None and answering.worker.connection.closed  # it may be out of step
    assert "unpickled" not in capsys.readouterr().out


def test_all_idle_processes_are_ended():
    decoder, ended = Decoder(processes=3), []
    decoder._idle.get()
    decoder._idle.get()
    for name in ("first", "second"):
        decoder._idle.put(SimpleNamespace(kill=functools.partial(ended.append, name)))
    decoder.close()
    assert sorted(ended) == ["first", "second"]
    assert list(decoder._idle.queue) == [None, None, None]  # it can be used again


def test_slow_files_are_given_up_and_others_are_read(tmp_path):
    (photo := tmp_path / "photo.png").write_bytes(
        encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)), "PNG")
    )
    (slow := tmp_path / "slow.png").write_bytes(png(7000, 7000, bytes(7001 * 7000), colour=0))
    (text := tmp_path / "text.png").write_text("no image")
    decoder = Decoder(processes=1, seconds=20)
    try:
        np.testing.assert_array_equal(decoder.read_image(photo), uploads.read_image(photo))
        assert decoder.read_image(photo, 20).shape == (15, 20, 3)
        with pytest.raises(ImageError, match="not an image"):
            decoder.read_image(text)
        with pytest.raises(ImageError, match="not a mask"):
            decoder.read_mask(photo, (30, 40))
        decoder.seconds, began = 0.02, time.perf_counter()
        with pytest.raises(ImageError, match=r"takes too long to decode\. Upload"):
            decoder.read_image(slow)
        assert time.perf_counter() - began < 3
        decoder.seconds = 20
        assert decoder.read_image(photo).shape == (30, 40, 3)  # by another process
        worker = decoder._idle.queue[0]
        os.kill(worker.process.pid, signal.SIGKILL)  # as a crash within a decoder would
        worker.process.join(10)
        with pytest.raises(ImageError, match="could not be decoded"):
            decoder.read_image(photo)
        assert decoder.read_image(photo).shape == (30, 40, 3)
        decoder.wait, taken = 0.05, decoder._idle.get()
        with pytest.raises(ImageError, match=r"busy.*Try again"):
            decoder.read_image(photo)
        decoder._idle.put(taken)
    finally:
        decoder.close()
