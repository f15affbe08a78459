"""Try a configuration at its real size without its data: one training step and one prediction for each phase."""

import dataclasses
import math
import tempfile
from pathlib import Path

import keras
import numpy as np

from hw2.data.batches import prediction_batch_size
from hw2.experiments.costs import image_counts, image_sizes, network_key
from hw2.experiments.resolve import phases_of
from hw2.hardware import choose_precision, peak_memory_mib, reset_peak_memory
from hw2.models.cost import cost_of_stages
from hw2.models.registry import NETWORKS, build_model
from hw2.models.scratch import adapt_whitening
from hw2.tasks import TASKS
from hw2.training.checkpoint import Checkpoint, State
from hw2.training.phase import train_phase
from hw2.training.run import model_at_size


def dry_run(config, precision=None):
    """Train each phase of a configuration for one step on a synthetic batch of its real size, with random weights.

    precision: the Keras dtype policy; None for the one in which this machine trains.
    Returns a dictionary: "parameters"; "network_costs", a table for `hw2.experiments.costs`; "peak_memory_mib" of this
    process, what earlier runs have left in it included; "gpu_memory_mib", None without a GPU; and what the real data
    will take: "images_mib" of the training and validation parts in memory, "cache_mib" of the largest cache of a phase,
    on disk.

    Raises TrainingError if a loss is not finite.
    """
    task = TASKS[config["task"]]
    reset_peak_memory()
    keras.utils.clear_session()
    keras.utils.set_random_seed(config["seed"])
    precision = precision or choose_precision()
    keras.config.set_dtype_policy(precision)
    model = build_model(config)
    parameters, stages = model.count_params(), NETWORKS[config["model"]].stages
    network_costs = {
        network_key(config, size): cost_of_stages(build_model(config, size), stages) for size in image_sizes(config)
    }
    train, validation = task.load_training(_synthetic(config, prediction_batch_size(model)), None)
    adapt_whitening(model, train.images)
    cache, size = 0, None
    with tempfile.TemporaryDirectory() as folder:
        for number, phase in enumerate(phases_of(config)):
            phase = dataclasses.replace(phase, epochs=1)
            model, size = model_at_size(model, size, config, phase.image_size)
            batch = _first(train, phase.batch_size // (2 if phase.mirrored else 1))
            of_phase = Path(folder) / str(number)
            of_phase.mkdir()
            train_phase(
                config["experiment"],
                model,
                phase,
                config,
                task,
                batch,
                task.targets(batch.labels, config),
                _first(validation, prediction_batch_size(model)),
                Checkpoint(of_phase, State(keras.backend.backend(), precision), math.inf),
                data_dir=of_phase,
                log=lambda line: None,
            )
            cache = max(cache, _cache_bytes(of_phase, config, phase))
    train_count, validation_count, _ = image_counts(config)
    image_bytes = train.images[0].nbytes + np.asarray(train.labels[0]).nbytes
    return {
        "parameters": parameters,
        "network_costs": network_costs,
        "peak_memory_mib": peak_memory_mib(),
        "gpu_memory_mib": gpu_memory_mib(),
        "images_mib": (train_count + validation_count) * image_bytes / 2**20,
        "cache_mib": cache / 2**20,
    }


def gpu_memory_mib():
    """Return the most memory of the first GPU that was in use at once, in MiB, or None without a GPU.

    With TensorFlow since the last call, with JAX since the process began.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            return None
        peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
        tf.config.experimental.reset_memory_stats("GPU:0")
        return peak / 2**20
    import jax

    device = jax.devices()[0]
    return device.memory_stats()["peak_bytes_in_use"] / 2**20 if device.platform == "gpu" else None


def _synthetic(config, predicted):
    """Return `config` with synthetic data: a batch of each phase, and as many validation images as are predicted."""
    most = max(phase["batch_size"] for phase in config["phases"])
    data = config["data"] | {"source": "synthetic", "train": most, "validation": predicted, "test": 0}
    if config["task"] == "classification":  # the counts are those of all 100 classes, equally many of each
        data |= {part: 100 * math.ceil(data[part] / data["classes"]) for part in ("train", "validation")}
    return config | {"data": data}


def _first(split, count):
    return split._replace(images=split.images[:count], labels=split.labels[:count])


def _cache_bytes(folder, config, phase):
    """Return the size that the features of a phase, if it has stored any in `folder`, have with the real data."""
    shapes = [np.load(path, mmap_mode="r").shape[1:] for path in folder.glob("cache/*.npy")]
    if not shapes:
        return 0
    train, validation, _ = image_counts(config)
    return (train * (2 if phase.mirrored else 1) + validation) * math.prod(shapes[0]) * np.dtype(np.float16).itemsize
