"""Train one experiment: seed -> precision -> data -> model -> compile -> fit -> evaluate -> write.

`run` is the whole story, read from top to bottom. A run can be ended at any moment and goes on from its last epoch.
"""

import dataclasses
import json
import math
import sys
import time
from pathlib import Path

import keras
import numpy as np

from hw2 import classification, results, segmentation
from hw2.data import augment, features
from hw2.data.batches import Batches, prediction_batch_size
from hw2.experiments import Phase, run_name
from hw2.models import compact, cost, vgg16
from hw2.models.scratch import adapt_whitening
from hw2.precision import choose_precision, device_name, peak_memory_mib, reset_peak_memory

TASKS = {"classification": classification, "segmentation": segmentation}


class TrainingError(Exception):
    """Training that cannot go on; the message says why and what to do."""


@dataclasses.dataclass
class State:
    """Where a run stands: what `state.npz` holds beside the variables of model and optimizer."""

    backend: str
    precision: str
    phase: int = 0
    history: list = dataclasses.field(default_factory=list)
    events: list = dataclasses.field(default_factory=list)
    feature_seconds: float = 0.0
    feature_cpu_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    started_from: dict | None = None  # the `final.json` of the run whose weights it took
    # of the current phase
    epoch: int = 0
    best_accuracy: float = -1.0  # or IoU, for segmentation
    best_epoch: int = 0
    last_rise: int = 0  # the epoch since which "plateau" counts

    def next_phase(self):
        self.phase += 1
        self.epoch, self.best_accuracy, self.best_epoch, self.last_rise = 0, -1.0, 0, 0


