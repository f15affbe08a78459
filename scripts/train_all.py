"""Train every experiment and write its results: `python scripts/train_all.py`.

Finished runs are skipped and interrupted runs are resumed, so the command can be repeated at any time.

    python scripts/train_all.py --budget smoke            rehearse everything on synthetic data, in minutes
    python scripts/train_all.py --list                    the experiments, their questions, costs and states
    python scripts/train_all.py --only vgg16_full         one experiment, or several
    python scripts/train_all.py --verify                  compare all finished runs with their recorded digests
    python scripts/train_all.py --budget gpu --dry-run    one step of everything at its real size, without data sets
    python scripts/train_all.py --budget gpu --backend jax
    python scripts/train_all.py --ray ADDRESS             train on all machines of a Ray cluster
"""

import argparse
import gc
import logging
import os
import subprocess
import sys
import textwrap
import time
import traceback
from pathlib import Path

from hw2 import backend, files, runs
from hw2.data import splits
from hw2.errors import DataError, EntryError, ResultsError, TrainingError

try:
    from hw2.experiments import EXPERIMENTS, costs
    from hw2.experiments.resolve import resolve, seeds_of
    from hw2.experiments.schema import BUDGETS, experiment_of, run_name
except EntryError as error:  # the table is checked when it is read
    sys.exit(str(error))

ROOT = Path(__file__).resolve().parent.parent
MEMORY_SHARE = 1 / 3  # of the machine, which a process may hold between two runs
NETWORK_COSTS = Path(__file__).with_name("network_costs.json")  # written by `count_costs.py`


def main():
    arguments = parse_arguments()
    names = arguments.only or list(EXPERIMENTS)
    if arguments.list or arguments.verify:
        folders = [arguments.results] if arguments.results else folders_of_budgets(arguments.budget)
        if arguments.list:
            for folder in folders:
                budget = arguments.budget or (folder.name if folder.name in BUDGETS else "cpu")
                print_list(names, folder, budget, arguments.data_dir)
            return 0
        return sum(verify(folder, arguments.only) for folder in folders) > 0
    if arguments.ray:
        return train_on_cluster(names, arguments)
    backend.set_up_for_training(arguments.backend)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns that each model is compiled anew, as intended
    # imported after the backend is chosen; this takes seconds, and --list, --verify and --help do not need it
    import keras

    from hw2.hardware import gpu_compute_capability, gpu_is_unseen
    from hw2.training import interruption
    from hw2.training.phase import duration

    interruption.install()
    keras.config.disable_traceback_filtering()  # its wrapper around every call takes a fifth of the time of tracing
    gc.collect()
    gc.freeze()  # each later collection would look through all that these imports made
    has_gpu = gpu_compute_capability() is not None
    budget = arguments.budget or ("gpu" if has_gpu else "cpu")
    if gpu_is_unseen():
        extra = {"tensorflow": "tensorflow[and-cuda]", "jax": "jax[cuda12]"}[arguments.backend]
        print(
            f"{arguments.backend} does not see this machine's NVIDIA GPU: python -m pip install '{extra}' "
            "(TF_CPP_MIN_LOG_LEVEL=0 shows why)",
            file=sys.stderr,
        )
    if budget == "gpu" and not has_gpu and not arguments.dry_run:
        print(f"{arguments.backend} sees no GPU: the gpu budget takes days on a CPU (README, Train).", file=sys.stderr)
    if arguments.dry_run:
        return dry_run(names, budget)
    if budget == "smoke" and arguments.backend == "tensorflow":
        import tensorflow as tf

        # a rehearsal takes a few steps with each graph: optimising it would take longer than that saves
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    arguments.results = arguments.results or ROOT / "results" / budget
    pending = [(name, seed) for name in names for seed in seeds_of(name, budget, arguments.seed)]
    began = time.monotonic()
    # The rehearsal mostly builds graphs, which takes one core.
    jobs = min(arguments.jobs or (2 if budget == "smoke" and not arguments.force else 1), len(pending))
    command = [sys.executable, __file__, *sys.argv[1:], "--jobs", "1"]
    others = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(jobs - 1)]
    try:
        failed, busy = train_each(pending, budget, arguments, retried=bool(others), restarts=not others)
        for process in others:
            process.wait()
        if others and (failed or busy):
            left = {*failed, *busy}  # in the order of dependencies: what failed may need what was busy
            failed, busy = train_each([run for run in pending if run in left], budget, arguments)
    finally:
        for process in others:
            process.terminate()  # as Ctrl-C does: a run keeps its state and ends
        for process in others:
            process.wait()
    took = duration(time.monotonic() - began)
    finished = len(pending) - len(failed) - len(busy)
    print(f"{finished} of {len(pending)} runs are finished under {arguments.results} ({took}).")
    for what, which in (("In another process", busy), ("Not finished", failed)):
        if which:
            print(f"{what}: " + ", ".join(run_name(*run) for run in which), file=sys.stderr)
    return 1 if failed or busy else 0


