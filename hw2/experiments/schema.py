"""The form of an entry in the table of experiments, and the checks that it passes when the table is read."""

import dataclasses
import math
import re
import shlex
from pathlib import Path
from typing import Any

from hw2.data import augment
from hw2.errors import EntryError
from hw2.models.registry import NETWORKS

BUDGETS = ("smoke", "cpu", "gpu")
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant", "plateau")
LOSSES = {"classification": ("cross_entropy",), "segmentation": ("cross_entropy", "dice", "both")}
SAMPLINGS = {"classification": ("uniform",), "segmentation": ("uniform", "repeat_factor")}
EXTRAS = {
    "classification": ("test_time_augmentation", "robustness", "grad_cam"),
    "segmentation": ("test_time_augmentation",),
}
# Fields of a phase that a task does not support, because they would leave masks as they are or have no effect.
UNSUPPORTED = {"classification": ("joint",), "segmentation": ("mix", "mirrored", "label_smoothing", "image_size")}


@dataclasses.dataclass(frozen=True)
class ByBudget:
    """A value that depends on the budget. The smoke budget rehearses the cpu value at a small size, see `resolve`."""

    cpu: Any
    gpu: Any


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training with one optimizer.

    trainable: beginning of the name of the first layer that is trained, one of the network's `stages` in
        `hw2.models.registry`; the layers before it are frozen. "" trains all layers. The outputs of frozen layers are
        computed once and cached, unless a random operation (augmentation, mixing, dropout) precedes them.
    schedule: "cosine" (to zero), "constant", or "plateau" (divided by 5 when the validation metric has not improved for
        `plateau_patience` epochs). warmup: share of the steps over which the rate first rises from zero.
    loss: for segmentation, a name in `hw2.tasks.losses`.
    augment, joint, mix: names in `hw2.data.augment`: functions of the image alone, functions that move image and mask
        together (applied first), and functions that mix images, one of which is drawn for each batch and applied with
        probability `mix_probability`.
    mirrored: train on each image and on its mirror image. This doubles the batches of an epoch and involves no chance,
        so that the outputs of frozen layers can be cached.
    image_size: for classification, the size at which the network sees images in this phase; None for the size in
        `model_arguments`.
    sampling: "uniform", each image once an epoch, or "repeat_factor", for segmentation: images with rare classes more
        often, see `hw2.tasks.segmentation.sampling_weights`.
    patience: stop after this many epochs without an improvement on the validation images. keep_best: at the end of the
        phase, restore the weights of the best epoch.
    """

    epochs: int | ByBudget
    learning_rate: float | ByBudget
    trainable: str | ByBudget = ""
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    batch_size: int | ByBudget = 128
    schedule: str = "cosine"
    warmup: float = 0.0
    plateau_patience: int | ByBudget = 3
    label_smoothing: float = 0.0
    loss: str = "cross_entropy"
    joint: tuple[str, ...] | ByBudget = ()
    augment: tuple[str, ...] | ByBudget = ()
    mix: tuple[str, ...] | ByBudget = ()
    mix_probability: float | ByBudget = 1.0
    mirrored: bool = False
    image_size: int | ByBudget | None = None
    patience: int | ByBudget | None = None
    keep_best: bool = False
    sampling: str = "uniform"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A network that is trained. `title` and `question` are for readers; the rest is what is run.

    title: a few words for the network, used in figures and tables, by which it differs from all others.
    weights: what training starts from: "imagenet", the name of another experiment (its run with the same seed), or
        None.
    num_classes: for classification, fewer than 100 for a subset of the classes; for segmentation, 2 (foreground against
        background) or 21.
    sbd: for segmentation, whether the images of SBD are used for training as well.
    extras: measurements beside the usual ones, see EXTRAS.
    seeds: number of runs, with seeds from 0.
    teachers: for classification, names of runs whose mean probabilities are the targets to the share `teacher_share`;
        the rest is the label.
    """

    title: str
    question: str
    model: str
    model_arguments: dict
    phases: tuple[Phase, ...]
    weights: str | None = None
    num_classes: int = 100
    sbd: bool = False
    extras: tuple[str, ...] = ()
    task: str = "classification"
    seeds: int = 1
    teachers: tuple[str, ...] = ()
    teacher_share: float = 0.0


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Segmentations without training, which every segmenter has to beat."""

    title: str
    question: str
    task: str = "baselines"
    seeds: int = 1


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """A combination of the predictions of the finished runs `members`."""

    title: str
    question: str
    members: tuple[str, ...]
    task: str = "ensemble"
    seeds: int = 1


def pick(value, budget):
    """Return `value` with every `ByBudget` in it replaced by the value for `budget`, and tuples by lists."""
    if isinstance(value, ByBudget):
        return pick(value.gpu if budget == "gpu" else value.cpu, budget)
    if isinstance(value, dict):
        return {key: pick(item, budget) for key, item in value.items()}
    return [pick(item, budget) for item in value] if isinstance(value, tuple) else value


def run_name(name, seed):
    """Return the folder name of a run: seed 0 has the experiment's own name, other seeds a suffix."""
    return name if seed == 0 else f"{name}-seed{seed}"


