"""Runs that are killed, interrupted or told to end: they keep their state and end with the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from small_runs import VGG16, interrupt_at, outcome, run

from hw2 import files, runs
from hw2.training import interruption

TESTS = Path(__file__).resolve().parent.parent
TRAIN = """
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from hw2.training import interruption
from small_runs import run
interruption.install()
def log(line):
    print(line, flush=True)
    BODY
run(Path(sys.argv[1]), json.loads(sys.argv[2]), log=log)
print("finished", flush=True)
"""


def start(folder, body, config=VGG16):
    command = [sys.executable, "-c", TRAIN.replace("BODY", body), str(folder), json.dumps(config), str(TESTS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def test_a_run_killed_and_interrupted_ends_with_the_same_numbers(tmp_path):
    """SIGKILL in a process of its own, where nothing can be cleaned up; then Ctrl-C, in the next phase."""
    run(tmp_path / "whole", VGG16)
    process = start(tmp_path / "cut", "'phase 1 epoch 3' in line and os.kill(os.getpid(), signal.SIGKILL)")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    folder = tmp_path / "cut" / "results" / "small"
    assert [row["epoch"] for row in files.read_csv(folder / "history.csv")] == [1, 2]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", VGG16, log=interrupt_at("phase 2 epoch 3"))
    assert runs.run_state(folder) == "unfinished"
    assert files.read_csv(folder / "history.csv")[-1]["phase"] == 2
    run(tmp_path / "cut", VGG16)
    one, other = outcome(tmp_path / "whole"), outcome(tmp_path / "cut")
    assert one[:3] == other[:3]
    for name, array in one[3].items():
        np.testing.assert_array_equal(array, other[3][name], err_msg=name)


@pytest.fixture
def handlers():
    """The handlers of a command that trains; afterwards those of the test runner again."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    interruption.install()
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt_where_exceptions_are_dropped():
    """Press Ctrl-C inside the callback of a weak reference, whose exceptions Python prints and forgets."""

    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
    del thing
    assert reference() is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("press", [terminate, interrupt_where_exceptions_are_dropped])
def test_sigterm_and_a_dropped_exception_end_the_run(tmp_path, handlers, press):
    lines = []

    def log(line):
        lines.append(line)
        if "phase 1 epoch 2" in line:
            press()

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, VGG16, log=log)
    assert "phase 1 epoch 2" in lines[-1]
    assert runs.run_state(tmp_path / "results" / "small") == "unfinished"


def test_a_signal_within_a_batch_waits_for_its_end_and_the_second_does_not(tmp_path):
    """The first is acknowledged and ends the run after the batch; a second ends the process at once."""
    body = (
        "if 'budget' in line:\n"
        "        from hw2.data import augment\n"
        "        augment.AUGMENTATIONS['flip'] = lambda rng, images: (print('in a batch', flush=True), "
        "time.sleep(4), images)[-1]"
    )
    config = VGG16 | {"phases": VGG16["phases"][1:]}
    process = start(tmp_path, body, config)
    for line in process.stdout:
        if "in a batch" in line:
            break
    process.send_signal(signal.SIGINT)
    assert "Stopping after this batch" in _line_with(process.stderr, "Stopping")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and time.monotonic() - began < 2


def _line_with(stream, text):
    for line in stream:
        if text in line:
            return line
    return ""
