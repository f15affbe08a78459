"""Signals end a run between two batches, even where Python drops the exception; a second signal ends it at once."""

import os
import signal
import time
import weakref

import pytest
from small_runs import TINY, run, start

from hw2 import runs
from hw2.training import interruption


@pytest.fixture
def handlers():
    """The handlers of a command that trains; afterwards those of the test runner again."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    interruption.install()
    yield
    interruption.install()  # forgets the request, which would end the runs of later tests
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
        run(tmp_path, TINY, log=log)
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
    process = start(tmp_path, TINY, body)
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
