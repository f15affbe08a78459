"""The tab of results: leaderboards, training curves, and the runs whose models cannot be used."""

import components
import gradio as gr
import pandas as pd

from hw2 import files, runs

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
SEGMENTATION_COLUMNS = (*("Run", "IoU", "Dice", "Pixel accuracy, %", "Weights, M", "Minutes", "Data", "Budget"),)


def leaderboard(finished):
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
                shown = [test[key] for key in ("accuracy", "top5_accuracy", "superclass_accuracy", "ece")]
                key = f"{name}+{view}" if view else name
                classification.append([key, *(round(100 * value, 2) for value in shown), *common])
        else:
            methods = metrics["baselines"] if metrics["task"] == "baselines" else {"": metrics["test"]}
            for method, test in methods.items():
                pixels = test.get("dataset") or test["foreground"]["dataset"]  # the latter with several classes
                shown = [round(test["iou"], 4), round(pixels["dice"], 4), round(100 * test["accuracy"], 2)]
                segmentation.append([f"{name}: {method}" if method else name, *shown, *common])
    classes = {name: metrics["data"]["classes"] for name, metrics in finished.items()}
    classification.sort(key=lambda row: (classes[row[0].partition("+")[0]] != 100, -row[1]))
    segmentation.sort(key=lambda row: (classes[row[0].partition(":")[0]] != 2, -row[1]))
    return classification, segmentation


def curves(results_dir, names, quantity):
    """Return a table "epoch", "value", "run" of a quantity of QUANTITIES, for the runs `names` that have it."""
    column, rows = QUANTITIES[quantity], []
    for name in names:
        try:
            history = files.read_csv(results_dir / name / runs.HISTORY)
        except OSError:
            continue
        rows += [
            {"epoch": row["epoch"], "value": row[column], "run": name}
            for row in history
            if isinstance(row.get(column), int | float)  # absent in runs of the other task and in a truncated row
        ]
    return pd.DataFrame(rows, columns=["epoch", "value", "run"])


def tab(results_dir, finished, figures_only):
    """Lay out the tab. finished: {name: metrics}. figures_only: {name: reason} of runs whose model cannot be used."""
    classification, segmentation = leaderboard(finished)
    for title, columns, rows, name in (
        ("Classification", CLASSIFICATION_COLUMNS, classification, "classification-board"),
        ("Segmentation", SEGMENTATION_COLUMNS, segmentation, "segmentation-board"),
    ):
        if rows:
            gr.Markdown(f"## {title}", elem_classes="heading")
            gr.Dataframe(
                rows,
                headers=list(columns),
                datatype=["str" if column in ("Run", "Data", "Budget") else "number" for column in columns],
                interactive=False,
                label=title,
                show_label=False,
                show_search="search",
                pinned_columns=1,
                elem_id=name,
                buttons=["fullscreen", "copy"],
            )
    trained = [name for name in finished if (results_dir / name / runs.HISTORY).exists()]
    if trained:
        best = [row[0] for row in (*classification[:40], *segmentation) if row[0] in trained]
        training_curves_part(results_dir, trained, best, "validation accuracy" if classification else "validation IoU")
    if figures_only:
        components.text_block(
            "<section class='notice small'><h2>Runs without a usable model</h2>"
            f"{components.reasons(figures_only)}</section>"
        )

    def leaderboard_data() -> dict:
        return {
            "classification": [dict(zip(CLASSIFICATION_COLUMNS, row, strict=True)) for row in classification],
            "segmentation": [dict(zip(SEGMENTATION_COLUMNS, row, strict=True)) for row in segmentation],
        }

    gr.api(leaderboard_data, api_name="leaderboard", api_description="The leaderboard's rows, best first, as data.")


def training_curves_part(results_dir, trained, best, first_quantity):
    """Lay out the plot of training curves. trained: runs to choose from. best: the same, best first."""

    def training_curves(names, quantity):
        return gr.LinePlot(curves(results_dir, names, quantity), y_title=quantity)

    gr.Markdown("## Training curves", elem_classes="heading")
    with gr.Row():
        chosen = gr.Dropdown(
            trained,
            value=best[:4],
            multiselect=True,
            label="Runs",
            scale=3,
            min_width=300,
            elem_id="curve-runs",
        )
        quantity = gr.Dropdown(list(QUANTITIES), value=first_quantity, label="Quantity", scale=1, min_width=200)
    plot = gr.LinePlot(
        curves(results_dir, best[:4], first_quantity),
        x="epoch",
        y="value",
        color="run",
        x_title="epoch",
        y_title=first_quantity,
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
