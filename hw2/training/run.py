"""Train one run: seed -> number format -> data -> model -> phases -> stored model -> figures -> record.

`run` is the whole story, read from top to bottom. A run can be ended at any moment and resumes from its last saved
epoch.
"""

import math
from pathlib import Path

import keras
import numpy as np

from hw2 import files, runs
from hw2.errors import ResultsError, TrainingError
from hw2.experiments.resolve import phases_of
from hw2.experiments.schema import run_name, training_command
from hw2.hardware import choose_precision, device_name, peak_memory_mib, reset_peak_memory
from hw2.models import float16_file, registry
from hw2.models.cost import multiply_adds
from hw2.models.registry import build_model
from hw2.models.scratch import adapt_whitening
from hw2.tasks import TASKS
from hw2.training import distillation
from hw2.training.checkpoint import Checkpoint, State, variables_of
from hw2.training.frozen import set_trainable
from hw2.training.phase import train_phase


def run(name, config, *, data_dir, results_dir, force=False, checkpoint_seconds=30.0, tensorboard=None, log=print):
    """Train the run `name` as `config` says (see `hw2.experiments.resolve`) unless it is finished; return its metrics.

    data_dir: folder of the data sets and of the cache of features. results_dir: folder that gets `<name>/`.
    force: discard an earlier run of this name. checkpoint_seconds: least time between two saved states within a phase.
    tensorboard: folder for TensorBoard logs, or None.

    Raises TrainingError (a diverged loss, a state of another backend, a parent or teacher that is missing, a teacher
    that has been retrained since the run began), ResultsError (the folder holds another or a damaged run) and DataError
    (no data), each with a message for the user.
    """
    folder, task = Path(results_dir) / name, TASKS[config["task"]]
    config = with_data_counts(config, task, data_dir, None if force else folder)
    parent, begins = parent_folder(config, results_dir), force or not (folder / runs.STATE).exists()
    if force or runs.run_state(folder) != "finished":  # before the data are loaded, which takes long
        if parent and begins:
            require_model(parent, f"starts from the weights of {parent.name}", config["budget"])
        teacher_folders(config, results_dir)  # raises where one is missing
        if not force:
            refuse_other_data(folder, config)
    if not force and runs.is_finished(folder, config):
        metrics = runs.read_metrics(folder)
        changed = retrained(results_dir, metrics.get("teachers"), parent, metrics["started_from"])
        for source, role in changed.items():
            log(f"{name}: {source}, {role}, has been retrained since: --force retrains it")
        return metrics
    provenance = runs.provenance(keras.backend.backend())
    reset_peak_memory()
    keras.utils.clear_session()
    keras.utils.set_random_seed(config["seed"])
    precision = choose_precision()
    keras.config.set_dtype_policy(precision)
    log(f"{name}: {config['budget']} budget, {keras.backend.backend()}, {precision}")

    train, validation = task.load_training(config, data_dir)
    model = build_model(config)
    require_storable(model, config)
    teachers = {teacher.name: runs.finished_when(teacher) for teacher in teacher_folders(config, results_dir)}
    fresh = State(keras.backend.backend(), precision, parent and runs.finished_when(parent), teachers or None)
    if begins:
        set_first_weights(model, config, parent, train.images, data_dir)
    runs.begin_run(folder, config, force)
    checkpoint = Checkpoint(folder, fresh, checkpoint_seconds)
    # a parent's weights were read when the run began, but the answers of teachers are computed at each start
    if changed := retrained(results_dir, checkpoint.state.teachers):
        raise TrainingError(
            f"{name} cannot be resumed: {' and '.join(changed)} {'has' if len(changed) == 1 else 'have'} been trained "
            f"again since it began, and it would learn from both versions. Start it again: "
            f"{training_command(folder, config['budget'], force=True)}"
        )
    checkpoint.restore_model(model)
    targets = training_targets(config, task, train, results_dir)
    phases, size = phases_of(config), None
    while checkpoint.state.phase < len(phases):
        phase = phases[checkpoint.state.phase]
        model, size = model_at_size(model, size, config, phase.image_size)
        train_phase(
            name,
            model,
            phase,
            config,
            task,
            train,
            targets,
            validation,
            checkpoint,
            data_dir=data_dir,
            tensorboard=tensorboard,
            log=log,
        )

    del train, targets  # up to 4 GB that measuring can use
    # All figures are those of the stored model, so it is rounded before it is evaluated.
    model, _ = model_at_size(model, size, config, None)
    float16_file.round_kernels(model)
    with files.atomic_path(folder / runs.MODEL) as temporary:
        float16_file.save(model, temporary)
    set_trainable(model, phases[-1].trainable)
    state, history = checkpoint.state, checkpoint.state.history
    last_phase = [row for row in history if row["phase"] == len(phases)]
    cost = {
        "seconds": sum(row["seconds"] for row in history) + state.feature_seconds,
        # all cores together: tells a slow run from one that shared the machine
        "cpu_seconds": sum(row["cpu_seconds"] for row in history) + state.feature_cpu_seconds,
        "feature_seconds": state.feature_seconds,
        "feature_cpu_seconds": state.feature_cpu_seconds,
        "epochs": len(history),
        # of the last phase, compilation and validation included
        "images_per_second": sum(r["images"] for r in last_phase) / sum(r["seconds"] for r in last_phase),
        "parameters": model.count_params(),
        "trainable_parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
        "multiply_adds": multiply_adds(model),
        "device": device_name(),
        "peak_memory_mib": state.peak_memory_mib,
    }
    try:
        figures = measure_and_write(folder, config, task, model, validation, data_dir)
    except OverflowError as error:
        raise TrainingError(
            f"{name}: training diverged ({error}), although the loss stayed finite. Nothing is marked as finished. "
            "Lower the learning rate of the entry in hw2/experiments and train it with --force."
        ) from error
    cost["peak_memory_mib"] = max(cost["peak_memory_mib"], peak_memory_mib())
    metrics = {
        **{key: config[key] for key in ("task", "budget", "seed", "data")},
        "backend": state.backend,
        "precision": precision,
        **provenance,
        **figures,
        "cost": cost,
        "events": state.events,
        "started_from": state.started_from,
        "teachers": state.teachers,
    }
    files.write_csv(folder / runs.HISTORY, history)
    files.write_json(folder / runs.METRICS, metrics)
    runs.close_run(folder)
    return metrics


