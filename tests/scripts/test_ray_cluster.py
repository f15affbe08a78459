"""Runs as tasks of a Ray cluster: their order, the command of each, and two nodes of which a worker is lost."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hw2 import files, runs
from hw2.experiments import EXPERIMENTS
from hw2.experiments.resolve import seeds_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "train_all.py"
spec = importlib.util.spec_from_file_location("ray_cluster", ROOT / "scripts" / "ray_cluster.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


@pytest.mark.parametrize("budget", ["smoke", "cpu", "gpu"])
def test_each_run_comes_after_those_that_it_needs(budget):
    pending = [(name, seed) for name in reversed(EXPERIMENTS) for seed in seeds_of(name, budget)]
    ordered = module.in_order(pending, budget)
    assert sorted((name, seed) for name, seed, _ in ordered.values()) == sorted(pending)
    position = {run: index for index, run in enumerate(ordered)}
    for run, (name, seed, needed) in ordered.items():
        assert needed == module.needed_runs(name, seed, budget)  # all of them are pending
        assert all(position[other] < position[run] for other in needed)


def test_runs_that_a_run_needs():
    members = ["scratch_final", "scratch_final-seed1", "scratch_final-seed2"]
    assert module.needed_runs("ensemble_scratch_final", 0, "cpu") == members
    assert module.needed_runs("scratch_final_48px", 2, "cpu") == ["scratch_final-seed2"]
    assert module.needed_runs("vgg16_full", 0, "gpu") == module.needed_runs("seg_baselines", 0, "cpu") == []


def test_a_run_does_not_wait_for_runs_that_are_not_pending():
    ordered = module.in_order([("ensemble_scratch_final", 0), ("scratch_final", 1)], "cpu")
    assert ordered == {
        "scratch_final-seed1": ("scratch_final", 1, []),
        "ensemble_scratch_final": ("ensemble_scratch_final", 0, ["scratch_final-seed1"]),
    }


def test_a_command_returns_its_status_and_errors_with_the_threads_of_a_run_without_ray(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    code = "import os, sys; print(os.environ.get('OMP_NUM_THREADS'), file=sys.stderr); print('hidden'); sys.exit(3)"
    assert module.run_command(["-c", code], (0, "")) == (3, "None\n")


def test_a_run_that_is_locked_is_tried_again(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "BUSY_SECONDS", 0)
    code = f"""
import pathlib, sys
path = pathlib.Path({str(tmp_path / "tried")!r})
tried = int(path.read_text()) if path.exists() else 0
path.write_text(str(tried + 1))
sys.exit("run: {module.BUSY}; ..." if tried < 2 else 0)
"""
    assert module.run_command(["-c", code]) == (0, "")
    assert (tmp_path / "tried").read_text() == "3"
    assert module.BUSY in SCRIPT.read_text()


def test_a_run_to_be_discarded_is_discarded_once(tmp_path):
    """When its machine is lost later, the same task is repeated, and the run resumes."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / runs.FINAL).write_text("of an earlier run")
    earlier = folder, module.progress(folder)
    code = f"""
import pathlib, sys
folder = pathlib.Path({str(folder)!r})
with open(folder / "forced", "a") as file:
    file.write(str("--force" in sys.argv) + " ")
if (folder / "forced").read_text() == "True True ":
    (folder / {runs.FINAL!r}).unlink()
    (folder / {runs.STATE!r}).write_text("of the first epoch")
"""
    for _ in range(3):  # the first one is lost before it discards anything, the second one later
        assert module.run_command(["-c", code], earlier=earlier) == (0, "")
    assert (folder / "forced").read_text() == "True True False "
    assert module.run_command(["-c", "import sys; sys.exit('--force' in sys.argv)"])[0] == 0


class Inline:
    """A stand-in for Ray that runs each task at once, in this process."""

    exceptions = SimpleNamespace(RayError=KeyError)

    def remote(self, function):
        task = SimpleNamespace(remote=lambda *arguments, **named: function(*arguments, **named))
        return SimpleNamespace(options=lambda **_: task)

    cluster_resources = staticmethod(lambda: {"GPU": 1})
    wait = staticmethod(lambda running: (running[:1], running[1:]))
    get = staticmethod(lambda ended: ended)


