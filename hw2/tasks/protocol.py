"""What training asks of a task. The modules `hw2.tasks.classification` and `hw2.tasks.segmentation` implement it."""

import dataclasses
from typing import Any, Protocol

import numpy as np


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured of a model at the end of its run.

    figures: for `metrics.json`, with "validation" and "test" among them. predictions: arrays of `predictions.npz`.
    logits: arrays of `logits.npz`, {} where they are not kept. rows: of `images.csv`, one for each test image, or [].
    """

    figures: dict[str, Any]
    predictions: dict[str, np.ndarray]
    logits: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Task(Protocol):
    """METRIC: name of the training metric; `val_` and this name decide which epoch was best. Greater is better."""

    METRIC: str

    def data_is_here(self, config: dict, data_dir) -> bool:
        """Return whether the data are on this machine, so that counting them downloads nothing."""

    def count_data(self, config: dict, data_dir) -> dict:
        """Return `config["data"]` with its source and the counts "train", "validation" and "test"."""

    def load_training(self, config: dict, data_dir) -> tuple[Any, Any]:
        """Return the training and validation parts, each with `images` and `labels`."""

    def load_validation(self, config: dict, data_dir) -> Any:
        """Return the validation part alone, for measurements that need no training image."""

    def targets(self, labels: np.ndarray, config: dict) -> np.ndarray:
        """Return the targets that the loss compares with the model's outputs."""

    def sampling_weights(self, labels: np.ndarray, config: dict) -> np.ndarray:
        """Return weights (n,) with which images are drawn so that those of rare classes are seen more often."""

    def loss_and_metric(self, phase, config: dict) -> tuple[Any, Any]:
        """Return the Keras loss and the Keras metric, named METRIC, of a phase."""

    def measure(self, config: dict, model, validation, data_dir) -> Measurement:
        """Measure the model on the validation images and on the test images, which are loaded here.

        Raises OverflowError where outputs are beyond the range in which they are stored: training has diverged.
        """