def measure_and_write(folder, config, task, model, validation, data_dir):
    """Measure the model on the validation and test images, write what was predicted, and return the figures.

    This is the only place where the test images are read. Raises OverflowError where the logits are not finite in the
    format in which they are stored.
    """
    measured = task.measure(config, model, validation, data_dir)
    for name, arrays in ((runs.PREDICTIONS, measured.predictions), (runs.LOGITS, measured.logits)):
        if arrays:
            files.write_arrays(folder / name, arrays)
    if measured.rows:
        files.write_csv(folder / runs.IMAGES, measured.rows)
    return measured.figures


def with_data_counts(config, task, data_dir, folder):
    """Return `config` with the number of images that the data folder holds, part of the identity of a run.

    folder: of the run, or None if it is trained again. A finished run whose data are not on this machine keeps the
    recorded counts: nothing is downloaded to compare them.
    """
    recorded = files.read_json(folder / runs.CONFIG) if folder and (folder / runs.FINAL).exists() else None
    if recorded and not task.data_is_here(config, data_dir):
        known = {key: recorded["data"].get(key) for key in ("source", "train", "validation", "test")}
        return config | {"data": config["data"] | known}
    return config | {"data": task.count_data(config, data_dir)}


def refuse_other_data(folder, config):
    """Raise ResultsError if a finished seed of this experiment was trained on other data: no mean may join both."""
    for final in sorted(folder.parent.glob(f"{config['experiment']}*/{runs.FINAL}")):
        other = files.read_json(final.with_name(runs.CONFIG)) or {}
        if other.get("experiment") == config["experiment"] and other["data"] != config["data"]:
            raise ResultsError(
                f"{final.parent}, another seed of this experiment, was trained on other data:\n"
                + "\n".join(f"  {line}" for line in runs.differences(other["data"], config["data"], "data"))
                + "\nWrite the runs on these data elsewhere with --results."
            )


