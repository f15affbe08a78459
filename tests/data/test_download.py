"""Downloads from a server on this machine that cuts connections, ignores ranges, or sends wrong content."""

import concurrent.futures
import contextlib
import dataclasses
import errno
import hashlib
import http.client
import io
import socket
import sys
import tarfile
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hw2.data import download
from hw2.errors import DataError


def tar_of(*members):
    """Return the bytes of a tar file of `(name, content)` pairs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONTENT = tar_of(("set/a.bin", bytes(range(256)) * 400), ("set/names.txt", b"cat\n"))


class Server:
    """Serves `content`; cuts each connection after `cut` bytes unless `cut` is None; records the requested ranges."""

    def __init__(self, content=CONTENT, cut=None, ranges=True):
        self.content, self.cut, self.ranges, self.asked = content, cut, ranges, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers.get("Range")
                server.asked.append(asked)
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
                if start >= len(server.content):
                    self.send_error(416)
                    return
                body = server.content[start:]
                self.send_response(206 if asked and server.ranges else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if server.cut is None else body[: server.cut])

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/set.tar.gz"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve():
    servers = []

    def start(**arguments):
        servers.append(Server(**arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def direct_and_at_once(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)


def stored(folder):
    """Return the names of the files in a folder except the lock."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def archive(*urls, md5=None):
    return download.Archive("set.tar.gz", urls, md5 or hashlib.md5(CONTENT).hexdigest(), "set")


def test_downloads_checks_and_unpacks_once(serve, tmp_path):
    server = serve()
    folder = download.ensure(archive(server.url), tmp_path)
    assert folder == tmp_path / "set" and (folder / "names.txt").read_text() == "cat\n"
    assert (folder / "a.bin").read_bytes() == bytes(range(256)) * 400
    assert download.ensure(archive(server.url), tmp_path) == folder and len(server.asked) == 1
    assert stored(tmp_path) == ["set", "set.tar.gz"]


@pytest.mark.parametrize("inside", ["devkit", "devkit/set", "devkit/set/images"])
def test_a_folder_within_the_data_set_is_not_filled_with_another_copy(serve, tmp_path, inside):
    server = serve()
    voc = dataclasses.replace(archive(server.url), extracts_to="devkit/set")
    (tmp_path / "devkit" / "set").mkdir(parents=True)
    with pytest.raises(DataError, match=f"--data-dir {tmp_path}$"):
        download.ensure(voc, tmp_path / inside)
    with pytest.raises(DataError, match="holds no folder"):  # a folder beside it is another data folder
        download.ensure(voc, tmp_path / "other")
    assert server.asked == [None]


def test_two_at_once_download_once(serve, tmp_path):
    server = serve()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: download.ensure(archive(server.url), tmp_path), range(4)))
    assert folders == {tmp_path / "set"} and server.asked == [None]


def test_resumes_after_a_cut(serve, tmp_path):
    server = serve(cut=50)
    with pytest.raises(DataError, match=rf"cut after 50 of {len(CONTENT)} bytes"):
        download.ensure(archive(server.url), tmp_path)
    # three tries, each of which resumes where the previous one was cut
    assert server.asked == [None, "bytes=50-", "bytes=100-"]
    assert (tmp_path / "set.tar.gz.part").read_bytes() == CONTENT[:150] and not (tmp_path / "set").exists()
    server.cut = None
    assert (download.ensure(archive(server.url), tmp_path) / "names.txt").exists()
    assert server.asked[3:] == ["bytes=150-"]


def test_a_server_without_ranges_does_not_discard_the_part(serve, tmp_path):
    server = serve(cut=50, ranges=False)
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT[:100])
    with pytest.raises(DataError, match="cut after"):
        download.ensure(archive(server.url), tmp_path)
    assert (tmp_path / "set.tar.gz.part").read_bytes() == CONTENT[:100]
    server.cut = None
    assert (download.ensure(archive(server.url), tmp_path) / "names.txt").exists()


def test_takes_the_mirror_and_accepts_a_complete_part(serve, tmp_path):
    server = serve()
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT)  # complete, but the run ended before it was renamed
    folder = download.ensure(archive("http://127.0.0.1:9/none", server.url), tmp_path)
    assert (folder / "names.txt").exists() and server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_of_another_file_is_discarded(serve, tmp_path):
    server = serve()
    (tmp_path / "set.tar.gz.part").write_bytes(b"<html>Please log in</html>")
    assert (download.ensure(archive(server.url), tmp_path) / "names.txt").exists()
    assert len(server.asked) == 2 and server.asked[1] is None


