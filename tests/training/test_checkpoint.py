"""The state of an unfinished run: saved, restored, refused."""

import keras
import numpy as np
import pytest
from small_runs import VGG16

from hw2 import files, runs
from hw2.errors import ResultsError, TrainingError
from hw2.experiments.schema import Phase
from hw2.models import registry
from hw2.tasks import classification
from hw2.training.checkpoint import Checkpoint, State, variables_of
from hw2.training.frozen import set_trainable
from hw2.training.schedule import compile_for_phase


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_every_variable_is_saved_and_restored(tmp_path, policy):
    """Optimizer (wrapped for loss scaling in float16), weights and random generators, after some steps of training."""
    phase = Phase(**VGG16["phases"][1])
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    keras.config.set_dtype_policy(policy)
    models = [registry.build("vgg16_classifier", 100, **VGG16["model_arguments"]) for _ in range(2)]
    for model in models:
        set_trainable(model, "block5")
        compile_for_phase(model, phase, 10, *classification.loss_and_metric(phase, VGG16))
    models[0].fit(images, np.eye(100)[:8], epochs=3, batch_size=4, verbose=0)
    written = Checkpoint(tmp_path, State("tensorflow", policy, epoch=3, history=[{"epoch": 1}]))
    assert not written.resumed
    best = models[0].get_weights()
    written.save(models[0], models[0].optimizer, best)
    read = Checkpoint(tmp_path, State("tensorflow", policy))
    assert read.resumed and read.state == written.state
    read.restore_model(models[1])
    read.restore_optimizer(models[1].optimizer)
    for group in (variables_of, lambda model: model.optimizer.variables):
        for one, other in zip(group(models[0]), group(models[1]), strict=True):
            np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(value) for value in (one, other)))
    for one, other in zip(best, read.best_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    smaller = keras.Sequential([keras.layers.Dense(1)])
    smaller.build((None, 2))
    with pytest.raises(TrainingError, match="another version"):
        read.restore_model(smaller)


def test_a_state_of_another_backend_or_a_damaged_one_is_refused(tmp_path):
    model = registry.build("vgg16_classifier", 100, **VGG16["model_arguments"])
    Checkpoint(tmp_path, State("theano", "float32")).save(model)
    with pytest.raises(TrainingError, match="--backend theano"):
        Checkpoint(tmp_path, State("tensorflow", "float32"))
    (tmp_path / runs.STATE).write_bytes((tmp_path / runs.STATE).read_bytes()[:-200])
    with pytest.raises(ResultsError, match=r"state\.npz is damaged"):
        Checkpoint(tmp_path, State("theano", "float32"))


def test_a_state_of_another_version_is_refused(tmp_path):
    """A field that this version does not know, no fields at all, and variables of another shape."""
    path, message = tmp_path / runs.STATE, r"state\.npz .*another version of this program.*--force"
    unknown = np.frombuffer(b'{"backend": "tensorflow", "precision": "float32", "rate": 1}', np.uint8)
    for arrays in ({"state": unknown}, {"model/0": np.zeros(3)}):
        files.write_arrays(path, arrays)
        with pytest.raises(TrainingError, match=message):
            Checkpoint(tmp_path, State("tensorflow", "float32"))
    small, large = (keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)]) for units in (1, 3))
    path.unlink()
    Checkpoint(tmp_path, State("tensorflow", "float32")).save(small)
    with pytest.raises(TrainingError, match=message):
        Checkpoint(tmp_path, State("tensorflow", "float32")).restore_model(large)


def test_it_is_saved_when_it_is_due(tmp_path):
    model = registry.build("vgg16_classifier", 100, **VGG16["model_arguments"])
    Checkpoint(tmp_path, State("tensorflow", "float32"), seconds=60).save_if_due(model, None, [])
    assert not (tmp_path / runs.STATE).exists()
    Checkpoint(tmp_path, State("tensorflow", "float32"), seconds=0).save_if_due(model, None, [])
    assert (tmp_path / runs.STATE).exists()
