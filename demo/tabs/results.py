"""The tab of results: leaderboards, training curves, and the runs whose models cannot be used."""

import math
import re

import components
import gradio as gr
import names
import pandas as pd

from hw2 import files, runs
from hw2.errors import ResultsError
from hw2.experiments.costs import image_counts

COLOURS = ("#1d6f72", "#c8553d", "#8a6d1f", "#5b5ea6", "#3f7d3a", "#a2487a", "#4a6fa5", "#7a5640", "#6b7b1e", "#555f61")
QUANTITIES = {
    "validation accuracy": "val_accuracy",
    "training accuracy": "accuracy",
    "validation loss": "val_loss",
    "training loss": "loss",
    "validation IoU": "val_iou",
    "training IoU": "iou",
    "learning rate": "learning_rate",
}
CLASSIFICATION_COLUMNS = (
    *("Model", "Accuracy, %", "95% interval", "Top 5, %", "Superclass, %", "ECE, %", "Weights, M", "Minutes"),
    *("Data", "Budget", "Run"),
)
SEGMENTATION_COLUMNS = (
    *("Model", "IoU", "95% interval", "Dice", "Pixel accuracy, %", "Weights, M", "Minutes", "Data", "Budget", "Run"),
)
DIGITS = {"Accuracy, %": 2, "Top 5, %": 2, "Superclass, %": 2, "ECE, %": 2, "IoU": 3, "Dice": 3, "Pixel accuracy, %": 1}
DIGITS |= {"Weights, M": 2, "Minutes": 1}


def board(finished):
    """Return `(classification rows, segmentation rows)` of the test figures. finished: {name: metrics}.

    The best run comes first, except that runs of the main task (all classes of images, foreground against background)
    precede those of easier or harder ones.
    """
    classification, segmentation = [], []
    for name, metrics in finished.items():
        cost = metrics["cost"]
        minutes = round(runs.training_seconds(cost) / 60, 1)
        common = [round(cost["parameters"] / 1e6, 2), minutes, components.data_of(metrics), metrics["budget"]]
        if metrics["task"] in ("classification", "ensemble"):
            for view, figures in {"": metrics, **metrics.get("test_time_augmentation", {})}.items():
                test = figures["test"]
                shown = [
                    round(100 * test[key], 2) for key in ("accuracy", "top5_accuracy", "superclass_accuracy", "ece")
                ]
                images = max(1, image_counts(metrics)[-1])
                margin = 196 * math.sqrt(test["accuracy"] * (1 - test["accuracy"]) / images)
                interval = f"{shown[0] - margin:.1f} to {shown[0] + margin:.1f}"
                title = names.title(name, metrics, view or None)
                run = f"{name}+{view}" if view else name
                classification.append([title, shown[0], interval, *shown[1:], *common, run])
        else:
            views = metrics.get("test_time_augmentation", {})
            methods = {"": metrics["test"]} | {view: figures["test"] for view, figures in views.items()}
            if metrics["task"] == "baselines":
                methods = metrics["baselines"]
            for method, test in methods.items():
                figures = test.get("dataset") or test["foreground"]["dataset"]  # the latter with several classes
                shown = [round(test["iou"], 4), round(figures["dice"], 4), round(100 * test["accuracy"], 2)]
                ends = (test.get("intervals") or {}).get("iou")
                interval = f"{ends['low']:.3f} to {ends['high']:.3f}" if ends else ""
                if metrics["task"] == "baselines":
                    title, run = names.BASELINES.get(method, method), f"{name}: {method}"
                else:
                    title, run = names.title(name, metrics, method or None), f"{name}+{method}" if method else name
                segmentation.append([title, shown[0], interval, *shown[1:], *common, run])
    classes = {name: metrics["data"]["classes"] for name, metrics in finished.items()}
    classification.sort(key=lambda row: (classes[row[-1].partition("+")[0]] != 100, -row[1]))
    segmentation.sort(key=lambda row: (classes[re.split("[:+]", row[-1])[0]] != 2, -row[1]))
    return classification, segmentation


