"""The networks by name: builder, arguments, stages and rehearsal. Keras is imported when a network is built.

To add a network, write a builder `function(num_classes, *, arguments...)` that returns a `keras.Model`, and register it
here with the default of each argument.
"""

import dataclasses
import importlib

from hw2.errors import EntryError


@dataclasses.dataclass(frozen=True)
class Network:
    """An entry of `NETWORKS`.

    builder: "module:function" under `hw2.models`.
    task: "classification" or "segmentation".
    arguments: every argument of the builder except `num_classes`, with its default.
    stages: beginnings of layer names, from input to output. A phase trains the layers from one of them on.
    rehearsal: values that the smoke budget uses for some arguments, so that a rehearsal takes seconds.
    load_imagenet_weights: "module:function" under `hw2.models`, called with the model and the data folder; None for a
        network without ImageNet weights.
    """

    builder: str
    task: str
    arguments: dict
    stages: tuple[str, ...]
    rehearsal: dict = dataclasses.field(default_factory=dict)
    load_imagenet_weights: str | None = None


# number of convolutions and filters of each; here, because the stages below need the names without importing Keras
VGG16_BLOCKS = {"block1": (2, 64), "block2": (2, 128), "block3": (3, 256), "block4": (3, 512), "block5": (3, 512)}
MOBILENETV2_STAGES = ("block_3", "block_6", "block_11", "block_13", "decoder")
NETWORKS = {
    "vgg16_classifier": Network(
        builder="vgg16:vgg16_classifier",
        task="classification",
        arguments={"image_size": 32, "head": "linear", "dropout": 0.0, "width": 1.0},
        stages=(*VGG16_BLOCKS, "head"),
        rehearsal={"width": 0.25},
        load_imagenet_weights="vgg16:load_imagenet_weights",
    ),
    "scratch_classifier": Network(
        builder="scratch:scratch_classifier",
        task="classification",
        arguments={
            "image_size": 32,
            "stem_filters": 32,
            "filters": (48, 96, 192),
            "units": 2,
            "batch_norm": True,
            "residual": False,
            "separable": False,
        },
        stages=("stem", "stage1", "stage2", "stage3", "head"),
        rehearsal={"stem_filters": 8, "filters": (8, 16, 24), "units": 1},
    ),
    "whitened_classifier": Network(
        builder="scratch:whitened_classifier",
        task="classification",
        arguments={"image_size": 32, "filters": (64, 128, 256), "units": 2, "whitening": True},
        stages=("stage1", "stage2", "stage3", "head"),
        rehearsal={"filters": (8, 16, 24)},
    ),
    "seg_book": Network(
        builder="segmenters:seg_book",
        task="segmentation",
        arguments={"image_size": 160, "decoder": "transpose", "width": 1.0},
        stages=("encoder1", "encoder2", "encoder3", "decoder"),
        rehearsal={"width": 0.25},
    ),
    "seg_unet": Network(
        builder="segmenters:seg_unet",
        task="segmentation",
        arguments={
            "image_size": 160,
            "decoder": "bilinear",
            "filters": (32, 64, 128, 256),
            "decoder_filters": (96, 64, 32),
        },
        stages=("encoder1", "encoder2", "encoder3", "encoder4", "decoder"),
        rehearsal={"filters": (8, 8, 16, 16), "decoder_filters": (16, 8, 8)},
    ),
    "seg_unet_vgg16": Network(
        builder="segmenters:seg_unet_vgg16",
        task="segmentation",
        arguments={"image_size": 160, "decoder": "bilinear", "decoder_filters": (128, 96, 64, 32), "width": 1.0},
        stages=(*VGG16_BLOCKS, "decoder"),
        rehearsal={"width": 0.25},
        load_imagenet_weights="vgg16:load_imagenet_weights",
    ),
    "seg_unet_mobilenetv2": Network(
        builder="mobilenet_v2:seg_unet_mobilenetv2",
        task="segmentation",
        arguments={"image_size": 160, "decoder": "transpose", "decoder_filters": (128, 96, 64, 32), "width": 1.0},
        stages=MOBILENETV2_STAGES,
        rehearsal={"width": 0.35},
        load_imagenet_weights="mobilenet_v2:load_imagenet_weights",
    ),
    "seg_mobilenetv2": Network(
        builder="mobilenet_v2:seg_mobilenetv2",
        task="segmentation",
        arguments={
            "image_size": 160,
            "decoder": "bilinear",
            "decoder_filters": (96, 64, 48),
            "skip_filters": 24,
            "width": 1.0,
        },
        stages=MOBILENETV2_STAGES,
        rehearsal={"width": 0.35, "decoder_filters": (16, 16, 8), "skip_filters": 8},
        load_imagenet_weights="mobilenet_v2:load_imagenet_weights",
    ),
}


def build(name, num_classes, **arguments):
    """Return the network `name` as a new `keras.Model`; arguments that are not given have their defaults.

    Raises EntryError for a name that is not in `NETWORKS`; those of experiments are resolved by `hw2.experiments`.
    """
    if name not in NETWORKS:
        raise EntryError(f"There is no network {name!r}. Possible values: {', '.join(NETWORKS)}.")
    network = NETWORKS[name]
    return _function(network.builder)(num_classes, **{**network.arguments, **arguments})


def build_model(config, image_size=None):
    """Return a new model as `config` says, for images of `image_size` (None: the size in its arguments)."""
    arguments = config["model_arguments"] | ({"image_size": image_size} if image_size else {})
    return build(config["model"], config["data"]["classes"], **arguments)


def load_imagenet_weights(name, model, data_dir):
    """Set the ImageNet weights of `model`, built as the network `name`.

    Raises DataError if they cannot be obtained or do not fit.
    """
    _function(NETWORKS[name].load_imagenet_weights)(model, data_dir)


def _function(path):
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(f"hw2.models.{module}"), function)
