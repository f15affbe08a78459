"""Every table of the report, made by a pandas Styler: few columns, units in the header, the best value marked."""

import pandas as pd
from claims import points, signed
from plots import classes_of, receptive_fields, short

DASH = "\N{EN DASH}"
BEST = "font-weight: bold; background-color: #DCEBF5;"


class Table:
    """A styled table that Quarto takes as raw HTML; as an HTML output, it would make the page load scripts."""

    def __init__(self, style):
        self.html = style.to_html()

    def _repr_markdown_(self):
        return f"```{{=html}}\n{self.html}\n```"


def styled(rows, formats=None, best=None, left=1, words=()):
    """Return a table of `rows`, dictionaries with the same keys.

    formats: {column: format or function}. best: {column: "max" or "min"}, whose best value is marked. The first `left`
    columns and those in `words` are aligned left, the others right. A missing value is shown as a dash.
    """
    frame = pd.DataFrame(rows)
    if frame.empty:
        frame = pd.DataFrame({"No finished run yet": []})
    style = frame.style.hide(axis="index").format(formats or {}, na_rep=DASH)
    sides = ["left" if index < left or name in words else "right" for index, name in enumerate(frame.columns)]
    for name, side in zip(frame.columns, sides, strict=True):
        style = style.set_properties(subset=[name], **{"text-align": side})
    for column, kind in (best or {}).items():
        if column in frame and frame[column].notna().sum() > 1:
            style = style.apply(mark, subset=[column], kind=kind)
    heads = [{"selector": f"th.col{index}", "props": f"text-align: {side};"} for index, side in enumerate(sides)]
    return Table(style.set_table_styles(heads))


def mark(column, kind):
    values = pd.to_numeric(column, errors="coerce")
    chosen = values.max() if kind == "max" else values.min()
    return [BEST if value == chosen else "" for value in values]


def whole(text):
    """Return a label that is not broken at its spaces in a narrow column."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def share(value):
    return f"{100 * value:.1f}"


def minutes(seconds):
    return f"{seconds / 60:,.0f}" if seconds >= 600 else f"{seconds / 60:.1f}"


def mega(value):
    return f"{value / 1e6:,.1f}" if value >= 1e5 else f"{value / 1e6:.2f}"


def state(runs):
    """The number of finished runs and the names of the missing ones, by chapter."""
    rows = []
    for chapter, names in runs.wanted().items():
        missing = runs.missing(names)
        rows.append(
            {
                "chapter": chapter,
                "finished": f"{len(names) - len(missing)} of {len(names)}",
                "missing": ", ".join(missing) or DASH,
            }
        )
    return styled(rows, left=3)


def classifiers(runs, conclusions, names, steps=True, against=None):
    """Test accuracy, loss, gap and cost of each run; with `steps`, its difference to the one before it in `names`.

    against: {run: another one to compare it with}.
    """
    rows, before = [], None
    for name in runs.finished(names):
        row = {
            "run": short(name),
            "test accuracy (%)": runs.get(name, "test.accuracy"),
        }
        if steps:
            other = (against or {}).get(name, before)
            row["against the step before (points)"] = plain(conclusions.difference(other, name) if other else None)
        row |= {
            "test loss (nats)": runs.get(name, "test.loss"),
            "gap (points)": conclusions.gap(name),
            "parameters (M)": runs.get(name, "cost.parameters"),
            "training (min)": runs.training_seconds(name),
        }
        rows.append(row)
        before = name
    formats = {
        "test accuracy (%)": share,
        "test loss (nats)": "{:.2f}",
        "gap (points)": lambda value: signed(100 * value),
        "parameters (M)": mega,
        "training (min)": minutes,
    }
    return styled(rows, formats, {"test accuracy (%)": "max", "test loss (nats)": "min"})


def frozen_cost(runs, names):
    """The cost of the frozen base, with and without mirrored images."""
    rows = [
        {
            "run": short(name),
            "base on all images (min)": runs.feature_seconds(name),
            "head, each epoch (s)": runs.epoch_seconds(name).median(),
            "epochs": runs.get(name, "cost.epochs"),
            "test accuracy (%)": runs.get(name, "test.accuracy"),
        }
        for name in runs.finished(names)
    ]
    formats = {
        "base on all images (min)": minutes,
        "head, each epoch (s)": "{:.0f}",
        "test accuracy (%)": share,
    }
    return styled(rows, formats, {"test accuracy (%)": "max"})


def geometry(sizes=(32, 64, 96, 224)):
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


def input_sizes(runs, names):
    """Accuracy and cost by the size of the network's input."""
    rows = [
        {
            "run": short(name),
            "input (px)": runs.config(name)["model_arguments"]["image_size"],
            "test accuracy (%)": runs.get(name, "test.accuracy"),
            "multiply-adds (M)": runs.get(name, "cost.multiply_adds"),
            "base, once (min)": runs.feature_seconds(name),
            "training in all (min)": runs.training_seconds(name),
        }
        for name in runs.finished(names)
    ]
    formats = {
        "test accuracy (%)": share,
        "multiply-adds (M)": lambda value: f"{value / 1e6:,.0f}",
        "base, once (min)": minutes,
        "training in all (min)": minutes,
    }
    return styled(rows, formats, {"test accuracy (%)": "max"})


