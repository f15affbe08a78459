"""Speed side by side: equal networks, rounds in turn, and a file that rows are added to."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from hw2 import files
from hw2.experiments.resolve import phases_of, resolve
from hw2.models import layers as faster
from hw2.models.registry import build_model

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import benchmark
import benchmark_rows

TRAINED = {name: row for name, row in benchmark_rows.ROWS.items() if name.startswith("train_")}


def built(variants, **_):
    """Stand for `in_turn`, but measure nothing: the variants have only been built."""
    return {name: {"median": 1.0, "count": count} for name, (_, count) in variants.items()}


def test_variants_take_turns_and_figures_are_of_calls():
    calls = []
    variants = {"first": (lambda: calls.append("a"), 10), "second": (lambda: calls.append("b"), None)}
    figures = benchmark.in_turn(variants, rounds=3, others=[], seconds=0, attempts=1)
    assert "".join(calls) == "aabb" + 3 * "ab"
    assert all(of["min"] <= of["median"] <= of["max"] for of in figures.values())
    assert figures["first"]["min"] > 10 / 0.01 and figures["second"]["max"] < 10  # images a second, milliseconds


def test_the_quietest_rounds_count(monkeypatch):
    busy = iter([0.9, 0.0, 0.5, 0.4, 0.3])
    monkeypatch.setattr(benchmark, "busy_elsewhere", lambda *_: next(busy))
    others, calls = [], []
    variants = {"a call": (lambda: calls.append(len(calls)) or benchmark.time.sleep(0.01 * len(calls)), None)}
    figures = benchmark.in_turn(variants, rounds=2, others=others, seconds=0, calls_before=0, attempts=2)
    assert len(calls) == 4 and others == [0.0, 0.4]  # of at most twice as many rounds
    assert 20 <= figures["a call"]["min"] < 40 <= figures["a call"]["max"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of its processes")
def test_usage_counts_this_process_as_its_own():
    began = benchmark.usage()
    while benchmark.usage()[0] - began[0] < 0.5:
        sum(range(10_000))
    _, busy, own = (after - before for before, after in zip(began, benchmark.usage(), strict=True))
    assert busy >= own - 0.1 and own > 0.1


def test_rows_are_added_to_those_of_the_same_machine(tmp_path, monkeypatch, capsys):
    output = tmp_path / "benchmark.json"
    monkeypatch.setattr(benchmark, "in_turn", lambda variants, rounds, others: built(variants))
    for name in ("metrics_segmentation", "metrics_classification"):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", "--only", name, "--output", str(output)])
        benchmark.main()
        assert f"{name}: ours 1.0 images/s" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--precision", "mixed_float16"])
    benchmark.main()
    first, other = files.read_json(output)["machines"]
    assert list(first["rows"]) == ["metrics_classification", "metrics_segmentation"]  # as in the table
    assert first["rows"]["metrics_classification"]["variants"]["ours"]["count"] == 15_000
    assert other["machine"] == first["machine"] | {"precision": "mixed_float16"}
    assert list(other["rows"]) == ["metrics_classification"]


def test_rows_of_another_backend_are_those_of_another_machine(tmp_path):
    path, found = tmp_path / "benchmark.json", benchmark.machine("float32")
    assert found["backend"] == keras.backend.backend()
    old = {key: value for key, value in found.items() if key != "backend"}  # as records were before
    files.write_json(path, {"machines": [{"machine": old, "rows": {"metrics_segmentation": {}}}]})
    _, rows = benchmark.open_record(path, found | {"backend": "tensorflow"})
    assert list(rows) == ["metrics_segmentation"]
    record, rows = benchmark.open_record(path, found | {"backend": "jax"})
    assert rows == {} and len(record["machines"]) == 2


@pytest.mark.parametrize("script", ["benchmark.py", "count_costs.py"])
def test_another_backend_is_refused(script):
    command = [sys.executable, str(Path(benchmark.__file__).with_name(script))]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "torch"})
    assert ended.returncode == 1 and ended.stderr == "KERAS_BACKEND is torch; this runs on tensorflow or jax\n"


def test_the_machine_is_described_without_its_name():
    found = benchmark.machine("float32")
    assert found["versions"]["keras"] == keras.__version__ and found["memory_gib"] > 0
    assert benchmark.platform.node() not in str(found).split() and str(Path.home()) not in str(found)


def test_keras_own_layers_replace_ours_only_in_the_context():
    config = resolve("scratch_residual", "smoke")
    ours = build_model(config)
    with benchmark_rows.stock_layers():
        stock = build_model(config)
    kinds = [{type(layer) for layer in model.layers} for model in (ours, stock, build_model(config))]
    assert faster.BatchNormalization in kinds[0] and kinds[2] == kinds[0]
    assert kinds[1] == {getattr(keras.layers, kind.__name__) for kind in kinds[0]}
    assert stock.count_params() == ours.count_params()


@pytest.mark.parametrize(
    "name, trainable", [("train_residual", ""), ("train_block5", "block5"), ("features_vgg16", None)]
)
def test_without_torch_a_row_says_so(name, trainable, monkeypatch):
    monkeypatch.setattr(benchmark_rows, "torch_is_here", lambda: False)
    row = benchmark_rows.ROWS[name].measure(built)
    variants = row["variants"]
    assert list(variants) == ["ours", "keras", "pytorch"] and variants["ours"] == variants["keras"]
    assert "pip install -e '.[bench]'" in variants["pytorch"]["not_measured"]
    if "experiment" in row:
        assert phases_of(resolve(row["experiment"]))[row["phase"]].trainable == trainable


def test_what_cannot_be_measured_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark_rows, "ROOT", tmp_path)
    monkeypatch.setattr(benchmark_rows.shutil, "which", lambda name: None)
    for name, reason in (("demo", "no stored models"), ("render", "Quarto is not installed")):
        row = benchmark_rows.ROWS[name].measure(built)
        assert reason in row["not_measured"] and reason in benchmark.in_words(name, row)


def test_batches_are_augmented_as_in_training():
    row = benchmark_rows.ROWS["input_segmentation"].measure(built)
    assert row["augmentation"] == ["joint_flip", "joint_scale_crop", "jitter"] and row["image_size"] == 160


@pytest.mark.parametrize("row", TRAINED)
def test_networks_in_pytorch_have_as_many_parameters_and_train(row):
    pytest.importorskip("torch", reason="PyTorch is an extra: pip install -e '.[bench]'")
    import torch_networks

    losses = []

    def two_steps(variants):
        step, _ = variants["pytorch"]
        losses.extend([step(), step()])
        return built(variants)

    measured = TRAINED[row].measure(two_steps)
    arguments = {"first": "block5"} if row == "train_block5" else {}
    network = torch_networks.build(resolve(measured["experiment"]), **arguments)
    assert torch_networks.count_parameters(network) == measured["parameters"]
    assert np.isfinite(losses).all() and losses[0] != losses[1]  # the first step has changed the weights


@pytest.mark.parametrize("experiment", ["scratch_residual", "scratch_final", "vgg16_full"])
def test_networks_in_pytorch_compute_the_same(experiment):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install -e '.[bench]'")
    import torch_networks

    config = resolve(experiment)
    model, network = build_model(config), torch_networks.build(config).eval()
    copy_weights(model, network, torch)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    with torch.inference_mode():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    expected = model.predict_on_batch(images)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def copy_weights(model, network, torch):
    """Copy the weights of a Keras model to a network whose layers of each kind have the same order."""
    kinds = {
        torch.nn.BatchNorm2d: keras.layers.BatchNormalization,
        torch.nn.BatchNorm1d: keras.layers.BatchNormalization,
        torch.nn.Conv2d: (keras.layers.Conv2D, faster.PatchWhitening),
        torch.nn.Linear: keras.layers.Dense,
    }
    left = [layer for layer in model.layers if layer.weights]
    for module in network.modules():
        if type(module) not in kinds:
            continue
        layer = next(layer for layer in left if isinstance(layer, kinds[type(module)]))
        left.remove(layer)
        arrays = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            module.eps = layer.epsilon
        if arrays[0].ndim > 1:
            axes = (3, 2, 0, 1) if arrays[0].ndim == 4 else (1, 0)
            arrays[0] = arrays[0].transpose(axes)
        state = [tensor for name, tensor in module.state_dict().items() if not name.endswith("batches_tracked")]
        for tensor, array in zip(state, arrays, strict=True):
            tensor.copy_(torch.from_numpy(array))
    assert not left


def test_the_committed_record_has_every_row_of_every_machine():
    for measured in files.read_json(benchmark.OUTPUT)["machines"]:
        assert list(measured["rows"]) == list(benchmark_rows.ROWS)
        # in float32, convolutions leave little to save, and less than a twentieth is noise
        least = 0.95 if measured["machine"]["precision"] == "float32" else 1
        for name in TRAINED:
            variants = measured["rows"][name]["variants"]
            assert variants["ours"]["median"] > least * variants["keras"]["median"], name
