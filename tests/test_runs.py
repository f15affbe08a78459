"""The life of a run's folder: begun, finished, verified, damaged."""

import copy
import json
import subprocess
from pathlib import Path

import factories
import numpy as np
import pytest

from hw2 import files, runs
from hw2.errors import ResultsError

CONFIG = {"seed": 0, "phases": [{"epochs": 2}], "sizes": (1, 2)}
METRICS, _, _ = factories.classifier(factories.configuration("run", "classification"))
RESULTS = Path(__file__).parents[1] / "results"
RECORDED = sorted(path.parent for path in RESULTS.glob(f"*/*/{runs.FINAL}"))


def finish(folder, config=CONFIG):
    """Write a run with the files of a classifier, as if it had just been trained."""
    runs.begin_run(folder, config)
    files.write_json(folder / "metrics.json", METRICS)
    files.write_csv(folder / "history.csv", [{"epoch": 1}])
    files.write_arrays(folder / "predictions.npz", {"a": np.zeros(1)})
    (folder / "model.keras").write_bytes(b"a model")
    files.write_arrays(folder / "state.npz", {"a": np.zeros(1)})
    runs.close_run(folder)
    return folder


def test_life_of_a_run(tmp_path):
    folder = tmp_path / "run"
    assert runs.run_state(folder) == "missing"
    assert runs.is_finished(folder, CONFIG) is False
    assert runs.run_state(folder) == "missing"  # nothing has begun
    runs.begin_run(folder, CONFIG)
    assert runs.run_state(folder) == "unfinished"
    assert runs.is_finished(folder, CONFIG) is False  # the tuple is a list by now, and the same
    with pytest.raises(ResultsError, match=r"history\.csv, metrics\.json, predictions\.npz, model\.keras"):
        runs.close_run(folder)
    assert runs.finished_runs(tmp_path) == {}
    finish(folder)
    assert not (folder / "state.npz").exists()
    (folder / "state.npz").write_bytes(b"left by a kill at the very end")
    (folder / ".writing-abc-state.npz").write_bytes(b"left by a kill while writing")
    assert runs.is_finished(folder, CONFIG) is True
    assert not (folder / "state.npz").exists() and not list(folder.glob(".writing-*"))
    assert runs.finished_runs(tmp_path) == {"run": METRICS}
    with pytest.raises(ResultsError, match="seed: 0 in results, 1 now"):
        runs.is_finished(folder, CONFIG | {"seed": 1})
    runs.begin_run(folder, CONFIG | {"seed": 1}, force=True)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert files.read_json(folder / "config.json")["seed"] == 1


def test_sizes_and_digests_of_a_finished_run(tmp_path):
    """A truncated file shows at every start, a changed one with digests; models and logits may be absent."""
    folder = finish(tmp_path / "run")
    assert runs.damage(folder) == runs.damage(folder, digests=True) == []
    recorded = files.read_json(folder / "final.json")["files"]
    expected = subprocess.run(["sha256sum", folder / "history.csv"], capture_output=True, text=True).stdout.split()[0]
    assert recorded["history.csv"] == {"bytes": len("epoch\n1\n"), "sha256": expected}
    assert set(recorded) == {"config.json", "history.csv", "metrics.json", "predictions.npz", "model.keras"}
    (folder / "history.csv").write_text("epoch\n2\n")
    assert runs.damage(folder) == []
    assert runs.damage(folder, digests=True) == ["history.csv has changed since the run was finished"]
    (folder / "history.csv").write_text("epo")
    with pytest.raises(ResultsError, match=r"history\.csv has 3 bytes, not 8.*--force"):
        runs.is_finished(folder, CONFIG)
    (folder / "history.csv").write_text("epoch\n1\n")
    (folder / "model.keras").unlink()
    assert runs.is_finished(folder, CONFIG) is True
    (folder / "predictions.npz").unlink()
    with pytest.raises(ResultsError, match=r"predictions\.npz is missing"):
        runs.is_finished(folder, CONFIG)


@pytest.mark.parametrize("content", ["", "{}", '{"run": "run", "finis', '{"files": 3}'])
def test_a_truncated_end_is_named(tmp_path, content):
    folder = finish(tmp_path / "run")
    (folder / "final.json").write_text(content)
    with pytest.raises(ResultsError, match=r"final\.json.*(damaged|incomplete)|damaged.*final\.json"):
        runs.is_finished(folder, CONFIG)


