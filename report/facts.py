"""Facts of the segmentation data and answers that the text quotes, as text; a dash where a run is missing."""

from collections import defaultdict

import numpy as np
from claims import DASH, Text, number, percent, signed
from runs import PANEL
from scipy.stats import spearmanr

from hw2.labels import VOC_CLASSES, VOC_PAIRS


def dashes():
    """Return a dictionary whose every missing entry is a dash."""
    return defaultdict(lambda: Text(DASH))


def voc(runs):
    """Return `{name: text}` about the pairs of image and mask, from the record of the methods without training."""
    facts, told = runs.arrays(PANEL), dashes()
    told |= {"official_train": number(VOC_PAIRS["train"]), "official_test": number(VOC_PAIRS["val"])}
    if "train_pixels" not in facts:
        return told
    pixels, void, border = (
        np.concatenate([facts[f"{part}_{key}"] for part in ("train", "val")])
        for key in ("pixels", "void", "border_width")
    )
    shares = pixels[:, 1:].sum(1) / np.maximum(pixels.sum(1), 1)
    often = (pixels[:, 1:] > 0).mean(0)
    told |= {
        "train": number(len(facts["train_pixels"])),
        "test": number(len(facts["val_pixels"])),
        "panel": number(len(facts["panel_identifiers"])),
        "median": percent(float(np.median(shares)), 0),
        "low": percent(float(np.quantile(shares, 0.05)), 0),
        "high": percent(float(np.quantile(shares, 0.95)), 0),
        "void": percent(float(void.sum() / (void.sum() + pixels.sum())), 0),
        "border": Text(f"{np.nanmedian(border):.0f}"),
        "most": Text(VOC_CLASSES[often.argmax() + 1]),
        "most_share": percent(float(often.max()), 0),
        "least": Text(VOC_CLASSES[often.argmin() + 1]),
        "least_share": percent(float(often.min()), 0),
    }
    if "sbd_pixels" in facts:
        told["sbd"] = number(len(facts["sbd_pixels"]))
    return told


def outputs(runs, run):
    """Return `{name: text}` about the test images of a segmentation net."""
    table, told = runs.images(run), dashes()
    if table.empty:
        return told
    told |= large_objects(runs, table)
    return told | {
        "median": percent(float(table["iou"].median()), 0),
        "tenth": percent(float(table["iou"].quantile(0.1)), 0),
    }


def large_objects(runs, table, share=0.25, least=5):
    """Return the two classes that are segmented worst where they are large, with their IoU and number of images.

    By the mean IoU of the images with more than `share` of foreground, most of it of that class; of classes with at
    least so many images.
    """
    facts = runs.arrays(PANEL)
    if "val_pixels" not in facts or table["identifier"].tolist() != facts["val_identifiers"].tolist():
        return {}
    large = table.assign(label=facts["val_pixels"][:, 1:].argmax(1) + 1)[table["foreground_share"] > share]
    scores = large.groupby("label")["iou"].agg(["mean", "size"]).query("size >= @least").nsmallest(2, "mean")
    told = {}
    for place, (label, iou, images) in zip(("worst", "second"), scores.itertuples(), strict=False):
        told |= {place: Text(VOC_CLASSES[label]), f"{place}_iou": percent(iou, 0), f"{place}_images": number(images)}
    return told


def naming(runs, run="seg_mobilenetv2_classes"):
    """Return `{name: text}` about the IoU of the classes, and about pixels that are missed or misnamed."""
    values, confusion, told = runs.get(run, "test.class_iou"), runs.get(run, "test.confusion"), dashes()
    if not values or not confusion:
        return told
    scores = np.array([np.nan if value is None else value for value in values])
    objects = np.array(confusion, float)[1:]
    order = np.argsort(-scores[1:]) + 1
    told |= {
        "mean": percent(float(np.nanmean(scores))),
        "of_objects": percent(float(np.nanmean(scores[1:])), 0),
        "best": Text(VOC_CLASSES[order[0]]),
        "best_iou": percent(float(scores[order[0]]), 0),
        "worst": Text(VOC_CLASSES[order[-1]]),
        "worst_iou": percent(float(scores[order[-1]]), 0),
        "lost": percent(float(objects[:, 0].sum() / objects.sum()), 0),
        "misnamed": percent(float((objects[:, 1:].sum() - np.trace(objects[:, 1:])) / objects.sum()), 0),
    }
    facts = runs.arrays(PANEL)
    if "train_pixels" in facts:
        taught = np.concatenate([facts[key] for key in ("train_pixels", "sbd_pixels") if key in facts])[:, 1:]
        found = spearmanr((taught > 0).sum(0), scores[1:], nan_policy="omit")
        told["by_number"] = Text(f"{signed(float(found.statistic), 2)}, p = {found.pvalue:.3f}")
    return told
