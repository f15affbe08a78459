"""How long a run takes, estimated from its multiply-adds, the values in its maps, its steps and its images. No Keras.

The costs of networks come from a table `{network_key: {stage: [multiply_adds, values]}}`: those of the layers from this
stage on, for one image, see `hw2.models.cost.cost_of_stages`. `scripts/network_costs.json` is such a table.
"""

import dataclasses

from hw2.experiments.resolve import phases_of
from hw2.experiments.schema import Phase
from hw2.labels import VOC_PAIRS

SBD_PAIRS = 9_118  # photographs for which SBD has a mask and VOC has none
# A training step passes through a trained layer three times: forward, for the gradients of its inputs and of its
# weights. It passes through a frozen layer once, or never where the outputs of the frozen layers are cached.
TRAINING_PASSES = 3
# Pixels that a core augments in a second, both measured: flips and shifts of small images, crops and jitter of large
# ones with their masks.
AUGMENTED_PIXELS = {"classification": 40e6, "segmentation": 18e6}
# The measurement at the end of a run: corrupted copies of each test image (`hw2.data.corruptions.STRENGTHS`),
# predictions for each image of test-time augmentation (`hw2.metrics.combine`; for masks, images of other sizes count by
# their pixels), and seconds per mask, on one core, with test-time augmentation for three sets of masks.
CORRUPTIONS, AUGMENTED_VIEWS, SECONDS_PER_MASK, AUGMENTED_MASKS = 15, {"classification": 10, "segmentation": 9}, 0.02, 3
SECONDS_PER_PHOTOGRAPH = 0.006  # of one core, to read and shrink a photograph of VOC and its mask


@dataclasses.dataclass(frozen=True)
class Device:
    """The rates of a device.

    multiply_adds: per second of training, reached and not the peak. values: per second and pass through a layer.
    predicting: how much faster both are without gradients. step: seconds of a step beside its images. phase: seconds
    of a phase until its first step. cores: that augment images; two threads of one core count as 1.3. overlaps: whether
    they do so while the device computes. jobs: processes that train at once, so that one computes while another one
    compiles or measures.
    """

    name: str
    multiply_adds: float
    values: float
    predicting: float
    step: float
    phase: float
    cores: float
    overlaps: bool
    jobs: int = 1


# For a CPU, the rates are fitted to finished runs of the cpu budget. For a GPU, they are assumptions: a third of the
# T4's 25 TFLOP/s in float16 and a quarter of the A100's 312 TFLOP/s in bfloat16 (two operations are a multiply-add),
# and for values, which are read and written in two bytes, 60 % of 320 and 1,555 GB/s.
DEVICES = {
    "cpu": (
        Device("2 cores with AMX", 0.4e12, 5.2e9, 2, 0.0045, 3, cores=2, overlaps=False),
        Device("2 cores without", 0.065e12, 2.7e9, 1, 0.0045, 3, cores=2, overlaps=False),
    ),
    "gpu": (
        Device("T4", 25e12 / 2 / 3, 48e9, 1, 0.005, 20, cores=1.3, overlaps=True),
        Device("A100", 312e12 / 2 / 4, 230e9, 1, 0.002, 8, cores=8, overlaps=True, jobs=2),
    ),
}


@dataclasses.dataclass(frozen=True)
class Work:
    """What a phase computes.

    trained: [multiply-adds, values] of the passes of all training steps. predicted: the same of its cached features and
    of the validation images after each epoch. augmentation: seconds of one core.
    """

    trained: tuple[float, float]
    predicted: tuple[float, float]
    steps: int
    augmentation: float

    def seconds(self, device):
        """Return the time that the phase takes on a Device."""
        computing = sum(
            amount / rate + predicted / rate / device.predicting
            for amount, predicted, rate in zip(
                self.trained, self.predicted, (device.multiply_adds, device.values), strict=True
            )
        )
        computing += self.steps * device.step
        augmenting = self.augmentation / device.cores
        return device.phase + (max(computing, augmenting) if device.overlaps else computing + augmenting)


def network_key(config, image_size=None):
    """Return the key of a configuration's network, for images of `image_size` (None: the size in its arguments)."""
    arguments = config["model_arguments"] | ({"image_size": image_size} if image_size else {})
    values = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return f"{config['model']}({config['data']['classes']}, {values})"


