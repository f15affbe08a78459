"""The rows of `benchmark.py`: what each measures, on synthetic data, with networks and settings of the experiments."""

import contextlib
import dataclasses
import functools
import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from hw2.data import augment, synthetic
from hw2.data.batches import Batches, predict
from hw2.experiments.resolve import phases_of, resolve
from hw2.hardware import gpu_compute_capability, peak_memory_mib, reset_peak_memory
from hw2.metrics.classification import figures_and_answers
from hw2.metrics.segmentation import foreground_row
from hw2.models import layers as faster
from hw2.models.registry import build_model
from hw2.runs import results_folder
from hw2.tasks import TASKS
from hw2.training.frozen import cut, inputs_of_phase, set_trainable
from hw2.training.schedule import compile_for_phase

ROOT = Path(__file__).resolve().parent.parent
NO_TORCH = "PyTorch is not installed: pip install -e '.[bench]'"
ON_GPU = "PyTorch is compared on CPUs only"
EPOCHS = (5_000, 15_000, 50_000)  # images of the epochs whose time and memory are compared


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the record.

    measure: function that is given `in_turn` of `benchmark.py` and returns the row's entries: "variants", a dictionary
    of results of `in_turn` or {"not_measured": reason}, and what else belongs to it; or {"not_measured": reason}.
    """

    title: str
    unit: str
    measure: Callable


def training_step(experiment, number, in_turn, **torch_arguments):
    """Measure the training step of a phase of an experiment on one batch: our layers, Keras' own, PyTorch.

    number: position of the phase. torch_arguments: see `torch_networks.training_step`.
    """
    config = resolve(experiment)
    phase = phases_of(config)[number]
    images, targets = batch_of(config, phase)
    ours, inputs, targets = phase_of_training(config, phase, images, targets)
    with stock_layers():
        stock, *_ = phase_of_training(config, phase, images, targets)
    count = len(inputs)
    variants = {
        name: (functools.partial(model.train_on_batch, inputs, targets), count)
        for name, model in (("ours", ours), ("keras", stock))
    }
    if torch_is_here():
        import torch_networks

        step = torch_networks.training_step(config, phase, **torch_arguments)
        variants["pytorch"] = functools.partial(step, inputs, targets), count
    entries = {"experiment": experiment, "phase": number, "batch_size": count, "parameters": ours.count_params()}
    return entries | {"variants": in_turn(variants) | without_torch()}


def batch_of(config, phase):
    """Return `(images, targets)`: a synthetic batch of a phase, images uint8."""
    data = {"source": "synthetic", "train": phase.batch_size, "validation": 1, "test": 0}
    task, config = TASKS[config["task"]], config | {"data": config["data"] | data}
    train, _ = task.load_training(config, None)
    return train.images, task.targets(train.labels, config)


def phase_of_training(config, phase, images, targets):
    """Return `(model, inputs, targets)`: the model as the phase trains it, compiled, and its float32 inputs."""
    model = build_model(config, phase.image_size)
    set_trainable(model, phase.trainable)
    with tempfile.TemporaryDirectory() as folder:
        trained, inputs, _, targets, _ = inputs_of_phase(
            model, phase, images, targets, images[:1], folder, log=lambda line: None
        )
        inputs = np.array(inputs, np.float32)
    compile_for_phase(trained, phase, 100, *TASKS[config["task"]].loss_and_metric(phase, config))
    return trained, inputs, targets


@contextlib.contextmanager
def stock_layers():
    """Build networks with Keras' layers instead of the faster ones, which builders call `faster.NAME`."""
    ours = {name: layer for name, layer in vars(faster).items() if name in vars(keras.layers)}
    for name in ours:
        setattr(faster, name, getattr(keras.layers, name))
    try:
        yield
    finally:
        for name, layer in ours.items():
            setattr(faster, name, layer)


def torch_is_here():
    """Return whether PyTorch can be measured: its networks are written for the CPU, as is this comparison."""
    return importlib.util.find_spec("torch") is not None and gpu_compute_capability() is None


def without_torch():
    """Return the entry of the variant "pytorch" where PyTorch is not measured, else an empty dictionary."""
    why = NO_TORCH if gpu_compute_capability() is None else ON_GPU
    return {} if torch_is_here() else {"pytorch": {"not_measured": why}}


