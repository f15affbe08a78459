"""Figures again from stored models: the same ones, after a change of a metric the new ones, and nothing lost."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import factories
import filelock
import pytest
from small_runs import SCRATCH, run

from hw2 import files, runs
from hw2.errors import ResultsError
from hw2.metrics import classification
from hw2.tasks import classification as task
from hw2.tasks import segmentation
from hw2.training import baselines, interruption

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("evaluate", ROOT / "scripts" / "evaluate.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    run(folder, SCRATCH | {"phases": SCRATCH["phases"][:1], "extras": ["test_time_augmentation"]})
    return folder / "results" / "small"


@pytest.fixture
def folder(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "small"))


def test_figures_are_the_same_and_cost_and_history_stay(folder, monkeypatch):
    monkeypatch.delattr(task, "load_training")  # the training images, gigabytes of complete VOC and SBD, are not needed
    before = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("metrics.json", "final.json")
    }
    old, new = script.evaluate(folder, None)
    added = new.pop("evaluated")
    assert new == old and added["versions"]["keras"]
    assert added["precision"] == old["precision"] and added["device"] == old["cost"]["device"]
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert runs.damage(folder, digests=True) == []
    assert files.read_json(folder / "metrics.json") == new | {"evaluated": added}


def test_a_new_metric_needs_no_training(folder, monkeypatch):
    figures = classification.classification_figures
    monkeypatch.setattr(classification, "classification_figures", lambda *given: figures(*given) | {"new": 1.0})
    old, new = script.evaluate(folder, None)
    assert (
        "new" not in old["test"] and new["test"]["new"] == new["test_time_augmentation"]["mirror"]["test"]["new"] == 1.0
    )
    assert new["cost"] == old["cost"]


def test_an_interruption_keeps_the_old_record(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(classification, "calibration", interrupted)
    with pytest.raises(KeyboardInterrupt):
        script.evaluate(folder, None)
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != runs.LOCK}
    assert left == before


@pytest.mark.parametrize("replaced", range(4))
def test_a_kill_while_files_are_replaced_is_made_good_by_the_next_start(folder, monkeypatch, replaced):
    """A new metric changes metrics.json; the record that certifies it comes last."""
    figures, replace = classification.classification_figures, Path.replace
    monkeypatch.setattr(classification, "classification_figures", lambda *given: figures(*given) | {"new": 1.0})
    moved = []

    def killed(path, target):
        if path.parent.name.startswith(".evaluat") and Path(target).parent == folder:
            if len(moved) == replaced:
                raise SystemExit
            moved.append(path.name)
        return replace(path, target)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(Path, "replace", killed)
        script.evaluate(folder, None)
    assert len(moved) == replaced and runs.FINAL not in moved
    assert list(folder.glob(".evaluat*"))
    if replaced:  # with nothing replaced, the run is as it was
        with pytest.raises(ResultsError, match=f"evaluate.py {folder.name} --results {folder.parent}$"):
            runs.refuse_damage(folder, digests=True)
    (folder / ".evaluating-x").mkdir()  # of a process that was killed while it measured
    old, _ = script.evaluate(folder, None)
    assert old["test"]["new"] == 1.0
    assert runs.damage(folder, digests=True) == [] and not list(folder.glob(".evaluat*"))


def test_measurements_of_a_run_that_was_trained_again_are_dropped(folder):
    (folder / runs.EVALUATED).mkdir()
    files.write_json(folder / runs.EVALUATED / runs.FINAL, {"finished": "earlier", "files": {}})
    (folder / runs.EVALUATED / runs.METRICS).write_text("{}")
    old, new = script.evaluate(folder, None)
    assert new["test"] == old["test"] and not (folder / runs.EVALUATED).exists()


def test_the_record_keeps_what_it_says_about_other_files(folder, monkeypatch):
    """They are not hashed again: that takes time with a large model, between the old record and the new one."""
    recorded, taken, digest = files.read_json(folder / runs.FINAL)["files"], [], runs.digest
    monkeypatch.setattr(runs, "refuse_damage", lambda *given, **options: None)
    monkeypatch.setattr(runs, "digest", lambda path: (taken.append(path.name), digest(path))[1])
    script.evaluate(folder, None)
    assert sorted(taken) == ["logits.npz", "metrics.json", "predictions.npz"]
    now = files.read_json(folder / runs.FINAL)
    assert now["run"] == "small" and list(now["files"]) == list(recorded)
    assert all(now["files"][name] == recorded[name] for name in ("config.json", "history.csv", "model.keras"))


def command(*arguments):
    return [sys.executable, str(ROOT / "scripts" / "evaluate.py"), *map(str, arguments)]


def test_a_run_of_another_process_is_left_alone_and_the_figure_is_that_of_train_all(tmp_path):
    """Baselines stand for all segmentations: their figure is the IoU."""
    config = {"experiment": "seg_baselines", "budget": "smoke", "seed": 0, "task": "baselines"}
    config["data"] = {"source": "synthetic", "sbd": False, "classes": 2, "train": 4, "validation": 2, "test": 3}
    iou = baselines.run("seg_baselines", config, data_dir=tmp_path, results_dir=tmp_path)["test"]["iou"]
    options = ("seg_baselines", "--results", tmp_path, "--data-dir", tmp_path)
    with filelock.FileLock(tmp_path / "seg_baselines" / runs.LOCK):
        ended = subprocess.run(command(*options), capture_output=True, text=True)
    assert ended.returncode == 1 and "seg_baselines: another process is training it; repeat" in ended.stderr
    ended = subprocess.run(command(*options), capture_output=True, text=True)
    where = tmp_path / "seg_baselines" / runs.METRICS
    printed = f"seg_baselines: test IoU {iou:.2%} before, {iou:.2%} now; all figures: {where}\n"
    assert ended.returncode == 0 and ended.stdout == printed


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_the_command_even_where_python_drops_it(folder):
    """The exception is raised where Python prints and forgets it; the command says so and its status is not 0."""
    code = f"""
