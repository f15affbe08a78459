"""What the table and the registry say of networks without building them, against the networks themselves."""

import importlib
import inspect
import itertools
import subprocess
import sys

import pytest

from hw2.models.registry import NETWORKS, build


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_are_beginnings_of_layer_names_in_their_order(name):
    network = NETWORKS[name]
    image_size = 64 if network.task == "segmentation" else 32
    layers = build(name, 3, **network.rehearsal | {"image_size": image_size}).layers
    of_stage = [[i for i, layer in enumerate(layers) if layer.name.startswith(stage)] for stage in network.stages]
    assert all(of_stage)
    for before, after in itertools.pairwise(of_stage):
        assert before[0] < after[0]
        # otherwise a phase that freezes the earlier stage would train some of its layers
        assert not [layers[i].name for i in before if i > after[0] and layers[i].weights]
    last = [layer for layer in layers if layer.weights][-1]
    assert last.name.startswith(network.stages[-1])


@pytest.mark.parametrize("name", NETWORKS)
def test_arguments_are_those_of_the_builder(name):
    module, function = NETWORKS[name].builder.split(":")
    parameters = inspect.signature(getattr(importlib.import_module(f"hw2.models.{module}"), function)).parameters
    assert {"num_classes", *NETWORKS[name].arguments} == set(parameters)
    for argument, default in NETWORKS[name].arguments.items():
        assert parameters[argument].default in (inspect.Parameter.empty, default)
    assert set(NETWORKS[name].rehearsal) <= set(NETWORKS[name].arguments)


def test_the_table_is_read_without_keras():
    script = "import sys, hw2.experiments.resolve; print({'keras', 'tensorflow', 'jax', 'cv2'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
