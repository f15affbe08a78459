"""Ensembles of made-up predictions whose outcome is known."""

import numpy as np
import pytest

from hw2 import files, runs
from hw2.errors import ResultsError
from hw2.metrics.classification import classification_figures
from hw2.training import ensemble

CONFIG = {"experiment": "e", "budget": "smoke", "seed": 0, "task": "ensemble"}


def write_member(folder, name, logits, labels, **extra):
    """A finished run, as far as an ensemble looks at it."""
    arrays = {}
    for part in ("validation", "test"):
        arrays |= {
            f"{part}_logits": logits[part].astype(np.float16),
            f"{part}_labels": labels[part].astype(np.uint8),
            f"{part}_indices": np.arange(len(labels[part]), dtype=np.int32),
        }
    folder = folder / name
    runs.begin_run(folder, {"experiment": name}, force=True)
    files.write_arrays(folder / runs.LOGITS, arrays | extra)
    figures = {part: classification_figures(arrays[f"{part}_logits"], labels[part]) for part in labels}
    counts = {"classes": 100, "train": 0} | {part: len(labels[part]) for part in labels}
    shared = {"task": "classification", "budget": "smoke", "seed": 0, "backend": "none", "precision": "float32"}
    shared |= {"data": {"source": "synthetic"} | counts, "calibration": {"temperature": 1.0}}
    cost = {"seconds": 2.0, "parameters": 10, "device": "none"}
    files.write_json(folder / runs.METRICS, shared | figures | {"cost": cost})
    runs.write_final(folder, str(logits["test"].sum()))


@pytest.fixture
def members(tmp_path):
    """Three members with independent noise around the truth, the third with far more of it."""
    rng = np.random.default_rng(0)
    labels = {"validation": rng.integers(0, 100, 600), "test": rng.integers(0, 100, 800)}
    for name, noise in (("a", 1.5), ("b", 1.5), ("c", 30.0)):
        logits = {p: 3.5 * np.eye(100)[y] + rng.normal(0, noise, (len(y), 100)) for p, y in labels.items()}
        mirror = {f"{part}_logits_mirror": logits[part].astype(np.float16) for part in labels}
        write_member(tmp_path, name, logits, labels, **mirror)
    return tmp_path, labels


def test_an_ensemble_of_independent_members_is_better_than_each(members):
    folder, labels = members
    metrics = ensemble.run("ab", CONFIG | {"members": ["a", "b"]}, results_dir=folder)
    singles = [member["test"]["accuracy"] for member in metrics["members"].values()]
    assert metrics["test"]["accuracy"] > max(singles) + 0.02
    assert metrics["by_size"][0]["mean"] == pytest.approx(np.mean(singles))
    assert metrics["by_size"][1]["mean"] == pytest.approx(
        metrics["ways"]["mean_probabilities"]["test"]["accuracy"], abs=0.003
    )
    assert metrics["cost"] == {"seconds": 4.0, "parameters": 20, "device": "none"}
    stored = files.read_arrays(folder / "ab" / runs.LOGITS)
    answers = files.read_arrays(folder / "ab" / runs.PREDICTIONS)["test_answers"]
    assert np.mean(answers == labels["test"]) == metrics["test"]["accuracy"]
    assert classification_figures(stored["test_logits"], labels["test"]) == metrics["test"]
    assert metrics["test_time_augmentation"]["mirror"]["test"] == metrics["test"]  # the same logits as without
    assert "mirror_shift" not in metrics["test_time_augmentation"]
    a, b = (files.read_arrays(folder / name / runs.LOGITS)["test_logits"].argmax(1) for name in "ab")
    assert metrics["disagreement"] == [[0.0, np.mean(a != b)], [np.mean(a != b), 0.0]]
    assert {path.name for path in (folder / "ab").iterdir()} == {
        *("config.json", "metrics.json", "predictions.npz", "logits.npz", "final.json")
    }


def test_a_bad_member_gets_no_weight(members):
    folder, _ = members
    metrics = ensemble.run("abc", CONFIG | {"members": ["a", "b", "c"]}, results_dir=folder)
    weights = [member["weight"] for member in metrics["members"].values()]
    assert sum(weights) == pytest.approx(1) and weights[2] < 0.02 and min(weights[:2]) > 0.3
    validation = {way: figures["validation"]["accuracy"] for way, figures in metrics["ways"].items()}
    assert validation["mean_logits"] < validation["weighted_probabilities"] == max(validation.values())
    assert metrics["validation"] == metrics["ways"][metrics["chosen"]]["validation"]
    again = ensemble.run("abc", CONFIG | {"members": ["a", "b", "c"]}, results_dir=folder)
    assert again == metrics