def parent_folder(config, results_dir):
    """Return the folder of the run whose weights this one starts from, or None."""
    if config["weights"] in (None, "imagenet"):
        return None
    return Path(results_dir) / run_name(config["weights"], config["seed"])


def retrained(results_dir, teachers, parent=None, started_from=None):
    """Return `{run: what it gave}` of the runs that were finished anew since this one read them.

    teachers, started_from: see `State`; what was not recorded is not compared. parent: see `parent_folder`.
    """
    used = {Path(results_dir) / run: ("from whose answers it learned", when) for run, when in (teachers or {}).items()}
    if parent and started_from:
        used[parent] = ("from whose weights it started", started_from)
    return {
        folder.name: role for folder, (role, when) in used.items() if runs.finished_when(folder) not in (None, when)
    }


def require_storable(model, config):
    """Raise TrainingError, before anything is trained, if the model could not be stored or its cost not counted."""
    why = float16_file.why_unreadable(model)
    try:
        multiply_adds(model)
    except NotImplementedError as error:
        why = why or error
    if why:
        raise TrainingError(f"{config['model']}: {why}.")


def model_at_size(model, size, config, image_size):
    """Return `(model, image_size)`: `model`, or a new one with its weights where it was built for another `size`.

    A size of None is the one in the model's arguments.
    """
    if image_size == size:
        return model, size
    other = build_model(config, image_size)
    for variable, source in zip(variables_of(other), variables_of(model), strict=True):
        variable.assign(source)
    return other, image_size


def set_first_weights(model, config, parent, images, data_dir):
    """Set the weights from which training starts: ImageNet's or the parent run's; else filters computed from images."""
    if config["weights"] == "imagenet":
        registry.load_imagenet_weights(config["model"], model, data_dir)
    elif parent:
        load_weights_of_run(model, parent, config["budget"])
    else:
        adapt_whitening(model, images)


def training_targets(config, task, train, results_dir):
    """Return the targets of the training images: those of their labels, or mixed with the answers of the teachers."""
    targets = task.targets(train.labels, config)
    if not config["teachers"]:
        return targets
    answers = distillation.mean_answers(teacher_folders(config, results_dir), train.images)
    share = config["teacher_share"]
    return ((1 - share) * targets + share * answers).astype(np.float32)


def teacher_folders(config, results_dir):
    """Return the folders of the runs that teach this one; raise TrainingError where one is missing."""
    folders = [Path(results_dir) / run for run in config["teachers"]]
    for folder in folders:
        require_model(folder, f"learns from the answers of {folder.name}", config["budget"])
    return folders


def require_model(folder, why, budget):
    """Raise TrainingError, with the command to give first, unless `folder` holds a finished run with its model."""
    finished = runs.run_state(folder) == "finished"
    if not finished or not (folder / runs.MODEL).exists():
        raise TrainingError(
            f"This run {why}, and {folder / runs.MODEL} is not there. Train {folder.name} first: "
            f"{training_command(folder, budget, force=finished)}"
        )


def load_weights_of_run(model, folder, budget):
    """Set the weights of `model` from the finished run in `folder`, whose model has the same form."""
    require_model(folder, f"starts from the weights of {folder.name}", budget)
    weights = float16_file.load(folder / runs.MODEL).get_weights()
    if [array.shape for array in weights] != [variable.shape for variable in model.weights]:
        raise TrainingError(
            f"This run starts from the weights of {folder.name}, which is another network here, perhaps of another "
            f"budget. Train both with the same budget: {training_command(folder, budget, force=True)}"
        )
    model.set_weights(weights)
