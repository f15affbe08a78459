"""A run's folder under `results/<budget>/`: its record, and how far it is. `final.json` is written last.

| file | content |
|---|---|
| config.json | the identity of the run: every argument, defaults included, and how much data there was |
| history.csv | one row per epoch |
| metrics.json | figures on the validation and test images, cost, and where they come from: commit, versions, device |
| predictions.npz | answers and confidences for the validation and test images; segmentation: thumbnails, curves |
| images.csv | segmentation: figures of each test image |
| logits.npz | classification: logits (float16), for ensembles. Not kept in git |
| model.keras | the trained model, kernels in float16. Kept in git only for models that the demo offers |
| final.json | when the run was finished, and size and SHA-256 of each of its files; without it, the run is unfinished |
| state.npz | only while a run is unfinished: everything that training needs to resume |
| .lock | held by the process that trains the run, so that no other process trains it |
"""

import datetime
import functools
import hashlib
import json
import math
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from hw2.errors import ResultsError
from hw2.files import damaged, read_json, write_json

CONFIG, HISTORY, METRICS = "config.json", "history.csv", "metrics.json"
PREDICTIONS, LOGITS, MODEL, IMAGES = "predictions.npz", "logits.npz", "model.keras", "images.csv"
FINAL, STATE, LOCK = "final.json", "state.npz", ".lock"
EVALUATED = ".evaluated"  # folder with the new files of a run that was measured again, while they replace the others
RECORD = (CONFIG, HISTORY, METRICS, PREDICTIONS, LOGITS, MODEL, IMAGES)
LARGE = (LOGITS, MODEL)  # may be absent from a finished run: git does not hold all of them

TASKS = ("classification", "segmentation", "ensemble", "baselines")

BUDGETS_WITH_RESULTS = ("cpu", "gpu")


def results_folder(root):
    """Return the folder of the budget with more finished runs under `root`, the gpu budget's if they are equal.

    root: the folder `results`. Runs of different budgets are never mixed, so report and demo show one of them.
    """
    finished = {budget: len(list((Path(root) / budget).glob(f"*/{FINAL}"))) for budget in BUDGETS_WITH_RESULTS}
    return Path(root) / ("gpu" if finished["gpu"] and finished["gpu"] >= finished["cpu"] else "cpu")


def is_finished(folder, config):
    """Return whether the run in `folder` is finished, after checking that what is there can be kept or resumed.

    Raises ResultsError if the folder holds a run with another configuration, naming the differences, or a finished run
    of which a file is missing or has another size than when it was finished. Nothing is overwritten then.
    """
    folder = Path(folder)
    config = json.loads(json.dumps(config))  # tuples become lists, as in the file
    found = read_json(folder / CONFIG)
    if found is None and (folder / FINAL).exists():
        raise ResultsError(f"{folder} is marked as finished but has no {CONFIG}. Train it again with --force.")
    if found is not None and found != config:
        raise ResultsError(
            f"{folder} holds a run with another configuration:\n"
            + "\n".join(f"  {line}" for line in differences(found, config))
            + "\nTrain it again with --force, or keep it and write elsewhere with --results."
        )
    for leftover in folder.glob(".writing-*"):  # a process was killed while it wrote these
        leftover.unlink()
    if (folder / FINAL).exists():
        refuse_damage(folder)
        (folder / STATE).unlink(missing_ok=True)
        return True
    return False


def begin_run(folder, config, force=False):
    """Write the configuration of the run in `folder`, which is unfinished from then on. force: discard an earlier run.

    To be called when everything is there that the run needs, so that an error before has begun and discarded nothing.
    """
    if force:
        for name in (FINAL, STATE, *RECORD):
            (Path(folder) / name).unlink(missing_ok=True)
    if not (Path(folder) / CONFIG).exists():
        write_json(Path(folder) / CONFIG, config)


def close_run(folder, needed=(CONFIG, HISTORY, METRICS, PREDICTIONS, MODEL)):
    """Mark the run in `folder` as finished, if it has all `needed` files, and delete the state to resume from."""
    folder = Path(folder)
    missing = [name for name in needed if not (folder / name).exists()]
    if missing:
        raise ResultsError(f"{folder} cannot be finished without {', '.join(missing)}.")
    finished = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_final(folder, finished)
    (folder / STATE).unlink(missing_ok=True)


def write_final(folder, finished):
    """Write `final.json` with the time and with size and digest of each file that is there."""
    folder = Path(folder)
    present = [name for name in RECORD if (folder / name).exists()]
    record = {name: {"bytes": (folder / name).stat().st_size, "sha256": digest(folder / name)} for name in present}
    write_json(folder / FINAL, {"run": folder.name, "finished": finished, "files": record})


def damage(folder, digests=False):
    """Return a list of what is wrong with the files of a finished run, [] if nothing is.

    Sizes are compared with those in `final.json`, and with `digests` the content as well, which takes longer. The files
    in `LARGE` may be absent.
    """
    folder = Path(folder)
    final = read_json(folder / FINAL)
    if _unlike({"files": {EACH: {"bytes": _is_count, "sha256": str}}}, final):
        return [f"{FINAL} is incomplete"]
    problems = []
    for name, recorded in final["files"].items():
        path = folder / name
        if not path.is_file():
            if name not in LARGE:
                problems.append(f"{name} is missing")
        elif path.stat().st_size != recorded["bytes"]:
            problems.append(f"{name} has {path.stat().st_size:,} bytes, not {recorded['bytes']:,}")
        elif digests and digest(path) != recorded["sha256"]:
            problems.append(f"{name} has changed since the run was finished")
    return problems