@pytest.mark.parametrize("force", [False, True])
def test_each_task_knows_what_it_discards(monkeypatch, tmp_path, force):
    given, reported = {}, []

    def run_command(arguments, *needed, earlier=None):
        given[arguments[-3]] = earlier
        return 0, arguments[-3]

    monkeypatch.setattr(module, "run_command", run_command)
    (tmp_path / "scratch_bn").mkdir()
    (tmp_path / "scratch_bn" / runs.STATE).write_text("state")
    pending = [("scratch_bn", 0), ("scratch_plain", 0)]
    module.train(
        Inline(), pending, "cpu", ["train_all.py"], lambda *ended: reported.append(ended[:2]), *force * [tmp_path]
    )
    assert sorted(reported) == [("scratch_bn", True), ("scratch_plain", True)]
    if force:
        assert given == {name: (tmp_path / name, module.progress(tmp_path / name)) for name, _ in pending}
        assert given["scratch_bn"][1][1][0] == 5 and given["scratch_plain"][1] == [None, None]
    else:
        assert given == {"scratch_bn": None, "scratch_plain": None}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends the process of a lost worker")
def test_the_process_ends_with_its_worker(tmp_path):
    code = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    worker = f"""
import runpy
runpy.run_path({module.__file__!r})["run_command"](["-c", {code!r}])
"""
    process = subprocess.Popen([sys.executable, "-c", worker], cwd=tmp_path)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ray_is_not_imported_unless_asked_for():
    code = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import train_all, ray_cluster"
    code += "; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# The members of an ensemble and the ensemble, and a run that starts from the weights of one of them. The cluster gets
# them in an order in which the local command could not train them.
NAMES = ("scratch_final", "scratch_final_longer", "ensemble_scratch_final")
RUNS = ("scratch_final", "scratch_final-seed1", "scratch_final-seed2", "ensemble_scratch_final", "scratch_final_longer")


def outcome(folder):
    """Return everything in a run's record that must not depend on where it was trained."""
    metrics = runs.read_metrics(folder)
    history = files.read_csv(folder / runs.HISTORY) if (folder / runs.HISTORY).exists() else []
    return (
        files.read_json(folder / runs.CONFIG),
        {key: metrics[key] for key in ("test", "validation")},
        [{key: value for key, value in row.items() if "seconds" not in key} for row in history],
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the worker of a process as Linux shows it")
def test_two_nodes_of_which_a_worker_is_killed_give_the_results_of_the_local_command(tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")
    from ray.cluster_utils import Cluster

    command = [sys.executable, str(SCRIPT), "--budget", "smoke", "--data-dir", str(tmp_path)]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        results = tmp_path / "cluster"
        process = subprocess.Popen(
            [*command, "--results", str(results), "--ray", cluster.address, "--only", *reversed(NAMES)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        victim = results / "scratch_final"
        while not (victim / runs.CONFIG).exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        trainer = subprocess.run(
            ["pgrep", "-f", "--", f"--results {results} .*--only scratch_final --seed 0"],
            capture_output=True,
            text=True,
        )
        pid = int(trainer.stdout.split()[0])
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert "ray" in Path(f"/proc/{parent}/cmdline").read_text()
        os.kill(parent, signal.SIGKILL)
        output, errors = process.communicate(timeout=1800)
    finally:
        process.kill()
        cluster.shutdown()
    assert process.returncode == 0, errors
    assert f"{len(RUNS)} of {len(RUNS)} runs are finished under {results}" in output
    assert all(output.count(f" {run}: test ") == 1 for run in RUNS)
    local = tmp_path / "local"
    command += ["--results", str(local), "--jobs", "1", "--only", *NAMES]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    for run in RUNS:
        assert outcome(results / run) == outcome(local / run), run
        of_both = [files.read_arrays(folder / run / runs.PREDICTIONS) for folder in (results, local)]
        for name, array in of_both[0].items():
            assert np.array_equal(array, of_both[1][name]), (run, name)


@pytest.mark.slow
def test_failures_are_reported_as_without_ray(tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")
    command = [sys.executable, str(SCRIPT), "--budget", "smoke", "--only", "scratch_final_longer"]
    command += ["--results", str(tmp_path / "r"), "--data-dir", str(tmp_path), "--ray", "local"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 1
    assert "scratch_final_longer: This run starts from the weights of scratch_final" in process.stderr
    assert "Not finished: scratch_final_longer" in process.stderr and "0 of 1 runs are finished" in process.stdout
