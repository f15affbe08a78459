"""Read `results/` for the report: finished runs only, each file at most once, nothing that needs TensorFlow."""

import os
from pathlib import Path

import pandas as pd

from hw2 import experiments, results

# What the chapters are about, whether trained or not: what is missing of it is named in the report.
CHAPTERS = {
    "VGG16": (
        *("vgg16_features_linear", "vgg16_features_dense", "vgg16_features_dense_bn", "vgg16_features_flip"),
        *("vgg16_block5", "vgg16_block5_fast", "vgg16_block5_augment", "vgg16_full", "vgg16_full_augment"),
        *("vgg16_upsampled_features", "vgg16_upsampled_full"),
    ),
    "From scratch": (
        *("scratch_plain", "scratch_bn", "scratch_bn-seed1", "scratch_bn-seed2", "scratch_bn_augment"),
        *("scratch_bn_augment-seed1", "scratch_bn_augment-seed2", "scratch_deep", "scratch_residual"),
        *("scratch_residual_shallow", "scratch_residual_constant", "scratch_residual_plateau", "scratch_separable"),
        "scratch_whitened",
        *("scratch_final", "scratch_final-seed1", "scratch_final-seed2", "scratch_final_48px", "scratch_final_longer"),
        *("scratch_residual_10classes", "scratch_residual_20classes", "scratch_residual_50classes"),
    ),
    "Ensembles": ("ensemble_scratch_final", "ensemble_mixed"),
    "Segmentation": (
        *(f"seg_book_{decoder}{seed}" for decoder in ("transpose", "bilinear") for seed in ("", "-seed1", "-seed2")),
        *("seg_unet_scratch", "seg_unet_vgg16_transpose", "seg_unet_vgg16_bilinear", "seg_unet_mobilenetv2"),
        *("seg_unet_scratch_dice", "seg_unet_scratch_both", "seg_unet_vgg16_classes", "seg_baselines"),
    ),
}
SOURCES = {
    "cifar100": "CIFAR-100",
    "voc2012": "VOC 2012",
    "voc2012-subset": "a subset of VOC 2012",
    "synthetic": "synthetic images",
}


