"""Commands that train choose the backend and its kernels before Keras is imported."""

import os
import subprocess
import sys
from pathlib import Path

import factories
import pytest

from hw2 import files, runs

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
# Runs a script up to its import of Keras, and shows what it has chosen by then.
UP_TO_KERAS = """
import os, runpy, sys
class End:
    def find_spec(self, name, path=None, target=None):
        if name == "keras":
            sys.exit(os.environ.get("KERAS_BACKEND", "") + " " + os.environ.get("TF_ENABLE_ONEDNN_OPTS", ""))
sys.meta_path.insert(0, End())
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_kernels_for_training_are_chosen_before_a_test_imports_keras():
    """Else tests in this process use other kernels than the processes that they start."""
    code = "import conftest, os, sys; print(os.environ['TF_ENABLE_ONEDNN_OPTS'], 'keras' in sys.modules)"
    environment = {key: value for key, value in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "1 False\n", done.stderr


@pytest.mark.parametrize("chosen", [None, "0"], ids=["by default", "turned off"])
@pytest.mark.parametrize(
    "arguments, backend",
    [
        (("train_all.py", "--budget", "smoke", "--only", "scratch_plain"), "tensorflow"),
        (("train_all.py", "--budget", "smoke", "--only", "scratch_plain", "--backend", "jax"), "jax"),
        (("evaluate.py", "seg_baselines", "--results", "RESULTS"), "tensorflow"),
        (("benchmark.py",), ""),
    ],
    ids=["train", "train on jax", "evaluate", "benchmark"],
)
def test_kernels_for_training_are_chosen_before_keras_is_imported(arguments, backend, chosen, tmp_path):
    """TensorFlow looks once, when it is imported."""
    if backend == "jax":
        pytest.importorskip("jax", reason="jax is an extra: pip install -e '.[test]'")
    files.write_json(tmp_path / "seg_baselines" / runs.CONFIG, {"task": "baselines"})
    metrics = factories.baselines(factories.configuration("seg_baselines", "baselines"))
    files.write_json(tmp_path / "seg_baselines" / runs.METRICS, metrics)
    runs.write_final(tmp_path / "seg_baselines", "2026-01-01")
    ours = ("TF_ENABLE_ONEDNN_OPTS", "KERAS_BACKEND")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    environment |= {"TF_ENABLE_ONEDNN_OPTS": chosen} if chosen else {}
    script, *others = (str(tmp_path) if part == "RESULTS" else part for part in arguments)
    done = subprocess.run(
        [sys.executable, "-c", UP_TO_KERAS, SCRIPTS / script, *others], env=environment, capture_output=True, text=True
    )
    assert done.stderr.strip() == f"{backend} {chosen or 1}".strip(), done.stderr
