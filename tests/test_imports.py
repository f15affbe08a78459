"""Imports run one way, and what needs no Keras imports none."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# from bottom to top; a module imports from its own layer and from those before it
LAYERS = (
    ("labels", "errors", "files", "backend"),
    ("hardware", "runs"),
    ("data",),
    ("models",),
    ("experiments",),
    ("metrics",),
    ("tasks",),
    ("training",),
    ("inference",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# what reads results and draws them, and all that this imports, must work where no Keras is installed
WITHOUT_KERAS = (
    *("hw2.labels", "hw2.errors", "hw2.files", "hw2.backend", "hw2.runs", "hw2.experiments", "hw2.experiments.resolve"),
    *("hw2.metrics.classification", "hw2.metrics.calibration", "hw2.metrics.combine", "hw2.metrics.intervals"),
    *("hw2.metrics.segmentation", "hw2.models.registry", "hw2.data.splits", "hw2.data.augment"),
)


def imported(path):
    """Return the modules of `hw2` that a file imports, wherever in it, as dotted names without "hw2."."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hw2":
            base = node.module.removeprefix("hw2").lstrip(".")
            names |= {base} if base else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("hw2.") for alias in node.names if alias.name.startswith("hw2.")}
    return names


def modules(folder):
    return sorted(path for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py" or path.read_text())


@pytest.mark.parametrize("path", modules("hw2"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    layer = path.relative_to(ROOT / "hw2").parts[0].removesuffix(".py")
    if layer == "__init__":
        assert not imported(path)
        return
    for name in imported(path):
        assert RANK[name.split(".")[0]] <= RANK[layer], f"{path.name} imports hw2.{name}, which is above it"


@pytest.mark.parametrize("folder", ["hw2", "scripts", "report", "demo"])
def test_nothing_imports_what_stands_above(folder):
    """The library imports neither scripts, report nor demo; the report imports only modules without Keras."""
    for path in modules(folder):
        tree = ast.parse(path.read_text())
        roots = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        roots |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        tops = {name.split(".")[0] for name in roots}
        assert not tops & ({"scripts", "report", "demo", "tests"} - {folder}), path
        if folder == "report":
            assert not tops & {"keras", "tensorflow", "jax"}, path
            assert not {name.split(".")[0] for name in imported(path)} & {"hardware", "tasks", "training", "inference"}


def test_reading_results_needs_no_keras():
    script = f"import sys\nfor name in {WITHOUT_KERAS!r}: __import__(name)\nassert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_scripts_report_and_demo_share_no_module_name():
    """Each folder is on the path of its own command; one process that uses two of them must find the right module."""
    names = [path.stem for folder in ("scripts", "report", "demo") for path in (ROOT / folder).glob("*.py")]
    assert len(set(names)) == len(names), sorted(names)
