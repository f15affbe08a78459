"""The only reader and writer of `results/`: one folder a run, every file written atomically, `final.json` last.

| file | content |
|---|---|
| config.json | what was run: the experiment as resolved for its budget and seed |
| history.csv | one row an epoch |
| metrics.json | figures on the validation and test images, cost, where they were measured |
| predictions.npz | logits, labels and image indices, for validation and test images |
| model.keras | the trained model, kernels in float16 |
| images.csv | segmentation: figures of each test image |
| final.json | the run is finished; without it, it is not |
| state.npz | only while a run is unfinished: everything needed to go on |
| .lock | held by the process that trains the run, so that no second one does; says nothing when it is done |
"""

import contextlib
import csv
import datetime
import io
import json
import os
import re
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

CONFIG, HISTORY, METRICS = "config.json", "history.csv", "metrics.json"
PREDICTIONS, MODEL, FINAL, STATE = "predictions.npz", "model.keras", "final.json", "state.npz"
IMAGES, LOCK = "images.csv", ".lock"


class ResultsError(Exception):
    """Results that cannot be read, or that belong to something else; the message says what to do next."""


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`; on leaving, put it in place of `path` in one step, or leave no trace.

    The file is flushed to disk before it is renamed, so a reader, a crash or a power cut sees the old file or the
    new one, never a part. The temporary name ends like `path`, for writers that look at the suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".writing-", suffix="-" + path.name, dir=path.parent)
    os.close(handle)
    temporary = Path(temporary)
    try:
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Write `value` as indented JSON. Raises ValueError for NaN or infinity, which JSON does not have."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path):
    """Return the content of a JSON file, or None if there is no such file."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ResultsError(
            f"{path} is damaged ({error}). Delete the folder {Path(path).parent} or train it again with --force."
        ) from error


def write_csv(path, rows):
    """Write rows, dictionaries with the same keys in the same order, under a header."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())


def read_csv(path):
    """Return the rows of a file that `write_csv` wrote: numbers as int or float, empty or missing cells as None."""
    with open(path, newline="") as file:
        return [{key: _number(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def _number(cell):
    if cell is None:  # a file that was cut off
        return None
    if "_" in cell:  # Python would read "2007_000032", an image of VOC, as a number
        return cell
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell or None


def write_arrays(path, arrays, compress=True):
    """Write named arrays as one `.npz` file."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **arrays)


def read_arrays(path):
    """Return the arrays of an `.npz` file as a dictionary; never unpickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ResultsError(
            f"{path} is damaged ({error}). Train {Path(path).parent.name} again with --force."
        ) from error


def open_run(folder, config, force=False):
    """Begin or re-enter the run in `folder`; return True if it is already finished.

    A folder whose `config.json` differs from `config` holds another run: that is an error which names what differs,
    unless `force` says to throw it away.
    """
    folder = Path(folder)
    if force:
        for name in (FINAL, STATE, CONFIG, HISTORY, METRICS, PREDICTIONS, MODEL, IMAGES):
            (folder / name).unlink(missing_ok=True)
    for leftover in folder.glob(".writing-*"):  # of a run that was killed while it wrote
        leftover.unlink()
    found = read_json(folder / CONFIG)
    if found is None:
        write_json(folder / CONFIG, config)
    elif found != json.loads(json.dumps(config)):
        raise ResultsError(
            f"{folder} holds a run with another configuration:\n"
            + "\n".join(f"  {line}" for line in differences(found, json.loads(json.dumps(config))))
            + "\nTrain it again with --force, or keep it and write elsewhere with --results."
        )
    if (folder / FINAL).exists():
        (folder / STATE).unlink(missing_ok=True)
        return True
    return False


def close_run(folder, needed=(CONFIG, HISTORY, METRICS, PREDICTIONS, MODEL)):
    """Mark the run in `folder` as finished, if it has all `needed` files. Only now may the state to resume from go."""
    folder = Path(folder)
    missing = [name for name in needed if not (folder / name).exists()]
    if missing:
        raise ResultsError(f"{folder} cannot be finished without {', '.join(missing)}.")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(folder / FINAL, {"experiment": folder.name, "finished": now})
    (folder / STATE).unlink(missing_ok=True)


def run_state(folder):
    """Return "finished", "unfinished" or "missing"."""
    folder = Path(folder)
    if (folder / FINAL).exists():
        return "finished"
    return "unfinished" if (folder / CONFIG).exists() else "missing"


def finished_runs(results_dir):
    """Return `{run name: metrics}` of every finished run under `results_dir`, in alphabetical order."""
    folders = sorted(path.parent for path in Path(results_dir).glob(f"*/{FINAL}"))
    return {folder.name: read_metrics(folder) for folder in folders}


def read_metrics(folder):
    """Return the content of a finished run's `metrics.json`."""
    metrics = read_json(Path(folder) / METRICS)
    if metrics is None:
        raise ResultsError(f"{folder} is marked as finished and has no {METRICS}. Train it again with --force.")
    return metrics


def training_seconds(cost):
    """Return what training took, features included, from the `cost` of a run's metrics.

    On a CPU of few cores that is the processor time of all cores over their number, where it was recorded: the clock
    also counts what else the machine did meanwhile.
    """
    if not (cores := cpu_cores(cost)) or "cpu_seconds" not in cost:
        return cost["seconds"]
    unrecorded = 0 if "feature_cpu_seconds" in cost else cost.get("feature_seconds", 0)
    return cost["cpu_seconds"] / cores + unrecorded


def cpu_cores(cost):
    """Return the number of cores of the CPU that trained, from the `cost` of a run's metrics.

    None for a GPU, and for a CPU with more cores than training keeps busy all the time.
    """
    found = re.search(r"(\d+) cores", cost.get("device", ""))
    return int(found[1]) if found and int(found[1]) <= 4 else None


def differences(found, wanted, where=""):
    """Return one line for each place where two JSON values differ: `phases[1].epochs: 4 in results, 8 now`."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        lines = []
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            lines += differences(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
        return lines
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [
            line
            for index, pair in enumerate(zip(found, wanted, strict=True))
            for line in differences(*pair, f"{where}[{index}]")
        ]
    return [] if found == wanted else [f"{where}: {json.dumps(found)} in results, {json.dumps(wanted)} now"]