def test_weights_and_way_are_chosen_on_the_validation_images(tmp_path):
    """On the validation images one member is right and one wrong, on the test images the other way round."""
    rng = np.random.default_rng(0)
    labels = {"validation": rng.integers(0, 100, 300), "test": rng.integers(0, 100, 300)}
    for right in labels:
        answers = {
            part: values if part == right else (values + rng.integers(1, 100, 300)) % 100
            for part, values in labels.items()
        }
        logits = {part: (5 + rng.random((300, 1))) * np.eye(100)[values] for part, values in answers.items()}
        write_member(tmp_path, right, logits, labels)
    metrics = ensemble.run("e", CONFIG | {"members": list(labels)}, results_dir=tmp_path)
    assert metrics["members"]["validation"]["weight"] > 0.95
    accuracies = {part: {way: figures[part]["accuracy"] for way, figures in metrics["ways"].items()} for part in labels}
    assert accuracies["validation"][metrics["chosen"]] == 1
    assert accuracies["test"][metrics["chosen"]] < max(accuracies["test"].values())


def test_a_member_that_was_trained_again_counts(members):
    folder, labels = members
    config = CONFIG | {"members": ["a", "b"]}
    first = ensemble.run("ab", config, results_dir=folder)
    write_member(folder, "b", {part: 9.0 * np.eye(100)[values] for part, values in labels.items()}, labels)
    second = ensemble.run("ab", config, results_dir=folder)
    assert second["members"]["b"]["test"]["accuracy"] == 1 and second["test"]["accuracy"] > first["test"]["accuracy"]
    (folder / "b" / runs.FINAL).unlink()
    with pytest.raises(ResultsError, match="--only b"):
        ensemble.run("ab", config, results_dir=folder)
    assert runs.run_state(folder / "ab") == "finished"  # nothing is lost


def test_a_failure_keeps_the_earlier_record(members, monkeypatch):
    folder, _ = members
    config = CONFIG | {"members": ["a", "b"]}
    ensemble.run("kept", config, results_dir=folder)

    def interrupted(logits):
        raise KeyboardInterrupt

    monkeypatch.setattr(ensemble, "combine_members", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensemble.run("kept", config, results_dir=folder, force=True)
    assert runs.run_state(folder / "kept") == "finished" and runs.damage(folder / "kept", digests=True) == []


def test_missing_and_foreign_members_are_explained(members):
    folder, labels = members
    with pytest.raises(
        ResultsError, match=r"(?s)of d-seed1, which is not finished.*smoke --only d --seed 1 --results \S*$"
    ):
        ensemble.run("e", CONFIG | {"members": ["a", "d-seed1"]}, results_dir=folder)
    assert runs.run_state(folder / "e") == "missing"  # it is not listed as one that resumes
    (folder / "b" / runs.LOGITS).unlink()  # as in a fresh clone
    with pytest.raises(
        ResultsError, match=r"(?s)b, which is stored without logits.*--only b --seed 0 --force --results \S*$"
    ):
        ensemble.run("i", CONFIG | {"members": ["a", "b"]}, results_dir=folder)
    (folder / "b" / runs.MODEL).touch()  # nothing has to be trained again
    with pytest.raises(ResultsError, match=rf"First:\n  python scripts/evaluate\.py b --results {folder}$"):
        ensemble.run("i", CONFIG | {"members": ["a", "b"]}, results_dir=folder)
    fewer = {part: values[:-1] for part, values in labels.items()}
    write_member(folder, "f", {part: np.eye(100)[values] for part, values in fewer.items()}, fewer)
    with pytest.raises(ResultsError, match=r"f was not evaluated on the same images as a.*--only f --seed 0 --force"):
        ensemble.run("g", CONFIG | {"members": ["a", "f"]}, results_dir=folder)
    assert runs.run_state(folder / "g") != "finished"
    with pytest.raises(ResultsError, match="a, c were trained with a budget other than gpu"):
        ensemble.run("h", CONFIG | {"members": ["a", "c"], "budget": "gpu"}, results_dir=folder)