def experiment_of(run):
    """Return the name of the experiment that a run belongs to, the reverse of `run_name`."""
    return run.partition("-seed")[0]


def training_command(folder, budget, force=False):
    """Return the command that trains the run in `folder`, with its budget. force: even if it is finished."""
    results_dir, name = Path(folder).parent, Path(folder).name
    name, _, seed = name.partition("-seed")
    command = f"python scripts/train_all.py --budget {budget} --only {name} --seed {seed or 0}"
    usual = results_dir.parts[-2:] == ("results", budget)  # where the command writes by itself
    return command + (" --force" if force else "") + ("" if usual else f" --results {shlex.quote(str(results_dir))}")


def check(entries):
    """Raise EntryError for the first value in the table that no run could use.

    entries: {name: Experiment, Baselines or Ensemble}.
    """
    for name, entry in entries.items():
        _check_name_and_seeds(name, entry)
    classifiers = {  # and their numbers of classes
        run_name(name, seed): entry.num_classes
        for name, entry in entries.items()
        if entry.task == "classification"
        for seed in range(entry.seeds)
    }
    for name, entry in entries.items():
        if isinstance(entry, Ensemble):
            _several(name, "members", entry.members)
            classes = next((classifiers[member] for member in entry.members if member in classifiers), None)
            alike = [run for run, number in classifiers.items() if classes in (None, number)]
            for member in entry.members:
                _one_of(name, "member", member, alike)
        if not isinstance(entry, Experiment):
            continue
        _one_of(name, "task", entry.task, tuple(LOSSES))
        networks = [model for model, network in NETWORKS.items() if network.task == entry.task]
        _one_of(name, "model", entry.model, networks)
        network = NETWORKS[entry.model]
        if "image_size" not in network.arguments:
            raise EntryError(f"The entry {name!r} uses the network {entry.model!r}, whose builder takes no image_size.")
        for argument in entry.model_arguments:
            _one_of(name, "model argument", argument, tuple(network.arguments))
        pretrained = ("imagenet",) if network.load_imagenet_weights else ()
        parents = [
            other
            for other, parent in entries.items()
            if isinstance(parent, Experiment)
            and other != name
            and (parent.model, parent.num_classes) == (entry.model, entry.num_classes)
            and parent.seeds >= entry.seeds
        ]
        _one_of(name, "weights", entry.weights, (None, *pretrained, *parents))
        for field in ("teachers", "extras"):
            _several(name, field, getattr(entry, field))
        _in_range(name, "teacher_share", entry.teacher_share, 0, 1)
        if entry.task == "segmentation":
            _one_of(name, "num_classes", entry.num_classes, (2, 21))
        elif type(entry.num_classes) is not int or not 2 <= entry.num_classes <= 100:
            raise EntryError(f"The entry {name!r} sets num_classes = {entry.num_classes!r}; it takes 2 to 100.")
        others = [
            run
            for run, number in classifiers.items()
            if entry.task == "classification" and number == entry.num_classes and experiment_of(run) != name
        ]
        for teacher in entry.teachers:
            _one_of(name, "teacher", teacher, others)
        if bool(entry.teachers) != bool(entry.teacher_share):
            raise EntryError(
                f"The entry {name!r} sets teachers = {entry.teachers!r} and teacher_share = {entry.teacher_share!r}; "
                "one needs the other."
            )
        for extra in entry.extras:
            _one_of(name, "extra", extra, EXTRAS[entry.task])
        if not isinstance(entry.phases, tuple) or not entry.phases:
            raise EntryError(f"The phases of the entry {name!r} are no tuple. One phase alone needs a comma: (phase,)")
        for phase in entry.phases:
            for budget in BUDGETS[1:]:
                _check_phase(name, entry.task, network, {f: pick(v, budget) for f, v in vars(phase).items()})