def features(in_turn):
    """Measure the outputs of VGG16's frozen blocks, in the batches of `predict`."""
    config = resolve("vgg16_features_dense_bn")
    images, _ = synthetic.classification(500)
    variants = {}
    for name, context in (("ours", contextlib.nullcontext()), ("keras", stock_layers())):
        with context:
            model = build_model(config)
        set_trainable(model, "head")
        frozen, _ = cut(model, next(index for index, layer in enumerate(model.layers) if layer.trainable))
        variants[name] = functools.partial(predict, frozen, images), len(images)
    if torch_is_here():
        import torch_networks

        predicted = torch_networks.vgg16_features(config)
        variants["pytorch"] = functools.partial(predicted, images), len(images)
    return {"variants": in_turn(variants) | without_torch()}


def input_pipeline(experiment, number, in_turn):
    """Measure the batches of a phase without training, on one thread."""
    config = resolve(experiment)
    phase = phases_of(config)[number]
    images, targets = batch_of(config, dataclasses.replace(phase, batch_size=8 * phase.batch_size))
    batches = Batches(
        images,
        targets,
        phase.batch_size,
        shuffle=True,
        joint=[augment.JOINT_AUGMENTATIONS[function] for function in phase.joint],
        augment=[augment.AUGMENTATIONS[function] for function in phase.augment],
        mix=[augment.MIXING[function] for function in phase.mix],
        mix_probability=phase.mix_probability,
    )

    def epoch():
        for index in range(batches.num_batches):
            batches[index]

    functions = [*phase.joint, *phase.augment, *phase.mix]
    entries = {"experiment": experiment, "phase": number, "augmentation": functions, "image_size": images.shape[1]}
    return entries | {"variants": in_turn({"ours": (epoch, len(images))})}


def classification_metrics(in_turn):
    """Measure all figures of a classifier on 5,000 validation and 10,000 test images, from their logits."""
    rng, counts = np.random.default_rng(0), {"validation": 5_000, "test": 10_000}
    logits = {part: {"": rng.normal(size=(count, 100)).astype(np.float16)} for part, count in counts.items()}
    labels = {part: rng.integers(0, 100, count) for part, count in counts.items()}
    indices = {part: np.arange(count) for part, count in counts.items()}
    call = functools.partial(figures_and_answers, logits, labels, indices)
    return {"variants": in_turn({"ours": (call, sum(counts.values()))})}


def segmentation_metrics(in_turn):
    """Measure all figures of masks of the foreground with 320 x 320 pixels."""
    _, masks = synthetic.segmentation(16, 320)
    predictions = np.roll(masks > 0, 5, axis=2)

    def rows():
        for prediction, mask in zip(predictions, masks, strict=True):
            foreground_row(prediction, mask)

    return {"variants": in_turn({"ours": (rows, len(masks))})}


