"""Download and unpack the official archives: resumable, digests checked, renamed into place only when complete."""

import dataclasses
import hashlib
import http.client
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import filelock

from hw2.errors import DataError

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30
TRIES, PAUSE_SECONDS = 3, 2


@dataclasses.dataclass(frozen=True)
class Archive:
    """A tar file of a publisher. urls: tried in this order. md5: its digest. extracts_to: the folder that it holds."""

    name: str
    urls: tuple[str, ...]
    md5: str
    extracts_to: str


def ensure(archive, data_dir):
    """Return the folder `data_dir/archive.extracts_to`; download and unpack the archive if the folder is not there.

    The archive is unpacked beside its destination and renamed into place at the end, so an existing folder is complete.
    An archive that the user put into `data_dir` is used if its digest is right.
    Raises DataError without network, for a wrong digest and for a full disk; the message says how to put the file there
    by hand. Raises it too if `data_dir` lies within the unpacked archive.
    """
    data_dir = Path(data_dir)
    folder = data_dir / archive.extracts_to
    if folder.exists():
        return folder
    refuse_a_folder_too_deep(archive, data_dir)
    try:
        with alone(data_dir, archive.name):
            if folder.exists():  # another process has unpacked it meanwhile
                return folder
            path = fetch(archive, data_dir)
            print(f"unpacking {path.name}", flush=True)
            unpack(archive, path, folder)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive.name} cannot be unpacked ({error}). Delete it and start again.") from error
    except OSError as error:
        raise DataError(
            f"{archive.name} cannot be stored under {data_dir}: {error}. Free some disk space, or name another "
            "folder with --data-dir. The part that has been downloaded is kept."
        ) from error
    return folder


def refuse_a_folder_too_deep(archive, data_dir):
    """Raise DataError if `data_dir` lies within the unpacked archive, which would be downloaded into itself."""
    here, top = data_dir.resolve(), Path(archive.extracts_to).parts[0]
    for parent in here.parents:
        if here.is_relative_to(parent / top) and (parent / archive.extracts_to).exists():
            raise DataError(f"{data_dir} lies within a data set. Name the folder above: --data-dir {parent}")


def alone(data_dir, name):
    """Return a lock, for `with`, which keeps other processes from fetching or converting `name` under `data_dir`."""
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(Path(data_dir) / f".{name}.lock")


def unpack(archive, path, folder):
    """Unpack the archive file `path` beside its destination `folder`, then rename its content into place.

    The caller holds the lock of this archive: what a killed process left of it is deleted first.
    """
    prefix = f".unpacking-{archive.name}-"  # another archive has a lock of its own and may be unpacked meanwhile
    for leftover in path.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as scratch:
        with tarfile.open(path) as tar:
            # the "data" filter refuses absolute paths, links to outside and device files (PEP 706)
            tar.extractall(scratch, filter="data")
        extracted = Path(scratch) / archive.extracts_to
        if not extracted.is_dir():
            raise DataError(f"{path} holds no folder {archive.extracts_to}: it is another archive. Delete it.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        extracted.rename(folder)


def fetch(archive, data_dir):
    """Return the path of the complete and checked archive file in `data_dir`; download missing parts."""
    path = Path(data_dir) / archive.name
    if path.exists():
        if md5_of(path) != archive.md5:
            raise DataError(f"{path} is damaged (its md5 is not {archive.md5}). Delete it and start again.")
        return path
    part = path.with_name(path.name + ".part")
    failures = []
    for url in [url for url in archive.urls for _ in range(TRIES)]:
        try:
            download(url, part)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            failure = f"  {url}: {getattr(error, 'reason', None) or error}"
            if failure not in failures:
                failures.append(failure)
            time.sleep(PAUSE_SECONDS)
            continue
        if md5_of(part) == archive.md5:
            part.replace(path)
            return path
        part.unlink()  # it may have been begun from another version, so the next try starts afresh
        failures.append(f"  {url}: the md5 of the downloaded file is not {archive.md5}")
    raise DataError(
        f"{archive.name} is not under {data_dir} and could not be downloaded:\n" + "\n".join(failures) + "\n"
        f"Start again to resume, or download it on another machine from {archive.urls[0]}\n"
        f"and put it at {path}, or its unpacked content at {Path(data_dir) / archive.extracts_to}."
    )


def download(url, part):
    """Append to the file `part` the rest of `url`, with a progress line on standard error.

    Raises ConnectionError, URLError or HTTPException for errors of the network, OSError for errors of the disk.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # "range not satisfiable": nothing is missing; the digest is checked by the caller
            return
        raise
    except urllib.error.URLError:
        raise
    except OSError as error:  # a server that does not answer is an error of the network
        raise ConnectionError(error) from error
    with response, open(part, "ab") as file:
        skip = 0 if response.status == 206 else have  # a server without ranges sends the whole file again
        total = have - skip + int(response.headers.get("Content-Length") or 0)
        started, shown = time.monotonic(), 0.0
        while chunk := _read(response):
            file.write(chunk[skip:])
            have += len(chunk[skip:])
            skip = max(0, skip - len(chunk))
            now = time.monotonic()
            if now - shown > 0.5 or have == total:
                shown = now
                progress(part.name.removesuffix(".part"), have, total, now - started)
        print(file=sys.stderr)
    if have < total:
        raise ConnectionError(f"the connection was cut after {have:,} of {total:,} bytes")


def _read(response):
    try:
        return response.read(CHUNK_BYTES)
    except OSError as error:  # a lost route or a TLS failure is an error of the network
        raise ConnectionError(error) from error


def progress(name, have, total, seconds):
    """Redraw one line: name, bar, megabytes and, if the size is known, percent."""
    bar = f"[{'#' * (20 * have // total):<20}] {100 * have / total:3.0f} %" if total else ""
    columns = shutil.get_terminal_size().columns - 1
    print(f"\r{name} {bar} {have / 1e6:,.0f} MB in {seconds:.0f} s"[: columns + 1], end="", file=sys.stderr, flush=True)


def md5_of(path):
    """Return the md5 digest of a file as hexadecimal digits, to detect damage: the publishers give no other."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
