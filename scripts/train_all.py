"""Train every experiment and write its results: `python scripts/train_all.py`.

What is finished is skipped and what was interrupted goes on, so the command can be given again at any time.

    python scripts/train_all.py --budget smoke            rehearse everything on synthetic data, in minutes
    python scripts/train_all.py --list                    what there is, what it asks, what it costs, how it stands
    python scripts/train_all.py --only vgg16_full         one experiment, or several
    python scripts/train_all.py --budget gpu --backend jax
"""

import argparse
import importlib.util
import logging
import os
import subprocess
import sys
import textwrap
import time
import traceback
from pathlib import Path

from hw2 import DataError, WeightsUnavailable, experiments, results

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = ("tensorflow", "jax")
# Where each budget's results go unless --results says otherwise: a folder holds runs of one budget.
FOLDERS = {"smoke": ".smoke-results", "cpu": "results", "gpu": "results-gpu"}


def main():
    arguments = parse_arguments()
    names = arguments.only or list(experiments.EXPERIMENTS)
    if arguments.list:
        gpu_results = ROOT / FOLDERS["gpu"]
        print_list(names, arguments.results or ROOT / FOLDERS[arguments.budget or "cpu"])
        if not (arguments.results or arguments.budget) and gpu_results.exists():
            print_list(names, gpu_results)
        return 0
    os.environ["KERAS_BACKEND"] = arguments.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns that each model is compiled anew: so it should
    # imported here, after the backend is chosen: this takes seconds, and --list and --help need none of it
    import keras

    from hw2 import train
    from hw2.precision import gpu_compute_capability

    keras.config.disable_traceback_filtering()  # its wrapper around every call takes a fifth of the time of tracing
    has_gpu = gpu_compute_capability() is not None
    budget = arguments.budget or ("gpu" if has_gpu else "cpu")
    if budget == "gpu" and not has_gpu:
        print(f"{arguments.backend} sees no GPU: the gpu budget takes days on a CPU (README, Train).", file=sys.stderr)
    arguments.results = arguments.results or ROOT / FOLDERS[budget]
    runs = [(name, seed) for name in names for seed in experiments.seeds_of(name, budget, arguments.seed)]
    began = time.monotonic()
    # The rehearsal is mostly building of graphs, which takes one core.
    jobs = min(arguments.jobs or (2 if budget == "smoke" and not arguments.force else 1), len(runs))
    command = [sys.executable, __file__, *sys.argv[1:], "--jobs", "1"]
    others = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(jobs - 1)]
    try:
        failed, skipped = train_each(runs, budget, arguments, put_off=bool(others))
        for process in others:
            process.wait()
        if others and (failed or skipped):
            failed, skipped = train_each(failed + skipped, budget, arguments)
    finally:
        for process in others:
            process.terminate()
    took = train.duration(time.monotonic() - began)
    finished = len(runs) - len(failed) - len(skipped)
    print(f"{finished} of {len(runs)} runs are finished under {arguments.results} ({took}).")
    for what, which in (("Skipped", skipped), ("Not finished", failed)):
        if which:
            print(f"{what}: " + ", ".join(experiments.run_name(*run) for run in which), file=sys.stderr)
    return 1 if failed else 0


