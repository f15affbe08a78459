"""Segmenters and their data in figures: VOC's classes and shapes, metrics, decoders, the 21 classes."""

import textwrap

import numpy as np
from matplotlib.lines import Line2D

from hw2.experiments import title_of
from hw2.experiments.schema import experiment_of
from hw2.labels import VOC_CLASSES
from plots.palette import BLUE, GREEN, GREY, INK, ORANGE, PALE, PINK, RED, SKY
from plots.style import WIDTH, answers_matrix, percent_axis, subplots, waiting

# one colour a net in all figures
NETS = {
    "seg_book_transpose": ORANGE,
    "seg_book_bilinear": RED,
    "seg_unet_scratch": GREEN,
    "seg_unet_vgg16_transpose": SKY,
    "seg_unet_vgg16_bilinear": BLUE,
    "seg_unet_mobilenetv2_transpose": INK,
    "seg_unet_mobilenetv2_bilinear": PINK,
    "seg_mobilenetv2": GREY,
}


def voc_classes(runs, run="seg_baselines"):
    """Images in which each class occurs and its share of the foreground pixels, in VOC's two lists and in SBD."""
    arrays = runs.arrays(run)
    if "train_pixels" not in arrays:
        return waiting([run])
    fig, axes = subplots(1, 2, figsize=(WIDTH, 4.4), sharey=True)
    order = np.argsort((arrays["train_pixels"][:, 1:] > 0).sum(0)) + 1
    shown = [split for split in ("train", "sbd", "val") if len(arrays.get(f"{split}_pixels", ()))]
    colours = {"train": BLUE, "sbd": GREEN, "val": ORANGE}
    height = 0.84 / len(shown)
    for place, split in enumerate(shown):
        pixels = arrays[f"{split}_pixels"]
        bars = (pixels > 0).mean(0), pixels.sum(0) / max(pixels[:, 1:].sum(), 1)
        for ax, values in zip(axes, bars, strict=True):
            y = np.arange(20) + height * ((len(shown) - 1) / 2 - place)
            ax.barh(y, values[order], height, color=colours[split], linewidth=0)
        name = split.upper() if split == "sbd" else split
        axes[1].text(0.97, 0.05 * (len(shown) - place) - 0.02, name, color=colours[split], ha="right",
                     transform=axes[1].transAxes)  # fmt: skip
    axes[0].set_yticks(range(20), [VOC_CLASSES[index] for index in order], fontsize=7.5)
    axes[0].set_title("images with the class")
    axes[1].set_title("share of the foreground pixels")
    for ax in axes:
        percent_axis(ax.xaxis)
        ax.grid(axis="x")
        ax.grid(False, axis="y")
    return fig


def voc_shapes(runs, run="seg_baselines"):
    """Sizes of the images, share of foreground, share and width of the void border: train and val together."""
    arrays = runs.arrays(run)
    if "train_sizes" not in arrays:
        return waiting([run])
    sizes, pixels, border = (
        np.concatenate([arrays[f"{split}_{key}"] for split in ("train", "val")])
        for key in ("sizes", "pixels", "border_width")
    )
    fig, axes = subplots(1, 3, figsize=(WIDTH, 2.2))
    axes[0].scatter(sizes[:, 1], sizes[:, 0], s=6, alpha=0.25, color=BLUE, linewidths=0)
    axes[0].set(title="size", xlabel="width (px)", ylabel="height (px)")
    axes[0].set_aspect("equal", "box")
    axes[1].hist(pixels[:, 1:].sum(1) / pixels.sum(1), bins=np.linspace(0, 1, 21), color=BLUE)
    axes[1].set(title="foreground", xlabel="share of the labelled pixels", ylabel="images")
    percent_axis(axes[1].xaxis)
    widest = 20  # beyond it are not borders but regions that annotators left undecided
    axes[2].hist(np.minimum(border[np.isfinite(border)], widest), bins=np.arange(widest + 1), color=BLUE)
    axes[2].set(title="void border", xlabel="width (px; last: more)")
    return fig


def dice_and_iou(runs, names):
    """Dice as a function of IoU, with one model's images on it; the distribution of IoU over images of several."""
    found = [name for name in runs.first(names) if not runs.images(name).empty]
    fig, axes = subplots(1, 2, figsize=(WIDTH, 2.5 + 0.1 * len(found)), width_ratios=(1, 1.35))
    iou = np.linspace(0, 1, 101)
    axes[0].plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes[0].plot(iou, 2 * iou / (1 + iou), color=BLUE)
    axes[0].set(title="one mask, two numbers", xlabel="IoU", ylabel="Dice", xlim=(0, 1), ylim=(0, 1.02))
    if found:
        table = runs.images(found[0])
        axes[0].plot(table["iou"], table["dice"], ".", color=RED, markersize=3, alpha=0.3)
    else:
        axes[1].text(0.5, 0.5, "Waits for a segmentation run", ha="center", color=GREY, transform=axes[1].transAxes)
    for name in found:
        values = np.sort(runs.images(name)["iou"].dropna())
        shares, colour = np.arange(1, len(values) + 1) / len(values), NETS.get(experiment_of(name), GREY)
        axes[1].plot(values, shares, color=colour, label=title_of(name))
    axes[1].set(title="images with an IoU of at most ...", xlabel="IoU", xlim=(0, 1), ylim=(0, 1))
    percent_axis(axes[1].yaxis)
    if found:
        fig.legend(loc="outside lower center", ncols=2)
    return fig


