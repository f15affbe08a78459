"""Curves of training, and nets compared over their seeds."""

import itertools

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from hw2.experiments import title_of
from hw2.experiments.schema import experiment_of, run_name
from plots.palette import BLUE, GREEN, GREY, INK, LINES, ORANGE, PALE, RED
from plots.style import WIDTH, percent_axis, spread, subplots, title, waiting


def learning_curves(runs, names, columns=3, value="accuracy"):
    """One panel a run: accuracy (or "iou") on training and validation images by epoch, the gap between them shaded."""
    found = [name for name in runs.first(names) if f"val_{value}" in runs.history(name)]
    if not found:
        return waiting(names)
    columns = min(columns, len(found))
    rows = -(-len(found) // columns)
    fig, axes = subplots(rows, columns, figsize=(WIDTH, 0.35 + 1.75 * rows), sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, found, strict=False):
        history = runs.history(name)
        epochs, train, validation = history["epoch"], history[value], history[f"val_{value}"]
        ax.fill_between(epochs, train, validation, color=PALE, alpha=0.6, linewidth=0)
        marker = "o" if len(epochs) == 1 else None
        ax.plot(epochs, train, color=ORANGE, marker=marker)
        ax.plot(epochs, validation, color=BLUE, marker=marker)
        for phase in history.groupby("phase")["epoch"].min().iloc[1:]:
            ax.axvline(phase - 0.5, color=GREY, linewidth=0.7, linestyle=(0, (3, 3)))
        ax.set_title(title(name, 76 // columns), fontsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for ax in axes.flat[len(found) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel({"iou": "foreground IoU"}.get(value, value))
    percent_axis(axes[0, 0].yaxis)
    handles = [Line2D([], [], color=colour) for colour in (ORANGE, BLUE)]
    fig.legend(handles, ["training", "validation"], loc="outside upper right", ncols=2)
    fig.supxlabel("epoch", fontsize=8.5)
    return fig


def validation_losses(runs, names):
    """Validation loss by epoch of many runs in one panel; a thin line joins the end of each with its name."""
    found = [name for name in runs.first(names) if "val_loss" in runs.history(name)]
    if not found:
        return waiting(names)
    fig, ax = subplots(figsize=(WIDTH, 3.4))
    styles = ("-", (0, (4, 1.5)), (0, (1, 1)))  # of equal colours
    looks = [{"color": colour, "linestyle": style} for style in styles for colour in LINES]
    epochs, losses = [], []
    for name, look in zip(found, itertools.cycle(looks), strict=False):
        history = runs.history(name)
        ax.plot(history["epoch"], history["val_loss"], linewidth=1.2, **look)
        epochs.append(history["epoch"].iloc[-1])
        losses.append(history["val_loss"].iloc[-1])
    last = max(epochs)
    ax.set_yscale("log", base=2)  # the first epochs of a bad head are ten times as high as the end of a good one
    ax.yaxis.set_major_formatter("{x:g}")
    low, high = np.log(ax.get_ylim())
    heights = spread(np.log(losses), 0.045 * (high - low))
    ax.set_ylim(bottom=np.exp(min(low, heights.min() - 0.04 * (high - low))))
    ends = zip(epochs, losses, np.exp(heights), strict=True)
    for name, (epoch, loss, height), look in zip(found, ends, itertools.cycle(looks), strict=False):
        ax.plot([epoch, 1.06 * last], [loss, height], linewidth=0.6, alpha=0.6, **look)
        ax.text(1.07 * last, height, title_of(experiment_of(name)), color=look["color"], fontsize=7.5, va="center")
    ax.set(xlabel="epoch", ylabel="validation loss (nats, logarithmic)", xlim=(0, 1.4 * last))
    return fig


def accuracies(runs, comparisons, names, colours=None):
    """Test accuracy of each net: a dot for every seed, their mean as a line and in numbers, in the order given."""
    found = [name for name in names if runs.seeds(name)]
    if not found:
        return waiting(names)
    fig, ax = subplots(figsize=(WIDTH, 0.55 + 0.25 * len(found)))
    for row, name in enumerate(found):
        values, mean = comparisons.figures(name), comparisons.mean(name)
        colour = (colours or {}).get(name, BLUE)
        ax.plot([mean, mean], [row - 0.3, row + 0.3], color=colour, linewidth=2)
        ax.plot(values, [row] * len(values), "o", color=colour, markersize=4.5, alpha=0.55, markeredgewidth=0)
        ax.text(max(values), row, f"   {100 * mean:.1f} %", va="center", fontsize=8, color=INK)
    ax.set_yticks(range(len(found)), [title_of(name) for name in found])
    ax.set_ylim(len(found) - 0.5, -0.5)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.1 * (high - low))
    ax.set_xlabel("test accuracy")
    percent_axis(ax.xaxis)
    ax.grid(axis="x")
    return fig


def schedules(runs, names):
    """Learning rate and validation accuracy by epoch of the same net, with the same seed, under several schedules.

    The last is dashed: until it first divides the rate, its line is the one before it.
    """
    seeds = [runs.get(run, "seed") for run in runs.seeds(names[0])]
    common = (runs.finished([run_name(name, seed) for name in names]) for seed in seeds)
    found = next((of_seed for of_seed in common if len(of_seed) == len(names)), runs.first(names))
    if not found:
        return waiting(names)
    fig, axes = subplots(1, 2, figsize=(WIDTH, 2.3))
    palette = dict(zip(names, (BLUE, RED, GREEN), strict=False))
    colours = {run: palette[experiment_of(run)] for run in found}
    ends = []
    for name in found:
        history = runs.history(name)
        style = {"color": colours[name], "linestyle": (0, (3, 3)) if experiment_of(name) == names[-1] else "-"}
        axes[0].plot(history["epoch"], history["learning_rate"], drawstyle="steps-post", **style)
        axes[1].plot(history["epoch"], history["val_accuracy"], **style)
        for event in runs.get(name, "events") or []:
            row = history[history["epoch"] == event["epoch"]]
            if "divided" in event["event"] and not row.empty:
                axes[1].plot(row["epoch"], row["val_accuracy"], marker="v", color=colours[name], markersize=5)
        ends.append((history["epoch"].iloc[-1], history["val_accuracy"].iloc[-1]))
    low, high = axes[1].get_ylim()
    heights = spread([y for _, y in ends], 0.08 * (high - low))
    for name, (epoch, _), height in zip(found, ends, heights, strict=True):
        label = {"scratch_residual": "cosine"}.get(experiment_of(name), experiment_of(name).rpartition("_")[2])
        axes[1].text(epoch + 0.4, height, label, color=colours[name], va="center", fontsize=8)
    axes[1].set_xlim(right=axes[1].get_xlim()[1] * 1.16)
    axes[0].set(title="learning rate", xlabel="epoch")
    axes[1].set(title="validation accuracy", xlabel="epoch")
    percent_axis(axes[1].yaxis)
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return fig


def number_of_classes(runs, names):
    """Test accuracy of one architecture by the number of classes, beside chance."""
    found = [name for name in runs.first(names) if runs.get(name, "test.accuracy")]
    if not found:
        return waiting(names)
    fig, axes = subplots(1, 2, figsize=(WIDTH, 2.3))
    counts = np.array([runs.get(name, "data.classes") for name in found])
    accuracy = np.array([runs.get(name, "test.accuracy") for name in found])
    axes[0].plot(counts, accuracy, color=BLUE, marker="o", markersize=4)
    axes[0].plot(counts, 1 / counts, color=GREY, linestyle=(0, (4, 3)))
    for count, value in zip(counts, accuracy, strict=True):
        axes[0].annotate(f"{100 * value:.0f} %", (count, value), (0, 6), textcoords="offset points", ha="center",
                         fontsize=8, color=BLUE)  # fmt: skip
    axes[0].text(counts[0], 1 / counts[0] + 0.02, "chance", color=GREY, va="bottom", fontsize=8)
    axes[0].set(title="test accuracy", ylim=(0, 1.12))
    percent_axis(axes[0].yaxis)
    parameters = np.array([runs.get(name, "cost.parameters") or np.nan for name in found]) / 1e6
    axes[1].plot(counts, parameters, color=RED, marker="o", markersize=4)
    axes[1].set(
        title="parameters (million)", ylim=(0, np.nanmax(parameters) * 1.2 if np.isfinite(parameters).any() else 1)
    )
    for ax in axes:
        ax.set(xscale="log", xlabel="classes (logarithmic)")
        ax.set_xticks(counts, counts)
        ax.margins(x=0.12)  # for the figures beside the points
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_minor_locator(NullLocator())
    return fig
