"""Names of models for people who have never seen the name of a run."""

from hw2 import runs
from hw2.errors import ResultsError
from hw2.experiments import title_of
from hw2.files import read_json

VIEW_TITLES = {
    "mirror": "with its mirror image",
    "mirror_shift": "with ten shifted and mirrored copies",
    "mirror_scales": "with mirrored copies of several sizes",
}
BASELINES = {
    "all_background": "Everything is background",
    "centred_ellipse": "An ellipse in the centre",
    "all_foreground": "Everything is foreground",
    "grabcut": "GrabCut, without training",
}


def titles(models):
    """Return `{key: name}` of models, `{key: Model}` of one task, in the order that `default` ranks them."""
    best = default(models)
    return {key: _title(model, key == best) for key, model in models.items()}


def default(models):
    """Return the key of the best model that answers at once: a single network without test-time augmentation."""
    single = [key for key, model in models.items() if len(model.members) == 1 and not model.view]
    return (single or list(models))[0]


def by_figure(models):
    """Return the keys of `{key: Model}`, sorted by the figure that `figure` shows; harder and easier tasks come last.

    The main task has 100 classes of images, or foreground against background. Models trained on synthetic data follow.
    """

    def rank(key):
        data = models[key].metrics["data"]
        return data["source"] == "synthetic", data["classes"] not in (2, 100), -_value(models[key])

    return sorted(models, key=rank)


def figure(model):
    """Return the figure on test images that ranks a model: "76%", "IoU 0.70", "mean IoU 0.52" of several classes."""
    return f"{iou(model)} {_value(model):.2f}" if model.task == "segmentation" else f"{_value(model):.0%}"


def iou(model):
    """Return the name of a segmenter's figure: it is a mean where the model distinguishes classes."""
    return "IoU" if model.metrics["data"]["classes"] == 2 else "mean IoU"


def _value(model):
    test = model.figures["test"]
    return test["iou"] if model.task == "segmentation" else test["accuracy"]


def _title(model, best):
    kind = "segmentation network" if model.task == "segmentation" else "single network"
    if best and model.metrics["data"]["source"] != "synthetic":
        return f"Best {kind} here"  # a better run may be without its model
    return title(model.folder.name, model.metrics, model.view)


def title(run, metrics, view=None):
    """Return the name of a run for visitors. view: of test-time augmentation, or None."""
    words = title_of(run)
    name = words[:1].upper() + words[1:]
    if metrics["data"]["source"] == "synthetic":
        name += ", a rehearsal on synthetic data"
    return f"{name}, {VIEW_TITLES.get(view, view)}" if view else name


def decoder(model):
    """Return the decoder of a segmenter, "transpose" or "bilinear", or None where its record names none."""
    arguments = configuration(model.folder).get("model_arguments")
    found = arguments.get("decoder") if isinstance(arguments, dict) else None
    return found if isinstance(found, str) else None


def configuration(folder):
    """Return the configuration of a run, {} if it cannot be read."""
    try:
        config = read_json(folder / runs.CONFIG)
    except (ResultsError, OSError):
        return {}
    return config if isinstance(config, dict) else {}