def precision_recall(runs, names):
    """Precision against recall over all thresholds, the chosen threshold marked."""
    found = [name for name in runs.first(names) if "curve_recall" in runs.arrays(name)]
    if not found:
        return waiting(names)
    fig, ax = subplots(figsize=(WIDTH, 2.8))
    for name in found:
        arrays, colour = runs.arrays(name), NETS.get(experiment_of(name), GREY)
        ax.plot(arrays["curve_recall"], arrays["curve_precision"], color=colour, label=title_of(name))
        threshold = runs.get(name, "threshold")
        if threshold is not None:
            nearest = np.argmin(np.abs(arrays["curve_threshold"] - threshold))
            ax.plot(arrays["curve_recall"][nearest], arrays["curve_precision"][nearest], "o", color=colour)
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.005), ylim=(0, 1.005))
    fig.legend(loc="outside right center")
    return fig


def decoders(runs, pairs):
    """Transposed against bilinear: mean IoU of an image and checkerboard measure of each seed, pairs joined."""
    found = [pair for pair in pairs if any(runs.seeds(name) for name in pair)]
    if not found:
        return waiting([name for pair in pairs for name in pair])
    fig, axes = subplots(1, 2, figsize=(WIDTH, 2.6))
    for ax, path in zip(axes, ("test.images.iou.mean", "checkerboard"), strict=True):
        for index, (transposed, bilinear) in enumerate(found):
            for run in runs.seeds(transposed):
                other = bilinear + run.removeprefix(transposed)
                values = [runs.get(name, path) for name in (run, other)]
                if None not in values:
                    ax.plot([index - 0.16, index + 0.16], values, color=PALE, linewidth=1, zorder=1)
            for name, offset, colour in ((transposed, -0.16, RED), (bilinear, 0.16, BLUE)):
                values = [runs.get(run, path) for run in runs.seeds(name)]
                values = [value for value in values if value is not None]
                ax.plot([index + offset] * len(values), values, "o", color=colour, markersize=5)
        labels = [textwrap.fill(title_of(pair[0]).removesuffix(", transposed"), 11) for pair in found]
        ax.set_xticks(range(len(found)), labels)
        ax.set_xlim(-0.5, len(found) - 0.5)
    axes[0].set_title("mean IoU of an image")
    axes[1].set_title("checkerboard (1: none)")
    axes[1].axhline(1, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    handles = [Line2D([], [], color=colour, marker="o", linestyle="") for colour in (RED, BLUE)]
    fig.legend(handles, ["transposed", "bilinear"], loc="outside upper right", ncols=2)
    return fig


def class_iou(runs, run):
    """IoU of each of the 21 classes, best first, with the mean as a line."""
    values = runs.get(run, "test.class_iou")
    if not values:
        return waiting([run])
    values = np.array([np.nan if value is None else value for value in values])
    order = np.argsort(-np.nan_to_num(values, nan=-1))
    fig, ax = subplots(figsize=(WIDTH, 2.6))
    ax.bar(range(21), values[order], color=[GREY if index == 0 else BLUE for index in order], width=0.75)
    for position, index in enumerate(order):
        if np.isfinite(values[index]):
            ax.text(
                position, values[index] + 0.01, f"{100 * values[index]:.0f}", ha="center", fontsize=7.5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},  # over the line of the mean
            )  # fmt: skip
    mean = np.nanmean(values)
    ax.axhline(mean, color=RED, linewidth=1)
    ax.text(20.45, mean + 0.012, "mean", color=RED, fontsize=8, ha="right")
    ax.set_xticks(range(21), [VOC_CLASSES[index] for index in order], rotation=55, ha="right", fontsize=7.5)
    ax.set(ylabel="IoU", ylim=(0, 1.05))
    percent_axis(ax.yaxis)
    return fig


def class_confusion(runs, run):
    """The answers to the pixels of each class, in percent of its pixels."""
    counts = runs.get(run, "test.confusion")
    if not counts:
        return waiting([run])
    counts = np.array(counts, float)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return answers_matrix(shares, VOC_CLASSES, height=5.2, least=4.95, greatest=100)


def accuracy_by_share(runs, names):
    """Pixel accuracy and IoU of single images against their share of foreground."""
    run = next((name for name in runs.first(names) if not runs.images(name).empty), None)
    if run is None:
        return waiting(names)
    table = runs.images(run)
    fig, axes = subplots(1, 2, figsize=(WIDTH, 2.4), sharey=True)
    edges = np.quantile(table["foreground_share"], np.linspace(0, 1, 9))
    middle = (edges[:-1] + edges[1:]) / 2
    groups = np.clip(np.searchsorted(edges, table["foreground_share"], side="right") - 1, 0, 7)
    for ax, column, title in zip(axes, ("pixel_accuracy", "iou"), ("pixel accuracy", "foreground IoU"), strict=True):
        ax.plot(table["foreground_share"], table[column], ".", color=SKY, markersize=3, alpha=0.5)
        means = [table[column][groups == group].mean() for group in range(8)]
        ax.plot(middle, means, color=BLUE, marker="o", markersize=4)
        ax.set(title=title, xlabel="share of foreground in the image", ylim=(0, 1.02), xlim=(0, 1))
        percent_axis(ax.xaxis)
    axes[0].plot([0, 1], [1, 0], color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    axes[0].text(0.72, 0.36, "all background", color=GREY, fontsize=8, rotation=-38)
    percent_axis(axes[0].yaxis)
    return fig
