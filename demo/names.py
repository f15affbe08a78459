"""Names of models for people who have never seen the name of a run."""

from hw2 import runs
from hw2.errors import ResultsError
from hw2.files import read_json

VIEWS = {"mirror": "with its mirror image", "mirror_shift": "with ten shifted and mirrored copies"}
DECODERS = {"transpose": "transposed convolution", "bilinear": "bilinear up-sampling"}
BASELINES = {
    "all_background": "Everything is background",
    "centred_ellipse": "An ellipse in the centre",
    "all_foreground": "Everything is foreground",
    "grabcut": "GrabCut, without training",
}
NETWORKS = {
    "scratch_classifier": "Convolutional net",
    "whitened_classifier": "Net with fixed first filters",
    "vgg16_classifier": "VGG16",
    "seg_book": "Encoder-decoder of Chollet's book",
    "seg_unet": "U-Net",
    "seg_unet_vgg16": "U-Net on VGG16",
    "seg_unet_mobilenetv2": "U-Net on MobileNetV2",
    "seg_mobilenetv2": "MobileNetV2",
}


def titles(models):
    """Return `{key: name}` of models, `{key: Model}` of one task, in the order that `default` ranks them."""
    best = default(models)
    named = {key: _title(model, key == best) for key, model in models.items()}
    shared = {name for name in named.values() if list(named.values()).count(name) > 1}
    return {key: f"{name} ({key})" if name in shared else name for key, name in named.items()}


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
        return f"Our best {kind}"
    return title(model.metrics, configuration(model.folder), model.view)


def title(metrics, config, view=None):
    """Return the name of a run, from its metrics and configuration. view: of test-time augmentation, or None."""
    classes = metrics["data"]["classes"]
    if metrics["task"] == "ensemble":
        name = f"Ensemble of {len(metrics['members'])} networks"
    else:
        arguments = config.get("model_arguments", {})
        name = NETWORKS.get(config.get("model"), "Network")
        if arguments.get("residual"):
            name = "Residual net"
        if config.get("model") == "vgg16_classifier" and arguments.get("image_size", 32) > 32:
            name += f" on images enlarged to {arguments['image_size']} pixels"
        if arguments.get("decoder") in DECODERS:
            name += f", {DECODERS[arguments['decoder']]}"
        losses = {phase.get("loss") for phase in config.get("phases", ())}
        if losses & {"dice", "both"}:
            name += ", trained with Dice" + (" and cross-entropy" if "both" in losses else "")
        if classes not in (2, 100):
            segments = metrics["task"] == "segmentation"
            name += f", {classes - 1} kinds of object" if segments else f", {classes} classes"
        if config.get("seed"):
            name += f", seed {config['seed']}"
    if metrics["data"]["source"] == "synthetic":
        name += ", a rehearsal on synthetic data"
    return f"{name} {VIEWS[view]}" if view else name


def decoder(model):
    """Return the decoder of a segmenter, "transpose" or "bilinear", or None where its record names none."""
    return configuration(model.folder).get("model_arguments", {}).get("decoder")


def configuration(folder):
    """Return the configuration of a run, {} if it cannot be read."""
    try:
        config = read_json(folder / runs.CONFIG)
    except (ResultsError, OSError):
        return {}
    return config if isinstance(config, dict) else {}