def image_sizes(config):
    """Return the image sizes for which a run builds its network: those of its phases, and that of the stored model."""
    own = config["model_arguments"]["image_size"]
    return sorted({own, *(phase["image_size"] or own for phase in config["phases"])})


def image_counts(config):
    """Return the numbers of training, validation and test images.

    The configuration of a segmenter has them only once its run has begun; without, they are those of the complete sets.
    """
    data = config["data"]
    if "train" not in data:
        validation = VOC_PAIRS["train"] // 5
        return VOC_PAIRS["train"] - validation + data["sbd"] * SBD_PAIRS, validation, VOC_PAIRS["val"]
    share = data["classes"] / 100 if config["task"] == "classification" else 1  # the counts are those of all classes
    return tuple(round(data[part] * share) for part in ("train", "validation", "test"))


def work_of_phases(config, table, epochs=None):
    """Return the `Work` of each phase.

    epochs: of each phase; by default those of the configuration, of which early stopping may leave some out.

    Raises KeyError for a network that is not in the table.
    """
    epochs = epochs or [phase["epochs"] for phase in config["phases"]]
    return [_work(config, table, phase, count) for phase, count in zip(phases_of(config), epochs, strict=True)]


def _work(config, table, phase: Phase, epochs):
    train, validation, _ = image_counts(config)
    train *= 2 if phase.mirrored else 1
    batch_size = min(phase.batch_size, train)
    steps = epochs * (train // batch_size)
    costs = table[network_key(config, phase.image_size)]
    trained, frozen = costs[phase.trainable], [a - b for a, b in zip(costs[""], costs[phase.trainable], strict=True)]
    # the condition of `hw2.training.frozen.inputs_of_phase`; in our networks, dropout follows all frozen layers
    augments = phase.augment or phase.joint or phase.mix
    is_cached = frozen[0] > 0 and not augments
    each_time = [0, 0] if is_cached else frozen
    side = 32 if config["task"] == "classification" else config["model_arguments"]["image_size"]
    return Work(
        trained=tuple(
            steps * batch_size * (once + TRAINING_PASSES * layers)
            for once, layers in zip(each_time, trained, strict=True)
        ),
        predicted=tuple(
            (train + validation) * (before - once) + epochs * validation * (once + layers)
            for before, once, layers in zip(frozen, each_time, trained, strict=True)
        ),
        steps=steps,
        augmentation=steps * batch_size * side**2 / AUGMENTED_PIXELS[config["task"]] if augments else 0.0,
    )


def training_seconds(config, table, device, epochs=None):
    """Return the estimated duration of training on a Device, comparable to `hw2.runs.training_seconds`."""
    return sum(work.seconds(device) for work in work_of_phases(config, table, epochs))


def seconds_beside_training(config, table, device):
    """Return the estimated duration of reading photographs, and of the predictions and figures at the end of a run."""
    train, validation, test = image_counts(config)
    images = validation + test
    passes = masks = images
    if "test_time_augmentation" in config["extras"]:
        passes += AUGMENTED_VIEWS[config["task"]] * images
        masks = AUGMENTED_MASKS * images
    if "robustness" in config["extras"]:
        passes += CORRUPTIONS * test
    rates = (device.multiply_adds, device.values)
    seconds = sum(passes * cost / rate for cost, rate in zip(table[network_key(config)][""], rates, strict=True))
    seconds /= device.predicting
    if config["task"] == "segmentation":
        seconds += (train + images) * SECONDS_PER_PHOTOGRAPH / device.cores + masks * SECONDS_PER_MASK
    return seconds


def run_seconds(config, table, device):
    """Return the estimated duration of a run on a Device, from reading its images to its figures."""
    return training_seconds(config, table, device) + seconds_beside_training(config, table, device)


def total_seconds(durations, device):
    """Return the estimated duration of runs on a Device, whose `jobs` share them. durations: seconds of each alone."""
    return sum(durations) / device.jobs


def in_words(seconds):
    """Return an estimated duration, rounded: "under 1 min", "25 min", "1.6 h"."""
    if seconds < 60:
        return "under 1 min"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
