"""Every plot of the report: a function from the finished runs to a matplotlib figure, in one theme and one palette.

A plot shows those of its experiments that are finished, curves the first seed of each; without any, it is an empty
panel that names the missing ones. The colours are those of Okabe and Ito, which readers with any colour vision can tell
apart. Figures are as wide as the PDF's text, so that their letters have the size of its letters.
"""

import textwrap

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.artist import setp
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator, PercentFormatter
from runs import PANEL
from scipy.ndimage import gaussian_filter

from hw2.data.thumbnails import decode
from hw2.experiments import title_of
from hw2.experiments.schema import experiment_of, run_name
from hw2.labels import CIFAR100_CLASSES, CIFAR100_SUPERCLASS_OF, CIFAR100_SUPERCLASSES, VOC_CLASSES, VOC_PALETTE, VOID
from hw2.models.registry import VGG16_BLOCKS

BLUE, ORANGE, GREEN, RED, SKY, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
INK, GREY, PALE = "#222222", "#767676", "#D9D9D9"
WIDTH = 6.3  # inches


def use_theme():
    """Set the theme, and vector figures where the notebook shows them."""
    sns.set_theme(style="ticks", palette=[BLUE, RED, GREEN, ORANGE, PINK, SKY])
    matplotlib.rcParams.update(
        {
            "font.family": "DejaVu Sans",
            **dict.fromkeys(("font.size", "axes.labelsize"), 8.5),
            **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 8),
            "axes.titlesize": 9,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": GREY,
            "axes.linewidth": 0.7,
            "xtick.major.width": 0.7,
            "ytick.major.width": 0.7,
            "xtick.major.size": 3,
            "ytick.major.size": 3,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "grid.color": "#ECECEC",
            "grid.linewidth": 0.7,
            "lines.linewidth": 1.6,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 96,
            "savefig.dpi": 200,  # of pictures inside vector figures
            "image.cmap": "Blues",
            "svg.hashsalt": "hw2",  # the same figure, the same file
        }
    )
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    set_matplotlib_formats("svg", bbox_inches=None)


def subplots(rows=1, columns=1, *, figsize, layout=None, **settings):
    """Return `plt.subplots` of a figure that pyplot does not keep: pyplot would draw each figure a second time."""
    fig = Figure(figsize=figsize, layout=layout)
    return fig, fig.subplots(rows, columns, **settings)


def waiting(names, height=1.1):
    """Return an empty panel that names the experiments that it waits for."""
    fig, ax = subplots(figsize=(WIDTH, height), layout="none")
    shown = ", ".join(map(title_of, names[:2])) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    ax.text(0.5, 0.5, f"waits for\n{shown}", ha="center", va="center", color=GREY, fontsize=8)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(True)
    ax.spines[:].set_linestyle((0, (4, 4)))
    return fig


def title(run, width=24):
    """Return the words for a run, broken into lines that fit above a panel."""
    return textwrap.fill(title_of(experiment_of(run)), width)


def percent_axis(axis, decimals=0):
    axis.set_major_formatter(PercentFormatter(1, decimals=decimals, symbol=" %"))


def spread(positions, gap):
    """Return positions moved apart until neighbours are at least `gap` away from each other, as little as needed."""
    order = np.argsort(positions)
    moved = np.array(positions, float)[order]
    for _ in range(200):
        overlap = gap - np.diff(moved)
        if (overlap <= 1e-9).all():
            break
        for index in np.flatnonzero(overlap > 0):
            moved[index] -= overlap[index] / 2
            moved[index + 1] += overlap[index] / 2
    result = np.empty_like(moved)
    result[order] = moved
    return result


