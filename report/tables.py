"""Every table of the report, made by a pandas Styler: few columns, units in the header.

No value is marked as the best: the maximum of several noisy test figures overestimates the best one.
"""

import re
from collections import defaultdict
from html import unescape

import pandas as pd
from claims import DASH, signed
from plots import receptive_fields

from hw2.experiments import title_of
from hw2.experiments.costs import image_counts
from hw2.experiments.schema import experiment_of
from hw2.files import read_json


class Table:
    """A styled table that Quarto takes as raw HTML; as an HTML output, it would make the page load scripts."""

    def __init__(self, style):
        self.html = with_widths(style.to_html())

    def _repr_markdown_(self):
        return f"```{{=html}}\n{self.html}\n```"


def with_widths(html, longest=40):
    """Return a table with the width of each column set by its texts, which Quarto would make equal or too narrow.

    Headings may break at their spaces, cells from `longest` characters on.
    """
    found = defaultdict(int)
    for tag, column, text in re.findall(r'<(td|th)[^>]*class="[^"]*\bcol(\d+)\b[^>]*>(.*?)</t[dh]>', html, re.DOTALL):
        size = max(map(len, text.split(" "))) if tag == "th" else min(len(unescape(text)), longest)
        found[int(column)] = max(found[int(column)], size + 2)
    columns = "".join(f'<col style="width: {100 * size / sum(found.values()):.1f}%">' for size in found.values())
    return html.replace("<thead>", f"<colgroup>{columns}</colgroup>\n<thead>", 1)


def styled(rows, formats=None, left=1, words=()):
    """Return a table of `rows`, dictionaries with the same keys.

    formats: {column: format or function}. The first `left` columns and those in `words` are aligned left, the others
    right. A missing value is shown as a dash.
    """
    frame = pd.DataFrame(rows)
    if frame.empty:
        frame = pd.DataFrame({"No finished run yet": []})
    style = frame.style.hide(axis="index").format(formats or {}, na_rep=DASH)
    sides = ["left" if index < left or name in words else "right" for index, name in enumerate(frame.columns)]
    for name, side in zip(frame.columns, sides, strict=True):
        style = style.set_properties(subset=[name], **{"text-align": side})
    heads = [{"selector": f"th.col{index}", "props": f"text-align: {side};"} for index, side in enumerate(sides)]
    return Table(style.set_table_styles(heads))


