"""What `hw2.train` needs to know of segmentation: data, targets, losses, and what is measured at the end."""

import numpy as np
from PIL import Image
from scipy.special import expit, softmax

from hw2 import evaluate, losses, results
from hw2 import segmentation_metrics as metrics
from hw2.data import splits, voc2012
from hw2.data.batches import predict
from hw2.models import segmenters as models  # noqa: F401  by name, for `hw2.train`

METRIC = "iou"
SLICE = 64  # images whose logits are in memory at once
PANEL, EXTREMES, THUMBNAIL = 24, 4, 160  # images shown of every run; best, median and worst ones; pixels


def load_training(config, data_dir):
    """Return the `(train, validation)` parts at the size that the network sees; `labels` are masks."""
    return splits.load_training_masks(config["data"], data_dir, config["model_arguments"]["image_size"])


def num_classes(config):
    return config["num_classes"]


def targets(labels, config):
    """Return the masks (n, size, size) as they are: the losses know void and foreground."""
    return labels


def loss_and_metric(phase, config):
    outputs = 1 if num_classes(config) == 2 else num_classes(config)
    return losses.LOSSES[phase.loss], losses.IntersectionOverUnion(outputs, METRIC)


def measure(config, model, train, validation, data_dir, folder):
    """Return `(data, figures, predictions)`; write `images.csv`. See `hw2.results` for what is in them.

    Probabilities are brought back to each image's own size before they are compared with the truth. The test images,
    VOC's official "val", are loaded here, at the end of a run, and nowhere else. The threshold is the one of the
    greatest foreground IoU on the validation images.
    """
    size = config["model_arguments"]["image_size"]
    test = splits.load_test_masks(config["data"], data_dir, size)
    binary = num_classes(config) == 2
    figures, predictions = {"threshold": None}, {}
    for part, split in (("validation", validation), ("test", test)):
        # in slices, and nothing twice: 21 classes of a thousand images are gigabytes
        iou = losses.IntersectionOverUnion(1 if binary else num_classes(config))
        probabilities = None  # those of the other part are no longer needed
        shape, dtype = ((), np.float32) if binary else ((num_classes(config),), np.float16)
        probabilities = np.empty((len(split.images), size, size, *shape), dtype)
        for start in range(0, len(split.images), SLICE):
            logits = predict(model, split.images[start : start + SLICE])
            if part == "validation":
                iou.update_state(split.labels[start : start + SLICE], logits)
            probabilities[start : start + SLICE] = expit(logits[..., 0]) if binary else softmax(logits, axis=-1)
        if part == "validation":
            # as `history.csv` has it, at the network's size, but of the weights as they are stored
            figures["network_iou"] = float(iou.result())
        truths = [splits.load_original(config["data"], data_dir, name)[1] for name in split.identifiers]
        if binary:
            if part == "validation":
                figures["threshold"], *_ = evaluate.choose_threshold(probabilities, truths)
            figures[part], rows = evaluate.foreground(probabilities, truths, figures["threshold"])
        else:
            figures[part], rows = evaluate.classes(probabilities, truths, num_classes(config))
    rows = [{"identifier": name} | row for name, row in zip(test.identifiers, rows, strict=True)]
    results.write_csv(folder / results.IMAGES, rows)

    foreground = probabilities if binary else 1 - probabilities[..., 0]
    figures["checkerboard"] = metrics.checkerboard(foreground) if size % 8 == 0 and size >= 96 else None
    _, thresholds, precision, recall = evaluate.choose_threshold(foreground, truths)
    predictions |= {"curve_threshold": thresholds, "curve_precision": precision, "curve_recall": recall}
    order = np.argsort([row["iou"] for row in rows], kind="stable")
    share = np.array([row["foreground_share"] for row in rows])[order]
    middle = max(0, len(order) // 2 - EXTREMES // 2)
    chosen = {
        "best": order[share <= 0.95][::-1][:EXTREMES],  # without background there is nothing to be wrong about
        "median": order[middle : middle + EXTREMES],
        "worst": order[:EXTREMES],
        "worst_large": order[share >= np.median(share)][:EXTREMES],  # the worst are hardly to be seen, as a rule
    }
    figures["examples"] = {kind: [test.identifiers[i] for i in indices] for kind, indices in chosen.items()}
    panel = np.linspace(0, len(rows) - 1, min(PANEL, len(rows))).astype(int)
    shown = [*panel, *np.concatenate(list(chosen.values()))]
    predictions["panel_identifiers"] = np.array([test.identifiers[i] for i in shown])
    for position, index in enumerate(shown):
        image, truth = splits.load_original(config["data"], data_dir, test.identifiers[index])
        predictions |= {f"panel_{position}_{k}": v for k, v in thumbnails(image, truth, probabilities[index]).items()}
    data = {
        "source": splits.masks_source(config["data"], data_dir),
        "sbd": config["data"].get("sbd", False),
        "classes": num_classes(config),
        "image_size": size,
        "train": len(train.labels),
        "validation": len(validation.labels),
        "test": len(test.labels),
    }
    return data, figures, predictions


def thumbnails(image, truth, probability):
    """Return what the report shows of one image, each at most `THUMBNAIL` pixels high and wide, as uint8.

    image: RGB. truth: labels, void 255. probability: 255 times that of the foreground; for more than two classes also
    prediction: labels.
    """
    height, width = truth.shape
    scale = min(1, THUMBNAIL / max(height, width))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    arrays = {
        "image": np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)),
        "truth": np.asarray(Image.fromarray(truth).resize((width, height), Image.Resampling.NEAREST)),
    }
    small = voc2012.from_square(probability, height, width)
    if small.ndim == 3:
        arrays["prediction"], small = small.argmax(-1).astype(np.uint8), 1 - small[..., 0]
    return arrays | {"probability": np.rint(255 * small.clip(0, 1)).astype(np.uint8)}
