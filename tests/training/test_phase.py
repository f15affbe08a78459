"""The rules of a phase, with made-up figures and no training."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from hw2.data import augment, splits
from hw2.data.batches import Batches
from hw2.experiments.schema import Phase
from hw2.tasks import segmentation
from hw2.training import phase
from hw2.training.checkpoint import State

COUNT = 20  # images


@pytest.fixture
def made(monkeypatch):
    """What training was given: `options` of the batches of each epoch, `steps` of the schedule.

    Instead of training, an epoch takes the next of the `values`, which a test may set: it becomes the validation IoU
    and, to tell the epochs apart, all weights of the first variable.
    """
    made = SimpleNamespace(options=[], steps=[], values=itertools.repeat(0.5))
    compile_for_phase = phase.compile_for_phase

    class RecordedBatches(Batches):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            if self.shuffle:
                made.options.append(options | {"batches": self.num_batches})

    def recorded_compile(model, settings, steps, *given):
        made.steps.append(steps)
        return compile_for_phase(model, settings, steps, *given)

    def fit(model, batches, **options):
        made.callbacks = options["callbacks"]
        value = next(made.values)
        model.weights[0].assign(keras.ops.full(model.weights[0].shape, value))
        logs = {"loss": 1.0, "iou": 0.5, "val_loss": 1.0, "val_iou": value}
        return SimpleNamespace(history={key: [logged] for key, logged in logs.items()})

    monkeypatch.setattr(phase, "Batches", RecordedBatches)
    monkeypatch.setattr(phase, "compile_for_phase", recorded_compile)
    monkeypatch.setattr(keras.Model, "fit", fit)
    return made


def state_after(epochs=0, **values):
    """Return the state of a run at the start of a phase, or within it, after `epochs` of an earlier one."""
    values |= {"phase": 1, "history": [{}] * epochs} if epochs else {}
    return State(keras.backend.backend(), "float32", **values)


def train(folder, settings, state, classes=2, labels=None):
    """Train a tiny network on black images for one phase of the run with seed 7; return the network."""
    inputs = keras.Input((8, 8, 3))
    hidden = keras.layers.Conv2D(2, 8, name="frozen")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, name="trained")(hidden))
    checkpoint = SimpleNamespace(
        state=state,
        restore_optimizer=lambda optimizer: None,
        best_weights=list,
        save=lambda *given: None,
        save_if_due=lambda *given: None,
    )
    task = SimpleNamespace(
        METRIC="iou",
        targets=lambda labels, config: labels,
        sampling_weights=segmentation.sampling_weights,
        loss_and_metric=lambda *given: ("mse", keras.metrics.MeanSquaredError("iou")),
    )
    labels = np.zeros((COUNT, 8, 8), np.uint8) if labels is None else labels
    split = splits.MaskSplit(np.zeros((COUNT, 8, 8, 3), np.uint8), labels, None)
    config = {"seed": 7, "data": {"classes": classes}}
    quiet = {"data_dir": folder, "log": lambda line: None}
    phase.train_phase("run", model, settings, config, task, split, labels, split, checkpoint, **quiet)
    return model


def test_batches_are_as_the_phase_says(made, tmp_path):
    labels = np.zeros((COUNT, 8, 8), np.uint8)
    labels[:, 0, 0], labels[3, 1, 1] = 1, 2  # class 2 is rare
    settings = Phase(
        epochs=2,
        learning_rate=0.1,
        batch_size=4,
        sampling="repeat_factor",
        joint=("joint_flip",),
        augment=("jitter",),
        mix=("cutmix", "mixup"),
        mix_probability=0.25,
    )
    train(tmp_path, settings, state_after(3), 21, labels)
    weights = segmentation.sampling_weights(labels, {"data": {"classes": 21}})
    assert np.ptp(weights) > 0 and len(made.options) == 2
    for epoch, options in enumerate(made.options, start=3):
        assert (options["seed"], options["epoch"], options["mix_probability"]) == (7, epoch, 0.25)
        assert options["joint"] == [augment.joint_flip] and options["augment"] == [augment.jitter]
        assert options["mix"] == [augment.cutmix, augment.mixup]
        np.testing.assert_array_equal(options["weights"], weights)


def test_the_schedule_has_the_steps_that_are_taken(made, tmp_path):
    """With their mirror images, there are twice as many images."""
    train(tmp_path, Phase(epochs=1, learning_rate=0.1, batch_size=8, mirrored=True), state_after())
    assert made.steps == [5] == [options["batches"] for options in made.options]


def test_best_weights_patience_and_plateau_by_hand(made, tmp_path):
    """The second epoch is the best; the rate falls after two epochs without a better one; patience is four."""
    settings = Phase(
        epochs=9,
        learning_rate=0.1,
        schedule="plateau",
        plateau_patience=2,
        patience=4,
        keep_best=True,
        batch_size=4,
    )
    made.values = iter([0.1, 0.3, 0.2, 0.2, 0.25, 0.2, 0.2, 0.2, 0.2])
    state = state_after(3)
    model = train(tmp_path, settings, state)
    assert [row["learning_rate"] for row in state.history[3:]] == pytest.approx([0.1] * 4 + [0.02] * 2)
    assert state.events == [
        {"epoch": 7, "event": "learning rate divided by 5"},
        {"epoch": 9, "event": "learning rate divided by 5"},
        {"epoch": 9, "event": "stopped early"},
        {"epoch": 9, "event": "went back to the weights of epoch 5"},
    ]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.weights[0]), 0.3)


@pytest.mark.parametrize("capability, waits", [((8, 0), False), (None, True)])
def test_a_gpu_does_not_wait_for_the_loss_of_each_step(made, tmp_path, monkeypatch, capability, waits):
    """Keras fetches the losses of a batch where a callback has a method for its end."""
    monkeypatch.setattr(phase, "gpu_compute_capability", lambda: capability)
    train(tmp_path, Phase(epochs=1, learning_rate=0.1), state_after())
    waiting = {"on_batch_end", "on_train_batch_end", "on_test_batch_end"}
    assert any(waiting & set(vars(type(callback))) for callback in made.callbacks) is waits


@pytest.mark.parametrize("epoch, counted", [(0, True), (2, False)])
def test_the_time_of_features_is_counted_once(made, tmp_path, monkeypatch, epoch, counted):
    """A run that resumes within the phase finds them in the cache, with the time that they took."""
    inputs_of_phase = phase.inputs_of_phase
    monkeypatch.setattr(phase, "inputs_of_phase", lambda *given: (*inputs_of_phase(*given)[:-1], [3.0, 5.0]))
    state = state_after(epoch=epoch, feature_seconds=0.0 if counted else 3.0)
    train(tmp_path, Phase(epochs=3, learning_rate=0.1, trainable="trained"), state)
    assert state.feature_seconds == 3.0 and state.feature_cpu_seconds == 5.0 * counted