def run(name, config, *, data_dir, results_dir, force=False, checkpoint_seconds=30.0, tensorboard=None, log=print):
    """Train the run `name` as `config` says (see `hw2.experiments.resolve`) unless it is finished; return its metrics.

    data_dir: folder of the data sets, see `hw2.data`; holds the cache of features too.
    results_dir: folder that gets `<name>/`. force: throw away what is there for this run.
    checkpoint_seconds: the state is saved at the end of an epoch, if the last saving is at least so long ago.
    tensorboard: folder for TensorBoard logs, or None.

    Raises TrainingError (a loss that is not finite, a state of another backend), results.ResultsError (the folder
    holds another configuration) and hw2.DataError (no data): all with a message for the user.
    """
    folder = Path(results_dir) / name
    # the run whose weights this one starts from, and when it ended
    parent = config.get("weights", "imagenet")
    parent = None if parent == "imagenet" else Path(results_dir) / run_name(parent, config["seed"])
    parent_ending = parent and results.read_json(parent / results.FINAL)
    if not force and results.open_run(folder, config):
        metrics = results.read_metrics(folder)
        if parent_ending and metrics.get("started_from") != parent_ending:
            log(f"{name}: {parent.name}, from whose weights it started, is another one by now: --force trains it again")
        return metrics
    reset_peak_memory()
    keras.utils.clear_session()
    keras.utils.set_random_seed(config["seed"])
    precision = choose_precision()
    keras.config.set_dtype_policy(precision)
    log(f"{name}: {config['budget']} budget, {keras.backend.backend()}, {precision}")

    task = TASKS[config["task"]]
    train, validation = task.load_training(config, data_dir)
    model = build_model(config)
    if force or not (folder / results.STATE).exists():
        set_first_weights(model, config, parent, train.images, data_dir)
    if force:  # not before all that it takes is there: what is thrown away is a finished run, perhaps
        results.open_run(folder, config, force=True)
    state, arrays = load_state(folder, model, State(keras.backend.backend(), precision, started_from=parent_ending))
    while state.phase < len(config["phases"]):
        phase = Phase(**config["phases"][state.phase])
        model = build_model(config, phase.image_size, weights_of=model)
        set_trainable(model, phase.trainable)
        trained, train_inputs, validation_inputs, labels, took = inputs_of_phase(
            model, phase, train, validation, data_dir, log
        )
        if state.epoch == 0:
            state.feature_seconds += took[0]
            state.feature_cpu_seconds += took[1]
        targets = task.targets(labels, config)
        validation_batches = Batches(
            validation_inputs, task.targets(validation.labels, config), prediction_batch_size(trained)
        )
        steps = len(train_inputs) // min(phase.batch_size, len(train_inputs))
        compile_for_phase(trained, phase, steps, *task.loss_and_metric(phase, config))
        restore(trained.optimizer.variables, arrays, "optimizer")
        best = [arrays[f"best/{i}"] for i in range(len(trained.weights)) if "best/0" in arrays]
        callbacks = [keras.callbacks.TerminateOnNaN(), *progress_callbacks(steps)]
        if tensorboard:
            callbacks.append(keras.callbacks.TensorBoard(Path(tensorboard) / name / str(state.phase)))
        saved = time.monotonic()

        while not phase_is_over(state, phase):
            began, cpu_began = time.perf_counter(), time.process_time()
            batches = Batches(
                train_inputs,
                targets,
                phase.batch_size,
                shuffle=True,
                joint=[getattr(augment, function) for function in phase.joint],
                augment=[getattr(augment, function) for function in phase.augment],
                mix=[getattr(augment, function) for function in phase.mix],
                mix_probability=phase.mix_probability,
                seed=config["seed"],
                epoch=len(state.history),
            )
            logs = trained.fit(
                batches,
                validation_data=validation_batches,
                initial_epoch=state.epoch,
                epochs=state.epoch + 1,
                callbacks=callbacks,
                shuffle=False,  # `Batches` shuffles; Keras would reorder them by a generator that cannot be resumed
                verbose=0,
            ).history
            logs = {key: float(values[-1]) for key, values in logs.items()}
            if not all(math.isfinite(value) for value in logs.values()) or not logs:
                raise TrainingError(
                    f"{name}: the loss is no longer finite in epoch {state.epoch + 1} of phase {state.phase + 1}. "
                    f"Nothing is marked as finished. Lower the learning rate ({phase.learning_rate}) of its entry "
                    "in hw2/experiments.py and train it with --force."
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
            if value > state.best_accuracy:
                state.best_accuracy, state.best_epoch, state.last_rise = value, state.epoch, state.epoch
                best = trained.get_weights() if phase.keep_best else best
            elif phase.schedule == "plateau" and state.epoch - state.last_rise >= phase.plateau_patience:
                trained.optimizer.learning_rate = row["learning_rate"] / 5
                state.last_rise = state.epoch
                state.events.append({"epoch": row["epoch"], "event": "learning rate divided by 5"})
            if time.monotonic() - saved >= checkpoint_seconds and not phase_is_over(state, phase):
                save_state(folder, state, model, trained.optimizer, best if phase.keep_best else [])
                saved = time.monotonic()

        if state.epoch < phase.epochs:
            state.events.append({"epoch": len(state.history), "event": "stopped early"})
        if phase.keep_best and state.best_epoch < state.epoch:
            trained.set_weights(best)
            kept = len(state.history) - state.epoch + state.best_epoch
            state.events.append({"epoch": len(state.history), "event": f"went back to the weights of epoch {kept}"})
        state.next_phase()
        arrays = {}
        save_state(folder, state, model)

    # The figures are to be those of the model as it is stored, so it is rounded before it is evaluated.
    model = build_model(config, weights_of=model)
    compact.round_kernels(model)
    with results.atomic_path(folder / results.MODEL) as temporary:
        compact.save(model, temporary)

    data, figures, predictions = task.measure(config, model, train, validation, data_dir, folder)
    results.write_arrays(folder / results.PREDICTIONS, predictions)
    set_trainable(model, Phase(**config["phases"][-1]).trainable)
    last_phase = [row for row in state.history if row["phase"] == len(config["phases"])]
    metrics = {
        "task": config["task"],
        "budget": config["budget"],
        "seed": config["seed"],
        "backend": state.backend,
        "precision": precision,
        "data": data,
        **figures,
        "cost": {
            "seconds": sum(row["seconds"] for row in state.history) + state.feature_seconds,
            # all cores together: tells a slow run from one that shared the machine
            "cpu_seconds": sum(row["cpu_seconds"] for row in state.history) + state.feature_cpu_seconds,
            "feature_seconds": state.feature_seconds,
            "feature_cpu_seconds": state.feature_cpu_seconds,
            "epochs": len(state.history),
            # of the last phase, with all that an epoch takes: compilation in the first, validation in each
            "images_per_second": sum(r["images"] for r in last_phase) / sum(r["seconds"] for r in last_phase),
            "parameters": model.count_params(),
            "trainable_parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
            "multiply_adds": cost.multiply_adds(model),
            "device": device_name(),
            "peak_memory_mib": max(state.peak_memory_mib, peak_memory_mib()),
        },
        "events": state.events,
        **({"started_from": state.started_from} if parent else {}),
    }
    results.write_csv(folder / results.HISTORY, state.history)
    results.write_json(folder / results.METRICS, metrics)
    results.close_run(folder)
    return metrics


def build_model(config, image_size=None, weights_of=None):
    """Return the model of `config`, for images of `image_size` (None: the size in its arguments).

    weights_of: a model of the same config at any size, whose variables the new one takes over; it is returned itself
        where it has the right size.
    """
    arguments = config["model_arguments"] | ({"image_size": image_size} if image_size else {})
    if weights_of is not None and weights_of.image_size == arguments.get("image_size"):
        return weights_of
    task = TASKS[config["task"]]
    model = getattr(task.models, config["model"])(num_classes=task.num_classes(config), **arguments)
    model.image_size = arguments.get("image_size")
    if weights_of is not None:
        for variable, source in zip(variables_of(model), variables_of(weights_of), strict=True):
            variable.assign(source)
    return model


def set_first_weights(model, config, parent, images, data_dir):
    """Set the weights that training starts from: ImageNet's, those of the run in the folder `parent`, or none but the
    filters that are computed from the training images."""
    if config.get("weights") == "imagenet":
        vgg16.load_imagenet_weights(model, data_dir)
    elif parent:
        load_weights_of_run(model, parent)
    else:
        adapt_whitening(model, images)


def load_weights_of_run(model, folder):
    """Set the weights of `model` from the finished run in `folder`, which has a model of the same form."""
    finished, command = results.run_state(folder) == "finished", f"--only {folder.name.partition('-seed')[0]}"
    if not finished or not (folder / results.MODEL).exists():
        raise TrainingError(
            f"This run starts from the weights of {folder.name}, and {folder / results.MODEL} is not there. "
            f"Train {folder.name} first: python scripts/train_all.py {command}{' --force' if finished else ''}"
        )
    weights = keras.models.load_model(folder / results.MODEL, compile=False).get_weights()
    if [array.shape for array in weights] != [variable.shape for variable in model.weights]:
        raise TrainingError(
            f"This run starts from the weights of {folder.name}, which is another network here, perhaps of another "
            f"budget. Train both with the same one: python scripts/train_all.py {command} --force"
        )
    model.set_weights(weights)


def set_trainable(model, first):
    """Make the layers of `model` trainable from the first one whose name begins with `first` on; freeze the others."""
    reached = False
    for layer in model.layers:
        reached = reached or layer.name.startswith(first)
        layer.trainable = reached
    if not reached:
        raise ValueError(f"no layer's name begins with {first!r}")


def inputs_of_phase(model, phase, train, validation, data_dir, log):
    """Return `(trained, train_inputs, validation_inputs, train_labels, took)` for a phase.

    Where the first layers are frozen and nothing random comes before them, `trained` is the rest of the model, on
    cached features; else it is the whole model, on images. took: what the features cost, [seconds, processor seconds].
    """
    train_images, labels = train.images, train.labels
    if phase.mirrored:
        train_images = np.concatenate([train_images, train_images[:, :, ::-1]])
        labels = np.concatenate([labels, labels])
    first = next(index for index, layer in enumerate(model.layers) if layer.trainable)
    random = (
        phase.augment or phase.joint or any(isinstance(layer, keras.layers.Dropout) for layer in model.layers[:first])
    )
    if random or not any(layer.weights for layer in model.layers[:first]):
        return model, train_images, validation.images, labels, [0.0, 0.0]
    frozen, rest = cut(model, first)
    train_features, *of_train = features.cached_features(frozen, train_images, data_dir, log)
    validation_features, *of_validation = features.cached_features(frozen, validation.images, data_dir, log)
    return rest, train_features, validation_features, labels, np.add(of_train, of_validation).tolist()


def cut(model, first):
    """Return `(frozen, rest)`: the layers of `model` before layer number `first`, and the others on what those give.

    What crosses the cut is one tensor of features, or, where skips cross it too, all of them flattened into one.
    """
    made = [layer.output for layer in model.layers[:first]]
    taken = [tensor for layer in model.layers[first:] for tensor in keras.tree.flatten(layer.input)]
    crossing = [tensor for tensor in made if any(tensor is other for other in taken)]
    packed, inputs, outputs = crossing[0], crossing[0], model.outputs
    if len(crossing) > 1:
        flat = [keras.layers.Flatten(name=f"flat{number}")(tensor) for number, tensor in enumerate(crossing)]
        packed = keras.layers.Concatenate(name="packed")(flat)
        inputs, unpacked, start = keras.Input(packed.shape[1:], name="features"), [], 0
        for tensor, part in zip(crossing, flat, strict=True):
            piece = inputs[:, start : start + part.shape[1]]
            unpacked.append(keras.layers.Reshape(tensor.shape[1:])(piece))
            start += part.shape[1]
        outputs = keras.Model(crossing, model.outputs)(unpacked)
    return keras.Model(model.inputs, packed, name="frozen"), keras.Model(inputs, outputs, name="rest")


def compile_for_phase(model, phase, steps_per_epoch, loss, metric):
    """Compile `model` with the optimizer and the schedule of a phase; create the optimizer's variables."""
    steps = phase.epochs * steps_per_epoch
    rate = phase.learning_rate
    if phase.schedule == "cosine" or phase.warmup:
        rate = WarmupCosine(rate, steps, round(phase.warmup * steps), decays=phase.schedule == "cosine")
    if phase.optimizer == "adamw" and not phase.weight_decay:
        optimizer = keras.optimizers.Adam(rate)  # the same, without subtracting nothing from each variable
    elif phase.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=phase.weight_decay)
    else:
        decay = phase.weight_decay or None
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
    if phase.weight_decay:
        # biases and normalisation have no scale to hold down (He et al., "Bag of Tricks", 2019, section 3.1)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, loss, metrics=[metric])
    model.optimizer.build(model.trainable_variables)  # not `optimizer`: in float16 Keras has wrapped it


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Rise linearly to `rate` over `warmup` steps, then, if it `decays`, fall to zero along half a cosine.

    Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts; the values of Keras' `CosineDecay`. That one
    branches, and Keras asks for the rate once for each variable: with it, most of a small network's graph was schedule.
    """

    def __init__(self, rate, steps, warmup, decays):
        super().__init__()
        self.rate, self.steps, self.warmup, self.decays = rate, steps, warmup, decays

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rate = self.rate * keras.ops.minimum(step / self.warmup, 1.0) if self.warmup else self.rate
        if not self.decays:
            return rate
        progress = keras.ops.clip((step - self.warmup) / (self.steps - self.warmup), 0.0, 1.0)
        return rate * (0.5 + 0.5 * keras.ops.cos(math.pi * progress))

    def get_config(self):
        return {"rate": self.rate, "steps": self.steps, "warmup": self.warmup, "decays": self.decays}


def phase_is_over(state, phase):
    """Whether a phase has had its epochs, or its patience is at an end."""
    patience = phase.patience
    return state.epoch >= phase.epochs or (patience is not None and state.epoch - state.best_epoch >= patience)


def variables_of(model):
    """Return all variables of the layers, the states of their random generators among them, in a fixed order."""
    return [variable for layer in model.layers for variable in layer.variables]


def save_state(folder, state, model, optimizer=None, best=()):
    """Write `state.npz` and `history.csv`: all that a run needs to go on."""
    state.peak_memory_mib = max(state.peak_memory_mib, peak_memory_mib())
    arrays = {"state": np.frombuffer(json.dumps(dataclasses.asdict(state)).encode(), np.uint8)}
    variables = {"model": variables_of(model), "optimizer": optimizer.variables if optimizer else (), "best": best}
    for group, values in variables.items():
        arrays |= {f"{group}/{index}": keras.ops.convert_to_numpy(value) for index, value in enumerate(values)}
    results.write_csv(folder / results.HISTORY, state.history)  # for whoever watches; the state has it too
    results.write_arrays(folder / results.STATE, arrays, compress=False)


def load_state(folder, model, fresh):
    """Return `(state, arrays)` of an interrupted run, with the model's variables set; else `(fresh, {})`."""
    path = folder / results.STATE
    if not path.exists():
        return fresh, {}
    arrays = results.read_arrays(path)
    state = State(**json.loads(arrays.pop("state").tobytes()))
    if (state.backend, state.precision) != (fresh.backend, fresh.precision):
        raise TrainingError(
            f"{folder} was begun with {state.backend} in {state.precision}; this is {fresh.backend} in "
            f"{fresh.precision}. Go on with --backend {state.backend} on a machine like the first, or start it again "
            "with --force."
        )
    restore(variables_of(model), arrays, "model")
    return state, arrays


def restore(variables, arrays, group):
    """Assign the saved arrays of a group, if there are any, to variables in their order."""
    saved = sum(name.startswith(f"{group}/") for name in arrays)
    if not saved:
        return
    if saved != len(variables):
        raise TrainingError(
            f"The saved state has {saved} variables of the {group} where {len(variables)} are needed: it is of another "
            "version of this program. Train the run again with --force."
        )
    for index, variable in enumerate(variables):
        variable.assign(arrays[f"{group}/{index}"])


def log_epoch(state, phase, row, metric, log):
    """Print one line on an epoch, with the time that the phase still takes at this pace."""
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
    """Return a callback that keeps one line of progress within an epoch, where somebody looks at a terminal."""
    if not sys.stderr.isatty():
        return []

    def show(step, logs):
        end = "\r" if step + 1 < steps else "\r\033[K"
        print(f"  {step + 1}/{steps}  loss {logs['loss']:.3f}", end=end, file=sys.stderr, flush=True)

    return [keras.callbacks.LambdaCallback(on_train_batch_end=show)]
