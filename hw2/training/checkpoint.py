"""The state of an unfinished run, in `state.npz`: all that training needs to resume, on a CPU to the last digit."""

import dataclasses
import json
import time

import keras
import numpy as np

from hw2 import files, runs
from hw2.errors import TrainingError
from hw2.hardware import peak_memory_mib


@dataclasses.dataclass
class State:
    """How far a run is: everything in `state.npz` but the variables of model and optimizer.

    events: when training stopped early, restored weights or lowered its rate, with epochs counted from 1.
    started_from: when the run was finished whose weights this one started from. teachers: {run: the same} of the runs
    that teach this one. None where there are none, or where that was not recorded.
    epoch, best_value, best_epoch, last_improvement: of the current phase. The value is the validation metric. The last
    improvement is the epoch from which the plateau schedule counts.
    """

    backend: str
    precision: str
    started_from: str | None = None
    teachers: dict | None = None
    phase: int = 0
    history: list = dataclasses.field(default_factory=list)
    events: list = dataclasses.field(default_factory=list)
    feature_seconds: float = 0.0
    feature_cpu_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    epoch: int = 0
    best_value: float = -1.0
    best_epoch: int = 0
    last_improvement: int = 0

    def next_phase(self):
        self.phase += 1
        self.epoch, self.best_value, self.best_epoch, self.last_improvement = 0, -1.0, 0, 0

    def add_event(self, event):
        self.events.append({"epoch": len(self.history), "event": event})


class Checkpoint:
    """Reads `state.npz` of the run in `folder` if it is there, and writes it.

    fresh: State of a run that begins. seconds: `save_if_due` saves if the last save is at least this long ago.

    Raises TrainingError for a state of another backend, number format or version of this program, ResultsError for a
    damaged one.
    """

    def __init__(self, folder, fresh, seconds=0.0):
        self.folder, self.seconds, self.saved = folder, seconds, time.monotonic()
        self.path = folder / runs.STATE
        self.state, self.arrays = fresh, {}
        self.resumed = self.path.exists()
        if not self.resumed:
            return
        self.arrays = files.read_arrays(self.path)
        try:
            self.state = State(**json.loads(self.arrays.pop("state").tobytes()))
        except (KeyError, TypeError) as error:
            raise self._foreign(f"its fields are not those of a state here ({error})") from error
        if (self.state.backend, self.state.precision) != (fresh.backend, fresh.precision):
            raise TrainingError(
                f"{folder} was begun with {self.state.backend} in {self.state.precision}; this is {fresh.backend} in "
                f"{fresh.precision}. Resume with --backend {self.state.backend} on a machine like the first one, or "
                "start again with --force."
            )

    def restore_model(self, model):
        self._restore("model", variables_of(model))

    def restore_optimizer(self, optimizer):
        self._restore("optimizer", optimizer.variables)

    def best_weights(self):
        """Return the saved weights of the phase's best epoch, [] if none were saved."""
        return [self.arrays[f"best/{index}"] for index in range(self._count("best"))]

    def save(self, model, optimizer=None, best=()):
        """Write the state and `history.csv`. best: weights of the phase's best epoch, where they may be needed."""
        state = self.state
        state.peak_memory_mib = max(state.peak_memory_mib, peak_memory_mib())
        arrays = {"state": np.frombuffer(json.dumps(dataclasses.asdict(state)).encode(), np.uint8)}
        groups = {"model": variables_of(model), "optimizer": optimizer.variables if optimizer else (), "best": best}
        for group, values in groups.items():
            arrays |= {f"{group}/{index}": keras.ops.convert_to_numpy(value) for index, value in enumerate(values)}
        files.write_csv(self.folder / runs.HISTORY, state.history)  # for people who watch; the state has it too
        files.write_arrays(self.path, arrays, compress=False)
        self.arrays, self.saved = {}, time.monotonic()

    def save_if_due(self, model, optimizer, best):
        if time.monotonic() - self.saved >= self.seconds:
            self.save(model, optimizer, best)

    def _count(self, group):
        return sum(name.startswith(f"{group}/") for name in self.arrays)

    def _restore(self, group, variables):
        saved = [self.arrays[f"{group}/{index}"] for index in range(self._count(group))]
        if not saved:
            return
        if [array.shape for array in saved] != [tuple(variable.shape) for variable in variables]:
            raise self._foreign(f"its {len(saved)} variables of the {group} are not the {len(variables)} of this run")
        for variable, array in zip(variables, saved, strict=True):
            variable.assign(array)

    def _foreign(self, why):
        return TrainingError(
            f"{self.path} was written by another version of this program: {why}. Train the run again with --force."
        )


def variables_of(model):
    """Return all variables of the layers, the states of their random generators included, in a fixed order."""
    return [variable for layer in model.layers for variable in layer.variables]
