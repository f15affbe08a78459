"""The models that can answer for an image, found among the finished runs of a folder, and why others cannot.

Importing this module and reading the metrics needs no Keras; checking the layers of model files does.
"""

import dataclasses
import importlib
import json
import pkgutil
import zipfile
from pathlib import Path
from typing import NamedTuple

from hw2 import models, runs
from hw2.errors import ResultsError
from hw2.metrics.combine import MASK_VIEWS, VIEWS


@dataclasses.dataclass(frozen=True)
class Model:
    """A run, a run with test-time augmentation, or an ensemble of runs.

    key: name of the run; with test-time augmentation, "+" and the view follow. folder: folder of the run.
    task: "classification", "segmentation" or "ensemble". metrics: content of the run's `metrics.json`.
    members: folders of the runs whose models are loaded: the run's own, or those of an ensemble's members.
    weights: (members,) weights of the members' probabilities, summing to 1.
    view: name in `hw2.metrics.combine.VIEWS` or `MASK_VIEWS` of the test-time augmentation, or None.
    """

    key: str
    folder: Path
    task: str
    metrics: dict
    members: tuple[Path, ...]
    weights: tuple[float, ...] = (1.0,)
    view: str | None = None

    @property
    def figures(self) -> dict:
        """Figures with the keys "validation" and "test", for classifiers "calibration" too, with the view if any."""
        return self.metrics["test_time_augmentation"][self.view] if self.view else self.metrics


class Catalogue(NamedTuple):
    """models: usable ones, best first. figures_only: {name: reason} of the finished runs whose model is not usable.
    runs: {name: metrics} of all finished runs whose metrics can be read.
    """

    models: list[Model]
    figures_only: dict[str, str]
    runs: dict[str, dict]


def catalogue(results_dir) -> Catalogue:
    """Return the Catalogue of the finished runs under `results_dir`; each `metrics.json` is read once.

    Models trained on synthetic data come last. Models of the main task (all classes of images, foreground against
    background) precede the others; then the figure on the validation images decides. A damaged run is listed in
    `figures_only` and does not hide the others.
    """
    results_dir = Path(results_dir)
    finished, figures_only = {}, {}
    for folder in sorted(path.parent for path in results_dir.glob(f"*/{runs.FINAL}")):
        try:
            finished[folder.name] = runs.read_metrics(folder)
        except (ResultsError, OSError) as error:  # the message is shown to visitors, who need no path of this machine
            figures_only[folder.name] = str(error).replace(str(results_dir), results_dir.name)
    trained = [name for name, metrics in finished.items() if metrics["task"] in ("classification", "segmentation")]
    unusable = {name: why_unusable(results_dir / name) for name in trained}
    found = []
    for name, metrics in finished.items():
        members, weights = (name,), (1.0,)
        if metrics["task"] == "ensemble":
            members = tuple(metrics["members"])
            weights = (1 / len(members),) * len(members)
            if metrics["chosen"] == "weighted_probabilities":
                weights = tuple(member["weight"] for member in metrics["members"].values())
        reasons = {member: unusable.get(member, "not a finished run") for member in members}
        reasons = {member: reason for member, reason in reasons.items() if reason}
        if metrics["task"] == "baselines":
            figures_only[name] = "it trains no model"
        elif name in reasons:
            figures_only[name] = reasons[name]
        elif reasons:
            figures_only[name] = "it needs " + "; ".join(f"{member} ({reason})" for member, reason in reasons.items())
        else:
            folders = tuple(results_dir / member for member in members)
            model = Model(name, results_dir / name, metrics["task"], metrics, folders, weights)
            known = MASK_VIEWS if metrics["task"] == "segmentation" else VIEWS
            views = [view for view in known if view in metrics.get("test_time_augmentation", {})]
            found += [model, *(dataclasses.replace(model, key=f"{name}+{view}", view=view) for view in views)]
    return Catalogue(sorted(found, key=_rank, reverse=True), figures_only, finished)


def _rank(model):
    data, validation = model.metrics["data"], model.figures["validation"]
    if model.task == "segmentation":
        return data["source"] != "synthetic", -data["classes"], validation["iou"]
    return data["source"] != "synthetic", data["classes"], validation["accuracy"]


def why_unusable(folder) -> str | None:
    """Return why the model in `folder` cannot be loaded, or None.

    The file is opened and its layers are looked up, which takes milliseconds; its weights are not read.
    """
    try:
        with zipfile.ZipFile(Path(folder) / runs.MODEL) as archive:
            if not {"config.json", "model.weights.h5"} <= set(archive.namelist()):
                return "its model file is not one of Keras"
            named = set(_registered_names(json.loads(archive.read("config.json"))))
    except FileNotFoundError:
        return "its model is not stored here"
    except Exception:  # Python raises nearly every exception on damaged archives and on deeply nested JSON
        return "its model file is damaged"
    import keras  # late: without a model file to check there is no need for it

    register_layers()
    unknown = [
        name for name in sorted(named) if name.startswith("hw2>") and not keras.saving.get_registered_object(name)
    ]
    return (
        f"its model was written by another version of this program (it has {', '.join(unknown)})" if unknown else None
    )


def register_layers():
    """Import every module of `hw2.models`: loading a model needs the classes of its layers to be registered."""
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{models.__name__}.{module.name}")


def _registered_names(config):
    """Yield the registered names of classes in a model's configuration."""
    if isinstance(config, dict):
        if isinstance(config.get("registered_name"), str):
            yield config["registered_name"]
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _registered_names(value)