def joined(*tables):
    """Return the entries of several tables in one; raise EntryError if two have the same name."""
    entries = {}
    for table in tables:
        if twice := entries.keys() & table.keys():
            raise EntryError(f"Two entries have the name {min(twice)!r}; each needs a name of its own.")
        entries |= table
    return entries


def _check_phase(name, task, network, phase):
    for field in ("epochs", "batch_size", "plateau_patience", "patience", "image_size"):
        optional = phase[field] is None and field in ("patience", "image_size")
        if not optional:
            _positive(name, field, phase[field])
    if not isinstance(phase["learning_rate"], int | float) or not 0 < phase["learning_rate"] < math.inf:
        raise EntryError(f"The entry {name!r} sets learning_rate = {phase['learning_rate']!r}, no positive number.")
    for field, most in (("weight_decay", math.inf), ("warmup", 1), ("label_smoothing", 1), ("mix_probability", 1)):
        _in_range(name, field, phase[field], 0, most)
    _one_of(name, "optimizer", phase["optimizer"], OPTIMIZERS)
    _one_of(name, "schedule", phase["schedule"], SCHEDULES)
    _one_of(name, "sampling", phase["sampling"], SAMPLINGS[task])
    _one_of(name, "loss", phase["loss"], LOSSES[task])
    _one_of(name, "trainable", phase["trainable"], ("", *network.stages))
    kinds = {"augment": augment.AUGMENTATIONS, "joint": augment.JOINT_AUGMENTATIONS, "mix": augment.MIXING}
    for field in UNSUPPORTED[task]:
        if phase[field]:
            raise EntryError(f"The entry {name!r} sets {field} = {phase[field]!r}, which {task} does not support.")
    for kind, functions in kinds.items():
        _several(name, kind, phase[kind])
        for function in phase[kind]:
            _one_of(name, kind, function, tuple(functions))
    if phase["warmup"] and phase["schedule"] == "plateau":
        raise EntryError(f"The entry {name!r} asks for a warm-up, which the plateau schedule does not have.")


def _check_name_and_seeds(name, entry):
    if not re.fullmatch(r"\w+", name, re.ASCII):
        raise EntryError(f"The entry {name!r} names a folder: letters, digits and _ alone, as -seedN is added to it.")
    _positive(name, "seeds", entry.seeds)


def _positive(name, field, value):
    if type(value) is not int or value < 1:
        raise EntryError(f"The entry {name!r} sets {field} = {value!r}, which is no positive whole number.")


def _several(name, field, value):
    if isinstance(value, str):
        raise EntryError(f"The entry {name!r} sets {field} = {value!r}. One alone needs a comma: ({value!r},)")


def _in_range(name, field, value, least, most):
    if not isinstance(value, int | float) or not least <= value <= most or value == math.inf:
        limits = f"from {least} to {most}" if most < math.inf else f"from {least}"
        raise EntryError(f"The entry {name!r} sets {field} = {value!r}, which is no number {limits}.")


def _one_of(name, what, value, allowed):
    if value not in allowed:
        choices = ", ".join(repr(choice) for choice in allowed) or "none"
        raise EntryError(f"The entry {name!r} has the {what} {value!r}. Possible values: {choices}.")