def refuse_damage(folder, digests=False):
    """Raise ResultsError if something is wrong with the files of a finished run. digests: see `damage`."""
    folder = Path(folder)
    if problems := damage(folder, digests):
        if (folder / EVALUATED).exists():
            raise ResultsError(
                f"{folder} was left while its figures were being replaced: {'; '.join(problems)}. Complete it: "
                f"python scripts/evaluate.py {folder.name} --results {folder.parent}"
            )
        raise ResultsError(
            f"{folder} is damaged: {'; '.join(problems)}. Restore the files, or train the run again with --force."
        )


def digest(path):
    """Return the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def finished_when(folder):
    """Return when the run in `folder` was finished, or None if it is not."""
    final = read_json(Path(folder) / FINAL)
    return final and final["finished"]


def read_metrics(folder):
    """Return the content of a finished run's `metrics.json`.

    Raises ResultsError where it lacks what every finished run of its task has and readers rely on.
    """
    path = Path(folder) / METRICS
    metrics = read_json(path)
    if metrics is None:
        raise ResultsError(f"{folder} is marked as finished but has no {METRICS}. Train it again with --force.")
    if place := _unlike(_COMMON, metrics) or _unlike(_figures(metrics["task"], metrics["data"]["classes"]), metrics):
        raise damaged(path, f"it has no valid {place}")
    return metrics


def _is_count(value):
    return isinstance(value, int) and value >= 0


def _is_share(value):
    return isinstance(value, int | float) and 0 <= value <= 1


def _is_amount(value):
    return isinstance(value, int | float) and 0 <= value < math.inf


EACH = "*"  # stands for every key of a dictionary, which has at least one
_COMMON = {
    "task": lambda value: value in TASKS,
    "budget": str,
    "seed": _is_count,
    "data": {"source": str, **dict.fromkeys(("classes", "train", "validation", "test"), _is_count)},
    "cost": {
        **dict.fromkeys(("seconds", "cpu_seconds?", "feature_seconds?"), _is_amount),
        "parameters": _is_count,
        "device": str,
    },
}


def _figures(task, classes):
    """Return what `_unlike` shall find in the metrics of a task besides _COMMON."""
    if task in ("classification", "ensemble"):
        part = dict.fromkeys(("accuracy", "top5_accuracy", "superclass_accuracy", "ece"), _is_share)
        figures = {"calibration": {"temperature": _is_amount}}
    else:
        dice = {"dataset": {"dice": _is_share}}
        part = {"iou": _is_share, "accuracy": _is_share, **(dice if classes == 2 else {"foreground": dice})}
        part["intervals"] = {"iou": {"low": _is_share, "high": _is_share}}
        figures = {"threshold": _is_share if classes == 2 else type(None)} if task == "segmentation" else {}
    figures |= {"validation": part, "test": part}
    others = {
        "ensemble": {"chosen": str, "members": {EACH: {"weight": _is_share}}},
        "baselines": {"baselines": {EACH: part}},
    }
    return figures | {"test_time_augmentation?": {EACH: figures}} | others.get(task, {})


def _unlike(wanted, found, where=""):
    """Return the first place in a JSON value that is not as `wanted`, such as "test.accuracy"; None if there is none.

    wanted: a type, a function that tells whether a value is accepted, or {key: wanted}; a key may be EACH, and one that
    ends in "?" may be absent.
    """
    if not isinstance(wanted, dict):
        accepted = isinstance(found, wanted) if isinstance(wanted, type) else wanted(found)
        return None if accepted else where
    if not isinstance(found, dict) or (EACH in wanted and not found):
        return where or "content"
    for key, part in wanted.items():
        optional, key = key.endswith("?"), key.removesuffix("?")
        for name in found if key == EACH else [key] if key in found or not optional else []:
            if place := _unlike(part, found.get(name), f"{where}.{name}" if where else name):
                return place
    return None


def provenance(backend=None):
    """Return what computed a run, for `metrics.json`: the commit of this project and the versions of what it uses.

    commit: None outside a git checkout; it ends in "+" where tracked files differ from the commit.
    """
    versions = {"python": platform.python_version()}
    versions |= {package: version(package) for package in ("numpy", "keras", backend) if package}
    return {"commit": _commit(), "versions": versions}


@functools.cache  # the code that runs is that of the start, whatever is checked out meanwhile
def _commit():
    root = Path(__file__).resolve().parent.parent
    try:
        commit = subprocess.run(
            ["git", "-C", root, "describe", "--always", "--abbrev=40", "--match=", "--dirty=+"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip()


def training_seconds(cost):
    """Return the duration of training, cached features included, from the `cost` of a run's metrics.

    On a CPU with few cores this is the processor time of all cores divided by their number: the wall-clock time would
    include whatever else the machine did at the time.
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
            place = f"{where}.{key}" if where else key
            if key in found and key in wanted:
                lines += differences(found[key], wanted[key], place)
            elif key in wanted:
                lines.append(f"{place}: absent in results, {json.dumps(wanted[key])} now")
            else:
                lines.append(f"{place}: {json.dumps(found[key])} in results, absent now")
        return lines
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [
            line
            for index, pair in enumerate(zip(found, wanted, strict=True))
            for line in differences(*pair, f"{where}[{index}]")
        ]
    return [] if found == wanted else [f"{where}: {json.dumps(found)} in results, {json.dumps(wanted)} now"]
