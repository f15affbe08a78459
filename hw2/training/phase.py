"""One phase of training: epochs with one optimizer, best weights, early stopping, and a state saved on the way."""

import math
import sys
import time
from pathlib import Path

import keras

from hw2.data import augment
from hw2.data.batches import Batches, prediction_batch_size
from hw2.errors import TrainingError
from hw2.hardware import gpu_compute_capability
from hw2.training import interruption
from hw2.training.frozen import inputs_of_phase, set_trainable
from hw2.training.schedule import compile_for_phase


def train_phase(
    name, model, phase, config, task, train, targets, validation, checkpoint, *, data_dir, tensorboard=None, log=print
):
    """Train `model`, built for the image size of the phase, from where `checkpoint.state` is to the end of `phase`.

    name: of the run. task: see `hw2.tasks`. train, validation: splits as `task.load_training` returns them. targets: of
    the training images, as the loss takes them. tensorboard: folder for TensorBoard logs, or None. On return the model
    has the phase's final weights and the state is that of the next phase.

    Raises TrainingError when a loss is not finite.
    """
    state = checkpoint.state
    set_trainable(model, phase.trainable)
    weights = task.sampling_weights(train.labels, config) if phase.sampling == "repeat_factor" else None
    trained, inputs, validation_inputs, targets, took = inputs_of_phase(
        model, phase, train.images, targets, validation.images, data_dir, log
    )
    if state.epoch == 0:
        state.feature_seconds += took[0]
        state.feature_cpu_seconds += took[1]
    steps = len(inputs) // min(phase.batch_size, len(inputs))
    validation_batches = Batches(
        validation_inputs, task.targets(validation.labels, config), prediction_batch_size(trained)
    )
    compile_for_phase(trained, phase, steps, *task.loss_and_metric(phase, config))
    if keras.backend.backend() == "jax":
        # else `fit` takes its first batch to build the metrics, and Keras then serves those prefetched after it twice
        trained.test_on_batch(*validation_batches[0])
    checkpoint.restore_optimizer(trained.optimizer)
    best = checkpoint.best_weights()
    callbacks = [interruption.StopBetweenBatches(), *progress_callbacks(steps)]
    if gpu_compute_capability() is None:  # a GPU would wait for the loss of each step to be read
        callbacks.append(keras.callbacks.TerminateOnNaN())
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(Path(tensorboard) / name / str(state.phase)))

    while not phase_is_over(state, phase):
        began, cpu_began = time.perf_counter(), time.process_time()
        batches = Batches(
            inputs,
            targets,
            phase.batch_size,
            shuffle=True,
            weights=weights,
            joint=[augment.JOINT_AUGMENTATIONS[function] for function in phase.joint],
            augment=[augment.AUGMENTATIONS[function] for function in phase.augment],
            mix=[augment.MIXING[function] for function in phase.mix],
            mix_probability=phase.mix_probability,
            seed=config["seed"],
            epoch=len(state.history),
        )
        with interruption.deferred():
            logs = trained.fit(
                batches,
                validation_data=validation_batches,
                initial_epoch=state.epoch,
                epochs=state.epoch + 1,
                callbacks=callbacks,
                shuffle=False,  # `Batches` shuffles; Keras would shuffle with a generator that cannot be resumed
                verbose=0,
            ).history
        logs = {key: float(values[-1]) for key, values in logs.items()}
        if not logs or not all(math.isfinite(value) for value in logs.values()):
            raise TrainingError(
                f"{name}: the loss is no longer finite in epoch {state.epoch + 1} of phase {state.phase + 1}. Nothing "
                f"is marked as finished. Lower the learning rate ({phase.learning_rate}) of the entry in "
                "hw2/experiments and train it with --force."
            )
        state.epoch += 1
        row = {
            "epoch": len(state.history) + 1,
            "phase": state.phase + 1,
            "loss": logs["loss"],
            task.METRIC: logs[task.METRIC],
            "val_loss": logs["val_loss"],
            f"val_{task.METRIC}": logs[f"val_{task.METRIC}"],
            "learning_rate": float(trained.optimizer.learning_rate),
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu_began,
            "images": batches.num_batches * batches.batch_size,
        }
        state.history.append(row)
        log_epoch(state, phase, row, task.METRIC, log)
        value = row[f"val_{task.METRIC}"]
        if value > state.best_value:
            state.best_value, state.best_epoch, state.last_improvement = value, state.epoch, state.epoch
            best = trained.get_weights() if phase.keep_best else best
        elif phase.schedule == "plateau" and state.epoch - state.last_improvement >= phase.plateau_patience:
            trained.optimizer.learning_rate = row["learning_rate"] / 5
            state.last_improvement = state.epoch
            state.add_event("learning rate divided by 5")
        if not phase_is_over(state, phase):
            checkpoint.save_if_due(model, trained.optimizer, best if phase.keep_best else [])

    if state.epoch < phase.epochs:
        state.add_event("stopped early")
    if phase.keep_best and state.best_epoch < state.epoch:
        trained.set_weights(best)
        state.add_event(f"went back to the weights of epoch {len(state.history) - state.epoch + state.best_epoch}")
    state.next_phase()
    checkpoint.save(model)


def phase_is_over(state, phase):
    """Return whether the phase has had its epochs, or its patience has run out."""
    patience = phase.patience
    return state.epoch >= phase.epochs or (patience is not None and state.epoch - state.best_epoch >= patience)


def log_epoch(state, phase, row, metric, log):
    """Print one line on an epoch, with the time that the rest of the phase takes at this pace."""
    left = (phase.epochs - state.epoch) * row["seconds"]
    log(
        f"  phase {row['phase']} epoch {state.epoch}/{phase.epochs}"
        f"  loss {row['loss']:.3f}  {metric} {row[metric]:.3f}"
        f"  validation {row['val_loss']:.3f} {row[f'val_{metric}']:.3f}"
        f"  rate {row['learning_rate']:.1e}  {row['seconds']:.0f} s, {duration(left)} left"
    )


def duration(seconds):
    """Return seconds in words: "45 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def progress_callbacks(steps):
    """Return a callback that shows the progress within an epoch, once a second, if standard error is a terminal."""
    if not sys.stderr.isatty():
        return []
    shown = 0.0

    def show(step, logs):
        nonlocal shown
        if step + 1 < steps and time.monotonic() - shown < 1:
            return
        shown = time.monotonic()
        end = "\r" if step + 1 < steps else "\r\033[K"
        print(f"  {step + 1}/{steps}  loss {logs['loss']:.3f}", end=end, file=sys.stderr, flush=True)

    return [keras.callbacks.LambdaCallback(on_train_batch_end=show)]