def whole(text):
    """Return a label that is not broken at its spaces in a narrow column."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def share(value):
    return f"{100 * value:.1f}"


def minutes(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def mega(value):
    return f"{value / 1e6:,.1f}" if value >= 1e5 else f"{value / 1e6:.2f}"


def plain(difference):
    """Return a difference in points with its interval, for a column that names the unit."""
    if difference is None:
        return DASH
    estimate, low, high = (signed(100 * value) for value in difference[:3])
    return whole(f"{estimate} ({low} to {high})")


def present(c, names):
    """Return those of the experiments `names` that have a finished seed."""
    return [name for name in names if c.seeds(name)]


# of the article -------------------------------------------------------------------------------------------------------


def classifiers(c, steps):
    """Accuracy of each net and its difference from an earlier row, which it is compared with; gap and cost.

    steps: {experiment: the one that it is compared with, "-seed0" for its first seed alone, or None}.
    """
    places = {name: str(place) for place, name in enumerate(present(c, steps), start=1)}
    rows = [
        {
            "no.": place,
            "net": title_of(name),
            "seeds": c.seeds(name),
            "test (%)": c.mean(name),
            "against no.": places.get(steps[name] and experiment_of(steps[name]), DASH),
            "difference (points)": plain(c.difference(name, steps[name]) if steps[name] else None),
            "gap (points)": c.mean(name, "gap"),
            "parameters (M)": c.mean(name, "cost.parameters"),
            "multiply-adds (M)": c.mean(name, "cost.multiply_adds"),
            "training (min)": c.mean(name, "minutes"),
        }
        for name, place in places.items()
    ]
    formats = {
        "test (%)": share,
        "gap (points)": lambda value: signed(100 * value),
        "parameters (M)": mega,
        "multiply-adds (M)": lambda value: f"{value / 1e6:,.0f}",
        "training (min)": minutes,
    }
    return styled(rows, formats, left=0, words=("net",))


def events(c, names):
    """When schedules, early stopping and checkpoints acted, in the first seed of each net."""
    rows = []
    for run in c.runs.first(names):
        history = c.runs.history(run)
        validated = history["val_accuracy" if "val_accuracy" in history else "val_iou"]
        happened = c.runs.get(run, "events") or []
        divided = [str(event["epoch"]) for event in happened if "divided" in event["event"]]
        stopped = any("stopped early" in event["event"] for event in happened)
        returned = any("went back" in event["event"] for event in happened)
        rows.append(
            {
                "net": title_of(experiment_of(run)),
                "epochs": len(history),
                "rate divided after": ", ".join(divided) or DASH,
                "stopped early": "yes" if stopped else "no" if c.runs.phase(run).get("patience") else DASH,
                "best epoch": int(history["epoch"][validated.idxmax()]),
                "weights kept": "best" if returned else "last",
                "best minus last (points)": 100 * (validated.max() - validated.iloc[-1]),
            }
        )
    return styled(rows, {"best minus last (points)": "{:.1f}"}, words=("rate divided after", "weights kept"))


SEGMENTATION = {
    "pixel accuracy (%)": "test.dataset.pixel_accuracy",
    "IoU (%)": "test.dataset.iou",
    "Dice (%)": "test.dataset.dice",
    "IoU per image (%)": "test.images.iou",
    "boundary IoU (%)": "test.images.boundary_iou",
    "Hausdorff 95 (%)": "test.images.hausdorff_95",
}


def segmenters(c, names):
    """Figures of segmentation nets and, below them, of methods without training, on the same images."""
    rows = [
        {"method": title_of(name), "seeds": c.seeds(name)}
        | {text: c.mean(name, path) for text, path in SEGMENTATION.items()}
        for name in present(c, names)
    ]
    for method, figures in (c.runs.get("seg_baselines", "baselines") or {}).items():
        row = {"method": {"grabcut": "GrabCut"}.get(method, method.replace("_", " ")), "seeds": DASH}
        for text, path in SEGMENTATION.items():
            _, group, figure = path.split(".")
            value = figures[group].get(figure)
            row[text] = value["mean"] if isinstance(value, dict) else value
        rows.append(row)
    return styled(rows, dict.fromkeys(SEGMENTATION, share))


def decoders(c, pairs):
    """Bilinear minus transposed: overlap, contour, pattern and multiply-adds."""
    rows = []
    for transposed, bilinear in pairs:
        if not (c.seeds(transposed) and c.seeds(bilinear)):
            continue
        rows.append(
            {
                "net": title_of(transposed).removesuffix(", transposed"),
                "seeds": whole(" / ".join(str(c.seeds(name)) for name in (transposed, bilinear))),
                "IoU per image (points)": plain(c.difference(bilinear, transposed, "test.images.iou")),
                "boundary IoU (points)": plain(c.difference(bilinear, transposed, "test.images.boundary_iou")),
                "checkerboard": both(c, transposed, bilinear, "checkerboard", "{:.1f}".format),
                "multiply-adds (G)": both(
                    c, transposed, bilinear, "cost.multiply_adds", lambda value: f"{value / 1e9:.1f}"
                ),
            }
        )
    return styled(rows)


def both(c, one, other, on, form):
    return whole(" / ".join(DASH if (value := c.mean(name, on)) is None else form(value) for name in (one, other)))


# of the appendix ------------------------------------------------------------------------------------------------------


def claims(c):
    """Every claim of the text with what it rests on and whether these results bear it out."""
    words = {True: "yes", False: "no", None: "open"}
    rows = {
        (evidence.key, what): {
            "the text says that": what,
            "these results": evidence.shown or DASH,
            "p": evidence.difference.p if evidence.difference else None,
            "holds": words[
                evidence.verdict(c.cutoff) if evidence.verdict(c.cutoff) is None else bool(evidence.verdict(c.cutoff))
            ],
        }
        for evidence, what in c.claimed
    }
    return styled(list(rows.values()), {"p": lambda value: f"{value:.3f}" if value >= 0.001 else "< 0.001"}, left=2)


def state(runs):
    """The number of finished runs and the missing ones, by chapter."""
    rows = []
    for chapter, names in runs.wanted().items():
        missing = runs.missing(names)
        told = "; ".join(map(title_of, missing)) or DASH
        rows.append({"chapter": chapter, "finished": f"{len(names) - len(missing)} of {len(names)}", "missing": told})
    return styled(rows, left=3)


def every_run(runs, names):
    """Figures and cost of every finished run, each seed by itself."""
    rows = []
    for run in runs.finished(names):
        figure = "accuracy" if runs.get(run, "task") in ("classification", "ensemble") else "iou"
        seconds = runs.training_seconds(run)
        rows.append(
            {
                "run": run,
                "in words": title_of(run),
                "validation (%)": runs.get(run, f"validation.{figure}"),
                "test (%)": runs.get(run, f"test.{figure}"),
                "parameters (M)": runs.get(run, "cost.parameters"),
                "training (min)": None if seconds is None else seconds / 60,
                "machine": trained_on(runs, run),
            }
        )
    formats = dict.fromkeys(("validation (%)", "test (%)"), share) | {"parameters (M)": mega, "training (min)": minutes}
    return styled(rows, formats, left=2, words=("machine",))


def trials(path):
    """The short trials that decided how the experiments are set up."""
    frame = pd.read_csv(path, dtype=str).fillna(DASH)
    frame["experiment"] = frame["experiment"].map(title_of)
    columns = ["experiment", "tried", "data", "epochs", "validation", "training", "decision"]
    return styled(frame[columns].to_dict("records"), left=3, words=("decision",))


def speed(path):
    """The rows of a benchmark file that compare our layers, Keras' own and PyTorch, in images a second, by machine."""
    rows = []
    for measured in read_json(path)["machines"] if path.exists() else ():
        machine = machine_in_words(measured["machine"]["processor"], measured["machine"]["precision"])
        if measured["machine"].get("backend", "tensorflow") != "tensorflow":
            machine += f", {measured['machine']['backend']}"
        for row in measured["rows"].values():
            found = {name: variant.get("median") for name, variant in row.get("variants", {}).items()}
            if found.get("ours") and found.get("pytorch"):
                rows.append(
                    {
                        "machine": machine,
                        "images a second": row["title"],
                        "our layers": found["ours"],
                        "Keras' layers": found.get("keras"),
                        "PyTorch": found["pytorch"],
                        "ours / PyTorch": found["ours"] / found["pytorch"],
                    }
                )
                machine = ""  # once a group
    return rows


