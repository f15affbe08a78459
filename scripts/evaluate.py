"""Measure finished runs again from their stored models: `python scripts/evaluate.py NAME...`.

For a new metric, or a corrected one: nothing is trained. Figures and predictions are replaced; cost, history and the
model stay. Ensembles are combined again from the stored logits of their members, which git does not hold, and baselines
are measured again, with a new record. A run that was left damaged, as the command was killed while it replaced files,
is mended by the same command.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from hw2 import backend, files, runs
from hw2.errors import DataError, ResultsError, TrainingError

ROOT = Path(__file__).resolve().parent.parent
# what a run's metrics hold beside figures
KEPT = (
    *("task", "budget", "seed", "data", "backend", "precision", "commit", "versions"),
    *("cost", "events", "started_from", "teachers"),
)


def main():
    arguments = parse_arguments()
    backend.set_up_for_training(arguments.backend)
    import filelock
    from train_all import main_figure, unforeseen, with_path

    from hw2.training import interruption

    interruption.install()
    failed = 0
    for name in dict.fromkeys(arguments.names):
        interruption.check()
        try:
            before, after = evaluate(arguments.results / name, arguments.data_dir)
        except filelock.Timeout:
            why = "another process is training it; repeat the command when that has ended"
        except (DataError, ResultsError, TrainingError) as error:
            why = error
        except OSError as error:
            why = f"{with_path(error, arguments.results / name)}. Free some space there, and repeat the command."
        except Exception as error:
            why = unforeseen(error, "The run is as it was: end other programs, and repeat the command")
        else:
            (figure, old), (_, new) = main_figure(before), main_figure(after)
            written = arguments.results / name / runs.METRICS
            print(f"{name}: test {figure} {old:.2%} before, {new:.2%} now; all figures: {written}", flush=True)
            continue
        failed += 1
        print(f"{name}: {why}", file=sys.stderr)
    interruption.check()
    return failed > 0


def evaluate(folder, data_dir):
    """Measure the finished run in `folder` again, and write its record; return its metrics before and after."""
    import filelock

    if runs.run_state(folder) != "finished":
        raise ResultsError(
            f"{folder} holds no finished run. Check the name and --results, or train it: python scripts/train_all.py"
        )
    with filelock.FileLock(folder / runs.LOCK, timeout=0):
        clean_up(folder)
        runs.refuse_damage(folder, digests=True)
        config, before = files.read_json(folder / runs.CONFIG), runs.read_metrics(folder)
        if config["task"] != "ensemble":
            from hw2.tasks import TASKS

            task = TASKS["segmentation" if config["task"] == "baselines" else config["task"]]
            counted = task.count_data(config, data_dir)
            if counted != config["data"]:
                raise ResultsError(
                    f"{folder} was measured on other data:\n"
                    + "\n".join(runs.differences(config["data"], counted, "data"))
                )
        if config["task"] in ("ensemble", "baselines"):
            from hw2.training import baselines, ensemble

            module = ensemble if config["task"] == "ensemble" else baselines
            options = {} if module is ensemble else {"data_dir": data_dir}
            return before, module.run(folder.name, config, results_dir=folder.parent, force=True, **options)
        if not (folder / runs.MODEL).exists():
            raise ResultsError(f"{folder} has no stored model. Train it again with --force.")
        import keras

        from hw2.hardware import choose_precision, device_name
        from hw2.models import float16_file
        from hw2.models.registry import build_model
        from hw2.training import interruption
        from hw2.training.run import measure_and_write

        precision = choose_precision()
        keras.config.set_dtype_policy(precision)
        model = build_model(config)
        model.set_weights(float16_file.load(folder / runs.MODEL).get_weights())
        validation = task.load_validation(config, data_dir)
        # beside the run first, so that an interruption leaves the old record whole
        with tempfile.TemporaryDirectory(prefix=".evaluating-", dir=folder) as temporary:
            temporary = Path(temporary)
            try:
                figures = measure_and_write(temporary, config, task, model, validation, data_dir)
            except OverflowError as error:
                raise ResultsError(
                    f"the model was not measured in {precision} ({error}), and its record stays as it was. Measure it "
                    f"on a machine with the number format of its training, {before.get('precision')}."
                ) from error
            after = {key: before[key] for key in KEPT if key in before} | figures
            after["evaluated"] = runs.provenance(keras.backend.backend()) | {
                "precision": precision,
                "device": device_name(),
            }
            files.write_json(temporary / runs.METRICS, after)
            final = files.read_json(folder / runs.FINAL)
            runs.write_final(temporary, final["finished"])
            final["files"] |= files.read_json(temporary / runs.FINAL)["files"]
            files.write_json(temporary / runs.FINAL, final)
            with interruption.deferred():
                temporary.rename(folder / runs.EVALUATED)
                put_in_place(folder)
        return before, after


def clean_up(folder):
    """Delete incomplete measurements that a killed process left in the folder of a run; put complete ones in place."""
    for leftover in folder.glob(".evaluating-*"):
        shutil.rmtree(leftover)
    if (folder / runs.EVALUATED).exists():
        put_in_place(folder)


def put_in_place(folder):
    """Replace files of the run by those in `runs.EVALUATED`, `final.json` last. A second call ends what a kill stopped.

    The new files are deleted if the run has been trained again since it was measured.
    """
    new = folder / runs.EVALUATED
    final = files.read_json(new / runs.FINAL)
    if final and final["finished"] == files.read_json(folder / runs.FINAL)["finished"]:
        for path in sorted(new.iterdir(), key=lambda path: path.name == runs.FINAL):
            path.replace(folder / path.name)
    shutil.rmtree(new)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument("names", nargs="+", metavar="NAME", help="folders of runs under --results")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="folder of the runs; default: the budget with more finished runs"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("HW2_DATA_DIR") or ROOT / "data"),
        help="folder of the data sets; default: $HW2_DATA_DIR, else data",
    )
    parser.add_argument(
        "--backend",
        choices=backend.BACKENDS,
        default=os.environ.get("KERAS_BACKEND") or "tensorflow",
        help="backend of Keras; default: $KERAS_BACKEND, else tensorflow",
    )
    arguments = parser.parse_args()
    if refused := backend.refusal(arguments.backend):
        parser.error(refused)
    try:
        found = arguments.results is None or arguments.results.is_dir()
    except OSError as error:  # a folder of another user, or a name too long
        parser.error(f"--results: {error.strerror}: {error.filename}")
    if not found:
        parser.error(f"--results: there is no folder {arguments.results}")
    arguments.results = arguments.results or runs.results_folder(ROOT / "results")
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Runs without a line above are as they were; the same command measures them.")
    except ResultsError as error:
        sys.exit(str(error))