def curves(results_dir, shown, quantity):
    """Return a table "epoch", "value", "run" of a quantity of QUANTITIES, for the runs `shown` that have it."""
    column, rows = QUANTITIES[quantity], []
    for name in shown:
        try:
            history = files.read_csv(results_dir / name / runs.HISTORY)
        except (ResultsError, OSError):
            continue
        rows += [
            {"epoch": row["epoch"], "value": row[column], "run": name}
            for row in history
            # absent in runs of the other task, in a truncated row and in a damaged table
            if all(isinstance(row.get(key), int | float) and abs(row[key]) < 1e300 for key in ("epoch", column))
        ]
    return pd.DataFrame(rows, columns=["epoch", "value", "run"])


def tab(results_dir, finished, figures_only):
    """Lay out the tab. finished: {name: metrics}. figures_only: {name: reason} of runs whose model cannot be used."""
    classification, segmentation = board(finished)
    for title, columns, rows, name in (
        ("Classification", CLASSIFICATION_COLUMNS, classification, "classification-board"),
        ("Segmentation", SEGMENTATION_COLUMNS, segmentation, "segmentation-board"),
    ):
        if rows:
            gr.Markdown(f"## {title}", elem_classes="heading")
            table = pd.DataFrame(rows, columns=list(columns))
            digits = {column: f"{{:.{DIGITS[column]}f}}" for column in columns if column in DIGITS}
            gr.Dataframe(
                table.style.format(digits),
                datatype=["number" if column in DIGITS else "str" for column in columns],
                interactive=False,
                label=title,
                show_label=False,
                show_search="search",
                pinned_columns=1,
                column_widths=["330px", *["150px"] * (len(columns) - 2), "240px"],
                wrap=True,
                elem_id=name,
                buttons=["fullscreen", "copy"],
            )
    trained = [name for name in finished if (results_dir / name / runs.HISTORY).exists()]
    if trained:
        best = [row[-1] for row in (*classification, *segmentation) if row[-1] in trained]
        named = {name: f"{names.title(name, finished[name])} ({name})" for name in best}
        training_curves_part(results_dir, named, "validation accuracy" if classification else "validation IoU")
    if figures_only:
        components.text_block(
            "<section class='notice small'><h2>Figures only: these models cannot be tried here</h2>"
            f"{components.reasons(figures_only)}</section>"
        )

    def leaderboard() -> dict:
        return {
            "classification": [dict(zip(CLASSIFICATION_COLUMNS, row, strict=True)) for row in classification],
            "segmentation": [dict(zip(SEGMENTATION_COLUMNS, row, strict=True)) for row in segmentation],
        }

    gr.api(leaderboard, api_name="leaderboard", api_description="The leaderboard's rows, best first, as data.")


def training_curves_part(results_dir, named, first_quantity):
    """Lay out the plot of training curves. named: `{run: title}` of the runs to choose from, best first."""

    def training_curves(shown, quantity):
        # the data alone: a plot that is returned whole keeps the lines that it had
        return curves(results_dir, shown, quantity), caption(shown, quantity)

    best = list(named)[:4]
    gr.Markdown("## Training curves", elem_classes="heading")
    with gr.Row():
        chosen = components.Choice(
            [(title, run) for run, title in named.items()],
            value=best,
            multiselect=True,
            label="Runs",
            scale=3,
            min_width=300,
            elem_id="curve-runs",
        )
        quantity = components.Choice(
            list(QUANTITIES), value=first_quantity, label="Quantity", scale=1, min_width=200, elem_id="curve-quantity"
        )
    title = components.text_block(caption(best, first_quantity))
    plot = gr.LinePlot(
        curves(results_dir, best, first_quantity),
        x="epoch",
        y="value",
        color="run",
        x_title="epoch",
        y_title="value",
        color_map={run: COLOURS[index % len(COLOURS)] for index, run in enumerate(named)},
        height=340,
        label="Training curves",
        show_label=False,
        buttons=["fullscreen"],
        elem_id="curves",
    )
    gr.on(
        [chosen.change, quantity.change],
        training_curves,
        [chosen, quantity],
        [plot, title],
        api_name="training_curves",
        api_description=f"Training curves of runs. Quantities: {', '.join(QUANTITIES)}. Returns a plot's data, and its "
        "caption.",
    )


def caption(shown, quantity):
    """Return the words above the plot."""
    count = "no run is chosen" if not shown else "1 run" if len(shown) == 1 else f"{len(shown)} runs"
    return f"<p class='note' id='curve-caption'>{quantity[:1].upper() + quantity[1:]} after each epoch, {count}</p>"