def growth(in_turn):
    """Measure an epoch of more and more images: milliseconds, and the peak of the memory beside the images.

    Time is linear if the last two epochs differ by as much an image as the first two.
    """
    config = resolve("scratch_plain")
    phase = phases_of(config)[0]
    images, targets = batch_of(config, phase)
    model, inputs, _ = phase_of_training(config, phase, images, targets)
    most, _ = synthetic.classification(1_000)
    memory = {count: 0.0 for count in EPOCHS}

    def epoch(count):
        data = np.tile(most, (count // len(most), 1, 1, 1))
        answers = np.tile(targets, (count // len(targets) + 1, 1))[:count]
        batches = Batches(data, answers, phase.batch_size, shuffle=True)
        reset_peak_memory()
        model.fit(batches, epochs=1, shuffle=False, verbose=0)
        memory[count] = max(memory[count], peak_memory_mib() - (data.nbytes + answers.nbytes) / 2**20)

    model.train_on_batch(inputs, targets)
    model.fit(Batches(most, np.tile(targets, (8, 1))[:1_000], phase.batch_size, shuffle=True), shuffle=False, verbose=0)
    variants = {f"{count:,} images": (functools.partial(epoch, count), None) for count in EPOCHS}
    variants = in_turn(variants, calls_before=0, attempts=1)
    for count, figures in zip(EPOCHS, variants.values(), strict=True):
        figures["memory_mib"] = round(memory[count])
    return {"experiment": "scratch_plain", "variants": variants}


def demo(in_turn):
    """Measure answers of the demo over HTTP: upload, pictures, text, and the networks that the page starts with."""
    from gradio_client import Client, handle_file

    folder = results_folder(ROOT / "results")
    if not any(folder.glob("*/model.keras")):
        return {"not_measured": "there are no stored models under results"}
    with tempfile.TemporaryDirectory() as downloads, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "demo" / "app.py"), "--port", str(port), "--results", str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"},  # set for training
        )
        numbers = itertools.count()

        def ask(endpoint, task):
            """Send another picture each time: the server remembers what it has computed for one."""
            path = Path(downloads, f"cat{next(numbers)}.jpg")
            path.write_bytes(cat + path.name.encode())  # decoders ignore what follows the image
            client.predict(handle_file(str(path)), first[task], api_name=f"/{endpoint}")

        try:
            for line in server.stdout:  # until it says that it is ready, or ends
                if "Press Ctrl-C" in line:
                    break
            client = Client(f"http://127.0.0.1:{port}/", verbose=False, download_files=downloads)
            cat = (ROOT / "demo" / "examples" / "cat.jpg").read_bytes()
            models = client.predict(api_name="/models")
            first = {model["task"]: model["key"] for model in models if model["default"]}
            variants = {
                endpoint: (functools.partial(ask, endpoint, task), None)
                for endpoint, task in (("classify", "classification"), ("segment", "segmentation"))
            }
            return {"models": first, "variants": in_turn(variants)}
        finally:
            server.terminate()
            server.wait(60)


def render(in_turn):
    """Measure one rendering of the report as HTML, in a copy of it."""
    quarto = shutil.which("quarto")
    if not quarto:
        return {"not_measured": "Quarto is not installed: pip install -r report/requirements.txt"}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "report", copy / "report", ignore=shutil.ignore_patterns("_output", ".quarto"))
        for name in ("hw2", "results", "scripts", "README.md"):
            (copy / name).symlink_to(ROOT / name)
        began = time.perf_counter()
        outcome = subprocess.run(
            [quarto, "render", "report", "--to", "html"], cwd=copy, capture_output=True, text=True, env=os.environ
        )
        took = time.perf_counter() - began
    if outcome.returncode:
        return {"not_measured": f"Quarto failed: {outcome.stderr.strip().splitlines()[-1]}"}
    return {"variants": {"HTML": {name: round(1000 * took) for name in ("median", "min", "max")}}}


def _training(title, experiment, number, **torch_arguments):
    def measure(in_turn):
        return training_step(experiment, number, in_turn, **torch_arguments)

    return Row(f"Training: {title}", "images/s", measure)


ROWS = {
    "train_residual": _training("residual network, 0.7 million parameters", "scratch_residual", 0),
    "train_final": _training("final network", "scratch_final", 1),
    "train_vgg16": _training("VGG16, all layers, 32 px", "vgg16_full", 2),
    "train_block5": _training("VGG16's block 5 on cached features", "vgg16_block5", 1, first="block5"),
    "train_unet": _training("U-Net on MobileNetV2, 160 px", "seg_unet_mobilenetv2_transpose", 1),
    "features_vgg16": Row("Features of VGG16, 32 px", "images/s", features),
    "input_classification": Row(
        "Augmented batches of 32 px, one thread",
        "images/s",
        functools.partial(input_pipeline, "scratch_final", 1),
    ),
    "input_segmentation": Row(
        "Augmented batches of 160 px with masks, one thread",
        "images/s",
        functools.partial(input_pipeline, "seg_unet_mobilenetv2_transpose", 1),
    ),
    "metrics_classification": Row("Figures of a classifier, 100 classes", "images/s", classification_metrics),
    "metrics_segmentation": Row("Figures of masks, 320 px", "images/s", segmentation_metrics),
    "growth": Row("Epoch of the plain network", "ms", growth),
    "demo": Row("Answer of the demo", "ms", demo),
    "render": Row("Report", "ms", render),
}
