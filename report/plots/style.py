"""The theme of all plots, and what several of them need.

Figures are as wide as the PDF's text, so that their letters have the size of its letters.
"""

import textwrap

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hw2.experiments import title_of
from hw2.experiments.schema import experiment_of
from plots.palette import GREY, INK, LINES

WIDTH = 6.3  # inches


def use_theme():
    """Set the theme, and vector figures where the notebook shows them."""
    sns.set_theme(style="ticks", palette=LINES)
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