def efficiency(runs, names):
    """Accuracy, size, arithmetic and measured speed."""
    rows = [
        {
            "run": short(name),
            "test accuracy (%)": runs.get(name, "test.accuracy"),
            "parameters (M)": runs.get(name, "cost.parameters"),
            "multiply-adds (M)": runs.get(name, "cost.multiply_adds"),
            "training (images/s)": runs.images_per_second(name),
            "per 100 M multiply-adds (ms)": per_arithmetic(runs, name),
        }
        for name in runs.finished(names)
    ]
    formats = {
        "test accuracy (%)": share,
        "parameters (M)": mega,
        "multiply-adds (M)": lambda value: f"{value / 1e6:,.0f}",
        "training (images/s)": "{:,.0f}",
        "per 100 M multiply-adds (ms)": "{:.2f}",
    }
    best = {"test accuracy (%)": "max", "training (images/s)": "max", "per 100 M multiply-adds (ms)": "min"}
    return styled(rows, formats, best)


def per_arithmetic(runs, name):
    """Return the milliseconds of training that 100 million multiply-adds of the forward pass take, or None."""
    speed, arithmetic = runs.images_per_second(name), runs.get(name, "cost.multiply_adds")
    return 1000 / speed / (arithmetic / 1e8) if speed and arithmetic else None


def events(runs, conclusions, names):
    """When schedules, early stopping and checkpoints acted."""
    rows = [
        {
            "run": short(name),
            "epochs": runs.get(name, "cost.epochs"),
            "best epoch": int(history["epoch"][validated.idxmax()]),
            "best (%)": validated.max(),
            "last (%)": validated.iloc[-1],
            "events": str(conclusions.events(name)),
        }
        for name in runs.finished(names)
        if not (history := runs.history(name)).empty
        for validated in [history["val_accuracy" if "val_accuracy" in history else "val_iou"]]
    ]
    return styled(rows, {"best (%)": share, "last (%)": share}, words=("events",))


def classes(runs, names):
    """Accuracy and size of one architecture by the number of classes."""
    rows = [
        {
            "classes": classes_of(runs, name),
            "training images": runs.get(name, "data.train"),
            "epochs": runs.get(name, "cost.epochs"),
            "test accuracy (%)": runs.get(name, "test.accuracy"),
            "parameters (M)": runs.get(name, "cost.parameters"),
        }
        for name in runs.finished(names)
    ]
    formats = {
        "training images": "{:,.0f}",
        "test accuracy (%)": share,
        "parameters (M)": lambda value: f"{value / 1e6:.3f}",
    }
    return styled(rows, formats)


def ensembles(runs, names):
    """Single members against their combination."""
    rows = []
    for name in runs.finished(names):
        members = runs.get(name, "members")
        singles = [member["test"]["accuracy"] for member in members.values()]
        rows.append(
            {
                "ensemble": short(name),
                "members": len(members),
                "mean member (%)": sum(singles) / len(singles),
                "best member (%)": max(singles),
                "combined (%)": runs.get(name, "test.accuracy"),
                "calibration error (%)": runs.get(name, "test.ece"),
                "parameters (M)": runs.get(name, "cost.parameters"),
                "training (min)": runs.training_seconds(name),
            }
        )
    formats = {
        **dict.fromkeys(("mean member (%)", "best member (%)", "combined (%)", "calibration error (%)"), share),
        "parameters (M)": mega,
        "training (min)": minutes,
    }
    return styled(rows, formats, {"combined (%)": "max"})


def calibration(runs, names):
    """Calibration error, loss and Brier score before and after temperature scaling."""
    rows = []
    for name in runs.finished(names):
        found = runs.get(name, "calibration")
        before, after = found["before"], found["after"]
        rows.append(
            {
                "run": short(name),
                "temperature": found["temperature"],
                "ECE (%)": before["ece"],
                "with T (%)": after["ece"],
                "loss (nats)": before["loss"],
                "with T (nats)": after["loss"],
                "Brier": before["brier"],
                "with T": after["brier"],
            }
        )
    formats = {
        "temperature": "{:.2f}",
        **dict.fromkeys(("ECE (%)", "with T (%)"), share),
        **dict.fromkeys(("loss (nats)", "with T (nats)"), "{:.2f}"),
        **dict.fromkeys(("Brier", "with T"), "{:.3f}"),
    }
    return styled(rows, formats, {"with T (%)": "min", "with T (nats)": "min"})