import os, runpy, signal, sys, weakref
sys.path.insert(0, {str(ROOT / "scripts")!r})
from hw2.metrics import classification
figures = classification.classification_figures
class Thing: pass
def press(*given):
    thing = Thing()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
    del thing
    classification.classification_figures = figures
    return figures(*given)
classification.classification_figures = press
sys.argv = ["evaluate.py", "small", "small2", "--results", {str(folder.parent)!r}]
runpy.run_path({str(ROOT / "scripts" / "evaluate.py")!r}, run_name="__main__")
"""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stderr.rstrip().endswith("the same command measures them.")
    assert "small2" not in ended.stdout + ended.stderr  # the next run is not begun
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != runs.LOCK}
    assert left == before


def test_refusals_say_what_to_do(folder):
    with pytest.raises(ResultsError, match=r"no finished run.*train_all\.py"):
        script.evaluate(folder.parent / "absent", None)
    model = (folder / "model.keras").read_bytes()
    (folder / "model.keras").unlink()
    with pytest.raises(ResultsError, match=r"no stored model.*--force"):
        script.evaluate(folder, None)
    # a damaged run is not certified anew
    (folder / "model.keras").write_bytes(model)
    history = (folder / "history.csv").read_bytes()
    (folder / "history.csv").write_bytes(history[:-20])
    with pytest.raises(ResultsError, match=r"is damaged: history\.csv has"):
        script.evaluate(folder, None)
    assert runs.damage(folder)
    (folder / "history.csv").write_bytes(history[:-2] + b"9\n")  # as many bytes
    with pytest.raises(ResultsError, match=r"history\.csv has changed"):
        script.evaluate(folder, None)


def test_baselines_of_other_data_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "seg_baselines"
    folder.mkdir()
    data = {"source": "voc2012-subset", "train": 12, "validation": 3, "test": 4}
    files.write_json(folder / "config.json", {"task": "baselines", "data": data})
    metrics = factories.baselines(factories.configuration("seg_baselines", "baselines"))
    files.write_json(folder / "metrics.json", metrics)
    runs.write_final(folder, "2026-01-01")
    monkeypatch.setattr(segmentation, "count_data", lambda config, data_dir: data | {"test": 1449})
    with pytest.raises(ResultsError, match=r"data\.test: 4 in results, 1449 now"):
        script.evaluate(folder, None)
    assert runs.damage(folder, digests=True) == []


def test_another_backend_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setattr("sys.argv", ["evaluate.py", "scratch_plain"])
    with pytest.raises(SystemExit, match="2"):
        script.parse_arguments()
    assert "KERAS_BACKEND is torch; this runs on tensorflow or jax" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["evaluate.py", "scratch_plain", "--results", "results/typo"])
    with pytest.raises(SystemExit, match="2"):
        script.parse_arguments()
    assert "--results: there is no folder results/typo" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["evaluate.py", "scratch_plain", "--results", 300 * "x"])
    with pytest.raises(SystemExit, match="2"):
        script.parse_arguments()
    assert "--results: File name too long: " in capsys.readouterr().err


def test_logits_beyond_the_range_leave_the_record_and_name_the_run(folder, monkeypatch):
    def diverged(*_):
        raise OverflowError("logits exceed the range of float16")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("hw2.tasks.classification.measure", diverged)
    precision = runs.read_metrics(folder)["precision"]
    with pytest.raises(
        ResultsError, match=rf"not measured in .*float16.*stays as it was.*of its training, {precision}"
    ):
        script.evaluate(folder, None)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != runs.LOCK} == before


@pytest.mark.parametrize(
    "error, message",
    [(ZeroDivisionError("in a metric"), "ZeroDivisionError: in a metric"), (MemoryError(), ": memory is exhausted")],
)
def test_an_error_leaves_the_other_runs(monkeypatch, capsys, tmp_path, error, message):
    measured = []

    def evaluate(folder, data_dir):
        measured.append(folder.name)
        raise error

    monkeypatch.setattr(script, "evaluate", evaluate)
    monkeypatch.setattr(interruption, "install", lambda: None)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # which the script sets
    monkeypatch.syspath_prepend(Path(script.__file__).parent)
    monkeypatch.setattr("sys.argv", ["evaluate.py", "one", "other", "--results", str(tmp_path)])
    assert script.main() == 1 and measured == ["one", "other"]
    printed = capsys.readouterr().err
    assert printed.count(message) == 2 and ("Traceback" in printed) == isinstance(error, ZeroDivisionError)


def test_a_backend_that_is_not_installed_is_named(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["evaluate.py", "scratch_plain", "--backend", "jax"])
    with pytest.raises(SystemExit, match="2"):
        script.parse_arguments()
    assert "jax is not installed: pip install jax" in capsys.readouterr().err