def test_a_lost_network_is_not_reported_as_a_full_disk(serve, tmp_path, monkeypatch):
    server = serve()

    def read(response):
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(http.client.HTTPResponse, "read", lambda self, size=None: read(self))
    with pytest.raises(DataError, match=r"(?s)could not be downloaded.*No route to host"):
        download.ensure(archive(server.url), tmp_path)


def test_a_silent_server_is_replaced_by_the_mirror(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/set.tar.gz"
        assert download.ensure(archive(url, serve().url), tmp_path) == tmp_path / "set"
        with pytest.raises(DataError, match=r"(?s)could not be downloaded.*timed out"):
            download.ensure(archive(url), tmp_path / "other")


def test_a_full_disk_is_reported(serve, tmp_path, monkeypatch):
    def fetch(archive, data_dir):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "fetch", fetch)
    with pytest.raises(DataError, match=r"(?s)No space left on device.*Free some disk space"):
        download.ensure(archive("http://127.0.0.1:9/"), tmp_path)


def test_wrong_content_is_rejected_and_not_kept(serve, tmp_path):
    server = serve(content=CONTENT[:-1] + b"x")
    with pytest.raises(DataError, match="the md5 of the downloaded file is not"):
        download.ensure(archive(server.url), tmp_path)
    assert stored(tmp_path) == []
    (tmp_path / "set.tar.gz").write_bytes(b"half")
    with pytest.raises(DataError, match="is damaged"):
        download.ensure(archive(server.url), tmp_path)


def test_without_network_the_message_names_the_files_and_their_places(tmp_path):
    with pytest.raises(DataError) as error:
        download.ensure(archive("http://127.0.0.1:9/set.tar.gz"), tmp_path)
    message = str(error.value)
    for text in ("http://127.0.0.1:9/set.tar.gz", str(tmp_path / "set.tar.gz"), str(tmp_path / "set")):
        assert text in message


def test_a_file_put_there_by_hand_is_used(tmp_path):
    (tmp_path / "set.tar.gz").write_bytes(CONTENT)
    assert (download.ensure(archive("http://127.0.0.1:9/"), tmp_path) / "names.txt").exists()


def test_what_a_kill_left_while_unpacking_is_deleted(tmp_path, monkeypatch):
    """SIGKILL gives no chance to; what another process is unpacking stays."""
    (tmp_path / "set.tar.gz").write_bytes(CONTENT)
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(
            download.tempfile, "TemporaryDirectory", lambda **given: contextlib.nullcontext(tempfile.mkdtemp(**given))
        )
        patched.setattr(download.tarfile.TarFile, "extractall", lambda *given, **options: sys.exit())
        download.ensure(archive("http://127.0.0.1:9/"), tmp_path)
    (left,) = tmp_path.glob(".unpacking-*")
    (left / "half.bin").write_bytes(b"half")
    other = tmp_path / ".unpacking-other.tar-x"
    other.mkdir()
    download.ensure(archive("http://127.0.0.1:9/"), tmp_path)
    assert stored(tmp_path) == [other.name, "set", "set.tar.gz"]


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "set/../../outside.txt"])
def test_an_archive_cannot_write_outside(tmp_path, name):
    content = tar_of((name, b"!"))
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "set.tar.gz").write_bytes(content)
    with pytest.raises(DataError):
        download.ensure(archive("http://127.0.0.1:9/", md5=hashlib.md5(content).hexdigest()), data_dir)
    assert stored(tmp_path) == ["data"] and stored(data_dir) == ["set.tar.gz"]


def test_a_truncated_archive_leaves_nothing_in_place(tmp_path):
    (tmp_path / "set.tar.gz").write_bytes(CONTENT[:600])
    with pytest.raises(DataError, match=r"cannot be unpacked"):
        download.ensure(archive("http://127.0.0.1:9/", md5=hashlib.md5(CONTENT[:600]).hexdigest()), tmp_path)
    assert stored(tmp_path) == ["set.tar.gz"]
