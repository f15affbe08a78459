import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from hw2 import results


def test_json_csv_and_arrays_come_back(tmp_path):
    value = {"a": [1, 2.5, None, "x"], "b": {"c": True}}
    results.write_json(tmp_path / "deep" / "a.json", value)
    assert results.read_json(tmp_path / "deep" / "a.json") == value
    rows = [{"epoch": 1, "loss": 0.1 + 0.2, "note": "a,b"}, {"epoch": 2, "loss": 1e-30, "note": None}]
    rows.append({"epoch": 3, "loss": 0.5, "note": "2007_000032"})  # an image of VOC and no number
    results.write_csv(tmp_path / "a.csv", rows)
    assert results.read_csv(tmp_path / "a.csv") == rows
    (tmp_path / "cut.csv").write_text("epoch,loss,note\n1,0.5")
    assert results.read_csv(tmp_path / "cut.csv") == [{"epoch": 1, "loss": 0.5, "note": None}]
    arrays = {"logits": np.arange(6, dtype=np.float16).reshape(2, 3), "indices": np.array([3, 1])}
    results.write_arrays(tmp_path / "a.npz", arrays)
    read = results.read_arrays(tmp_path / "a.npz")
    assert list(read) == ["logits", "indices"] and read["logits"].dtype == np.float16
    np.testing.assert_array_equal(read["indices"], [3, 1])


def test_not_a_number_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", logits=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(results.ResultsError, match="allow_pickle"):
        results.read_arrays(tmp_path / "a.npz")


def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path):
    results.write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(OSError), results.atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert results.read_json(tmp_path / "a.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_kill_while_writing_keeps_the_old_file(tmp_path):
    results.write_json(tmp_path / "a.json", {"old": 1})
    script = (
        "import os, signal, sys\nfrom hw2 import results\n"
        "with results.atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('{')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.json")], env=os.environ)
    assert process.returncode == -signal.SIGKILL
    assert results.read_json(tmp_path / "a.json") == {"old": 1}


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(results.ResultsError, match=r"config\.json is damaged.*--force"):
        results.open_run(tmp_path, {"seed": 0})
    results.write_arrays(tmp_path / "state.npz", {"a": np.arange(1000)})
    whole = (tmp_path / "state.npz").read_bytes()
    for content in (b"", whole[:100], whole[:-100], whole[:400] + b"x" * 50 + whole[450:]):
        (tmp_path / "state.npz").write_bytes(content)
        with pytest.raises(results.ResultsError, match=r"state\.npz is damaged"):
            results.read_arrays(tmp_path / "state.npz")


def test_life_of_a_run(tmp_path):
    folder, config = tmp_path / "run", {"seed": 0, "phases": [{"epochs": 2}], "sizes": (1, 2)}
    assert results.run_state(folder) == "missing"
    assert results.open_run(folder, config) is False
    assert results.run_state(folder) == "unfinished"
    assert results.open_run(folder, config) is False  # the tuple is a list by now, and the same
    with pytest.raises(results.ResultsError, match=r"history\.csv, metrics\.json, predictions\.npz, model\.keras"):
        results.close_run(folder)
    assert results.finished_runs(tmp_path) == {}
    results.write_json(folder / "metrics.json", {"test": {"accuracy": 0.5}})
    results.write_csv(folder / "history.csv", [{"epoch": 1}])
    results.write_arrays(folder / "predictions.npz", {"a": np.zeros(1)})
    (folder / "model.keras").write_bytes(b"a model")
    results.write_arrays(folder / "state.npz", {"a": np.zeros(1)})
    results.close_run(folder)
    (folder / "state.npz").write_bytes(b"left by a kill at the very end")
    (folder / ".writing-abc-state.npz").write_bytes(b"left by a kill while writing")
    assert results.open_run(folder, config) is True
    assert not (folder / "state.npz").exists() and not list(folder.glob(".writing-*"))
    assert results.finished_runs(tmp_path) == {"run": {"test": {"accuracy": 0.5}}}
    with pytest.raises(results.ResultsError, match="seed: 0 in results, 1 now"):
        results.open_run(folder, config | {"seed": 1})
    assert results.open_run(folder, config | {"seed": 1}, force=True) is False
    assert {path.name for path in folder.iterdir()} == {"config.json"}


def test_a_finished_run_without_metrics_is_named(tmp_path):
    results.write_json(tmp_path / "run" / "final.json", {})
    with pytest.raises(results.ResultsError, match=r"run is marked as finished and has no metrics\.json"):
        results.finished_runs(tmp_path)


def test_differences_name_the_place():
    found = {"a": 1, "b": [{"c": 1}, {"c": 2}], "gone": True}
    wanted = {"a": 1, "b": [{"c": 1}, {"c": 3}], "new": "x"}
    assert results.differences(found, wanted) == [
        "b[1].c: 2 in results, 3 now",
        'new: null in results, "x" now',
        "gone: true in results, null now",
    ]
    assert results.differences({"b": [1]}, {"b": [1, 2]}) == ["b: [1] in results, [1, 2] now"]


def test_time_is_the_processors_where_training_fills_it():
    few, many, gpu = "A CPU, 2 cores (avx2)", "A CPU, 64 cores (avx2)", "A GPU"
    cost = {"seconds": 100.0, "cpu_seconds": 120.0, "feature_seconds": 9.0, "feature_cpu_seconds": 8.0}
    assert [results.training_seconds(cost | {"device": name}) for name in (few, many, gpu)] == [60.0, 100.0, 100.0]
    del cost["feature_cpu_seconds"]  # then that part is the clock's
    assert results.training_seconds(cost | {"device": few}) == 69.0
    assert results.training_seconds({"seconds": 100.0, "device": few}) == 100.0