def train_on_cluster(names, arguments):
    """Train the unfinished runs on a Ray cluster, print one line on each, and return the exit status."""
    import ray_cluster

    began, failed = time.monotonic(), []

    def report(run, finished, errors):
        number = len(pending) - len(left) + 1
        left.discard(run)
        outcome = summary(runs.read_metrics(arguments.results / run)) if finished else "not finished"
        took = costs.in_words(time.monotonic() - began)
        print(f"[{number}/{len(pending)}, {took}] {run}: {outcome}", flush=True)
        if not finished:
            failed.append(run)
            _, found, message = errors.partition(f"{run}: ")  # after the warnings of other packages
            print(found + message if found else f"{run}: {errors}", file=sys.stderr, flush=True)

    with ray_cluster.connected(arguments.ray) as ray:
        budget = arguments.budget or ("gpu" if ray_cluster.has_gpu(ray) else "cpu")
        arguments.results = (arguments.results or ROOT / "results" / budget).resolve()
        planned = [(name, seed) for name in names for seed in seeds_of(name, budget, arguments.seed)]
        # an ensemble is combined again if a member is newer
        pending = [
            (name, seed)
            for name, seed in planned
            if arguments.force
            or EXPERIMENTS[name].task == "ensemble"
            or runs.run_state(arguments.results / run_name(name, seed)) != "finished"
        ]
        left = {run_name(*pair) for pair in pending}
        command = [str(Path(__file__).resolve()), "--budget", budget, "--backend", arguments.backend, "--jobs", "1"]
        command += ["--results", str(arguments.results), "--data-dir", str(arguments.data_dir.resolve())]
        command += ["--tensorboard", str(arguments.tensorboard.resolve())] if arguments.tensorboard else []
        command += ["--checkpoint-seconds", str(arguments.checkpoint_seconds)]
        print(f"{len(planned) - len(pending)} of {len(planned)} runs were finished before.", flush=True)
        ray_cluster.train(ray, pending, budget, command, report, arguments.results if arguments.force else None)
    print(f"{len(planned) - len(failed)} of {len(planned)} runs are finished under {arguments.results}.")
    if failed:
        print("Not finished: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


def train_each(pending, budget, arguments, retried=False, restarts=False):
    """Train those of `pending`, a list of (name, seed), that are unfinished.

    retried: whether the ones that do not finish are tried again, so that nothing has to be explained yet.
    restarts: whether the command may begin anew after a run, which skips the finished ones. On a GPU, TensorFlow never
    frees the programs that it has compiled, those of a hundred phases in the end.
    Returns two lists of the same form: runs that failed, and runs that another process is training.
    """
    import filelock

    from hw2.hardware import resident_share
    from hw2.training import interruption
    from hw2.training.phase import duration

    began, failed, busy = time.monotonic(), [], []
    for number, (name, seed) in enumerate(pending, start=1):
        run = run_name(name, seed)
        state = runs.run_state(arguments.results / run)
        note = {"finished": "finished before", "unfinished": "resumes", "missing": "starts"}[state]
        elapsed = duration(time.monotonic() - began)
        print(f"[{number}/{len(pending)}, {elapsed}] {run}: {'starts again' if arguments.force else note}", flush=True)
        interruption.check()
        try:
            (arguments.results / run).mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(arguments.results / run / runs.LOCK, blocking=False):
                metrics = train_one(run, resolve(name, budget, seed), arguments)
            print(f"  {summary(metrics)}", flush=True)
        except filelock.Timeout:
            unfinished, why = busy, "another process is training it; repeat the command when that has ended"
        except (DataError, ResultsError, TrainingError) as error:
            unfinished, why = failed, error
        except OSError as error:
            step = "Free some space, and the same command resumes the run; or name other folders: --results, --data-dir"
            unfinished, why = failed, f"{with_path(error, arguments.results / run)}. {step}."
        except Exception as error:
            step = "The last saved epoch is kept: end other programs, use --jobs 1, and repeat the command"
            unfinished, why = failed, unforeseen(error, step)
        else:
            would_repeat = failed or busy or arguments.force  # a new process skips finished runs alone
            is_between = state != "finished" and number < len(pending)
            if restarts and is_between and not would_repeat and resident_share() > MEMORY_SHARE:
                print("  this process holds much memory: the command starts anew", flush=True)
                os.execv(sys.executable, [sys.executable, *sys.argv])
            continue
        unfinished.append((name, seed))
        if retried:
            print("  tried again at the end", flush=True)
        else:
            print(f"{run}: {why}", file=sys.stderr, flush=True)
    return failed, busy


def unforeseen(error, step):
    """Return the traceback of the error that is being handled; where memory is exhausted, a sentence and what to do.

    step: str. What to do. NumPy, TensorFlow and JAX each say in their own way that they got no memory.
    """
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "ResourceExhaustedError"
        or "RESOURCE_EXHAUSTED" in str(error)
    ):
        return f"memory is exhausted, that of the GPU or of the machine. {step}"
    return traceback.format_exc()


