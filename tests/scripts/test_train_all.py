"""The command as a user gives it, in a process of its own."""

import argparse
import errno
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import factories
import filelock
import pytest

from hw2 import files, runs
from hw2.experiments import EXPERIMENTS
from hw2.experiments.resolve import resolve

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "train_all.py"
# For tests that depend on no backend: JAX is imported faster than TensorFlow.
QUICK = {"KERAS_BACKEND": "jax"} if importlib.util.find_spec("jax") else {}
# Runs a script with some packages out of reach, as on a machine that does not have them.
WITHOUT = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the test)")
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def script(name):
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train_all(*arguments, before=(), **environment):
    command = [sys.executable, *before, str(SCRIPT), *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, cwd=ROOT)
    return process.returncode, process.stdout, process.stderr


@pytest.fixture
def finished(tmp_path):
    """A results folder with one finished run."""
    folder = tmp_path / "r" / "vgg16_features_linear"
    runs.begin_run(folder, {})
    cost = {"seconds": 60.0, "parameters": 0, "device": "a GPU"}
    metrics, _, _ = factories.classifier(factories.configuration(folder.name, "classification"))
    metrics["test"]["accuracy"] = 0.4567
    files.write_json(folder / "metrics.json", metrics | {"cost": cost})
    runs.close_run(folder, needed=())
    return folder


def test_list_needs_no_backend_and_names_every_experiment(finished):
    code, out, _ = train_all("--list", "--results", finished.parent, KERAS_BACKEND="none")
    assert code == 0
    for name in EXPERIMENTS:
        assert name in out
    assert "accuracy 45.7%, 60 s" in out and out.startswith(f"{finished.parent}:")


def test_list_names_a_damaged_run_among_the_others(finished):
    (finished / "metrics.json").write_text("{}")
    code, out, _ = train_all("--list", "--results", finished.parent)
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("vgg16_features_linear "))
    assert "damaged" in line and "metrics.json is damaged" in line and "--force" in line
    assert all(name in out for name in EXPERIMENTS)


def test_list_names_interrupted_runs_with_seeds_of_ones_own(tmp_path):
    files.write_json(tmp_path / "vgg16_full-seed5" / "config.json", {})
    files.write_csv(tmp_path / "vgg16_full-seed5" / "history.csv", [])
    files.write_arrays(tmp_path / "vgg16_full-seed5" / "state.npz", {})
    files.write_json(tmp_path / "vgg16_full-seed6" / "final.json", {})  # its other files were deleted
    code, out, _ = train_all("--list", "--only", "vgg16_full", "--results", tmp_path)
    assert code == 0 and re.search(r"^vgg16_full-seed5 +unfinished", out, re.MULTILINE)
    assert re.search(r"^vgg16_full-seed6 +damaged", out, re.MULTILINE)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8 GiB"),
        type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
    ],
)
def test_exhausted_memory_is_explained(tmp_path, monkeypatch, capsys, error):
    module = script("train_all")

    def train_one(*given):
        raise error

    monkeypatch.setattr(module, "train_one", train_one)
    arguments = SimpleNamespace(results=tmp_path, force=False)
    assert module.train_each([("scratch_plain", 0)], "smoke", arguments) == ([("scratch_plain", 0)], [])
    message = capsys.readouterr().err
    assert "scratch_plain: memory is exhausted" in message and "Traceback" not in message


@pytest.mark.parametrize(
    "share, options, restarted", [(0.4, {}, True), (0.3, {}, False), (0.4, {"force": True}, False)]
)
def test_a_process_that_holds_much_memory_starts_anew(tmp_path, monkeypatch, share, options, restarted):
    """After a run that it trained, not after one that was finished before, and not after the last."""

    class Replaced(Exception):
        """A process that is replaced does nothing more."""

    def execv(*command):
        raise Replaced(command)

    module, trained = script("train_all"), []

    def train_one(run, config, arguments):
        trained.append(run)
        return {"cost": {"seconds": 1.0}, "test": {"accuracy": 0.5}}

    monkeypatch.setattr(module, "train_one", train_one)
    monkeypatch.setattr(module, "summary", lambda metrics: "done")
    monkeypatch.setattr(module.os, "execv", execv)
    monkeypatch.setattr("hw2.hardware.resident_share", lambda: share)
    monkeypatch.setattr(runs, "run_state", lambda folder: "finished" if folder.name == "scratch_plain" else "missing")
    arguments = SimpleNamespace(**{"results": tmp_path, "force": False} | options)
    pending = [("scratch_plain", 0), ("scratch_bn", 0), ("scratch_deep", 0)]
    if restarted:
        with pytest.raises(Replaced) as caught:
            module.train_each(pending, "smoke", arguments, restarts=True)
        assert caught.value.args[0] == (sys.executable, [sys.executable, *sys.argv])
        assert trained == ["scratch_plain", "scratch_bn"]
    else:
        assert module.train_each(pending, "smoke", arguments, restarts=True) == ([], [])
        assert trained == ["scratch_plain", "scratch_bn", "scratch_deep"]


