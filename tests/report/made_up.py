"""Made-up results for the report's tests: folders of runs of the table of experiments, with random content."""

import re
from pathlib import Path

import factories
import numpy as np

from hw2 import files, runs
from hw2.data.thumbnails import encode
from hw2.experiments.resolve import CIFAR100, resolve
from hw2.experiments.schema import experiment_of
from hw2.metrics.classification import figures_and_answers
from hw2.training.ensemble import combine_members

SHOWN, IMAGES = 6, 40  # test images of a segmenter: in the panel, in all


def write(folder, names, seed=0, source=None):
    """Write runs with the configurations of the cpu budget, and return `folder`.

    names: of runs. source: of the data, if not the real one.
    """
    rng = np.random.default_rng(seed)
    for name in names:
        experiment = experiment_of(name)
        config = resolve(experiment, "cpu", int(name.removeprefix(experiment).removeprefix("-seed") or 0))
        if config["task"] in ("segmentation", "baselines"):
            config["data"] = factories.VOC2012 | {key: config["data"][key] for key in ("sbd", "classes")}
        if source and "data" in config:
            config["data"] = config["data"] | {"source": source}
        make = {"classification": classifier, "segmentation": segmenter, "ensemble": ensemble, "baselines": baselines}
        metrics, arrays, *rows = make[config["task"]](config, rng)
        for file, table in zip((runs.HISTORY, runs.IMAGES), rows, strict=False):
            files.write_csv(Path(folder) / name / file, table)
        metrics["cost"] = metrics["cost"] | {
            **dict.fromkeys(("seconds", "cpu_seconds"), float(rng.uniform(100, 9000))),
            "device": "a made-up machine",
        }
        files.write_arrays(Path(folder) / name / runs.PREDICTIONS, arrays)
        files.write_json(Path(folder) / name / runs.CONFIG, config)
        files.write_json(Path(folder) / name / runs.METRICS, metrics)
        runs.write_final(Path(folder) / name, "2026-01-01T00:00:00+00:00")
    return folder


def classifier(config, rng):
    """Return `(metrics, predictions, history)`."""
    metrics, arrays, _ = factories.classifier(
        config, seed=int(rng.integers(1000)), advantage=rng.uniform(3, 6), parameters=int(rng.integers(1e5, 2e7))
    )
    metrics["events"].append({"epoch": 5, "event": "learning rate divided by 5"})
    if "grad_cam" in config["extras"]:
        arrays |= {
            "grad_cam_images": rng.integers(0, 255, (8, 32, 32, 3)).astype(np.uint8),
            "grad_cam_maps": rng.random((8, 4, 4)).astype(np.float32),
            "grad_cam_labels": arrays["test_labels"][:8],
            "grad_cam_answers": arrays["test_answers"][:8],
        }
    return metrics, arrays, history("accuracy")


def ensemble(config, rng):
    """Return `(metrics, predictions)` of combined members that are made up for this ensemble alone."""
    member = factories.configuration("member", "classification")
    made = [
        factories.classifier(member, seed=seed, advantage=rng.uniform(3, 6)) for seed in range(len(config["members"]))
    ]
    combined = combine_members([logits for _, _, logits in made])
    figures, arrays, _ = figures_and_answers(combined["logits"], combined["labels"], combined["indices"])
    metrics = {key: config[key] for key in ("task", "budget", "seed")} | figures
    metrics |= {key: combined[key] for key in ("chosen", "ways", "by_size", "disagreement")}
    metrics["data"], metrics["precision"] = CIFAR100 | {"classes": 100}, "float32"
    metrics["cost"] = {"parameters": int(rng.integers(1e6, 2e7))}
    metrics["members"] = {
        name: {"test": one["test"], "weight": weight, "finished": None}
        for name, (one, *_), weight in zip(config["members"], made, combined["weights"], strict=True)
    }
    return metrics, arrays


