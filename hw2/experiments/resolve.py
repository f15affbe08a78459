"""From an entry of the table to the complete configuration of a run, which `config.json` records."""

from hw2.errors import EntryError
from hw2.experiments import EXPERIMENTS
from hw2.experiments.schema import BUDGETS, Baselines, Ensemble, Experiment, Phase, pick, run_name
from hw2.models.registry import NETWORKS

# Sizes of the synthetic data sets that the smoke budget uses instead of the real ones.
SMOKE_IMAGES = {"source": "synthetic", "train": 256, "validation": 128, "test": 128}
SMOKE_MASKS = {"source": "synthetic", "train": 32, "validation": 16, "test": 16}
SMOKE_IMAGE_SIZE = 64  # at most
# The counts of VOC depend on what is in the data folder and are added when a run starts: `hw2.data.splits.mask_counts`.
CIFAR100 = {"source": "cifar100", "train": 45_000, "validation": 5_000, "test": 10_000}
VOC2012 = {"source": "voc2012"}


def seeds_of(name, budget, seed=None):
    """Return the seeds of an entry's runs: all of them, or `seed` alone; for an entry that trains nothing, [0].

    In the smoke budget further seeds run only where an ensemble or a student needs them.
    """
    entry = EXPERIMENTS[name]
    if not isinstance(entry, Experiment):
        return [0]
    if seed is not None:
        return [seed]
    if budget != "smoke":
        return list(range(entry.seeds))
    needed = {run for other in EXPERIMENTS.values() if isinstance(other, Ensemble) for run in other.members}
    needed |= {run for other in EXPERIMENTS.values() if isinstance(other, Experiment) for run in other.teachers}
    return [seed for seed in range(entry.seeds) if seed == 0 or run_name(name, seed) in needed]


def resolve(name, budget="cpu", seed=0):
    """Return the configuration of a run as a dictionary of JSON values, every default included.

    Raises EntryError for an experiment or a budget that does not exist.

    The smoke budget rehearses the cpu values: one epoch a phase, batches of 32, a few hundred synthetic images of at
    most 64 pixels, and each network with the reduced arguments that the registry names, hence with random weights.
    """
    for what, value, allowed in (("experiment", name, EXPERIMENTS), ("budget", budget, BUDGETS)):
        if value not in allowed:
            raise EntryError(f"There is no {what} {value!r}. Possible values: {', '.join(allowed)}.")
    entry = EXPERIMENTS[name]
    smoke = budget == "smoke"
    config = {"experiment": name, "budget": budget, "seed": seed, "task": entry.task}
    if isinstance(entry, Ensemble):
        return config | {"members": list(entry.members)}
    if isinstance(entry, Baselines):
        return config | {"data": (SMOKE_MASKS if smoke else VOC2012) | {"sbd": False, "classes": 2}}
    network = NETWORKS[entry.model]
    arguments = network.arguments | pick(entry.model_arguments, budget)
    phases = [pick(vars(phase), budget) for phase in entry.phases]
    weights = entry.weights
    if smoke:
        arguments |= network.rehearsal | {"image_size": min(SMOKE_IMAGE_SIZE, arguments["image_size"])}
        phases = [phase | {"epochs": 1, "batch_size": 32} for phase in phases]
        weights = None if weights == "imagenet" else weights
    if entry.task == "classification":
        data = SMOKE_IMAGES if smoke else CIFAR100
    else:
        data = (SMOKE_MASKS if smoke else VOC2012) | {"sbd": entry.sbd}
    return config | {
        "data": data | {"classes": entry.num_classes},
        "model": entry.model,
        "model_arguments": {
            key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()
        },
        "weights": weights,
        "teachers": list(entry.teachers),
        "teacher_share": entry.teacher_share,
        "phases": phases,
        "extras": list(entry.extras),
    }


def phases_of(config):
    """Return the phases of a configuration as `Phase` objects."""
    return [Phase(**phase) for phase in config["phases"]]