def test_states_are_saved_as_rarely_as_asked(monkeypatch):
    from hw2.training import run

    module, given = script("train_all"), {}
    monkeypatch.setattr(run, "run", lambda *positional, **options: given.update(options))
    monkeypatch.setattr("sys.argv", ["train_all.py", "--checkpoint-seconds", "300"])
    module.train_one("scratch_plain", resolve("scratch_plain"), module.parse_arguments())
    assert given["checkpoint_seconds"] == 300


def test_a_wrong_entry_is_explained():
    """The table is checked when it is imported."""
    without = "import runpy, sys\nfrom hw2.models import registry\ndel registry.NETWORKS['scratch_classifier']\n"
    run = "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    code, _, err = train_all("--list", before=("-c", without + run), PYTHONPATH=str(ROOT))
    assert code == 1 and "'scratch_plain' has the model 'scratch_classifier'" in err and "Traceback" not in err


def test_list_estimates_what_is_not_finished(tmp_path):
    estimates = {}
    for budget in ("cpu", "gpu", "smoke"):
        (tmp_path / budget).mkdir()
        code, out, _ = train_all("--list", "--only", "scratch_plain", "seg_baselines", "--results", tmp_path / budget)
        assert code == 0
        estimates[budget] = [line.split("missing")[1].strip() for line in out.splitlines() if "missing" in line]
    assert re.fullmatch(r"estimated \d+ min \(2 cores with AMX\), \d+ min \(2 cores without\)", estimates["cpu"][0])
    assert len(estimates["cpu"]) == 4 and len(set(estimates["cpu"][:3])) == 1
    assert all("(T4)" in text and "(A100)" in text for text in estimates["gpu"][:3])
    assert estimates["cpu"][3:] == estimates["gpu"][3:] == [""] and set(estimates["smoke"]) == {""}


def test_a_dry_run_needs_no_data_and_keeps_nothing(tmp_path):
    names = ("vgg16_features_linear", "ensemble_mixed")
    code, out, err = train_all(
        *("--budget", "smoke", "--dry-run", "--only", *names, "--data-dir", tmp_path, "--results", tmp_path / "r"),
        **QUICK,
    )
    assert code == 0, err
    header, row = out.splitlines()
    assert header.split()[:2] == ["run", "seeds"] and row.split()[:2] == ["vgg16_features_linear", "1"]
    assert float(row.split()[2]) == pytest.approx(0.94, abs=0.01)  # million parameters
    assert not list(tmp_path.iterdir())


def test_verify_names_every_changed_file(finished):
    code, out, err = train_all("--verify", "--results", finished.parent)
    assert (code, err) == (0, "") and "1 of 1 finished runs" in out
    code, out, _ = train_all("--verify", "--only", "scratch_plain", "--results", finished.parent)
    assert code == 0 and "0 of 0 finished runs" in out
    (finished / "metrics.json").write_text(" " * (finished / "metrics.json").stat().st_size)
    code, out, err = train_all("--verify", "--results", finished.parent)
    assert code == 1 and "vgg16_features_linear: metrics.json has changed" in err and "0 of 1" in out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--only", "vgg61"), "there is no experiment vgg61; --list"),
        (("--seed", "-1"), "argument --seed"),
        (("--seed", "1000"), "1000 is not a number from 0 to 999"),
        (("--verify", "--results", "a/typo"), "--results: there is no folder a/typo"),
        (("--list", "--results", "a/typo"), "--results: there is no folder a/typo"),
        (("--list", "--results", "README.md/r"), "--results: README.md is not a folder; name another one"),
        (("--list", "--data-dir", "README.md"), "--data-dir: README.md is not a folder; name another one"),
        (("--list", "--tensorboard", "README.md"), "--tensorboard: README.md is not a folder; name another one"),
        (("--list", "--results", 300 * "x"), "--results: File name too long: "),
        (("--ray", "local", "--jobs", "2"), "--ray goes neither with --jobs"),
        (("--jobs", "2", "--force"), "--jobs takes a number from 1; with --force it must be 1"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message):
    code, _, err = train_all(*arguments)
    assert code == 2 and message in err and "Traceback" not in err


