"""How long a configuration takes, estimated from its multiply-adds, batches and augmented pixels. Needs no Keras."""

import dataclasses

from hw2.experiments.resolve import phases_of
from hw2.labels import VOC_PAIRS

SBD_PAIRS = 9_118  # photographs for which SBD has a mask and VOC has none, in the complete sets
# A phase on a full pass: the gradients with respect to a layer's inputs and to its weights take a pass each.
BACKWARD = 2
VIEWS, CORRUPTED = 10, 15  # predictions of test-time augmentation for each image; corrupted copies of each test image


@dataclasses.dataclass(frozen=True)
class Device:
    """Rates of a device on which runs are trained.

    multiply_adds_per_second: that training reaches, not the peak. step_seconds: of a step, beside its multiply-adds.
    pixels_per_second: that a core of the host augments, see `augmented_pixels` of `Work`. measured_per_second: test
    photographs of which a core computes the figures of a mask. cores: of the host. parallel: whether the host augments
    while the device computes, as beside a GPU.
    """

    name: str
    multiply_adds_per_second: float
    step_seconds: float
    pixels_per_second: float
    cores: int = 2
    parallel: bool = False


# Two cores: fitted to the finished runs of the cpu budget. GPUs: not measured. A third of the peak of the number format
# is what convolutional networks of this size usually reach (T4: 25 TFLOP/s in float16 at the clock that it sustains,
# A100: 312 TFLOP/s in bfloat16; a multiply-add is two operations); an A100 has to wait for its memory more often.
DEVICES = {
    "cpu": (
        Device("two cores with AMX", 0.3e12, 0.005, 20e6),
        Device("two cores without", 0.08e12, 0.01, 20e6),
    ),
    "gpu": (
        Device("a T4", 25e12 / 2 / 3, 0.005, 18e6, parallel=True),
        Device("an A100", 312e12 / 2 / 4, 0.003, 18e6, cores=8, parallel=True),
    ),
}


@dataclasses.dataclass(frozen=True)
class Work:
    """What one phase, or the measurement at the end of a run, has to compute.

    forward: multiply-adds of frozen layers whose outputs are cached. training, validation: of the epochs.
    augmented_pixels: of all images that pass through an augmentation.
    """

    features: float = 0.0
    training: float = 0.0
    validation: float = 0.0
    steps: int = 0
    augmented_pixels: float = 0.0

    @property
    def multiply_adds(self):
        return self.features + self.training + self.validation


def network_key(config, image_size=None):
    """Return the name of a network in a table of multiply-adds: everything that determines them."""
    arguments = config["model_arguments"] | ({"image_size": image_size} if image_size else {})
    values = ", ".join(f"{key}={value}" for key, value in arguments.items())
    return f"{config['model']}({config['data']['classes']}, {values})"


def image_sizes(config):
    """Return the sizes at which a run builds its network: that of each phase, and that of the finished model."""
    own = config["model_arguments"]["image_size"]
    return sorted({own, *(phase["image_size"] or own for phase in config["phases"])})


def image_counts(config):
    """Return `(train, validation, test)`: the numbers of images of a configuration.

    Without counts, which the configurations of segmentation have only once a run has begun, those of the complete sets.
    """
    data = config["data"]
    if "train" not in data:
        validation = VOC_PAIRS["train"] // 5
        return VOC_PAIRS["train"] - validation + data["sbd"] * SBD_PAIRS, validation, VOC_PAIRS["val"]
    share = data["classes"] / 100 if config["task"] == "classification" else 1  # the counts are those of all classes
    return tuple(round(data[part] * share) for part in ("train", "validation", "test"))


def is_cached(phase, frozen):
    """Return whether a phase trains on cached features. frozen: multiply-adds of its frozen layers.

    The condition of `hw2.training.frozen.inputs_of_phase`; in our networks no dropout precedes a trained layer.
    """
    return frozen > 0 and not phase.augment and not phase.joint


def work_of_phases(config, table, epochs=None):
    """Return the `Work` of each phase. An epoch trains on full batches and predicts the validation images.

    table: {`network_key`: {stage: multiply-adds for one image of the layers from this stage on}}, "" for all layers.
    epochs: of each phase, where they are known; by default those of the configuration, which early stopping may not
    need. Raises KeyError for a network that is not in the table.
    """
    train, validation, _ = image_counts(config)
    work = []
    for phase, count in zip(phases_of(config), epochs or [p["epochs"] for p in config["phases"]], strict=True):
        of_stages = table[network_key(config, phase.image_size)]
        trained, frozen = of_stages[phase.trainable], of_stages[""] - of_stages[phase.trainable]
        images = train * (2 if phase.mirrored else 1)
        steps = images // min(phase.batch_size, images)
        seen = steps * min(phase.batch_size, images)
        cached = is_cached(phase, frozen)
        each_time = 0 if cached else frozen
        pixels = 32**2 if config["task"] == "classification" else config["model_arguments"]["image_size"] ** 2
        work.append(
            Work(
                features=(images + validation) * frozen if cached else 0,
                training=count * seen * (each_time + (1 + BACKWARD) * trained),
                validation=count * validation * (each_time + trained),
                steps=count * steps,
                augmented_pixels=count * seen * pixels * bool(phase.augment or phase.joint or phase.mix),
            )
        )
    return work
