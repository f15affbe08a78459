"""Accuracy and IoU against training time: all runs, the best of each budget named."""

from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from hw2.experiments.schema import experiment_of
from plots.palette import BLUE, GREEN, GREY, INK, ORANGE, RED
from plots.style import WIDTH, percent_axis, subplots, title, waiting

FAMILIES = {
    "vgg16": (BLUE, "VGG16"),
    "scratch": (RED, "our own nets"),
    "final": (RED, "our own nets"),
    "ensemble": (GREEN, "combined nets"),
    "seg": (ORANGE, "segmentation"),
}
STEP = 0.025  # of accuracy or IoU, from which on a better net is named
FINAL = "scratch_final"  # named in any case


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