def test_another_backend_is_refused_and_a_missing_one_explained():
    code, _, err = train_all(KERAS_BACKEND="torch")
    assert code == 2 and "KERAS_BACKEND is torch; this runs on tensorflow or jax" in err
    code, _, err = train_all("--backend", "jax", before=("-c", WITHOUT.replace("NAMES", "('jax',)")))
    assert code == 2 and "jax is not installed: pip install jax" in err and "Traceback" not in err


def test_missing_data_a_run_of_another_process_and_a_signal_to_the_parent(tmp_path):
    """Two processes, no data, no network: the error says which file, from where, to where.

    A run that another process is training does not count as finished, and the exit status says so.
    """
    folder = tmp_path / "r" / "scratch_plain"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / runs.LOCK):
        code, out, err = train_all(
            *("--budget", "cpu", "--only", "scratch_plain", "vgg16_features_linear", "--seed", 0),
            *("--data-dir", tmp_path, "--results", tmp_path / "r", "--jobs", 2),
            https_proxy="http://127.0.0.1:9",
            no_proxy="",
            **QUICK,
        )
    assert code == 1 and "Traceback" not in err
    assert "cifar-100-binary.tar.gz" in err and str(tmp_path / "cifar-100-binary") in err
    assert err.count("vgg16_features_linear: ") == 1  # one of the processes says so, when the other is done
    assert out.count("tried again at the end") == 2
    assert runs.run_state(tmp_path / "r" / "vgg16_features_linear") == "missing"  # it has not begun
    assert "scratch_plain: another process is training it" in err and runs.run_state(folder) == "missing"
    assert "0 of 2 runs are finished" in out and "In another process: scratch_plain" in err


def test_a_run_of_another_process_alone_is_no_success(tmp_path, capsys):
    folder = tmp_path / "r" / "ensemble_mixed"
    folder.mkdir(parents=True)
    arguments = argparse.Namespace(results=tmp_path / "r", force=False)
    with filelock.FileLock(folder / runs.LOCK):
        failed, busy = script("train_all").train_each([("ensemble_mixed", 0)], "cpu", arguments)
    assert (failed, busy) == ([], [("ensemble_mixed", 0)])
    assert "ensemble_mixed: another process is training it" in capsys.readouterr().err


def test_a_file_system_without_locks_gets_files_in_their_place(tmp_path, capsys, monkeypatch):
    """As on Google Drive: a lock is a file, which is deleted at the end."""
    fcntl = pytest.importorskip("fcntl", reason="Windows has locks of another kind")

    def refuse(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    arguments = argparse.Namespace(results=tmp_path / "r", force=False)
    failed, busy = script("train_all").train_each([("ensemble_mixed", 0)], "cpu", arguments)
    assert (failed, busy) == ([("ensemble_mixed", 0)], [])  # its members are not there
    assert "scratch_final" in capsys.readouterr().err
    assert not (tmp_path / "r" / "ensemble_mixed" / runs.LOCK).exists()


def test_what_is_tried_again_is_tried_in_the_order_of_dependencies(monkeypatch, tmp_path):
    """An ensemble failed because another process, which has died since, was training its member."""
    module, tried = script("train_all"), []

    def train_each(pending, *arguments, retried=False, restarts=False):
        tried.append(pending)
        return ([("ensemble_mixed", 0)], [("scratch_final", 0)]) if retried else ([], [])

    class Ended:
        wait = terminate = lambda self: None

    monkeypatch.setattr(module, "train_each", train_each)
    monkeypatch.setattr(
        module, "subprocess", SimpleNamespace(Popen=lambda *_, **__: Ended(), DEVNULL=subprocess.DEVNULL)
    )
    monkeypatch.setattr("hw2.training.interruption.install", lambda: None)
    monkeypatch.setattr("keras.config.disable_traceback_filtering", lambda: None)
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "tensorflow"))  # which the command sets
    names = ["scratch_bn", "scratch_final", "ensemble_mixed"]
    arguments = ["--budget", "cpu", "--jobs", "2", "--seed", "0", "--results", str(tmp_path), "--only", *names]
    monkeypatch.setattr(sys, "argv", ["train_all.py", *arguments])
    assert module.main() == 0
    assert tried == [[(name, 0) for name in names], [("scratch_final", 0), ("ensemble_mixed", 0)]]


