"""Read a results folder for the report: finished runs only, each file at most once, without Keras."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from hw2 import files, runs
from hw2.errors import ResultsError
from hw2.experiments import EXPERIMENTS, ensembles, schema, scratch, segmentation, vgg16

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
PANEL = "seg_baselines"  # the run that holds the images and truths of the panel, test images that all runs share


def runs_of(*names):
    """Return the names of all runs of the experiments `names`, every seed of the table, in their order."""
    return tuple(schema.run_name(name, seed) for name in names for seed in range(EXPERIMENTS[name].seeds))


# The runs that the chapters discuss; the report names those that are missing.
CHAPTERS = {
    "VGG16": runs_of(*vgg16.EXPERIMENTS),
    "From scratch": runs_of(*scratch.EXPERIMENTS),
    "Ensembles": runs_of(*ensembles.EXPERIMENTS),
    "Segmentation": runs_of(*segmentation.EXPERIMENTS),
}
# Experiments whose figures compare with each other: of a hundred classes, and of foreground against background.
CLASSIFIERS = tuple(
    name
    for name, entry in (vgg16.EXPERIMENTS | scratch.EXPERIMENTS | ensembles.EXPERIMENTS).items()
    if getattr(entry, "num_classes", 100) == 100  # an ensemble has no such field
)
SEGMENTERS = tuple(name for name, entry in segmentation.EXPERIMENTS.items() if getattr(entry, "num_classes", None) == 2)


class Runs:
    """The finished runs of a folder of runs, by name.

    folder: by default $HW2_RESULTS or, if that is not set, the project's results of the budget with more finished runs.
    A relative $HW2_RESULTS starts at the project's root, because Quarto runs the report in its own folder. Raises
    ResultsError if a folder is named and is not there.
    """

    def __init__(self, folder=None):
        named = folder or (os.environ.get("HW2_RESULTS") and ROOT / os.environ["HW2_RESULTS"])
        self.folder = Path(named or runs.results_folder(RESULTS))
        if named and not self.folder.is_dir():
            raise ResultsError(f"There is no folder of runs {self.folder} (looked for {self.folder.absolute()}).")
        self.metrics = runs.finished_runs(self.folder)
        self._files = {}

    def __contains__(self, run):
        return run in self.metrics

    def finished(self, names):
        """Return those of `names` that are finished, in their order."""
        return [name for name in names if name in self]

    def first(self, names):
        """Return the first finished seed of each of the experiments `names` that has one."""
        return [found[0] for name in names if (found := self.seeds(name))]

    def missing(self, names):
        """Return those of `names` that are not finished, in their order."""
        return [name for name in names if name not in self]

    def seeds(self, name):
        """Return the finished runs of an experiment, in the order of their seeds."""
        found = [run for run in self.metrics if schema.experiment_of(run) == name]
        return sorted(found, key=lambda run: self.metrics[run]["seed"])

    def budgets(self):
        """Return the budgets of the finished runs, in alphabetical order: as a rule, one."""
        return sorted({metrics["budget"] for metrics in self.metrics.values()})

    def get(self, run, path):
        """Return a value of `metrics.json`, or None; `path` such as "test.accuracy"."""
        value = self.metrics.get(run)
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def config(self, run):
        """Return `config.json`; {} without the run."""
        return self._read(run, runs.CONFIG, files.read_json) or {}

    def phase(self, run, index=-1):
        """Return the recorded settings of one phase of training; {} without the run."""
        phases = self.config(run).get("phases")
        return phases[index] if phases else {}

    def history(self, run):
        """Return `history.csv` as a data frame; an empty one for an ensemble."""
        return self._read(run, runs.HISTORY, pd.read_csv, pd.DataFrame())

    def training_seconds(self, run):
        """Return the duration of training, see `hw2.runs.training_seconds`; None for a run that is not finished.

        For a run that started from the weights of another one, or learned from the answers of others, the duration
        includes theirs.
        """
        if run not in self:
            return None
        weights, needed = self.config(run).get("weights"), list(self.config(run).get("teachers") or ())
        if weights not in (None, "imagenet"):
            needed.append(schema.run_name(weights, self.get(run, "seed")))
        before = sum(self.training_seconds(other) or 0 for other in needed)
        return runs.training_seconds(self.metrics[run]["cost"]) + before

    def epoch_seconds(self, run):
        """Return the seconds of each epoch, (epochs,), counted like `training_seconds`."""
        history, cores = self.history(run), runs.cpu_cores(self.get(run, "cost") or {})
        return history["cpu_seconds"] / cores if cores and "cpu_seconds" in history else history["seconds"]

    def images_per_second(self, run):
        """Return the speed of the last phase of training, validation included, or None."""
        history = self.history(run)
        if history.empty or "images" not in history:
            return self.get(run, "cost.images_per_second")
        last = history["phase"] == history["phase"].max()
        return float(history["images"][last].sum() / self.epoch_seconds(run)[last].sum())

    def images(self, run):
        """Return `images.csv`, one row per test image of a segmentation run, as a data frame; an empty one without."""
        return self._read(run, runs.IMAGES, pd.read_csv, pd.DataFrame())

    def arrays(self, run):
        """Return the arrays of `predictions.npz`; {} without it."""
        return self._read(run, runs.PREDICTIONS, files.read_arrays, {})

    def _read(self, run, file, reader, missing=None):
        path = self.folder / run / file
        if run not in self or not path.exists():
            return missing
        if path not in self._files:
            self._files[path] = reader(path)
        return self._files[path]

    def has_panel(self, run):
        """Return whether a segmentation run has outputs for the panel, test images whose truths PANEL holds."""
        shared, own = (self.arrays(name).get("panel_identifiers") for name in (PANEL, run))
        return shared is not None and own is not None and np.array_equal(shared, own)

    def wanted(self):
        """Return `{chapter: run names}`: CHAPTERS, and under "Others" the finished runs that no chapter has."""
        named = {run for names in CHAPTERS.values() for run in names}
        others = tuple(run for run in self.metrics if run not in named)
        return CHAPTERS | ({"Others": others} if others else {})
