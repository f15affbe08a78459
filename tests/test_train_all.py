"""The command as a user gives it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from hw2 import experiments, results

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "train_all.py"
# Runs a script with some packages out of reach, as on a machine that does not have them.
WITHOUT = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the test)")
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def train_all(*arguments, before=(), **environment):
    command = [sys.executable, *before, str(SCRIPT), *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, cwd=ROOT)
    return process.returncode, process.stdout, process.stderr


def test_list_needs_no_backend_and_names_every_experiment(tmp_path):
    folder = tmp_path / "vgg16_features_linear"
    results.open_run(folder, {})
    results.write_json(folder / "metrics.json", {"budget": "cpu", "test": {"accuracy": 0.4567}})
    results.write_json(folder / "final.json", {})
    code, out, _ = train_all("--list", "--results", tmp_path, KERAS_BACKEND="none")
    assert code == 0
    for name in experiments.EXPERIMENTS:
        assert name in out
    assert "accuracy 45.7% (cpu)" in out and out.startswith(f"{tmp_path}:")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--only", "vgg61"), "there is no experiment vgg61; --list"),
        (("--budget", "smoke", "--results", ROOT / "results"), "results/ is for real runs"),
        (("--seed", "-1"), "argument --seed"),
        (("--jobs", "2", "--force"), "--jobs takes a number from 1 up; with --force one"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message):
    code, _, err = train_all(*arguments)
    assert code == 2 and message in err and "Traceback" not in err


def test_another_backend_is_refused():
    code, _, err = train_all(KERAS_BACKEND="torch")
    assert code == 2 and "KERAS_BACKEND is torch; this trains on tensorflow or jax" in err


def test_seeds():
    assert experiments.seeds_of("scratch_final", "cpu") == experiments.seeds_of("scratch_final", "smoke") == [0, 1, 2]
    assert experiments.seeds_of("seg_book_bilinear", "cpu") == [0, 1, 2]
    assert experiments.seeds_of("seg_book_bilinear", "smoke") == [0]  # no ensemble needs the others
    assert experiments.seeds_of("scratch_final", "cpu", 7) == [7]
    assert (
        experiments.seeds_of("ensemble_scratch_final", "cpu", 7) == experiments.seeds_of("seg_baselines", "cpu") == [0]
    )


def test_missing_backend_is_explained():
    code, _, err = train_all("--backend", "jax", before=("-c", WITHOUT.replace("NAMES", "('jax',)")))
    assert code == 2 and "jax is not installed: pip install jax" in err and "Traceback" not in err


def test_missing_data_is_explained_and_what_another_process_trains_is_left_to_it(tmp_path):
    """No data and no network: what is missing, from where, to where; and nothing counts as finished."""
    folder = tmp_path / "r" / "scratch_plain"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / results.LOCK):
        code, out, err = train_all(
            *("--budget", "cpu", "--only", "scratch_plain", "vgg16_features_linear"),
            *("--data-dir", tmp_path, "--results", tmp_path / "r", "--jobs", 2),
            https_proxy="http://127.0.0.1:9",
            no_proxy="",
        )
    assert code == 1 and "Traceback" not in err
    assert "cifar-100-binary.tar.gz" in err and str(tmp_path / "cifar-100-binary") in err
    assert err.count("vgg16_features_linear: ") == 1  # one of the jobs says so, when the other is done
    assert out.count("put off") == 2
    assert results.run_state(tmp_path / "r" / "vgg16_features_linear") == "unfinished"
    assert "scratch_plain: another process is training it" in err and results.run_state(folder) == "missing"
    assert "0 of 2 runs are finished" in out


# An entry of each kind; the README's first command rehearses all of them on TensorFlow.
SOME = ("vgg16_features_flip", "scratch_final", "seg_unet_scratch_both")
ALL = [name for name in experiments.EXPERIMENTS if name != "ensemble_scratch_final"]  # wants further seeds


@pytest.mark.parametrize("names", [SOME, pytest.param(ALL, marks=pytest.mark.slow)], ids=["some", "all"])
def test_smoke_on_jax_where_tensorflow_cannot_be_imported(tmp_path, names):
    pytest.importorskip("jax", reason="jax is an extra: pip install -e '.[test]'")
    arguments = ("--budget", "smoke", "--backend", "jax", "--jobs", 1)
    arguments += ("--data-dir", tmp_path, "--results", tmp_path / "r")
    before = ("-c", WITHOUT.replace("NAMES", "('tensorflow', 'tf_keras')"))
    quick = {"XLA_FLAGS": "--xla_llvm_disable_expensive_passes=true"}  # most of the time goes into compiling
    code, _, err = train_all(*arguments, "--seed", "0", "--only", *names, before=before, **quick)
    assert code == 0, err
    runs = results.finished_runs(tmp_path / "r")
    assert set(runs) == set(names)
    trained = [metrics for metrics in runs.values() if metrics["task"] in ("classification", "segmentation")]
    assert {metrics["backend"] for metrics in trained} == {"jax"}
    assert {metrics["data"]["source"] for metrics in runs.values()} == {"synthetic"}