def test_a_full_disk_names_the_folder_and_the_next_step(tmp_path, capsys, monkeypatch):
    """Of a failed write the system gives no path, of a folder that cannot be made it does."""
    module, arguments = script("train_all"), argparse.Namespace(results=tmp_path / "r", force=False)
    errors = [OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "Denied", "/data/x")]

    def fail(*given):
        raise errors.pop(0)

    monkeypatch.setattr(module, "train_one", fail)
    pending = [("scratch_bn", 0), ("scratch_plain", 0)]
    assert module.train_each(pending, "cpu", arguments) == (pending, [])
    full, denied = capsys.readouterr().err.splitlines()
    folder = tmp_path / "r" / "scratch_bn"
    assert full.startswith(f"scratch_bn: {folder}: [Errno 28] No space left on device. Free some")
    assert "--results" in full and "the same command resumes" in full
    assert denied.startswith("scratch_plain: [Errno 13] Denied: '/data/x'. Free some")


def test_a_name_given_twice_is_trained_once(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_all.py", "--only", "scratch_bn", "scratch_plain", "scratch_bn", "--force"])
    assert script("train_all").parse_arguments().only == ["scratch_bn", "scratch_plain"]


def children_of(pid):
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True).stdout.split()
    return [int(child) for child in found]


def is_running(pid):
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")
def test_sigterm_ends_the_children_as_well(tmp_path):
    """Two processes train; SIGTERM to the first ends both, and both runs can be resumed."""
    names = ("scratch_plain", "scratch_bn")
    command = [sys.executable, str(SCRIPT), "--budget", "smoke", "--jobs", "2", "--seed", "0", "--only", *names]
    command += ["--results", str(tmp_path / "r"), "--data-dir", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, text=True, cwd=ROOT, env=os.environ | QUICK)
    while not all((tmp_path / "r" / name / runs.CONFIG).exists() for name in names):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    children = children_of(process.pid)
    assert len([pid for pid in children if is_running(pid)]) == 1
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "Interrupted" in errors
    assert not any(is_running(pid) for pid in children)
    assert {runs.run_state(tmp_path / "r" / name) for name in names} <= {"unfinished", "finished"}


# A small entry of each task; the README's first command rehearses all entries on TensorFlow.
SOME = ("scratch_plain", "seg_book_bilinear")
ALL = [name for name in EXPERIMENTS if name != "ensemble_scratch_final"]  # needs further seeds


@pytest.mark.parametrize("names", [SOME, pytest.param(ALL, marks=pytest.mark.slow)], ids=["some", "all"])
def test_smoke_on_jax_where_tensorflow_cannot_be_imported(tmp_path, names):
    pytest.importorskip("jax", reason="jax is an extra: pip install -e '.[test]'")
    arguments = ("--budget", "smoke", "--backend", "jax", "--jobs", 1)
    arguments += ("--data-dir", tmp_path, "--results", tmp_path / "r")
    before = ("-c", WITHOUT.replace("NAMES", "('tensorflow', 'tf_keras')"))
    code, _, err = train_all(*arguments, "--seed", "0", "--only", *names, before=before)
    assert code == 0, err
    finished = runs.finished_runs(tmp_path / "r")
    assert set(finished) == set(names)
    trained = [metrics for metrics in finished.values() if metrics["task"] in ("classification", "segmentation")]
    assert {metrics["backend"] for metrics in trained} == {"jax"}
    assert {metrics["data"]["source"] for metrics in finished.values()} == {"synthetic"}
