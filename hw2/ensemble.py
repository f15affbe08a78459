"""Combine what finished runs predicted. Trains nothing, needs no backend: the dumped logits of the members are all.

Three ways: the mean of the members' logits, the mean of their probabilities, and a mean of probabilities with weights
(of the least cross-entropy). Weights and way are chosen on the validation images. Dietterich, "Ensemble Methods in
Machine Learning", 2000; Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles", 2017.
"""

import itertools
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax

from hw2 import evaluate, results

PARTS = ("validation", "test")
AUGMENTED = ("mirror", "mirror_shift")


def run(name, config, *, results_dir, force=False):
    """Evaluate the ensemble `name` unless it is finished, and no member is newer; write and return its metrics.

    Raises results.ResultsError if a member is not finished or of another budget, or if members were not evaluated on
    the same images.
    """
    folder = Path(results_dir) / name
    endings = {run: results.read_json(Path(results_dir) / run / results.FINAL) for run in config["members"]}
    if not force and results.open_run(folder, config):
        finished = results.read_metrics(folder)
        if endings == {run: member["final"] for run, member in finished["members"].items()}:
            return finished
    metrics, predictions = read_members(config["members"], results_dir)
    others = [run for run, m in zip(config["members"], metrics, strict=True) if m["budget"] != config["budget"]]
    if others:
        raise results.ResultsError(
            f"{', '.join(others)} had another budget than {config['budget']}. Give each budget its own --results."
        )
    results.open_run(folder, config, force=True)
    labels = {part: predictions[0][f"{part}_labels"].astype(np.int64) for part in PARTS}
    logits = {part: np.stack([member[f"{part}_logits"] for member in predictions]) for part in PARTS}

    weights = fit_weights(logits["validation"], labels["validation"])
    combined = combine(logits, weights)
    figures = {
        way: {part: evaluate.classification_figures(parts[part], labels[part]) for part in PARTS}
        for way, parts in combined.items()
    }
    # the first of equals: without a reason, the simpler way
    chosen = max(figures, key=lambda way: figures[way]["validation"]["accuracy"])

    arrays = {f"{part}_{kind}": predictions[0][f"{part}_{kind}"] for part in PARTS for kind in ("labels", "indices")}
    arrays |= {f"{part}_logits": combined[chosen][part] for part in PARTS}
    augmented = {}
    for kind in AUGMENTED:
        if all(f"test_logits_{kind}" in member for member in predictions):
            views = {part: np.stack([member[f"{part}_logits_{kind}"] for member in predictions]) for part in PARTS}
            views = combine(views, weights)[chosen]
            augmented[kind] = {part: evaluate.classification_figures(views[part], labels[part]) for part in PARTS}
            arrays |= {f"{part}_logits_{kind}": views[part] for part in PARTS}
    results.write_arrays(folder / results.PREDICTIONS, arrays)

    shared = {key: metrics[0][key] for key in ("backend", "precision", "data")}
    answers = logits["test"].argmax(-1)
    outcome = {
        "task": config["task"],
        "budget": config["budget"],
        "seed": config["seed"],
        **shared,
        **figures[chosen],
        **({"test_time_augmentation": augmented} if augmented else {}),
        "members": {
            run: {"test": member["test"], "weight": weight, "final": endings[run]}
            for run, member, weight in zip(config["members"], metrics, weights.tolist(), strict=True)
        },
        "chosen": chosen,
        "ways": figures,
        "by_size": accuracy_by_size(logits["test"], labels["test"]),
        "disagreement": [[float(np.mean(one != other)) for other in answers] for one in answers],
        "cost": {
            "seconds": sum(results.training_seconds(member["cost"]) for member in metrics),
            "parameters": sum(member["cost"]["parameters"] for member in metrics),
            "device": " and ".join(sorted({member["cost"]["device"] for member in metrics})),
        },
    }
    results.write_json(folder / results.METRICS, outcome)
    results.close_run(folder, needed=(results.CONFIG, results.METRICS, results.PREDICTIONS))
    return outcome


def read_members(members, results_dir):
    """Return the metrics and the predictions of the runs in `members`, two lists."""
    missing = [run for run in members if results.run_state(Path(results_dir) / run) != "finished"]
    if missing:
        raise results.ResultsError(
            f"The ensemble needs the predictions of {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not finished. Train first: python scripts/train_all.py --only "
            + " ".join(dict.fromkeys(run.partition("-seed")[0] for run in missing))
        )
    metrics = [results.read_metrics(Path(results_dir) / run) for run in members]
    predictions = [results.read_arrays(Path(results_dir) / run / results.PREDICTIONS) for run in members]
    for run, arrays in zip(members, predictions, strict=True):
        for key in ("validation_indices", "test_indices", "validation_labels", "test_labels"):
            if not np.array_equal(arrays[key], predictions[0][key]):
                raise results.ResultsError(f"{run} was not evaluated on the same images as {members[0]}.")
    return metrics, predictions


def combine(logits, weights):
    """Return `{way: {part: logits}}` of the three ways. logits: {part: (members, n, classes)}."""
    return {
        "mean_logits": {part: evaluate.stored(np.mean(logits[part], 0, dtype=np.float32)) for part in logits},
        "mean_probabilities": {part: evaluate.stored(evaluate.mean_of_probabilities(logits[part])) for part in logits},
        "weighted_probabilities": {
            part: evaluate.stored(evaluate.mean_of_probabilities(logits[part], weights)) for part in logits
        },
    }


def fit_weights(logits, labels):
    """Return the weights (members,) of the probabilities' mean that has the least cross-entropy on these images.

    logits: (members, n, classes). The weights are a softmax of free numbers, so they are positive and sum to 1.
    """
    images = np.arange(len(labels))
    of_label = log_softmax(np.asarray(logits, np.float64), axis=-1)[:, images, labels]

    def cross_entropy(free):
        return -np.mean(logsumexp(of_label + log_softmax(free)[:, None], axis=0))

    return softmax(minimize(cross_entropy, np.zeros(len(logits)), method="L-BFGS-B").x)


def accuracy_by_size(logits, labels):
    """Return, for each number of members, mean, least and greatest accuracy of all ensembles with so many of them.

    logits: (members, n, classes). Averaged probabilities with equal weights.
    """
    probabilities = softmax(np.asarray(logits, np.float64), axis=-1)
    rows = []
    for size in range(1, len(logits) + 1):
        accuracies = [
            float(np.mean(probabilities[list(chosen)].sum(0).argmax(1) == labels))
            for chosen in itertools.combinations(range(len(logits)), size)
        ]
        rows.append(
            {"members": size, "mean": float(np.mean(accuracies)), "least": min(accuracies), "most": max(accuracies)}
        )
    return rows