def train_one(run, config, arguments):
    """Train the run, or combine or measure what its task asks for; return its metrics."""
    options = {"results_dir": arguments.results, "force": arguments.force}
    if config["task"] == "ensemble":
        from hw2.training import ensemble

        return ensemble.run(run, config, **options)
    options["data_dir"] = arguments.data_dir
    if config["task"] == "baselines":
        from hw2.training import baselines

        return baselines.run(run, config, **options)
    from hw2.training.run import run as train

    options |= {"checkpoint_seconds": arguments.checkpoint_seconds, "tensorboard": arguments.tensorboard}
    return train(run, config, **options, log=lambda line: print(line, flush=True))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", choices=BUDGETS, help="default: gpu if there is one, else cpu")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these experiments, in this order")
    parser.add_argument(
        "--seed", type=seed_number, metavar="N", help="one run of each with this seed; in NAME-seedN, 0 in NAME"
    )
    parser.add_argument("--list", action="store_true", help="show the experiments and their states; train nothing")
    parser.add_argument("--verify", action="store_true", help="compare the files of finished runs with their digests")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build each network at its real size, train one step on made-up data, print what it takes; keep nothing",
    )
    parser.add_argument("--force", action="store_true", help="train again; discards the earlier results of these runs")
    parser.add_argument("--jobs", type=int, metavar="N", help="number of processes that train; default: 1, smoke: 2")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help='train on the Ray cluster at this address; "local" starts one on this machine'
    )
    parser.add_argument(
        "--backend",
        choices=backend.BACKENDS,
        default=os.environ.get("KERAS_BACKEND"),
        help="backend of Keras; default: $KERAS_BACKEND, else that of Keras, tensorflow",
    )
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder of the runs; default: results/BUDGET")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("HW2_DATA_DIR") or ROOT / "data"),
        help="where the data sets are, or are downloaded to; default: $HW2_DATA_DIR, else data",
    )
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write logs there")
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=30.0,
        metavar="N",
        help="least time between two saved states of a run, in seconds; default: 30",
    )
    arguments = parser.parse_args()
    arguments.only = arguments.only and list(dict.fromkeys(arguments.only))
    unknown = [name for name in arguments.only or () if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"there is no experiment {', '.join(unknown)}; --list shows the experiments")
    for option in ("results", "data_dir", "tensorboard"):
        if given := getattr(arguments, option):
            try:
                there = next(path for path in (given, *given.parents) if path.exists())
                problem = None if there.is_dir() else f"{there} is not a folder"
            except OSError as error:  # a folder of another user, or a name too long
                problem = f"{error.strerror}: {error.filename}"
            if problem:
                parser.error(f"--{option.replace('_', '-')}: {problem}; name another one")
    if arguments.tensorboard and not all(map(backend.is_installed, ("tensorboard", "tensorflow"))):
        parser.error("--tensorboard needs TensorFlow and TensorBoard: pip install -e '.[tensorboard]'")
    if arguments.jobs is not None and (arguments.jobs < 1 or (arguments.jobs > 1 and arguments.force)):
        parser.error("--jobs takes a number from 1; with --force it must be 1, or each process would retrain all runs")
    arguments.backend = arguments.backend or "tensorflow"
    if (arguments.list or arguments.verify) and arguments.results and not arguments.results.is_dir():
        parser.error(f"--results: there is no folder {arguments.results}")
    if arguments.list or arguments.verify:
        return arguments
    if arguments.ray and (arguments.jobs or arguments.dry_run):
        parser.error("--ray goes neither with --jobs, as Ray schedules the runs, nor with --dry-run")
    if arguments.ray and not backend.is_installed("ray"):
        parser.error("--ray needs Ray: pip install -e '.[ray]'")
    if refused := backend.refusal(arguments.backend):
        parser.error(refused)
    return arguments


