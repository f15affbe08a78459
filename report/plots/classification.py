"""Classifiers: receptive fields, ensembles, calibration, confusion, corruptions, Grad-CAM."""

import numpy as np
import seaborn as sns
from matplotlib.artist import setp
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from hw2.experiments import title_of
from hw2.experiments.schema import experiment_of
from hw2.labels import CIFAR100_CLASSES, CIFAR100_SUPERCLASS_OF, CIFAR100_SUPERCLASSES
from hw2.models.registry import VGG16_BLOCKS
from plots.palette import BLUE, GREEN, GREY, INK, LINES, ORANGE, RED, SKY
from plots.style import WIDTH, answers_matrix, percent_axis, subplots, title, waiting


def receptive_fields():
    """Return rows (name, size of the receptive field, stride) of every layer of VGG16, in pixels of the input.

    A layer of kernel k after layers of total stride s widens the field by (k - 1) s.
    """
    rows, field, stride = [], 1, 1
    for block, (convolutions, _) in enumerate(VGG16_BLOCKS.values(), start=1):
        for convolution in range(1, convolutions + 1):
            field += 2 * stride
            rows.append((f"{block}.{convolution}", field, stride))
        field, stride = field + stride, 2 * stride
        rows.append((f"pool {block}", field, stride))
    return rows


