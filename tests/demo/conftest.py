"""The page is served once, over loopback, for all tests of the demo."""

import importlib.util
import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest
import tiny_runs

UPLOADS = tempfile.TemporaryDirectory(prefix="hw2-test-demo-")
os.environ["GRADIO_TEMP_DIR"] = UPLOADS.name  # read when Gradio is imported
sys.path.insert(0, str(Path(__file__).parents[2] / "demo"))


@pytest.fixture(scope="session")
def uploads_folder():
    return Path(UPLOADS.name)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return a folder of tiny finished runs, one of them damaged."""
    folder = tiny_runs.write_all(tmp_path_factory.mktemp("results"))
    (folder / "damaged").mkdir()
    (folder / "damaged" / "metrics.json").write_text("{")
    (folder / "damaged" / "final.json").write_text("{}")
    return folder


@pytest.fixture(scope="session")
def serve():
    """Return a function that serves the page of a folder of runs on a free port and returns `(blocks, address)`."""
    import page
    import store

    from hw2.inference.catalogue import catalogue

    started = []

    def start(folder, mcp=False):
        blocks = page.build(catalogue(folder), folder)
        started.append(blocks)
        with socket.socket() as free:  # from the system: of two processes that look for Gradio's first, one would fail
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = page.launch_options(2)
        _, address, _ = blocks.launch(**options, server_port=port, prevent_thread_lock=True, mcp_server=mcp)
        return blocks, address

    yield start
    for blocks in started:
        blocks.close(verbose=False)
    store.decoder.close()


@pytest.fixture(scope="session")
def served(serve, folder):
    return serve(folder, mcp=importlib.util.find_spec("mcp") is not None)


@pytest.fixture(scope="session")
def address(served):
    return served[1]
