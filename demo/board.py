"""The tab of results: leaderboards, training curves, and what cannot be used."""

import html

import gradio as gr
import pandas as pd
import parts

from hw2 import results

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
    *("Run", "Accuracy, %", "Top 5, %", "Superclass, %", "ECE, %", "Weights, M", "Minutes", "Data", "Budget"),
)
SEGMENTATION_COLUMNS = (*("Run", "IoU", "Dice", "Pixels right, %", "Weights, M", "Minutes", "Data", "Budget"),)


def leaderboard(runs):
    """Return `(classification rows, segmentation rows)` of the finished runs; None where a run has no such figure.

    Best first, but those of all classes of images, and of two of pixels, before the others: an easier or a harder task.
    """

    def number(value, factor=1.0, digits=1):
        return None if value is None else round(factor * value, digits)

    classification, segmentation = [], []
    for name, run in runs.items():
        test, cost = run.get("test") or {}, run.get("cost", {})
        common = [
            number(cost.get("parameters"), 1e-6, 2),
            number(results.training_seconds(cost) if "seconds" in cost else None, 1 / 60),
            parts.data_of(run),
            run.get("budget"),
        ]
        if run.get("task") in ("classification", "ensemble") and "accuracy" in test:
            keys = ("accuracy", "top5_accuracy", "superclass_accuracy", "ece")
            classification.append([name, *(number(test.get(key), 100, 2) for key in keys), *common])
            for way, sets in run.get("test_time_augmentation", {}).items():
                figures = [number(sets["test"].get(key), 100, 2) for key in keys]
                classification.append([f"{name}+{way}", *figures, *common])
        elif run.get("task") in ("segmentation", "baselines") and "iou" in test:
            for kind, part in {"": test, **run.get("baselines", {})}.items():
                if kind or run["task"] == "segmentation":
                    whole = part.get("dataset") or part.get("foreground") or {}
                    figures = [number(part["iou"], 1, 4), number(whole.get("dice"), 1, 4)]
                    pixels = number(part.get("accuracy"), 100, 2)
                    segmentation.append([f"{name}: {kind}" if kind else name, *figures, pixels, *common])
    classes = {name: run.get("data", {}).get("classes") for name, run in runs.items()}
    classification.sort(key=lambda row: (classes[row[0].partition("+")[0]] not in (None, 100), -row[1]))
    segmentation.sort(key=lambda row: (classes[row[0].partition(":")[0]] not in (None, 2), -row[1]))
    return classification, segmentation


def curves(results_dir, runs, quantity):
    """Return a table "epoch", "value", "run" of a quantity of QUANTITIES, for the runs that have it."""
    rows = []
    for run in runs:
        try:
            history = results.read_csv(results_dir / run / results.HISTORY)
        except OSError:
            continue
        column = QUANTITIES[quantity]  # some runs have other ones, and a file may be cut off
        rows += [
            {"epoch": row["epoch"], "value": row[column], "run": run}
            for row in history
            if isinstance(row.get(column), int | float)
        ]
    return pd.DataFrame(rows, columns=["epoch", "value", "run"])


def tab(results_dir, runs, figures_only):
    """Lay out the tab. runs: `{name: metrics}`. figures_only: `{name: reason}` of those whose model cannot be used."""
    classification, segmentation = leaderboard(runs)
    for title, columns, rows, name in (
        ("Classification", CLASSIFICATION_COLUMNS, classification, "classification-board"),
        ("Segmentation", SEGMENTATION_COLUMNS, segmentation, "segmentation-board"),
    ):
        if rows:
            gr.Markdown(f"## {title}", elem_classes="heading")
            kinds = ["str" if column in ("Run", "Data", "Budget") else "number" for column in columns]
            gr.Dataframe(
                rows,
                headers=list(columns),
                datatype=kinds,
                interactive=False,
                label=title,
                show_label=False,
                show_search="search",
                pinned_columns=1,
                elem_id=name,
                buttons=["fullscreen", "copy"],
            )
    trained = [run for run in runs if (results_dir / run / results.HISTORY).exists()]
    if trained:
        best = [row[0] for row in (*classification[:40], *segmentation) if row[0] in trained]

        def training_curves(names, quantity):
            return gr.LinePlot(curves(results_dir, names, quantity), y_title=quantity)

        gr.Markdown("## Training curves", elem_classes="heading")
        start = "validation accuracy" if classification else "validation IoU"
        chosen_first = best[:4]
        with gr.Row():
            chosen = gr.Dropdown(
                trained,
                value=chosen_first,
                multiselect=True,
                label="Runs",
                scale=3,
                min_width=300,
                elem_id="curve-runs",
            )
            quantity = gr.Dropdown(list(QUANTITIES), value=start, label="Quantity", scale=1, min_width=200)
        plot = gr.LinePlot(
            curves(results_dir, chosen_first, start),
            x="epoch",
            y="value",
            color="run",
            x_title="epoch",
            y_title=start,
            color_map={run: COLOURS[index % len(COLOURS)] for index, run in enumerate(best or trained)},
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
            plot,
            api_name="training_curves",
            api_description=f"Training curves of runs. Quantities: {', '.join(QUANTITIES)}. Returns a plot's data.",
        )
    if figures_only:
        listed = "".join(
            f"<li><code>{html.escape(name)}</code>: {html.escape(why)}</li>" for name, why in figures_only.items()
        )
        parts.say(f"<section class='notice small'><h2>Here as figures only</h2><ul>{listed}</ul></section>")

    def leaderboard_data() -> dict:
        return {
            "classification": [dict(zip(CLASSIFICATION_COLUMNS, row, strict=True)) for row in classification],
            "segmentation": [dict(zip(SEGMENTATION_COLUMNS, row, strict=True)) for row in segmentation],
        }

    gr.api(leaderboard_data, api_name="leaderboard", api_description="The leaderboard's rows, best first, as data.")
