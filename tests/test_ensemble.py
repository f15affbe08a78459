"""Ensembles of made-up predictions whose outcome is known."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from hw2 import ensemble, evaluate, results

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
    results.open_run(folder, {"experiment": name})
    results.write_arrays(folder / results.PREDICTIONS, arrays | extra)
    figures = {part: evaluate.classification_figures(arrays[f"{part}_logits"], labels[part]) for part in labels}
    shared = {"budget": "smoke", "backend": "none", "precision": "float32", "data": {"source": "synthetic"}}
    cost = {"seconds": 2.0, "parameters": 10, "device": "none"}
    results.write_json(folder / results.METRICS, shared | figures | {"cost": cost})
    results.write_json(folder / results.FINAL, {"finished": str(logits["test"].sum())})


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
    stored = results.read_arrays(folder / "ab" / results.PREDICTIONS)
    assert evaluate.classification_figures(stored["test_logits"], labels["test"]) == metrics["test"]
    assert metrics["test_time_augmentation"]["mirror"]["test"] == metrics["test"]  # the same logits as without
    assert "mirror_shift" not in metrics["test_time_augmentation"]
    a, b = (results.read_arrays(folder / name / results.PREDICTIONS)["test_logits"].argmax(1) for name in "ab")
    assert metrics["disagreement"] == [[0.0, np.mean(a != b)], [np.mean(a != b), 0.0]]
    assert {path.name for path in (folder / "ab").iterdir()} == {
        *("config.json", "metrics.json", "predictions.npz", "final.json")
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


def test_a_member_that_was_trained_again_counts(members):
    folder, labels = members
    config = CONFIG | {"members": ["a", "b"]}
    first = ensemble.run("ab", config, results_dir=folder)
    write_member(folder, "b", {part: 9.0 * np.eye(100)[values] for part, values in labels.items()}, labels)
    second = ensemble.run("ab", config, results_dir=folder)
    assert second["members"]["b"]["test"]["accuracy"] == 1 and second["test"]["accuracy"] > first["test"]["accuracy"]
    (folder / "b" / results.FINAL).unlink()
    with pytest.raises(results.ResultsError, match="--only b"):
        ensemble.run("ab", config, results_dir=folder)
    assert results.run_state(folder / "ab") == "finished"  # nothing is lost


def test_weights_against_a_grid():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 400)
    logits = np.stack([2 * np.eye(5)[labels] + rng.normal(0, noise, (400, 5)) for noise in (1, 2)])
    weights = ensemble.fit_weights(logits, labels)
    probabilities = softmax(logits, -1)[:, np.arange(400), labels]
    shares = np.linspace(0.001, 0.999, 999)
    losses = [-np.log(share * probabilities[0] + (1 - share) * probabilities[1]).mean() for share in shares]
    assert weights[0] == pytest.approx(shares[np.argmin(losses)], abs=0.003)


def test_mean_of_probabilities_by_hand():
    logits = np.log([[[0.9, 0.1]], [[0.5, 0.5]]])
    np.testing.assert_allclose(softmax(evaluate.mean_of_probabilities(logits), -1), [[0.7, 0.3]])
    np.testing.assert_allclose(softmax(evaluate.mean_of_probabilities(logits, [0.25, 0.75]), -1), [[0.6, 0.4]])
    np.testing.assert_allclose(evaluate.mean_of_probabilities(logits, [1, 0]), log_softmax(logits[0], -1))


def test_missing_and_foreign_members_are_explained(members):
    folder, labels = members
    with pytest.raises(results.ResultsError, match=r"needs the predictions of d-seed1.*--only d$"):
        ensemble.run("e", CONFIG | {"members": ["a", "d-seed1"]}, results_dir=folder)
    fewer = {part: values[:-1] for part, values in labels.items()}
    write_member(folder, "f", {part: np.eye(100)[values] for part, values in fewer.items()}, fewer)
    with pytest.raises(results.ResultsError, match="f was not evaluated on the same images as a"):
        ensemble.run("g", CONFIG | {"members": ["a", "f"]}, results_dir=folder)
    assert results.run_state(folder / "g") != "finished"
    with pytest.raises(results.ResultsError, match="a, b had another budget than gpu"):
        ensemble.run("h", CONFIG | {"members": ["a", "b"], "budget": "gpu"}, results_dir=folder)