def augmented(runs, conclusions, names):
    """Test-time augmentation: accuracy of one view, of image and mirror image, of ten views."""
    rows = []
    for name in runs.finished(names):
        if not runs.get(name, "test_time_augmentation"):
            continue
        row = {"run": short(name), "one view (%)": runs.get(name, "test.accuracy")}
        for kind, label in (("mirror", "2 views (%)"), ("mirror_shift", "10 views (%)")):
            row[label] = runs.get(name, f"test_time_augmentation.{kind}.test.accuracy")
        found = conclusions.difference(name, name, "", "mirror_shift")
        row["10 views against one (points)"] = plain(found)
        rows.append(row)
    return styled(rows, dict.fromkeys(("one view (%)", "2 views (%)", "10 views (%)"), share))


def segmenters(runs, names, baselines="seg_baselines"):
    """Figures of segmentation nets and, below them, of the trivial baselines, on the same images."""
    rows = [segmenter(whole(short(name)), runs.get(name, "test")) for name in runs.finished(names)]
    rows += [
        segmenter(whole(name.replace("_", " ")), figures)
        for name, figures in (runs.get(baselines, "baselines") or {}).items()
    ]
    formats = dict.fromkeys((*SEGMENTATION.values(), "IoU, mean of images (%)"), share)
    formats |= dict.fromkeys(("boundary IoU (%)", "boundary F1 (%)", "Hausdorff 95 (%)"), share)
    best = dict.fromkeys(formats, "max") | {"Hausdorff 95 (%)": "min"}
    return styled(rows, formats, best)


SEGMENTATION = {
    "pixel_accuracy": "pixel accuracy (%)",
    "dice": "Dice (%)",
    "iou": "IoU (%)",
}


def segmenter(label, figures):
    dataset, images = figures.get("dataset", {}), figures.get("images", {})

    def mean(name):
        return (images.get(name) or {}).get("mean")

    row = {"method": label} | {text: dataset.get(name) for name, text in SEGMENTATION.items()}
    interval = figures.get("intervals", {}).get("iou")
    return row | {
        "95 % of IoU": whole(f"{share(interval['low'])} to {share(interval['high'])}") if interval else None,
        "IoU, mean of images (%)": mean("iou"),
        "boundary IoU (%)": mean("boundary_iou"),
        "boundary F1 (%)": mean("boundary_f1"),
        "Hausdorff 95 (%)": mean("hausdorff_95"),
    }


def networks(runs, names):
    """Size and cost of the segmentation nets."""
    rows = [
        {
            "net": short(name),
            "parameters (M)": runs.get(name, "cost.parameters"),
            "of them trained (M)": runs.get(name, "cost.trainable_parameters"),
            "multiply-adds (G)": runs.get(name, "cost.multiply_adds"),
            "training pairs": runs.get(name, "data.train"),
            "input (px)": runs.config(name)["model_arguments"]["image_size"],
            "training (min)": runs.training_seconds(name),
        }
        for name in runs.finished(names)
    ]
    formats = {
        "parameters (M)": mega,
        "of them trained (M)": mega,
        "multiply-adds (G)": lambda value: f"{value / 1e9:.1f}",
        "training pairs": "{:,.0f}",
        "training (min)": minutes,
    }
    return styled(rows, formats)


def decoders(runs, conclusions, pairs):
    """Bilinear minus transposed: over seeds and over images."""
    rows = []
    for transposed, bilinear in pairs:
        if not (runs.seeds(transposed) and runs.seeds(bilinear)):
            continue
        rows.append(
            {
                "net": short(transposed).removesuffix(" transpose"),
                "seeds": min(len(runs.seeds(transposed)), len(runs.seeds(bilinear))),
                "mean IoU, over seeds (points)": plain(conclusions.over_seeds(transposed, bilinear)),
                "mean IoU, over images (points)": plain(conclusions.over_images(transposed, bilinear)),
                "boundary IoU, over images (points)": plain(
                    conclusions.over_images(transposed, bilinear, "boundary_iou")
                ),
                "parameters, transposed / bilinear (M)": both(
                    runs.get(transposed, "cost.parameters"), runs.get(bilinear, "cost.parameters"), mega
                ),
                "training (min)": both(runs.training_seconds(transposed), runs.training_seconds(bilinear), minutes),
            }
        )
    return styled(rows)


def plain(interval):
    return DASH if interval is None else whole(str(points(interval)).replace(" points", ""))


def both(one, other, form):
    return " / ".join(DASH if value is None else form(value) for value in (one, other))
