"""Write the main results and the measured speeds into README.md, between markers, and the picture beside them.

    python report/readme.py [FOLDER OF RUNS]

`tests/report/test_readme.py` checks that README shows the committed results.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import plots
import tables
from claims import Comparisons, percent
from PIL import Image
from runs import CLASSIFIERS, SEGMENTERS, Runs

from hw2.errors import ResultsError

README = Path(__file__).resolve().parents[1] / "README.md"
PICTURE = Path(__file__).resolve().parent / "figure.png"
BENCHMARK = Path(__file__).resolve().parents[1] / "results" / "benchmark.json"
START, END = "<!-- results -->\n", "<!-- /results -->\n"
SPEED_START, SPEED_END = "<!-- speed -->\n", "<!-- /speed -->\n"
ROWS = (  # model in words, experiment, figure
    ("frozen VGG16, dense head", "vgg16_features_dense_bn", "test.accuracy"),
    ("the same, on images enlarged from 32 to 128 pixels a side", "vgg16_upsampled_features", "test.accuracy"),
    ("VGG16, all layers, on images enlarged to 64 pixels a side", "vgg16_upsampled_full", "test.accuracy"),
    ("our own residual network", "scratch_residual", "test.accuracy"),
    ("our final network", "scratch_final", "test.accuracy"),
    ("the same, one and a half times as wide", "scratch_wide", "test.accuracy"),
    ("three of the final networks combined", "ensemble_scratch_final", "test.accuracy"),
    ("two of them and VGG16 combined", "ensemble_mixed", "test.accuracy"),
    ("the book's encoder-decoder", "seg_book_transpose", "test.dataset.iou"),
    ("U-Net", "seg_unet_scratch", "test.dataset.iou"),
    ("U-Net on VGG16", "seg_unet_vgg16_bilinear", "test.dataset.iou"),
    ("U-Net on MobileNetV2", "seg_unet_mobilenetv2_transpose", "test.dataset.iou"),
    ("light net on MobileNetV2, larger images", "seg_mobilenetv2", "test.dataset.iou"),
    ("light net on MobileNetV2", "seg_mobilenetv2_classes", "test.iou"),
)
FIGURES = {
    "test.accuracy": "CIFAR-100, test accuracy",
    "test.dataset.iou": "VOC subset, foreground IoU",
    "test.iou": "VOC subset, mean IoU of background and 20 classes",
}


def section(c):
    """Return what stands between the markers."""
    lines = ["| task and figure | model | result | seeds | training |", "|---|---|---|---|---|"]
    before = None
    for what, name, on in ROWS:
        if not c.seeds(name):
            continue
        task = FIGURES[on] if on != before else ""
        lines.append(f"| {task} | {what} | {percent(c.mean(name, on))} | {c.seeds(name)} | {c.minutes(name)} |")
        before = on
    table = "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")
    return (
        f"{table}\n\n"
        "Results are means over the seeds. Training time is processor time divided by the number of cores, two; that\n"
        "of the fastest seed counts. It includes everything that a model needs. The [report](#read-the-report)\n"
        "answers twenty questions about these results, with intervals; its appendix names the processors, which\n"
        "differ, so that times compare only roughly.\n\n"
        "![Test accuracy and foreground IoU against training time, every run a dot.](report/figure.png)\n"
    )


def with_results(text, c):
    """Return README's text with the section replaced."""
    return _between(text, START, section(c), END)


def speed_section(path):
    """Return the table of speeds that a benchmark file holds."""
    rows = tables.speed(path)
    lines = [f"| {' | '.join(rows[0])} |", "|" + len(rows[0]) * "---|"] if rows else []
    for machine, title, *speeds, ratio in (row.values() for row in rows):
        cells = [machine, title, *(f"{speed:,.0f}" if speed else "" for speed in speeds), f"{ratio:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_speed(text, path):
    """Return README's text with the table of speeds replaced."""
    return _between(text, SPEED_START, speed_section(path), SPEED_END)


def _between(text, start, part, end):
    before, rest = text.split(start)
    return before + start + part + end + rest.split(end)[1]


def drawn(c):
    """Return a digest of the values that the picture shows."""
    values = [
        (run, c.runs.get(run, f"test.{figure}"), c.runs.training_seconds(run))
        for names, figure in ((CLASSIFIERS, "accuracy"), (SEGMENTERS, "iou"))
        for name in names
        for run in c.runs.seeds(name)
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def draw(c, path):
    """Draw the picture, which records what it shows."""
    plots.use_theme()
    figure = plots.overview(c.runs, CLASSIFIERS, SEGMENTERS)
    figure.savefig(path, dpi=110, metadata={"Description": drawn(c)}, pil_kwargs={"optimize": True})


def shown(path):
    """Return the digest that a picture records."""
    with Image.open(path) as picture:
        return picture.text["Description"]


def main(folder=None):
    """Write README's tables and the picture from a folder of runs, or exit with a message if it holds none."""
    try:
        runs = Runs(folder)
    except ResultsError as error:
        sys.exit(str(error))
    if not runs.metrics:
        sys.exit(f"{runs.folder} holds no finished run, so README stays as it is. Name another folder of runs.")
    comparisons = Comparisons(runs)
    README.write_text(with_speed(with_results(README.read_text(), comparisons), BENCHMARK))
    draw(comparisons, PICTURE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", help="folder of runs; default: that of the report")
    main(parser.parse_args().folder)