def seed_number(text):
    """Return a seed from the command line. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) > 999:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 999")
    return int(text)


def folders_of_budgets(budget):
    """Return the folder of a budget's runs; for None, those of all budgets that have runs, at least of one."""
    found = [name for name in runs.BUDGETS_WITH_RESULTS if (ROOT / "results" / name).is_dir()]
    budgets = [budget] if budget else found or ["cpu"]
    return [ROOT / "results" / name for name in budgets]


def print_list(names, results_dir, budget, data_dir):
    """Print a table: name, state, main test figure and duration of finished runs, estimates of the others; question.

    A damaged run is listed with the reason. budget: of the estimates. data_dir: whose photographs they count, if any.
    """
    print(f"{results_dir}:")
    table = files.read_json(NETWORK_COSTS) or {}
    for name in names:
        entry = EXPERIMENTS[name]
        planned = [run_name(name, seed) for seed in range(entry.seeds)]
        begun = sorted(path.name for path in results_dir.glob(f"{name}-seed*") if runs.run_state(path) != "missing")
        for run in planned + [other for other in begun if other not in planned]:
            state = runs.run_state(results_dir / run)
            try:
                finished = state == "finished" and runs.read_metrics(results_dir / run)
                outcome = summary(finished) if finished else estimate(name, budget, table, data_dir)
            except ResultsError as error:
                state, outcome = "damaged", str(error)
            print(f"{run:34} {state:10} {outcome}".rstrip())
        print(textwrap.indent(textwrap.fill(entry.question, 100), "    "))