def segmenter(config, rng):
    """Return `(metrics, predictions, history, images)`."""
    classes = config["data"]["classes"]
    iou = float(rng.choice(list(factories.METHODS.values())[1:]))  # not other ones, because each takes a bootstrap
    metrics = factories.segmenter(config, iou=iou, parameters=int(rng.integers(1e5, 2e7)))
    metrics["checkerboard"] = float(rng.uniform(1, 2))
    if classes == 21:
        confusion = rng.integers(1, 100, (21, 21)) + 900 * np.eye(21, dtype=int)
        metrics["test"] = metrics["test"] | {
            "class_iou": rng.uniform(0.2, 0.9, 21).tolist(),
            "confusion": confusion.tolist(),
        }
    names = identifiers()
    kinds = ("best", "median", "worst", "worst_large")
    metrics["examples"] = {kind: names[2 * place : 2 * place + 2] for place, kind in enumerate(kinds)}
    curve = np.linspace(0, 1, 21)
    arrays = {"curve_threshold": curve, "curve_precision": 0.5 + curve / 2, "curve_recall": 1 - curve}
    arrays |= {"panel_identifiers": np.array(names[:SHOWN]), "example_identifiers": np.array(names[:8])}
    for kind, count in (("panel", SHOWN), ("example", 8)):
        for index in range(count):
            truth = truth_of(index)
            if kind == "example":
                arrays |= {f"example_{index}_image": photograph(rng), f"example_{index}_truth": truth}
            arrays[f"{kind}_{index}_probability"] = (truth > 0) * np.uint8(200)
            if classes == 21:
                arrays[f"{kind}_{index}_prediction"] = truth % 255
    ious = rng.beta(4, 2, IMAGES)
    images = [
        {
            "identifier": name,
            "foreground_share": float(rng.beta(2, 4)),
            "iou": iou,
            "foreground_dice" if classes == 21 else "dice": 2 * iou / (1 + iou),
            "boundary_iou": iou / 2,
            "pixel_accuracy": 0.5 + iou / 2,
        }
        | ({} if classes == 21 else dict.fromkeys(("precision", "recall"), 2 * iou / (1 + iou)))
        for name, iou in zip(names, ious.tolist(), strict=True)
    ]
    return metrics, arrays, history("iou"), images


def baselines(config, rng):
    """Return `(metrics, predictions)`: the facts of the data, and the images and truths of the panel."""
    names = np.array(identifiers())
    arrays = {"panel_identifiers": names[:SHOWN]}
    for index in range(SHOWN):
        arrays |= {f"panel_{index}_image": photograph(rng), f"panel_{index}_truth": truth_of(index)}
    for split in ("train", "val", "sbd"):
        arrays |= {
            f"{split}_identifiers": names,
            f"{split}_sizes": rng.integers(300, 501, (IMAGES, 2)),
            f"{split}_pixels": rng.integers(0, 900, (IMAGES, 21)) * (rng.random((IMAGES, 21)) < 0.4),
            f"{split}_void": rng.integers(0, 900, IMAGES),
            f"{split}_border_width": rng.uniform(4, 6, IMAGES),
        }
    return factories.baselines(config), arrays


def history(metric):
    """Return seven epochs in two phases."""
    first, *_ = factories.history(metric)
    return [
        first
        | {"epoch": epoch, "phase": 1 + (epoch > 3), "loss": 3 / epoch, "val_loss": 3.5 / epoch}
        | {metric: 0.1 * epoch, f"val_{metric}": 0.08 * epoch, "learning_rate": 0.01 / epoch}
        for epoch in range(1, 8)
    ]


def identifiers():
    return [f"2007_{index:06}" for index in range(IMAGES)]


def truth_of(index):
    """Return a mask, (60, 80) uint8: one object of class 15 with void along its upper side."""
    truth = np.zeros((60, 80), np.uint8)
    truth[10 + index : 50, 20:60] = 15
    truth[10 + index, 20:60] = 255
    return truth


def photograph(rng):
    """Return the bytes of a JPEG file of noise, of the size of `truth_of`, as a uint8 array."""
    return encode(rng.integers(0, 255, (60, 80, 3)).astype(np.uint8))


def change_metrics(folder, run, **changes):
    """Replace values of a run's metrics. changes: by path, with "__" between the keys."""
    metrics = files.read_json(folder / run / "metrics.json")
    for path, value in changes.items():
        *keys, last = path.split("__")
        place = metrics
        for key in keys:
            place = place[key]
        place[last] = value
    files.write_json(folder / run / "metrics.json", metrics)


def change_arrays(folder, run, **arrays):
    """Replace or add arrays of a run's predictions."""
    path = folder / run / runs.PREDICTIONS
    files.write_arrays(path, files.read_arrays(path) | arrays)


def rows_of(html):
    """Return the rows of a table as `{heading: text}`."""
    html = html.replace("\N{NO-BREAK SPACE}", " ")
    heads = [re.sub("<.*?>", "", text) for text in re.findall(r"<th[^>]*>(.*?)</th>", html)]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)[1:]]
    return [dict(zip(heads, row, strict=True)) for row in rows]
