"""Small runs on synthetic data: configurations as `resolve` makes them, and what training them leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras

from hw2 import files, runs
from hw2.experiments.schema import Phase
from hw2.models.registry import NETWORKS
from hw2.training.run import run as train

QUIET = {"log": lambda line: None, "checkpoint_seconds": 0}


def configuration(model, phases, arguments, *, seed=3, classes=100, weights=None, extras=()):
    """Return a complete configuration of a classifier: defaults are those of the registry and of `Phase`."""
    return {
        "experiment": "small",
        "budget": "smoke",
        "seed": seed,
        "task": "classification",
        "data": {"source": "synthetic", "train": 96, "validation": 50, "test": 40, "classes": classes},
        "model": model,
        "model_arguments": _lists(NETWORKS[model].arguments | arguments),
        "weights": weights,
        "teachers": [],
        "teacher_share": 0.0,
        "phases": [_lists(vars(Phase(**phase))) for phase in phases],
        "extras": list(extras),
    }


def _lists(values):
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


# Two phases that between them have all that a resumption could lose: cached features, dropout, augmentation, best
# weights kept, patience, and a rate that falls on a plateau. `test_a_finished_run_...` says that each does happen.
VGG16 = configuration(
    "vgg16_classifier",
    [
        {"epochs": 6, "learning_rate": 0.01, "trainable": "head", "batch_size": 32, "keep_best": True, "patience": 2},
        {
            "epochs": 5,
            "learning_rate": 0.003,
            "trainable": "block5",
            "optimizer": "sgd",
            "weight_decay": 1e-3,
            "batch_size": 32,
            "schedule": "plateau",
            "plateau_patience": 1,
            "label_smoothing": 0.1,
            "augment": ["flip", "shift"],
            "keep_best": True,
        },
    ],
    {"head": "dense_bn", "dropout": 0.5, "width": 1 / 16},
)
# Small images first, mixed ones, a subset of the classes, and all extras.
SCRATCH = configuration(
    "scratch_classifier",
    [
        {
            "epochs": 2,
            "learning_rate": 0.01,
            "batch_size": 16,
            "augment": ["flip", "shift", "erase"],
            "mix": ["mixup", "cutmix"],
            "mix_probability": 0.5,
            "image_size": 16,
        },
        {"epochs": 1, "learning_rate": 0.01, "batch_size": 16, "trainable": "stage3", "augment": ["flip"]},
    ],
    {"stem_filters": 4, "filters": [4, 6, 8], "residual": True, "units": 1},
    classes=30,
    extras=["test_time_augmentation", "robustness", "grad_cam"],
)

# One phase of a network that is traced in a moment, for tests that need no more than some run.
TINY = configuration(
    "scratch_classifier",
    [{"epochs": 3, "learning_rate": 0.01, "batch_size": 32, "augment": ["flip"]}],
    {"stem_filters": 4, "filters": [4, 6, 8], "units": 1},
    classes=30,
)


def run(folder, config, name="small", **options):
    """Train under `folder`/results with the data cache in `folder`/data; return the metrics."""
    return train(name, config, data_dir=folder / "data", results_dir=folder / "results", **QUIET | options)


SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import conftest
conftest.prepare_keras()  # the settings of the process that tests
from hw2.training import interruption
from small_runs import run
interruption.install()
def log(line):
    print(line, flush=True)
    BODY
run(Path(sys.argv[1]), json.loads(sys.argv[2]), log=log)
print("finished", flush=True)
"""


def start(folder, config, body):
    """Return a process that trains as `run` does and executes `body` for each printed `line`."""
    command = [sys.executable, "-c", SCRIPT.replace("BODY", body), str(folder), json.dumps(config)]
    command.append(str(Path(__file__).parent))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def interrupt_at(text):
    """Return a `log` function that presses Ctrl-C when a line with `text` is printed."""

    def log(line):
        if text in line:
            raise KeyboardInterrupt

    return log


def outcome(folder):
    """Return all that must not depend on an interruption: history without seconds, figures, arrays, weights."""
    folder = folder / "results" / "small"
    history = [
        {key: value for key, value in row.items() if "seconds" not in key}
        for row in files.read_csv(folder / runs.HISTORY)
    ]
    metrics = runs.read_metrics(folder)
    arrays = files.read_arrays(folder / runs.LOGITS) | files.read_arrays(folder / runs.PREDICTIONS)
    weights = keras.models.load_model(folder / runs.MODEL).get_weights()
    return history, metrics["test"], metrics["events"], arrays | {f"weights/{i}": w for i, w in enumerate(weights)}
