"""README's tree and commands against the project."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def tree():
    """Return the names in the tree of "What is where": those at the top, and those under `hw2/`."""
    block = re.search(r"## What is where\n\n```\n(.*?)```", README, re.S)[1]
    top = re.findall(r"^(\S+)", block, re.M)
    inside = re.findall(r"^  (\S+)", block, re.M)
    return {name.rstrip("/") for name in top}, {name.rstrip("/") for name in inside}


def entries(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith((".", "__"))}


def test_the_tree_equals_the_folders():
    top, inside = tree()
    ignored = {"build", "data", "hw2.egg-info"}
    unnamed = {"LICENSE", "pyproject.toml", "README.md"}
    assert entries(ROOT) - ignored - unnamed == top
    assert entries(ROOT / "hw2") == inside


def test_files_named_in_the_text_exist():
    for name in re.findall(r"`((?:hw2|demo|report|scripts|tests|results)/[\w/.]+)`", README):
        assert (ROOT / name).exists(), name


def test_pip_meets_the_limit_on_python_first():
    """Behind other packages, pip 23.0 tries their versions without end instead of saying that Python is too old."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "--editable ."


def test_the_layers_are_in_the_order_of_the_imports():
    from test_imports import LAYERS

    block = re.search(r"## What is where\n\n```\n(.*?)```", README, re.S)[1]
    order = [name.rstrip("/").removesuffix(".py") for name in re.findall(r"^  (\S+)", block, re.M)]
    assert order == sorted(order, key=lambda name: next(i for i, names in enumerate(LAYERS) if name in names))


def test_results_in_git_take_at_most_80_mb():
    """Every training run adds weight to every clone; models and logits are added one by one."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "results"]
        listing = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
        paths = [ROOT / name for name in listing.split("\0") if name]
    else:  # a copy without history has what git holds, and perhaps a rehearsal
        paths = [path for path in (ROOT / "results").rglob("*") if "smoke" not in path.parts]
    assert sum(path.lstat().st_size for path in paths if path.is_file()) <= 80e6