def receptive_field():
    """Growth of VGG16's receptive field over its layers, against image sizes; below, the side of the map at 32 px."""
    rows = receptive_fields()
    fig, (ax, below) = subplots(2, figsize=(WIDTH, 3.1), height_ratios=(3, 1), sharex=True)
    pools = [index for index, row in enumerate(rows) if row[0].startswith("pool")]
    fields = [row[1] for row in rows]
    ax.plot(fields, color=BLUE, marker="o", markersize=3)
    for size, text in ((32, "a CIFAR image, 32 px"), (128, "128 px"), (224, "ImageNet training, 224 px")):
        ax.axhline(size, color=RED, linewidth=0.9, linestyle=(0, (4, 3)))
        ax.text(0, size * 1.04, text, color=RED, fontsize=8, va="bottom")
    ax.set(yscale="log", ylabel="receptive field (px)", ylim=(2.5, 320))
    ax.set_yticks([4, 8, 16, 32, 64, 128, 256], [4, 8, 16, 32, 64, 128, 256])
    ax.yaxis.set_minor_locator(NullLocator())
    sides = [max(1, 32 // row[2]) for row in rows]
    below.bar(range(len(rows)), sides, color=[ORANGE if index in pools else SKY for index in range(len(rows))])
    for index, side in enumerate(sides):
        below.text(index, side + 1.5, side, ha="center", fontsize=7.5, color=INK)
    below.set(ylabel="map (px)", ylim=(0, 42), yticks=[])
    below.set_xticks(range(len(rows)), [row[0] for row in rows], rotation=60, fontsize=7.5)
    below.grid(False)
    return fig


def ensembles(runs, names):
    """Accuracy by the number of members, all ensembles of that size; and how often two members differ."""
    found = runs.first(names)
    if not found:
        return waiting(names)
    fig, axes = subplots(len(found), 2, figsize=(WIDTH, 2.5 * len(found)), squeeze=False, width_ratios=(1, 1.15))
    for (left, right), name in zip(axes, found, strict=True):
        rows = runs.get(name, "by_size")
        sizes = [row["members"] for row in rows]
        left.fill_between(
            sizes, [r["least"] for r in rows], [r["most"] for r in rows], color=SKY, alpha=0.35, linewidth=0
        )
        left.plot(sizes, [row["mean"] for row in rows], color=BLUE, marker="o", markersize=4)
        for size, row in zip(sizes, rows, strict=True):
            left.annotate(f"{100 * row['mean']:.1f}", (size, row["mean"]), (4, -5), textcoords="offset points",
                          ha="left", va="top", fontsize=8, color=BLUE)  # fmt: skip
        left.set(title=title_of(name), xlabel="members", ylabel="test accuracy", xticks=sizes)
        left.margins(0.17, 0.2)
        percent_axis(left.yaxis)
        shares = np.array(runs.get(name, "disagreement"))
        members = [title_of(member) for member in runs.get(name, "members")]
        members = [text if name == "ensemble_mixed" else f"seed {index}" for index, text in enumerate(members)]
        shown = np.where(np.eye(len(shares), dtype=bool), np.nan, 100 * shares)
        heatmap(right, shown, members, "{:.0f}")
        right.set_title("images on which two differ (%)")
        right.tick_params(axis="x", rotation=25)
        setp(right.get_xticklabels(), ha="right", fontsize=7)
        setp(right.get_yticklabels(), fontsize=7)
    return fig


def heatmap(ax, values, names, form, fontsize=8):
    """Draw a square matrix with its values written in; nan stays empty."""
    ax.imshow(values, aspect="auto", vmin=0)
    middle = np.nanmax(values, initial=0) / 2
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if value > middle else INK
            ax.text(column, row, form.format(value), ha="center", va="center", fontsize=fontsize, color=colour)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def reliability(runs, names):
    """Accuracy by confidence, before and after temperature scaling; the diagonal is perfect calibration."""
    found = runs.first(names)
    if not found:
        return waiting(names)
    fig, axes = subplots(1, len(found), figsize=(WIDTH, 2.4 if len(found) > 2 else 2.9), sharey=True, squeeze=False)
    for ax, name in zip(axes[0], found, strict=True):
        arrays = runs.arrays(name)
        right = arrays["test_answers"] == arrays["test_labels"]
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        for kind, colour in (("confidences", ORANGE), ("calibrated_confidences", BLUE)):
            confidence = arrays[f"test_{kind}"].astype(np.float64)
            bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
            counts = np.bincount(bins, minlength=15)
            filled = counts >= 20  # a bin with fewer images is noise
            means = [np.bincount(bins, weights=v, minlength=15)[filled] / counts[filled] for v in (confidence, right)]
            ax.plot(*means, color=colour, marker="o", markersize=3)
        temperature = runs.get(name, "calibration.temperature")
        ax.text(0.97, 0.05, f"T = {temperature:.2f}", ha="right", transform=ax.transAxes, fontsize=8)
        ax.set(xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
        ax.set_title(title(name, 17), fontsize=8)
        percent_axis(ax.xaxis)
        percent_axis(ax.yaxis)
        ax.set_xticks([0, 0.5, 1])
        for label, side in zip(ax.get_xticklabels(), ("left", "center", "right"), strict=True):
            label.set_horizontalalignment(side)  # beside the neighbour's
    axes[0, 0].set_ylabel("accuracy")
    handles = [Line2D([], [], color=colour, marker="o", markersize=3) for colour in (ORANGE, BLUE)]
    fig.legend(handles, ["as trained", "with temperature"], loc="outside upper right", ncols=2)
    return fig


def superclass_confusion(runs, name):
    """The shares of the images of each superclass that are assigned to each other superclass."""
    arrays = runs.arrays(name) if name else {}
    if "test_answers" not in arrays:
        return waiting(["a classifier of 100 classes"])
    shares = superclass_shares(arrays["test_answers"], arrays["test_labels"])
    np.fill_diagonal(shares, np.nan)
    names = [text.replace("_", " ").replace("large man-made outdoor things", "large man-made things")
             for text in CIFAR100_SUPERCLASSES]  # fmt: skip
    percentages = 100 * shares
    return answers_matrix(percentages, names, height=5.4, least=1.95, greatest=np.nanmax(percentages))


def superclass_shares(answers, labels):
    """Return (20, 20) shares of each true superclass's images by the superclass of the answer.

    answers, labels: (n,) class numbers.
    """
    counts = np.zeros((20, 20))
    np.add.at(counts, (CIFAR100_SUPERCLASS_OF[labels], CIFAR100_SUPERCLASS_OF[answers]), 1)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def robustness(runs, names):
    """Accuracy under corruptions of growing strength, one panel a corruption, one line a run."""
    found = [name for name in runs.first(names) if runs.get(name, "robustness")]
    if not found:
        return waiting(names)
    kinds = list(runs.get(found[0], "robustness"))
    fig, axes = subplots(1, len(kinds), figsize=(WIDTH, 2.5), sharey=True)
    colours = sns.color_palette(LINES, len(found))
    for ax, kind in zip(np.atleast_1d(axes), kinds, strict=True):
        for name, colour in zip(found, colours, strict=True):
            values = [runs.get(name, "test.accuracy"), *(runs.get(name, f"robustness.{kind}") or [])]
            ax.plot(range(len(values)), values, color=colour, marker="o", markersize=3)
        title = "JPEG" if kind == "jpeg" else kind.replace("_", "\n")
        ax.set(title=title if "\n" in title else f"\n{title}", xticks=range(4))
    np.atleast_1d(axes)[0].set_ylabel("test accuracy")
    percent_axis(np.atleast_1d(axes)[0].yaxis)
    np.atleast_1d(axes)[len(kinds) // 2].set_xlabel("strength (0: as it is)")
    handles = [Line2D([], [], color=colour, marker="o", markersize=3) for colour in colours]
    fig.legend(handles, [title_of(experiment_of(name)) for name in found], loc="outside lower center", ncols=3)
    return fig


def grad_cam(runs, name):
    """The images with Grad-CAM maps among a run's predictions; an empty panel without them."""
    arrays = runs.arrays(name) if name else {}
    if "grad_cam_maps" not in arrays:
        return waiting([name or "a run with Grad-CAM maps"])
    count = len(arrays["grad_cam_images"])
    fig, axes = subplots(2, count, figsize=(WIDTH, 2.35), squeeze=False)
    for column in range(count):
        image, heat = arrays["grad_cam_images"][column], arrays["grad_cam_maps"][column]
        label, prediction = (CIFAR100_CLASSES[int(arrays[f"grad_cam_{key}"][column])] for key in ("labels", "answers"))
        extent = (0, 1, 1, 0)
        axes[0, column].imshow(image, extent=extent)
        axes[1, column].imshow(image.mean(-1), cmap="gray", extent=extent)
        axes[1, column].imshow(heat, cmap="inferno", alpha=0.55, extent=extent, interpolation="bilinear")
        axes[0, column].set_title(label.replace("_", "\n"), fontsize=7, fontweight="normal", loc="center")
        right = label == prediction
        axes[1, column].set_xlabel(prediction.replace("_", "\n"), fontsize=7, color=GREEN if right else RED)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    return fig