def estimate(name, budget, table, data_dir):
    """Return in words how long a run of an entry trains on the devices that its budget is for; "" if that is unknown.

    table: see `hw2.experiments.costs`. data_dir: the data folder, whose masks are counted if their lists are there.
    """
    config = resolve(name, budget)
    if config["task"] == "segmentation" and splits.masks_are_here(config["data"], data_dir):
        config["data"] = splits.mask_counts(config["data"], data_dir)
    try:
        durations = [
            f"{costs.in_words(costs.training_seconds(config, table, device))} ({device.name})"
            for device in costs.DEVICES[budget]
        ]
    except KeyError:  # nothing is trained, the rehearsal, or a network that `count_costs.py` has not seen
        return ""
    return "estimated " + ", ".join(durations)


def dry_run(names, budget):
    """Try every entry at its real size and print a table of what it takes; return the exit status."""
    from hw2.training import dry_run as module

    devices, failed, totals = costs.DEVICES.get(budget, ()), [], {}
    hours = [f"h on {device.name}" for device in devices]
    columns = ["parameters, M", "mult.-adds, M", *hours, "peak, MiB", "GPU, MiB", "images, MiB", "cache, MiB"]
    print(f"{'run':34} seeds  " + "  ".join(columns))
    for name in names:
        config = resolve(name, budget)
        if "model" not in config:
            continue
        try:
            took = module.dry_run(config)
        except Exception as error:
            failed.append(name)
            print(f"{name}: {error if isinstance(error, TrainingError) else traceback.format_exc()}", file=sys.stderr)
            continue
        seeds, table = len(seeds_of(name, budget)), took["network_costs"]
        figures = [f"{took['parameters'] / 1e6:.2f}", f"{table[costs.network_key(config)][''][0] / 1e6:,.0f}"]
        for device in devices:
            estimated = costs.run_seconds(config, table, device) / 3600
            totals.setdefault(device, []).extend([estimated] * seeds)
            figures.append(f"{estimated:.2f}")
        memory = (took[key] for key in ("peak_memory_mib", "gpu_memory_mib", "images_mib", "cache_mib"))
        figures += ["-" if value is None else f"{value:,.0f}" for value in memory]
        row = "  ".join(f"{figure:>{len(column)}}" for figure, column in zip(figures, columns, strict=True))
        print(f"{name:34} {seeds:5}  {row}", flush=True)
    for device, estimates in totals.items():
        total, jobs = costs.total_seconds(estimates, device), f" with --jobs {device.jobs}" if device.jobs > 1 else ""
        print(f"All runs on {device.name}{jobs}, estimated: {total:.1f} h")
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def verify(results_dir, names=None):
    """Compare finished runs with the digests in their `final.json`; print what differs and return how many do.

    names: of the experiments; None verifies all runs.
    """
    damaged = 0
    folders = sorted(path.parent for path in results_dir.glob(f"*/{runs.FINAL}"))
    folders = [folder for folder in folders if names is None or experiment_of(folder.name) in names]
    for folder in folders:
        try:
            problems = runs.damage(folder, digests=True)
        except ResultsError as error:
            problems = [str(error)]
        damaged += bool(problems)
        for problem in problems:
            print(f"{folder.name}: {problem}", file=sys.stderr)
    print(f"{len(folders) - damaged} of {len(folders)} finished runs under {results_dir} are as recorded.")
    return damaged


def with_path(error, folder):
    """Return an OSError in words, with its path, or with the folder that was in use where the system names none."""
    return str(error) if error.filename else f"{folder}: {error}"


def summary(metrics):
    """Return one line on a finished run."""
    cost, (figure, value) = metrics["cost"], main_figure(metrics)
    speed = f", {cost['images_per_second']:,.0f} images/s" if "images_per_second" in cost else ""
    return f"test {figure} {value:.1%}, {runs.training_seconds(cost):,.0f} s{speed}"


def main_figure(metrics):
    """Return the name and the value of the main figure on the test images: the IoU of masks, or the accuracy."""
    test = metrics["test"]
    return ("IoU", test["iou"]) if "iou" in test else ("accuracy", test["accuracy"])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command, without --force, resumes from the last saved epoch.")
    except ResultsError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # `--list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