# classification ------------------------------------------------------------------------------------------------------


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
    """Validation loss by epoch of many runs in one panel, named at its end."""
    found = [name for name in runs.first(names) if "val_loss" in runs.history(name)]
    if not found:
        return waiting(names)
    fig, ax = subplots(figsize=(WIDTH, 3.4))
    colours = [(BLUE, RED, GREEN, ORANGE, PINK, SKY)[index % 6] for index in range(len(found))]
    for name, colour in zip(found, colours, strict=True):
        ax.plot(runs.history(name)["epoch"], runs.history(name)["val_loss"], color=colour, linewidth=1.2)
    ends = np.log([runs.history(name)["val_loss"].iloc[-1] for name in found])
    last = max(runs.history(name)["epoch"].iloc[-1] for name in found)
    ax.set_yscale("log", base=2)  # the first epochs of a bad head are ten times as high as the end of a good one
    ax.yaxis.set_major_formatter("{x:g}")
    low, high = np.log(ax.get_ylim())
    heights = spread(ends, 0.045 * (high - low))
    ax.set_ylim(bottom=np.exp(min(low, heights.min() - 0.04 * (high - low))))
    for name, colour, height in zip(found, colours, np.exp(heights), strict=True):
        ax.text(1.03 * last, height, title_of(experiment_of(name)), color=colour, fontsize=7.5, va="center")
    ax.set(xlabel="epoch", ylabel="validation loss (nats, logarithmic)", xlim=(0, 1.35 * last))
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


FAMILIES = {
    "vgg16": (BLUE, "VGG16"),
    "scratch": (RED, "our own nets"),
    "final": (RED, "our own nets"),
    "ensemble": (GREEN, "combined nets"),
    "seg": (ORANGE, "segmentation"),
}


def family(run):
    """Return the colour and the words for the family of a run."""
    return FAMILIES.get(run.partition("_")[0], (GREY, "others"))