def test_a_finished_run_without_metrics_or_configuration_is_named(tmp_path):
    folder = finish(tmp_path / "run")
    (folder / "metrics.json").unlink()
    with pytest.raises(ResultsError, match=r"run is marked as finished but has no metrics\.json"):
        runs.finished_runs(tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(ResultsError, match=r"run is marked as finished but has no config\.json"):
        runs.is_finished(folder, CONFIG)


@pytest.mark.parametrize(
    "content",
    [
        *("{}", "[]", '"text"', "7", '{"task": []}', '{"task": "classification", "data": {"classes": 2}}'),
        *("true", '{"task": "a task of another version"}', '{"cost": null, "task": "ensemble"}'),
    ],
)
def test_what_is_no_record_of_a_run_is_named(tmp_path, content):
    folder = finish(tmp_path / "run")
    (folder / "metrics.json").write_text(content)
    for read in (lambda: runs.read_metrics(folder), lambda: runs.finished_runs(tmp_path)):
        with pytest.raises(ResultsError, match=r"run/metrics\.json is damaged .*--force"):
            read()


def test_metrics_without_a_figure_name_it(tmp_path):
    folder = finish(tmp_path / "run")
    for path in ("validation", "test.accuracy", "cost.seconds", "data.classes", "calibration.temperature", "budget"):
        for value in (None, "0.5", [0.5], -3, float("nan"), {}):
            metrics = copy.deepcopy(METRICS)
            *keys, last = path.split(".")
            place = metrics
            for key in keys:
                place = place[key]
            place[last] = value
            (folder / "metrics.json").write_text(json.dumps(metrics))
            if (path, value) == ("budget", "0.5"):
                continue
            with pytest.raises(ResultsError, match=rf"metrics\.json is damaged \(it has no valid {path}"):
                runs.read_metrics(folder)


@pytest.mark.skipif(not RECORDED, reason="no runs are stored here")
def test_the_metrics_of_all_recorded_runs_are_accepted():
    tasks = {runs.read_metrics(folder)["task"] for folder in RECORDED}
    assert tasks == {"classification", "segmentation", "ensemble", "baselines"}


@pytest.mark.parametrize("entry", [5, None, [], {}, {"bytes": 3}, {"bytes": "3", "sha256": "a"}])
def test_a_malformed_entry_of_the_end_is_named(tmp_path, entry):
    folder = finish(tmp_path / "run")
    final = files.read_json(folder / "final.json")
    files.write_json(folder / "final.json", final | {"files": final["files"] | {"config.json": entry}})
    for digests in (False, True):
        assert runs.damage(folder, digests) == ["final.json is incomplete"]


def test_the_budget_with_more_finished_runs_is_shown(tmp_path):
    """The gpu budget's when equal; the cpu budget's folder where there is nothing."""
    assert runs.results_folder(tmp_path) == tmp_path / "cpu"
    finish(tmp_path / "smoke" / "a")
    finish(tmp_path / "gpu" / "a")
    assert runs.results_folder(tmp_path) == tmp_path / "gpu"
    finish(tmp_path / "cpu" / "a")
    assert runs.results_folder(tmp_path) == tmp_path / "gpu"
    finish(tmp_path / "cpu" / "b")
    assert runs.results_folder(tmp_path) == tmp_path / "cpu"


def test_provenance_names_commit_and_versions():
    found = runs.provenance("tensorflow")
    assert found["versions"]["numpy"] == np.__version__ and set(found["versions"]) == {
        *("python", "numpy", "keras", "tensorflow")
    }
    assert set(runs.provenance()["versions"]) == {"python", "numpy", "keras"}
    if found["commit"] is not None:  # None in a copy without .git
        assert len(found["commit"].rstrip("+")) == 40


def test_differences_name_the_place():
    found = {"a": 1, "b": [{"c": 1}, {"c": 2}], "gone": None}
    wanted = {"a": 1, "b": [{"c": 1}, {"c": 3}], "new": None}
    assert runs.differences(found, wanted) == [
        "b[1].c: 2 in results, 3 now",
        "new: absent in results, null now",
        "gone: null in results, absent now",
    ]
    assert runs.differences({"b": [1]}, {"b": [1, 2]}) == ["b: [1] in results, [1, 2] now"]


def test_time_is_the_processors_where_training_fills_it():
    few, many, gpu = "A CPU, 2 cores (avx2)", "A CPU, 64 cores (avx2)", "A GPU"
    cost = {"seconds": 100.0, "cpu_seconds": 120.0, "feature_seconds": 9.0, "feature_cpu_seconds": 8.0}
    assert [runs.training_seconds(cost | {"device": name}) for name in (few, many, gpu)] == [60.0, 100.0, 100.0]
    del cost["feature_cpu_seconds"]  # then that part is the clock's
    assert runs.training_seconds(cost | {"device": few}) == 69.0
    assert runs.training_seconds({"seconds": 100.0, "device": few}) == 100.0
