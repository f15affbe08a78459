"""Figures again from stored models: the same ones, after a change of a metric the new ones, and nothing lost."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from small_runs import SCRATCH, run

from hw2 import files, runs
from hw2.errors import ResultsError
from hw2.metrics import classification
from hw2.tasks import classification as task
from hw2.tasks import segmentation

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("evaluate", ROOT / "scripts" / "evaluate.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    run(folder, SCRATCH | {"phases": SCRATCH["phases"][:1], "extras": ["test_time_augmentation"]})
    return folder / "results" / "small"


@pytest.fixture
def folder(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "small"))


def test_figures_are_the_same_and_cost_and_history_stay(folder, monkeypatch):
    monkeypatch.delattr(task, "load_training")  # the training images, gigabytes of complete VOC and SBD, are not needed
    before = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("metrics.json", "final.json")
    }
    old, new = script.evaluate(folder, None)
    added = new.pop("evaluated")
    assert new == old and added["versions"]["keras"]
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert runs.damage(folder, digests=True) == []
    assert files.read_json(folder / "metrics.json") == new | {"evaluated": added}


def test_a_new_metric_needs_no_training(folder, monkeypatch):
    figures = classification.classification_figures
    monkeypatch.setattr(classification, "classification_figures", lambda *given: figures(*given) | {"new": 1.0})
    old, new = script.evaluate(folder, None)
    assert (
        "new" not in old["test"] and new["test"]["new"] == new["test_time_augmentation"]["mirror"]["test"]["new"] == 1.0
    )
    assert new["cost"] == old["cost"]


def test_an_interruption_keeps_the_old_record(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(classification, "calibration", interrupted)
    with pytest.raises(KeyboardInterrupt):
        script.evaluate(folder, None)
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != runs.LOCK}
    assert left == before


def test_refusals_say_what_to_do(folder):
    with pytest.raises(ResultsError, match=r"no finished run.*train_all\.py"):
        script.evaluate(folder.parent / "absent", None)
    model = (folder / "model.keras").read_bytes()
    (folder / "model.keras").unlink()
    with pytest.raises(ResultsError, match=r"no stored model.*--force"):
        script.evaluate(folder, None)
    # a damaged run is not certified anew
    (folder / "model.keras").write_bytes(model)
    history = (folder / "history.csv").read_bytes()
    (folder / "history.csv").write_bytes(history[:-20])
    with pytest.raises(ResultsError, match=r"is damaged: history\.csv has"):
        script.evaluate(folder, None)
    assert runs.damage(folder)


def test_baselines_of_other_data_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "seg_baselines"
    folder.mkdir()
    data = {"source": "voc2012-subset", "train": 12, "validation": 3, "test": 4}
    files.write_json(folder / "config.json", {"task": "baselines", "data": data})
    files.write_json(folder / "metrics.json", {})
    runs.write_final(folder, "2026-01-01")
    monkeypatch.setattr(segmentation, "count_data", lambda config, data_dir: data | {"test": 1449})
    with pytest.raises(ResultsError, match=r"data\.test: 4 in results, 1449 now"):
        script.evaluate(folder, None)
    assert runs.damage(folder, digests=True) == []


def test_another_backend_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setattr("sys.argv", ["evaluate.py", "scratch_plain"])
    with pytest.raises(SystemExit, match="2"):
        script.parse_arguments()
    assert "KERAS_BACKEND is torch; this runs on tensorflow or jax" in capsys.readouterr().err


def test_a_backend_that_is_not_installed_is_named(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["evaluate.py", "scratch_plain", "--backend", "jax"])
    with pytest.raises(SystemExit, match="2"):
        script.parse_arguments()
    assert "jax is not installed: pip install jax" in capsys.readouterr().err
