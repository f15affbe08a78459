"""Combine the predictions of finished runs. Nothing is trained: the stored logits of the members are all it needs.

Weights and way of combining are chosen on the validation images. See `hw2.metrics.combine`.
"""

import shlex
from pathlib import Path

import numpy as np

from hw2 import files, runs
from hw2.errors import ResultsError
from hw2.experiments.schema import training_command
from hw2.metrics.classification import figures_and_answers
from hw2.metrics.combine import VIEWS, accuracy_by_size, combine, fit_weights

PARTS = ("validation", "test")


def run(name, config, *, results_dir, force=False):
    """Evaluate the ensemble `name` unless it is finished and no member is newer; write and return its metrics.

    Raises ResultsError if a member is unfinished, has no stored logits, is of another budget, or was evaluated on other
    images than the first one.
    """
    folder = Path(results_dir) / name
    finished = {run: runs.finished_when(Path(results_dir) / run) for run in config["members"]}
    if not force and runs.is_finished(folder, config):
        metrics = runs.read_metrics(folder)
        if finished == {run: member["finished"] for run, member in metrics["members"].items()}:
            return metrics
    metrics, logits = read_members(config["members"], results_dir, config["budget"])
    others = [run for run, m in zip(config["members"], metrics, strict=True) if m["budget"] != config["budget"]]
    if others:
        raise ResultsError(
            f"{', '.join(others)} were trained with a budget other than {config['budget']}. Give each budget its own "
            "--results."
        )
    combined = combine_members(logits)
    figures, predictions, stored = figures_and_answers(combined["logits"], combined["labels"], combined["indices"])
    runs.begin_run(folder, config, force=True)
    files.write_arrays(folder / runs.PREDICTIONS, predictions)
    files.write_arrays(folder / runs.LOGITS, stored)
    outcome = {
        **{key: config[key] for key in ("task", "budget", "seed")},
        **{key: metrics[0][key] for key in ("data", "backend", "precision")},
        **runs.provenance(),
        **figures,
        "members": {
            run: {"test": member["test"], "weight": weight, "finished": finished[run]}
            for run, member, weight in zip(config["members"], metrics, combined["weights"], strict=True)
        },
        **{key: combined[key] for key in ("chosen", "ways", "by_size", "disagreement")},
        "cost": {
            "seconds": sum(runs.training_seconds(member["cost"]) for member in metrics),
            "parameters": sum(member["cost"]["parameters"] for member in metrics),
            "device": " and ".join(sorted({member["cost"]["device"] for member in metrics})),
        },
    }
    files.write_json(folder / runs.METRICS, outcome)
    runs.close_run(folder, needed=(runs.CONFIG, runs.METRICS, runs.PREDICTIONS))
    return outcome


def combine_members(members):
    """Return everything that follows from the members' logits: the chosen way, its logits, and how the ways compare.

    members: a list of the arrays of `logits.npz`, one for each member.
    Returns a dictionary: logits {part: {view: (n, classes)}} of the chosen way, labels and indices {part: (n,)},
    weights (a list), chosen (the way with the highest validation accuracy, the simplest of equals), ways (figures of
    each), by_size, and disagreement (for each pair of members, the share of test images with different answers).
    """
    labels = {part: members[0][f"{part}_labels"].astype(np.int64) for part in PARTS}
    indices = {part: members[0][f"{part}_indices"] for part in PARTS}
    stacked = {part: np.stack([member[f"{part}_logits"] for member in members]) for part in PARTS}
    weights = fit_weights(stacked["validation"], labels["validation"])
    combined = combine(stacked, weights)
    ways = {
        way: figures_and_answers({part: {"": parts[part]} for part in PARTS}, labels, indices)[0]
        for way, parts in combined.items()
    }
    chosen = max(ways, key=lambda way: ways[way]["validation"]["accuracy"])
    logits = {part: {"": combined[chosen][part]} for part in PARTS}
    for view in VIEWS:
        if all(f"test_logits_{view}" in member for member in members):
            views = {part: np.stack([member[f"{part}_logits_{view}"] for member in members]) for part in PARTS}
            for part, of_part in combine(views, weights)[chosen].items():
                logits[part][view] = of_part
    answers = stacked["test"].argmax(-1)
    return {
        "logits": logits,
        "labels": labels,
        "indices": indices,
        "weights": weights.tolist(),
        "chosen": chosen,
        "ways": ways,
        "by_size": accuracy_by_size(stacked["test"], labels["test"]),
        "disagreement": [[float(np.mean(one != other)) for other in answers] for one in answers],
    }


def read_members(members, results_dir, budget):
    """Return the metrics and the logits of the runs in `members`, two lists. budget: with which they are trained."""
    folders = [Path(results_dir) / run for run in members]
    missing = [folder.name for folder in folders if runs.run_state(folder) != "finished"]
    unstored = [folder.name for folder in folders if folder.name not in missing and not (folder / runs.LOGITS).exists()]
    for names, why in ((missing, "not finished"), (unstored, "stored without logits")):
        if names:
            is_or_are = "is" if len(names) == 1 else "are"
            raise ResultsError(
                f"The ensemble needs the logits of {', '.join(names)}, which {is_or_are} {why}. First:\n"
                + "\n".join(f"  {_command_for_logits(Path(results_dir) / name, budget)}" for name in names)
            )
    logits = [files.read_arrays(folder / runs.LOGITS) for folder in folders]
    for run, arrays in zip(members, logits, strict=True):
        for key in ("validation_indices", "test_indices", "validation_labels", "test_labels"):
            if not np.array_equal(arrays[key], logits[0][key]):
                raise ResultsError(
                    f"{run} was not evaluated on the same images as {members[0]}. Train it again on the same data: "
                    f"{training_command(Path(results_dir) / run, budget, force=True)}"
                )
    return [runs.read_metrics(folder) for folder in folders], logits


def _command_for_logits(folder, budget):
    """Return the command that gives the run in `folder` its logits: from its model, where that is stored."""
    finished = runs.run_state(folder) == "finished"
    if finished and (folder / runs.MODEL).exists():
        return f"python scripts/evaluate.py {folder.name} --results {shlex.quote(str(folder.parent))}"
    return training_command(folder, budget, force=finished)
