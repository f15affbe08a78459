"""Train runs on the machines of a Ray cluster: `train_all.py --ray ADDRESS`. Ray is imported only where it is used.

Each run is a Ray task that gives the ordinary command for this run alone, in a process of its own, so that the memory
of a GPU is free when it ends. Every machine needs this checkout, the results folder and the data folder at the same
paths. The lock in a run's folder keeps other processes out, as it does without Ray.
"""

import contextlib
import ctypes
import graphlib
import os
import signal
import subprocess
import sys
import time

from hw2 import runs
from hw2.experiments.resolve import resolve
from hw2.experiments.schema import run_name

LOST = 3  # times that a run is begun again because its machine or its worker was lost
# The lock of a lost machine may outlive it for a while on a network file system.
BUSY, BUSY_RETRIES, BUSY_SECONDS = "another process is training it", 12, 10


@contextlib.contextmanager
def connected(address):
    """Connect to the cluster at `address`, or start one on this machine if it is "local"; give the module `ray`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    try:
        ray.init(address=address, include_dashboard=False if address == "local" else None, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        sys.exit(f"No Ray cluster was found at {address} ({error}). Start one with `ray start --head`, see README.")
    try:
        yield ray
    finally:
        ray.shutdown()


def has_gpu(ray):
    """Return whether any machine of the cluster has a GPU."""
    return ray.cluster_resources().get("GPU", 0) >= 1


def train(ray, pending, budget, command, report, discarded=None):
    """Train the runs on the cluster.

    pending: list of (name, seed). command: arguments of Python for a run, without its name and seed. report: function
    that is called with the name of each run that ended, whether it is finished, and what it wrote to standard error.
    discarded: the results folder, if runs that are there are trained again; else None.
    """
    task = ray.remote(run_command).options(**resources(ray, budget), max_retries=LOST)
    tasks = {}
    for run, (name, seed, needed) in in_order(pending, budget).items():
        earlier = None if discarded is None else (discarded / run, progress(discarded / run))
        arguments = [*command, "--only", name, "--seed", str(seed)]
        tasks[run] = task.remote(arguments, *(tasks[other] for other in needed), earlier=earlier)
    running = {reference: run for run, reference in tasks.items()}
    while running:
        (ended,), _ = ray.wait(list(running))
        try:
            code, errors = ray.get(ended)
        except ray.exceptions.RayError as error:
            code, errors = 1, str(error)
        report(running.pop(ended), code == 0, errors)


def resources(ray, budget):
    """Return what a task needs: a GPU where the cluster has one, else two cores, or one for the rehearsal."""
    if has_gpu(ray):
        return {"num_gpus": 1, "num_cpus": 1}
    most = max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
    return {"num_cpus": 1 if budget == "smoke" else min(2, most)}


def in_order(pending, budget):
    """Return `{run: (name, seed, runs to wait for)}` with each run after those among `pending` that it needs.

    pending: list of (name, seed).
    """
    by_run = {run_name(*pair): pair for pair in pending}
    needed = {run: [other for other in needed_runs(*pair, budget) if other in by_run] for run, pair in by_run.items()}
    return {run: (*by_run[run], needed[run]) for run in graphlib.TopologicalSorter(needed).static_order()}


def needed_runs(name, seed, budget):
    """Return the names of the runs whose models or predictions a run reads."""
    config = resolve(name, budget, seed)
    parent = config.get("weights")
    parents = [] if parent in (None, "imagenet") else [run_name(parent, seed)]
    return parents + config.get("teachers", []) + config.get("members", [])


def progress(folder):
    """Return size and time of the files in a run's folder that tell how far it is; None for one that is not there."""
    paths = [folder / name for name in (runs.FINAL, runs.STATE)]
    return [(path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None for path in paths]


def run_command(arguments, *needed, earlier=None):
    """Run Python with `arguments` and return `(exit status, standard error)`.

    needed: results of the tasks that have to end first. If one failed, the command says what it lacks.
    earlier: folder of a run to be discarded, and its `progress` before. The command gets `--force` while that is as it
    was; when a run that has begun is begun again, since its machine was lost, it resumes.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_worker():
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: otherwise the process would train on and keep its lock

    # as without Ray, which allows as many threads as the task has cores
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    for attempt in range(1 + BUSY_RETRIES):
        time.sleep(BUSY_SECONDS if attempt else 0)
        ended = subprocess.run(
            [sys.executable, *arguments, *(["--force"] if earlier and progress(earlier[0]) == earlier[1] else [])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            preexec_fn=die_with_worker if libc else None,
        )
        if ended.returncode == 0 or BUSY not in ended.stderr:
            break
    return ended.returncode, ended.stderr
