"""Decode untrusted uploads in processes of their own: a slow file is given up, and a crash ends only its process.

A picture of a few hundred kilobytes can take minutes to decode. Decoding runs in C and cannot be interrupted within
the process, so it runs in one that can be killed.
"""

import multiprocessing
import os
import queue
import signal
import threading

from hw2.errors import ImageError

SECONDS = 4.0  # for one file; a photograph of 64 megapixels takes about one
WAIT_SECONDS = 20.0  # for a free process
PROCESSES = 2
TOO_SLOW = "The image takes too long to decode. Upload a smaller copy, saved as PNG or as an ordinary (baseline) JPEG."
CRASHED = "The image could not be decoded: the file is damaged, incomplete or of an unsupported kind."
BUSY = "The server is busy with other pictures. Try again in a minute."


class Decoder:
    """Processes that decode files, each started at its first use and replaced when it is killed."""

    def __init__(self, processes=PROCESSES, seconds=SECONDS, wait=WAIT_SECONDS):
        self.seconds, self.wait = seconds, wait
        self._idle = queue.LifoQueue()  # last in, first out: the second process starts only when it is needed
        for _ in range(processes):
            self._idle.put(None)

    def call(self, name, *arguments):
        """Return the result of a function of `hw2.inference.uploads`. Raises ImageError, also after `seconds`."""
        try:
            worker = self._idle.get(timeout=self.wait)
        except queue.Empty:
            raise ImageError(BUSY) from None
        try:
            worker = worker or _Worker()
            result = worker.ask(name, arguments, self.seconds)
        except (TimeoutError, EOFError, OSError) as error:
            if worker:
                worker.kill()
            worker = None
            raise ImageError(TOO_SLOW if isinstance(error, TimeoutError) else CRASHED) from None
        finally:
            self._idle.put(worker)
        if isinstance(result, ImageError):
            raise result
        return result

    def read_image(self, path, *options):
        """Return `uploads.read_image(path, *options)`."""
        return self.call("read_image", str(path), *options)

    def read_mask(self, path, shape):
        """Return `uploads.read_mask(path, shape)`."""
        return self.call("read_mask", str(path), shape)

    def close(self):
        """End the idle processes."""
        for _ in range(self._idle.qsize()):
            if worker := self._idle.get():
                worker.kill()
            self._idle.put(None)


class _Worker:
    """A process that decodes one file after another."""

    starting = threading.Lock()  # a process that is started while another thread starts one may inherit its pipe

    def __init__(self):
        context = multiprocessing.get_context("spawn")  # not a fork: TensorFlow's threads would be lost
        with self.starting:
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
        if not self.connection.poll(60):  # starting Python takes a while, which is not the file's fault
            self.kill()
            raise TimeoutError
        self.connection.recv()

    def ask(self, name, arguments, seconds):
        self.connection.send((name, arguments))
        if not self.connection.poll(seconds):
            raise TimeoutError
        return self.connection.recv()

    def kill(self):
        self.process.kill()
        self.process.join(5)
        self.connection.close()


def serve(connection):
    """Answer requests until the other end is closed, as it is when its process ends, however it does."""
    from hw2.inference import uploads

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "nice"):
        os.nice(1)  # the networks of other visitors come first
    connection.send("ready")
    try:
        while True:
            name, arguments = connection.recv()
            try:
                result = getattr(uploads, name)(*arguments)
            except ImageError as error:
                result = ImageError(str(error))  # without its cause, which may not be picklable
            connection.send(result)
    except (EOFError, OSError):
        return