def trained_on(runs, run):
    """Return the machine that trained a run in words, or a dash where it is not recorded."""
    device, precision = runs.get(run, "cost.device"), runs.get(run, "precision")
    return machine_in_words(device, precision) if device and precision else DASH


def machine_in_words(processor, precision):
    """Return the units for matrix products and the number format of a machine: "2 cores, AMX, bfloat16".

    processor: as `hw2.hardware.device_name` tells it. precision: the Keras dtype policy.
    """
    name, _, features = processor.rpartition(" (")
    units = [unit for flag, unit in (("amx", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in features]
    cores = [name.rpartition(", ")[2], units[0]] if name and units else [processor]
    return ", ".join([*cores, precision.removeprefix("mixed_")])


def geometry(sizes=(32, 64, 128, 224)):
    """Receptive field and stride at the end of each block of VGG16, and the side of its map by image size."""
    rows = [
        {
            "after": name.replace("pool", "block"),
            "receptive field (px)": field,
            "total stride": stride,
            **{f"map at {size} px": f"{size // stride} \N{MULTIPLICATION SIGN} {size // stride}" for size in sizes},
        }
        for name, field, stride in receptive_fields()
        if name.startswith("pool")
    ]
    return styled(rows)


def classes(c, names):
    """Accuracy and size of one architecture by the number of classes."""
    rows = [
        {
            "classes": f"{c.mean(name, 'data.classes'):.0f}",
            "training images": image_counts(c.runs.config(c.named(name)[0]))[0],
            "epochs": c.mean(name, "cost.epochs"),
            "training accuracy (%)": c.mean(name, "train"),
            "test accuracy (%)": c.mean(name),
            "parameters (M)": c.mean(name, "cost.parameters"),
        }
        for name in present(c, names)
    ]
    formats = {
        "training images": "{:,.0f}",
        "epochs": "{:.0f}",
        "training accuracy (%)": share,
        "test accuracy (%)": share,
        "parameters (M)": lambda value: f"{value / 1e6:.3f}",
    }
    return styled(rows, formats)


def ensembles(c, names):
    """Members against their combination, on the test images."""
    rows = []
    for name in present(c, names):
        members = c.runs.get(name, "members")
        singles = [member["test"]["accuracy"] for member in members.values()]
        errors = [member["test"]["ece"] for member in members.values()]
        row = {
            "combined": title_of(name),
            "mean member (%)": sum(singles) / len(singles),
            "best member (%)": max(singles),
            "calibration error of a member (%)": sum(errors) / len(errors),
        }
        for way, figures in c.runs.get(name, "ways").items():
            row[way.replace("_", " ") + " (%)"] = figures["test"]["accuracy"]
        rows.append(row | {"chosen": c.runs.get(name, "chosen").replace("_", " ")})
    return styled(rows, {name: share for name in (rows[0] if rows else ()) if name.endswith("(%)")}, words=("chosen",))


def calibration(c, names):
    """Calibration error, loss and Brier score before and after temperature scaling."""
    columns = {
        "temperature": ("calibration.temperature", "{:.2f}"),
        "ECE (%)": ("calibration.before.ece", share),
        "ECE with T (%)": ("calibration.after.ece", share),
        "loss (nats)": ("calibration.before.loss", "{:.2f}"),
        "loss with T (nats)": ("calibration.after.loss", "{:.2f}"),
        "Brier": ("calibration.before.brier", "{:.3f}"),
        "Brier with T": ("calibration.after.brier", "{:.3f}"),
    }
    rows = [
        {"net": title_of(name)} | {text: c.mean(name, path) for text, (path, _) in columns.items()}
        for name in present(c, names)
    ]
    return styled(rows, {text: form for text, (_, form) in columns.items()})


def augmented(c, names):
    """Test-time augmentation: accuracy of one view, of image and mirror image, of ten views."""
    rows = []
    for name in present(c, names):
        if not c.runs.get(c.named(name)[0], "test_time_augmentation"):
            continue
        row = {"net": title_of(name), "one view (%)": c.mean(name)}
        for kind, label in (("mirror", "2 views (%)"), ("mirror_shift", "10 views (%)")):
            row[label] = c.mean(name, f"test_time_augmentation.{kind}.test.accuracy")
        row["10 views against one, first seed (points)"] = plain(c.views(c.named(name)[0], "mirror_shift"))
        rows.append(row)
    return styled(rows, dict.fromkeys(("one view (%)", "2 views (%)", "10 views (%)"), share))


def networks(c, names):
    """Size and cost of the segmentation nets."""
    columns = {
        "parameters (M)": ("cost.parameters", mega),
        "of them trained (M)": ("cost.trainable_parameters", mega),
        "multiply-adds (G)": ("cost.multiply_adds", lambda value: f"{value / 1e9:.1f}"),
        "training pairs": ("data.train", "{:,.0f}"),
        "epochs": ("cost.epochs", "{:.0f}"),
        "threshold": ("threshold", "{:.2f}"),
        "training (min)": ("minutes", minutes),
    }
    rows = [
        {"net": title_of(name), "input (px)": c.runs.config(c.named(name)[0])["model_arguments"]["image_size"]}
        | {text: c.mean(name, path) for text, (path, _) in columns.items()}
        for name in present(c, names)
    ]
    return styled(rows, {text: form for text, (_, form) in columns.items()})