class Runs:
    """The finished runs of a results folder, by name: `folder` is $HW2_RESULTS, else `../results`."""

    def __init__(self, folder=None):
        self.folder = Path(folder or os.environ.get("HW2_RESULTS") or "../results")
        self.metrics = results.finished_runs(self.folder)
        self._files = {}

    def __contains__(self, run):
        return run in self.metrics

    def finished(self, names):
        """Return those of `names` that are finished, in their order."""
        return [name for name in names if name in self]

    def missing(self, names):
        """Return those of `names` that are not finished, in their order."""
        return [name for name in names if name not in self]

    def seeds(self, name):
        """Return the finished runs of an experiment, seed 0 first."""
        repeats = [run for run in self.metrics if run.startswith(f"{name}-seed")]
        return self.finished([name, *sorted(repeats, key=lambda run: int(run.rpartition("-seed")[2]))])

    def get(self, run, path):
        """Return a value of `metrics.json`, or None; `path` such as "test.accuracy"."""
        value = self.metrics.get(run)
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def config(self, run):
        return self._read(run, results.CONFIG, results.read_json) or {}

    def phase(self, run, index=-1):
        """Return the recorded settings of one phase of training, with the defaults filled in; {} without the run."""
        phases = self.config(run).get("phases")
        defaults = {"weight_decay": 0.0, "batch_size": 128, "schedule": "cosine", "trainable": "", "optimizer": "adamw"}
        return defaults | phases[index] if phases else {}

    def history(self, run):
        """Return `history.csv` as a data frame; an empty one for an ensemble."""
        return self._read(run, results.HISTORY, lambda path: pd.DataFrame(results.read_csv(path)), pd.DataFrame())

    def training_seconds(self, run):
        """Return what training took, see `hw2.results.training_seconds`; None for what is not finished.

        With that of the run from whose weights it went on: they are to be had no cheaper.
        """
        if run not in self:
            return None
        first = self.config(run).get("weights", "imagenet")
        before = 0 if first == "imagenet" else self.training_seconds(experiments.run_name(first, self.get(run, "seed")))
        return results.training_seconds(self.metrics[run]["cost"]) + (before or 0)

    def by_clock(self, run):
        """Whether some of what training took was not recorded as the processor's time, on a CPU."""
        cost = self.get(run, "cost") or {}
        recorded = "cpu_seconds" in cost and ("feature_cpu_seconds" in cost or not cost.get("feature_seconds"))
        return bool(results.cpu_cores(cost)) and self.get(run, "task") != "ensemble" and not recorded

    def machines(self, names):
        """Return `{device: number format}` of what trained these runs; for an ensemble, what trained its members."""
        found = self.finished(names)
        trained = [member for run in found for member in self.finished(self.get(run, "members") or ()) or [run]]
        return {
            self.get(run, "cost.device"): (self.get(run, "precision") or "").removeprefix("mixed_") for run in trained
        }

    def epoch_seconds(self, run):
        """Return the seconds of each epoch, (epochs,), counted like `training_seconds`."""
        history, cores = self.history(run), results.cpu_cores(self.get(run, "cost") or {})
        return history["cpu_seconds"] / cores if cores and "cpu_seconds" in history else history["seconds"]

    def feature_seconds(self, run):
        """Return what the features of frozen layers cost, counted like `training_seconds`, or None."""
        cost = self.get(run, "cost") or {}
        cores, processor = results.cpu_cores(cost), cost.get("feature_cpu_seconds")
        return processor / cores if cores and processor is not None else cost.get("feature_seconds")

    def images_per_second(self, run):
        """Return the speed of the last phase of training, validation included, or None."""
        history = self.history(run)
        if history.empty or "images" not in history:
            return self.get(run, "cost.images_per_second")
        last = history["phase"] == history["phase"].max()
        return float(history["images"][last].sum() / self.epoch_seconds(run)[last].sum())

    def images(self, run):
        """Return `images.csv`, one row a test image of a segmentation run, as a data frame; an empty one without it."""
        return self._read(run, "images.csv", lambda path: pd.DataFrame(results.read_csv(path)), pd.DataFrame())

    def arrays(self, run, file=results.PREDICTIONS):
        """Return the arrays of an `.npz` file; {} without it."""
        return self._read(run, file, results.read_arrays, {})

    def _read(self, run, file, reader, missing=None):
        path = self.folder / run / file
        if run not in self or not path.exists():
            return missing
        if path not in self._files:
            self._files[path] = reader(path)
        return self._files[path]

    def wanted(self):
        """Return `{chapter: run names}`: CHAPTERS, and under "Others" what `hw2.experiments` has besides."""
        named = {run for names in CHAPTERS.values() for run in names}
        entries = [
            experiments.run_name(name, seed)
            for name, entry in experiments.EXPERIMENTS.items()
            for seed in range(entry.seeds)
        ]
        others = tuple(dict.fromkeys(run for run in (*entries, *self.metrics) if run not in named))
        return CHAPTERS | ({"Others": others} if others else {})

    def provenance(self, names):
        """Return what the figures of these runs were measured with: "cpu budget, CIFAR-100, seed 0".

        And, where they were trained on more than one, on how many machines: times then do not compare.
        """
        found = [self.metrics[run] for run in self.finished(names)]
        if not found:
            return "not measured yet"
        budgets = sorted({run["budget"] for run in found})
        sources = sorted({SOURCES.get(run["data"]["source"], run["data"]["source"]) for run in found})
        seeds = sorted({run["seed"] for run in found})
        machines = len(self.machines(names))
        return (
            f"{' and '.join(budgets)} budget, {' and '.join(sources)}, "
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
            + (f", {machines} machines" if machines > 1 else "")
        )