def train_each(runs, budget, arguments, put_off=False):
    """Train what is not finished of `runs`, a list of (name, seed); return those that failed and those skipped.

    put_off: say no more than that of them, for they will be tried again.
    """
    import filelock

    from hw2 import baselines, ensemble, train

    def explain(run, why):
        text, stream = ("  put off", sys.stdout) if put_off else (f"{run}: {why}", sys.stderr)
        print(text, file=stream, flush=True)

    began, failed, skipped = time.monotonic(), [], []
    expected = (DataError, results.ResultsError, train.TrainingError, OSError)
    for number, (name, seed) in enumerate(runs, start=1):
        run = experiments.run_name(name, seed)
        state = results.run_state(arguments.results / run)
        note = {"finished": "finished before", "unfinished": "goes on", "missing": "starts"}[state]
        elapsed = train.duration(time.monotonic() - began)
        print(f"[{number}/{len(runs)}, {elapsed}] {run}: {'starts again' if arguments.force else note}", flush=True)
        try:
            config = experiments.resolve(name, budget, seed)
            (arguments.results / run).mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(arguments.results / run / results.LOCK, blocking=False):
                if config["task"] == "ensemble":
                    metrics = ensemble.run(run, config, results_dir=arguments.results, force=arguments.force)
                elif config["task"] == "baselines":
                    metrics = baselines.run(
                        run, config, data_dir=arguments.data_dir, results_dir=arguments.results, force=arguments.force
                    )
                else:
                    metrics = train.run(
                        run,
                        config,
                        data_dir=arguments.data_dir,
                        results_dir=arguments.results,
                        force=arguments.force,
                        tensorboard=arguments.tensorboard,
                        log=lambda line: print(line, flush=True),
                    )
            print(f"  {summary(metrics)}", flush=True)
        except filelock.Timeout:
            skipped.append((name, seed))
            explain(run, "another process is training it")
        except WeightsUnavailable as error:
            skipped.append((name, seed))
            explain(run, error)
        except expected as error:
            failed.append((name, seed))
            explain(run, error)
        except Exception:
            failed.append((name, seed))
            explain(run, traceback.format_exc())
    return failed, skipped


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", choices=experiments.BUDGETS, help="default: gpu if there is one, else cpu")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these experiments, in this order")
    parser.add_argument(
        "--seed",
        type=int,
        choices=range(1000),
        metavar="N",
        help="one run of each with this seed; results/NAME-seed1 for seed 1",
    )
    parser.add_argument("--list", action="store_true", help="show the experiments and how they stand, train nothing")
    parser.add_argument("--force", action="store_true", help="train again, and throw away what is there for these runs")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes that train at once; default: 1, for smoke 2")
    parser.add_argument("--backend", choices=BACKENDS, default=os.environ.get("KERAS_BACKEND"))
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: results, results-gpu or .smoke-results")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("HW2_DATA_DIR") or ROOT / "data"),
        help="where the data sets are, or are downloaded to; default: $HW2_DATA_DIR, else data",
    )
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write logs there")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.only or () if name not in experiments.EXPERIMENTS]
    if unknown:
        parser.error(f"there is no experiment {', '.join(unknown)}; --list shows those that there are")
    if arguments.budget == "smoke" and arguments.results and arguments.results.resolve() == ROOT / "results":
        parser.error("results/ is for real runs; give the smoke budget another --results, or none")
    if arguments.tensorboard and not (is_installed("tensorboard") and is_installed("tensorflow")):
        parser.error("--tensorboard needs TensorFlow and TensorBoard: pip install -e '.[tensorboard]'")
    if arguments.jobs is not None and (arguments.jobs < 1 or (arguments.jobs > 1 and arguments.force)):
        parser.error("--jobs takes a number from 1 up; with --force one, or each would train what another has finished")
    arguments.backend = arguments.backend or "tensorflow"
    if not arguments.list and arguments.backend not in BACKENDS:
        parser.error(f"KERAS_BACKEND is {arguments.backend}; this trains on {' or '.join(BACKENDS)}: see --backend")
    if not arguments.list and not is_installed(arguments.backend):
        parser.error(f"{arguments.backend} is not installed: pip install {arguments.backend}")
    return arguments


def is_installed(package):
    """Whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def print_list(names, results_dir):
    """Print a table: name, state, test accuracy of finished runs, question and cost."""
    print(f"{results_dir}:")
    finished = results.finished_runs(results_dir)
    for name in names:
        entry = experiments.EXPERIMENTS[name]
        runs = [experiments.run_name(name, seed) for seed in range(entry.seeds)]
        for run in runs + [other for other in finished if other.startswith(f"{name}-seed") and other not in runs]:
            state = results.run_state(results_dir / run)
            outcome = f"{figure(finished[run])} ({finished[run]['budget']})" if run in finished else ""
            print(f"{run:32} {state:10} {outcome}")
        print(textwrap.indent(textwrap.fill(f"{entry.question} Costs: {entry.cost}.", 100), "    "))


def summary(metrics):
    """Return one line on a finished run."""
    cost = metrics["cost"]
    speed = f", {cost['images_per_second']:,.0f} images/s" if "images_per_second" in cost else ""
    return f"test {figure(metrics)}, {cost['seconds']:,.0f} s{speed}"


def figure(metrics):
    """Return the main test figure of a finished run in words."""
    test = metrics["test"]
    return f"IoU {test['iou']:.1%}" if "iou" in test else f"accuracy {test['accuracy']:.1%}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command, without --force, goes on from the last saved epoch.")
    except results.ResultsError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # `--list | head`: what reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
