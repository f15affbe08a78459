"""The made-up metrics of the tests have the keys and types that committed runs have."""

import sys
from pathlib import Path

import factories
import pytest

from hw2 import files, runs
from hw2.training import ensemble

RESULTS = Path(__file__).parents[1] / "results"
RUNS = sorted(path.parent for budget in ("cpu", "gpu") for path in RESULTS.glob(f"{budget}/*/{runs.FINAL}"))
# Absent from runs that were trained before these were recorded.
OPTIONAL = {"cost.feature_cpu_seconds", "examples.worst_large", "teachers"}
# Names of metrics that committed runs get when they are next measured or trained, wherever they stand in the record.
RECENT = set()


def unlike(made, found, where=""):
    """Return the places where two values of `metrics.json` have different keys or types; None fits every type."""
    if isinstance(made, dict) and isinstance(found, dict):
        if where in ("members", "baselines"):  # their keys are names
            return unlike(next(iter(made.values())), next(iter(found.values())), f"{where}.*")
        places = {key: f"{where}.{key}".lstrip(".") for key in (*made, *found)}
        missing = [places[key] for key in made.keys() ^ found.keys()]
        return [place for place in missing if place not in OPTIONAL and place.rpartition(".")[2] not in RECENT] + [
            place for key in made.keys() & found.keys() for place in unlike(made[key], found[key], places[key])
        ]
    if isinstance(made, list) and isinstance(found, list):
        return unlike(made[0], found[0], f"{where}[]") if made and found else []
    same = (
        made is None
        or found is None
        or type(made) is type(found)
        or isinstance(made, int | float) is isinstance(found, int | float)
    )
    return [] if same else [where]


@pytest.mark.skipif(not RUNS, reason="no runs are stored here")
def test_metrics_are_like_those_of_the_committed_runs(tmp_path):
    made = {}
    for folder in RUNS:
        config, metrics = files.read_json(folder / runs.CONFIG), runs.read_metrics(folder)
        extras = [extra for extra in ("test_time_augmentation", "robustness") if extra in metrics]
        kind = config["task"], metrics["data"]["classes"], *extras
        if kind not in made:
            made[kind] = make(config, extras, tmp_path / "-".join(map(str, kind)))
        if "evaluated" in metrics:  # measured again: what did so
            assert metrics.pop("evaluated").keys() == {"commit", "versions", "precision", "device"}, folder.name
        assert unlike(made[kind], metrics) == [], folder.name
    assert len(made) > 3


def make(config, extras, folder):
    """Return made-up metrics of a run with this configuration. folder: for the members of an ensemble."""
    if config["task"] == "classification":
        assert [extra for extra in config["extras"] if extra != "grad_cam"] == extras
        return factories.classifier(config)[0]
    if config["task"] != "ensemble":
        return {"segmentation": factories.segmenter, "baselines": factories.baselines}[config["task"]](config)
    for seed, name in enumerate(("one", "other")):
        member = factories.configuration(name, "classification", extras=extras)
        metrics, _, logits = factories.classifier(member, seed=seed)
        files.write_json(folder / name / runs.CONFIG, member)
        files.write_json(folder / name / runs.METRICS, metrics)
        files.write_arrays(folder / name / runs.LOGITS, logits)
        runs.write_final(folder / name, "2026-01-01T00:00:00+00:00")
    config = {"experiment": "both", "budget": "cpu", "seed": 0, "task": "ensemble", "members": ["one", "other"]}
    return ensemble.run("both", config, results_dir=folder)


def test_a_different_key_or_type_is_found(monkeypatch):
    made = {"a": {"b": 1.0, "c": None}, "events": [], "members": {"x": {"weight": 1}}}
    assert unlike(made, {"a": {"b": 2, "c": "text"}, "events": [{"epoch": 1}], "members": {"y": {"weight": 0.5}}}) == []
    found = {"a": {"b": "2", "d": 1}, "events": [], "members": {"x": {"share": 1}}}
    assert sorted(unlike(made, found)) == ["a.b", "a.c", "a.d", "members.*.share", "members.*.weight"]
    monkeypatch.setattr(sys.modules[__name__], "RECENT", {"c", "share"})
    assert sorted(unlike(made, found)) == ["a.b", "a.d", "members.*.weight"]