def overview(runs, classifiers, segmenters):
    """Test accuracy and foreground IoU against training time: every run a dot, and the best of each budget named.

    Named are runs that are clearly better on the validation images than all that took less time, and the best of FINAL.
    """
    if not runs.first((*classifiers, *segmenters)):
        return waiting(classifiers)
    fig, axes = subplots(1, 2, figsize=(WIDTH, 3), width_ratios=(1.35, 1))
    labels = []
    for ax, names, figure in zip(axes, (classifiers, segmenters), ("accuracy", "iou"), strict=True):
        found = [run for name in names for run in runs.seeds(name) if runs.training_seconds(run)]
        found = [run for run in found if runs.get(run, f"test.{figure}") is not None]
        cost = {run: runs.training_seconds(run) / 60 for run in found}
        for run in found:
            colour = family(run)[0]
            ax.plot(cost[run], runs.get(run, f"test.{figure}"), "o", color=colour, markersize=5, alpha=0.6, mew=0)
        dots = {run: (cost[run], runs.get(run, f"test.{figure}")) for run in found}
        named = front(runs, cost, f"validation.{figure}")
        final = [run for run in found if experiment_of(run) == FINAL and run not in named]
        named += sorted(final, key=lambda run: runs.get(run, f"validation.{figure}"))[-1:]
        labels.append((ax, {title(run, 18): dots[run] for run in named}, dots))
        ax.set(xscale="log", xlabel="training time (min, logarithmic)")
        ax.set_title("CIFAR-100: test accuracy" if figure == "accuracy" else "VOC: foreground IoU")
        ax.set_xticks([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        percent_axis(ax.yaxis)
        if found:
            low, high = min(cost.values()), max(cost.values())
            ax.set_xlim(low / max(high / low, 4) ** (0.42 if figure == "accuracy" else 0.75), high * 1.3)
            values = [runs.get(run, f"test.{figure}") for run in found]
            reach = max(max(values) - min(values), 0.05)
            ax.set_ylim(min(values) - 0.14 * reach, max(values) + 0.3 * reach)  # room for the names
    present = dict.fromkeys(family(run) for run in runs.first((*classifiers, *segmenters)))
    handles = [Line2D([], [], color=colour, marker="o", linestyle="", label=text) for colour, text in present]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    fig.canvas.draw()  # the axes get their final places
    for ax, names, dots in labels:
        name_dots(ax, names, list(dots.values()))
    return fig


PLACES = (("right", "bottom"), ("right", "center"), ("left", "top"), ("left", "center"), ("right", "top"))


def name_dots(ax, names, dots):
    """Write each name beside its dot, where it covers the fewest names and dots and stays within the axes.

    names: {text: (x, y)}. dots: all (x, y). Call it when the axes have their final limits and places.
    """
    taken, pixels = [], ax.transData.transform(dots)
    for text, point in reversed(names.items()):  # the best first
        found = []
        for horizontal, vertical in PLACES:
            shift = ({"right": -4, "left": 4}[horizontal], {"bottom": 4, "center": 0, "top": -4}[vertical])
            label = ax.annotate(
                text, point, shift, textcoords="offset points", ha=horizontal, va=vertical, fontsize=7, color=INK,
                linespacing=0.95,
            )  # fmt: skip
            box = label.get_window_extent()
            outside = sum((box.x0 < ax.bbox.x0, box.x1 > ax.bbox.x1, box.y0 < ax.bbox.y0, box.y1 > ax.bbox.y1))
            box = box.padded(3)
            covered = outside + sum(box.overlaps(other) for other in taken)
            found.append((covered, sum(box.contains(*pixel) for pixel in pixels), len(found), label, box))
        *_, chosen, box = min(found, key=lambda place: place[:3])
        for *_, label, _ in found:
            if label is not chosen:
                label.remove()
        taken.append(box)


STEP = 0.025  # of accuracy or IoU, from which on a better net is named
FINAL = "scratch_final"  # named in any case


def front(runs, cost, path, step=STEP):
    """Return the runs whose figure exceeds that of every cheaper one by more than `step`, and the best of all.

    cost: {run: minutes}. path: of the figure on the validation images.
    """
    best, chosen = -1.0, []
    for run in sorted(cost, key=cost.get):
        if (value := runs.get(run, path)) > best + step:
            best = value
            chosen.append(run)
    first = max(cost, key=lambda run: runs.get(run, path), default=None)
    clear = [run for run in chosen if runs.get(run, path) < runs.get(first, path) - step]
    return clear + ([first] if first else [])


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


def answers_matrix(percentages, names, height, least, greatest):
    """A square of percentages, truth by answer; `greatest` is the darkest, and those from `least` on are written."""
    fig, ax = subplots(figsize=(WIDTH, height))
    ax.imshow(percentages, vmin=0, vmax=greatest, aspect="auto")
    for (row, column), value in np.ndenumerate(percentages):
        if value >= least:
            colour = "white" if value > greatest / 2 else INK
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    ax.set_xticks(range(len(names)), names, rotation=55, ha="right", fontsize=7.5)
    ax.set_yticks(range(len(names)), names, fontsize=7.5)
    ax.set(xlabel="answer", ylabel="truth")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return fig


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
    colours = sns.color_palette([BLUE, RED, GREEN, ORANGE, PINK, SKY], len(found))
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


# segmentation --------------------------------------------------------------------------------------------------------

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


def panel(runs, run, position):
    """Return one of the test images that all runs share, with a run's output for it.

    A dictionary of arrays (height, width) uint8: truth (classes), probability (of foreground, times 255), of 21 classes
    also prediction (classes), and image (height, width, 3). run: None for image and truth alone.
    """
    shared, own = runs.arrays(PANEL), runs.arrays(run) if run else {}
    found = {"image": decode(shared[f"panel_{position}_image"]), "truth": shared[f"panel_{position}_truth"]}
    keys = ("probability", "prediction")
    return found | {key: own[f"panel_{position}_{key}"] for key in keys if f"panel_{position}_{key}" in own}


def example(runs, run, identifier):
    """Return one of a run's own examples, as `panel` does. identifier: one of `metrics["examples"]`."""
    arrays = runs.arrays(run)
    start = f"example_{list(arrays['example_identifiers']).index(identifier)}_"
    found = {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
    return found | {"image": decode(found["image"])}


def overlay(image, mask, colour=None, strength=0.55):
    """Return the image with a mask laid over it: foreground in one colour, or each class in VOC's."""
    inside = (mask > 0) & (mask != VOID)
    paint = VOC_PALETTE[mask] if colour is None else np.broadcast_to(colour, image.shape)
    mixed = np.where(inside[..., None], (1 - strength) * image + strength * paint, image)
    return mixed.astype(np.uint8)


def pictures(axes, images):
    for ax, image in zip(axes, images, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_axis_off()


def headings(axes, titles):
    """Write the title of each column of pictures above its first one. axes: the first row."""
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=8, fontweight="normal", loc="center")


def voc_examples(runs, count=4):
    """A few test images with mask and overlay in the official colours."""
    if not runs.has_panel(PANEL):
        return waiting([PANEL])
    shown = range(min(count, len(runs.arrays(PANEL)["panel_identifiers"])))
    fig, axes = subplots(3, len(shown), figsize=(WIDTH, 3.3), squeeze=False)
    for column, position in enumerate(shown):
        found = panel(runs, None, position)
        mask = VOC_PALETTE[found["truth"]]
        pictures(axes[:, column], [found["image"], mask, overlay(found["image"], found["truth"])])
    return fig


def errors(prediction, truth):
    """Return a picture of right and wrong pixels: found blue, missed orange, false positives red, void pale."""
    foreground, void = (truth > 0) & (truth != VOID), truth == VOID
    picture = np.full((*truth.shape, 3), 255, np.uint8)
    for where, colour in (
        (foreground & prediction, BLUE),
        (foreground & ~prediction, ORANGE),
        (~foreground & prediction, RED),
        (void, PALE),
    ):
        picture[where] = [int(colour[index : index + 2], 16) for index in (1, 3, 5)]
    return picture


OUTPUTS = {"best": 1, "median": 2, "worst": 1, "worst_large": 1}  # number of examples of each kind that are shown


def examples(runs, run, kind):
    """Return the identifiers of a run's test images that `outputs` shows of a kind."""
    return list(dict.fromkeys(runs.get(run, f"examples.{kind}") or []))[: OUTPUTS[kind]]


def outputs(runs, names):
    """Best, median and worst test images by IoU: image, truth, probability, right and wrong pixels."""
    run = next((name for name in runs.first(names) if "example_identifiers" in runs.arrays(name)), None)
    if run is None:
        return waiting(names)
    chosen = [(kind, identifier) for kind in OUTPUTS for identifier in examples(runs, run, kind)]
    threshold = runs.get(run, "threshold") or 0.5
    table = runs.images(run)
    scores = {} if table.empty else dict(zip(table["identifier"].astype(str), table["iou"], strict=True))
    fig, axes = subplots(len(chosen), 4, figsize=(WIDTH, 0.98 * len(chosen)), squeeze=False)
    headings(axes[0], ("image", "truth", "probability", "right and wrong"))
    for row, (kind, identifier) in zip(axes, chosen, strict=True):
        found = example(runs, run, identifier)
        probability = found["probability"]
        answer = found["prediction"] > 0 if "prediction" in found else probability >= 255 * threshold
        wrong = errors(answer, found["truth"])
        pictures(row, [found["image"], overlay(found["image"], found["truth"]), probability, wrong])
        score = scores.get(identifier)
        label = kind.replace("_large", ",\nlarge") + ("" if score is None else f"\nIoU {score:.2f}")
        row[0].text(-0.06, 0.5, label, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    return fig


def dice_and_iou(runs, names):
    """Dice as a function of IoU, with one model's images on it; the distribution of IoU over images of several."""
    found = [name for name in runs.first(names) if not runs.images(name).empty]
    fig, axes = subplots(1, 2, figsize=(WIDTH, 3.0), width_ratios=(1, 1.35))
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
        fig.legend(loc="outside lower center", ncols=3)
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


def zoom(runs, names, count=3):
    """The same details of the probability maps of two decoders, enlarged without smoothing, and their fine structure.

    Fine structure: a map minus its Gaussian blur, amplified by the same factor for both decoders.
    """
    pair = runs.first(names)
    if len(pair) < 2 or not all(runs.has_panel(run) for run in pair):
        return waiting([PANEL, *names])
    crops = []
    for position in range(len(runs.arrays(PANEL)["panel_identifiers"])):
        found = [panel(runs, run, position) for run in pair]
        window = busiest(found[0]["truth"])
        crops.append((border_share(found[0]["truth"][window]), window, found))
    crops = sorted(crops, key=lambda crop: -crop[0])[:count]
    fig, axes = subplots(len(crops), 6, figsize=(WIDTH, 1.15 * len(crops)), squeeze=False)
    headings(axes[0], ("image", "truth", "transposed", "bilinear", "transposed, fine", "bilinear, fine"))
    for row, (_, window, (one, two)) in zip(axes, crops, strict=True):
        maps = [found["probability"].astype(float) for found in (one, two)]
        fine = np.stack([(values - gaussian_filter(values, 4))[window] for values in maps])
        fine = 127.5 * (1 + fine / np.quantile(np.abs(fine), 0.98).clip(1))
        parts = [one["image"], overlay(one["image"], one["truth"]), *maps]
        pictures(row, [*(part[window] for part in parts), *fine])
    return fig


def busiest(truth, size=56):
    """Return the window with the most boundary of the truth, as slices."""
    edges = contour(truth)
    height, width = (min(size, side) for side in truth.shape)
    total = np.pad(edges.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return slice(top, top + height), slice(left, left + width)


def border_share(truth):
    return float(contour(truth).mean())


def contour(truth):
    inside = (truth > 0) & (truth != VOID)
    edges = np.zeros(truth.shape, int)
    edges[:, 1:] |= inside[:, 1:] ^ inside[:, :-1]
    edges[1:] |= inside[1:] ^ inside[:-1]
    return edges


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
            ax.text(position, values[index] + 0.01, f"{100 * values[index]:.0f}", ha="center", fontsize=7.5)
    mean = np.nanmean(values)
    ax.axhline(mean, color=RED, linewidth=1)
    ax.text(20.45, mean + 0.012, "mean", color=RED, fontsize=8, ha="right")
    ax.set_xticks(range(21), [VOC_CLASSES[index] for index in order], rotation=55, ha="right", fontsize=7.5)
    ax.set(ylabel="IoU", ylim=(0, 1.05))
    percent_axis(ax.yaxis)
    return fig


def class_outputs(runs, run, count=6):
    """Test images at equal distances in the panel: image, truth and answer in the official colours, classes by name."""
    if not runs.has_panel(run):
        return waiting(runs.missing([PANEL, run]) or [run])
    panels = len(runs.arrays(run)["panel_identifiers"])
    shown = np.unique(np.linspace(0, panels - 1, min(count, panels)).astype(int))
    fig, axes = subplots(3, len(shown), figsize=(WIDTH, 3.7), squeeze=False)
    for column, position in zip(axes.T, shown, strict=True):
        found = panel(runs, run, position)
        masks = found["truth"], found["prediction"]
        pictures(column, [found["image"], *(overlay(found["image"], mask) for mask in masks)])
        for ax, mask in zip(column[1:], masks, strict=True):
            named = [VOC_CLASSES[index] for index in range(1, 21) if (mask == index).mean() > 0.01]
            text = ", ".join(named[:2]) + (" ..." if len(named) > 2 else "")
            ax.text(0.5, -0.04, text, transform=ax.transAxes, ha="center", va="top", fontsize=6.5)
    for ax, title in zip(axes[:, 0], ("image", "truth", "answer"), strict=True):
        ax.text(-0.06, 0.5, title, transform=ax.transAxes, ha="right", va="center", fontsize=8)
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
