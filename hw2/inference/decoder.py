"""Decode untrusted uploads in processes of their own: a slow file is given up, and a crash ends only its process.

A picture of a few hundred kilobytes can take minutes to decode. Decoding runs in C and cannot be interrupted within
the process, so it runs in one that can be killed.

A file may also take that process over through a fault in a decoder, so none of its answers is unpickled, and each is
checked: it is {"error": text} in JSON, or {"shape": numbers} and then the bytes of an array of uint8.
"""

import json
import math
import multiprocessing
import os
import queue
import signal
import threading

import numpy as np

from hw2.errors import ImageError

SECONDS = 4.0  # for one file; a photograph of 64 megapixels takes about one
WAIT_SECONDS = 20.0  # for a free process
PROCESSES = 2
HEADER_BYTES, ARRAY_BYTES = 10_000, 200_000_000  # at most; 6,000 x 6,000 pixels in colours have 108 million bytes
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
        kept = None
        try:
            worker = worker or _Worker()
            result = worker.ask(name, arguments, self.seconds)
            kept = worker
        except Exception as error:
            raise ImageError(TOO_SLOW if isinstance(error, TimeoutError) else CRASHED) from None
        finally:
            if worker and not kept:  # its next answer might be that to this request
                worker.kill()
            self._idle.put(kept)
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
        for worker in [self._idle.get() for _ in range(self._idle.qsize())]:
            if worker:
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
        self.connection.recv_bytes(HEADER_BYTES)

    def ask(self, name, arguments, seconds):
        """Return an array of uint8 or an ImageError. Any exception means that the process is of no further use."""
        self.connection.send((name, arguments))
        if not self.connection.poll(seconds):
            raise TimeoutError
        header = json.loads(self.connection.recv_bytes(HEADER_BYTES))
        if isinstance(header.get("error"), str):
            return ImageError(header["error"])
        shape = header["shape"]
        if len(shape) not in (2, 3) or not all(type(side) is int and side > 0 for side in shape):
            raise ValueError(f"{shape} is not the shape of an image")
        if math.prod(shape) > ARRAY_BYTES:
            raise ValueError(f"an array of the shape {shape} is too large")
        array = np.empty(shape, np.uint8)
        if not self.connection.poll(seconds):
            raise TimeoutError
        if self.connection.recv_bytes_into(array.reshape(-1)) != array.size:
            raise ValueError(f"there are too few bytes for the shape {shape}")
        return array

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
    connection.send_bytes(b"ready")
    try:
        while True:
            name, arguments = connection.recv()
            try:
                array = np.ascontiguousarray(getattr(uploads, name)(*arguments))
            except ImageError as error:
                connection.send_bytes(json.dumps({"error": str(error)}).encode())
            else:
                connection.send_bytes(json.dumps({"shape": array.shape}).encode())
                connection.send_bytes(array.reshape(-1))
    except (EOFError, OSError):
        return
