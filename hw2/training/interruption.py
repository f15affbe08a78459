"""Ctrl-C and SIGTERM: end a run between two batches, where nothing is half done.

Python turns Ctrl-C into a KeyboardInterrupt wherever it happens to be, and where that is a weak reference's callback or
a garbage collector's hook, the exception is printed and lost. So the request is remembered as well, and checked between
batches, epochs and runs.
"""

import contextlib
import os
import signal
import sys

import keras

_state = {"requested": False, "deferred": False}


def install():
    """Handle SIGINT and SIGTERM from now on: the first ends the run at the next safe point, the second at once."""
    _state.update(requested=False, deferred=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)


def _handle(number, frame):
    if _state["requested"]:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    _state["requested"] = True
    if not _state["deferred"]:
        raise KeyboardInterrupt
    print("\nStopping after this batch; once more to stop at once.", file=sys.stderr, flush=True)


def check():
    """Raise KeyboardInterrupt if a signal was received."""
    if _state["requested"]:
        raise KeyboardInterrupt


@contextlib.contextmanager
def deferred():
    """Within this context a signal raises nothing by itself: `check` does, or `StopBetweenBatches`."""
    check()
    _state["deferred"] = True
    try:
        yield
    finally:
        _state["deferred"] = False


class StopBetweenBatches(keras.callbacks.Callback):
    """Raises KeyboardInterrupt after the batch, of training or validation, in which a signal was received.

    It does so when the next one begins: Keras waits for the losses of a batch if a callback acts at its end, and a GPU
    would be idle meanwhile.
    """

    def on_train_batch_begin(self, batch, logs=None):
        check()

    def on_test_batch_begin(self, batch, logs=None):
        check()
