"""Segmentation as a task: data, targets, losses, and the measurement at the end of a run.

With two classes the network has one output, the logit of the foreground; otherwise one output for each class.
"""

import numpy as np

from hw2.data import splits, thumbnails
from hw2.data.batches import prediction_batch_size
from hw2.data.voc2012 import from_square
from hw2.metrics import segmentation as metrics
from hw2.metrics.combine import MASK_VIEWS, sizes_of_scales
from hw2.models import registry
from hw2.tasks import losses
from hw2.tasks.protocol import Measurement

METRIC = "iou"
EXAMPLES = 4  # test images of each kind that are stored as examples


def data_is_here(config, data_dir):
    """Return whether the lists of VOC, and of SBD if the run uses it, are in the data folder."""
    return splits.masks_are_here(config["data"], data_dir)


def count_data(config, data_dir):
    """Return `config["data"]` with the counts that the lists in the data folder give."""
    return splits.mask_counts(config["data"], data_dir)


def load_training(config, data_dir):
    """Return the `(train, validation)` parts at the size that the network sees, as `hw2.data.splits.MaskSplit`."""
    return splits.load_training_masks(config["data"], data_dir, config["model_arguments"]["image_size"])


def load_validation(config, data_dir):
    """Return the validation part of `load_training`; the training images are not read."""
    return splits.load_validation_masks(config["data"], data_dir, config["model_arguments"]["image_size"])


def targets(labels, config):
    """Return the masks (n, size, size) uint8 unchanged: the losses handle void and foreground."""
    return labels


def sampling_weights(labels, config, frequent=0.1):
    """Return the repeat factor of each image, (n,), by which images with rare classes are drawn more often.

    Gupta et al., "LVIS", CVPR 2019, section 3.3: the factor of a class that occurs in a share f of the images is
    max(1, sqrt(frequent / f)), that of an image is the greatest of its classes. labels: (n, size, size) masks.
    """
    classes = np.arange(1, config["data"]["classes"]) if not _is_binary(config) else np.arange(1, 21)
    present = np.stack([np.isin(classes, np.unique(mask)) for mask in labels])
    factor = np.sqrt(frequent / np.maximum(present.mean(0), 1 / len(labels))).clip(1)
    return np.where(present, factor, 1.0).max(1)


def loss_and_metric(phase, config):
    """Return the loss of the phase, a function in `hw2.tasks.losses`, and the IoU."""
    return losses.LOSSES[phase.loss], _iou_metric(config)


def measure(config, model, validation, data_dir):
    """Return the Measurement of a segmenter on the validation images and on the test images, VOC's official "val".

    Probabilities are resized to each image's own size before they are compared with the truth.

    figures: "threshold" with the greatest foreground IoU on the validation images (None for several classes);
        "network_iou", of the validation images at the size that the network sees, as in `history.csv`; "validation" and
        "test", see `foreground_figures` and `class_figures` in `hw2.metrics.segmentation`; "checkerboard" of the test
        images (None for maps that are too small); "examples": {kind: identifiers}, see `choose_examples`;
        "test_time_augmentation": {view: figures} if the configuration asks for it. The view "mirror" averages the
        probabilities of each image and its mirror image, "mirror_scales" those at several image sizes (Chen et al.,
        "DeepLab", TPAMI 2018, section 4.1.2).
    predictions: curve_threshold, curve_precision and curve_recall of the foreground on the test images;
        panel_identifiers and, for each position i in it, panel_{i}_probability and, for several classes,
        panel_{i}_prediction; example_identifiers and likewise example_{i}_image (JPEG bytes), _truth, _probability and
        _prediction. See `hw2.data.thumbnails`.

    Raises OverflowError where logits are not finite.
    """
    test = splits.load_test_masks(config["data"], data_dir, config["model_arguments"]["image_size"])
    own_size = [(model, validation, test)]
    figures, rows, curve = measure_view(config, own_size, data_dir)
    if "test_time_augmentation" in config["extras"]:
        sizes = {"mirror": own_size, "mirror_scales": own_size + at_other_scales(config, model, data_dir)}
        figures["test_time_augmentation"] = {
            view: measure_view(config, sizes[view], data_dir, mirrored=True)[0] for view in MASK_VIEWS
        }
    examples = choose_examples(rows)
    figures["examples"] = {kind: [test.identifiers[i] for i in positions] for kind, positions in examples.items()}
    rows = [{"identifier": name} | row for name, row in zip(test.identifiers, rows, strict=True)]
    return Measurement(figures, curve | shown_predictions(config, model, test, data_dir, examples), rows=rows)


def at_other_scales(config, model, data_dir):
    """Return a list of `(model, validation, test)`, one for each other image size of the view "mirror_scales"."""
    others = []
    for size in sizes_of_scales(config["model_arguments"]["image_size"])[1:]:
        other = registry.build_model(config, size)
        other.set_weights(model.get_weights())
        validation = splits.load_validation_masks(config["data"], data_dir, size)
        others.append((other, validation, splits.load_test_masks(config["data"], data_dir, size)))
    return others


def measure_view(config, sizes, data_dir, mirrored=False):
    """Return `(figures, rows, curve)`, see `measure`.

    sizes: list of `(model, validation, test)`, one for each image size at which the probabilities are averaged, that of
    the network first. mirrored: average them with the mirror image's.
    """
    models, validation, test = zip(*sizes, strict=True)
    figures = measure_validation(config, models, validation, data_dir, mirrored)
    of_test, rows, curve = measure_test(config, models, test, data_dir, figures["threshold"], mirrored)
    return figures | of_test, rows, curve


def measure_validation(config, models, sizes, data_dir, mirrored=False):
    """Return the figures {"threshold", "network_iou", "validation"}, see `measure`. sizes: of the validation part."""
    iou, histograms, answers, split = _iou_metric(config), 0, [], sizes[0]
    predicted = mean_probabilities(models, sizes, iou, mirrored)
    for probability, truth in zip(predicted, _truths(config, split, data_dir), strict=True):
        answers.append(answer_at_own_size(probability, truth))
        if _is_binary(config):
            histograms = histograms + metrics.threshold_histograms(answers[-1], truth)
    threshold = metrics.best_threshold(histograms) if _is_binary(config) else None
    evaluated = [
        evaluate(config, answer, truth, threshold)
        for answer, truth in zip(answers, _truths(config, split, data_dir), strict=True)
    ]
    return {"threshold": threshold, "network_iou": float(iou.result()), "validation": aggregate(config, evaluated)}


def measure_test(config, models, sizes, data_dir, threshold, mirrored=False):
    """Return `({"test", "checkerboard"}, rows, curve)`: figures, a row for each test image, arrays of the curve.

    sizes: of the test part, one for each model.
    """
    evaluated, histograms, energies, split = [], 0, [], sizes[0]
    size = split.images.shape[1]
    predicted = mean_probabilities(models, sizes, mirrored=mirrored)
    for probability, truth in zip(predicted, _truths(config, split, data_dir), strict=True):
        answer = answer_at_own_size(probability, truth)
        evaluated.append(evaluate(config, answer, truth, threshold))
        foreground = probability if _is_binary(config) else 1 - probability[..., 0]
        levels = answer if _is_binary(config) else answer_at_own_size(foreground, truth)
        histograms = histograms + metrics.threshold_histograms(levels, truth)
        if metrics.has_stride_energies(size):
            energies.append(metrics.stride_energies(foreground[None]))
    checkerboard = metrics.checkerboard(np.concatenate(energies)) if energies else None
    thresholds, precision, recall, _ = metrics.curve(histograms)
    curve = {"curve_threshold": thresholds, "curve_precision": precision, "curve_recall": recall}
    figures = {"test": aggregate(config, evaluated), "checkerboard": checkerboard}
    return figures, [row for row, _ in evaluated], curve


def mean_probabilities(models, sizes, iou=None, mirrored=False):
    """Yield the means of the `probabilities` of several models, each for its own size of the images, at the first size.

    sizes: of a part, one `MaskSplit` for each model. iou: updated by the first model.
    """
    (first, *others), (split, *other_splits) = models, sizes
    if not others:
        yield from probabilities(first, split, iou, mirrored)
        return
    of_others = (probabilities(*pair, mirrored=mirrored) for pair in zip(others, other_splits, strict=True))
    for maps in zip(probabilities(first, split, iou, mirrored), *of_others, strict=True):
        yield metrics.mean_of_maps(maps)


def probabilities(model, split, iou=None, mirrored=False):
    """Yield the probabilities of each image of `split`: (size, size) of the foreground, or (size, size, classes).

    The images are predicted in batches, so that the logits of one batch are in memory at a time. iou: a Keras metric
    that is updated with the labels and the logits. mirrored: average the probabilities with those of the mirror image,
    mirrored back. Raises OverflowError where logits are not finite.
    """
    batch_size = prediction_batch_size(model)
    for start in range(0, len(split.images), batch_size):
        batch = slice(start, start + batch_size)
        images = split.images[batch].astype(np.float32)
        logits = model.predict_on_batch(images)
        if not np.isfinite(logits).all():
            raise OverflowError("its logits are not finite")
        if iou is not None:
            iou.update_state(split.labels[batch], logits)
        of_mirror = model.predict_on_batch(images[:, :, ::-1]) if mirrored else None
        answers = metrics.probabilities_of(logits, of_mirror)
        yield from answers if logits.shape[-1] == 1 else answers.astype(np.float16)


def answer_at_own_size(probability, truth):
    """Return the prediction of one image at the size of its truth, (height, width) uint8.

    probability: (size, size) gives levels of probability, see `hw2.metrics.segmentation.to_levels`; (size, size,
    classes) gives labels.
    """
    probability = from_square(probability, *truth.shape)
    return metrics.to_levels(probability) if probability.ndim == 2 else probability.argmax(-1).astype(np.uint8)


def evaluate(config, answer, truth, threshold):
    """Return the row and the pixel counts of one image. answer: see `answer_at_own_size`."""
    if _is_binary(config):
        return metrics.foreground_row(answer >= threshold * metrics.LEVELS, truth)
    return metrics.class_row(answer, truth, config["data"]["classes"])


def aggregate(config, evaluated):
    """Return the figures of a data set. evaluated: list of the results of `evaluate`."""
    rows, counts = zip(*evaluated, strict=True)
    return (metrics.foreground_figures if _is_binary(config) else metrics.class_figures)(rows, counts)


def choose_examples(rows):
    """Return `{kind: positions}` of test images with a high, middle or low IoU, at most `EXAMPLES` of each kind.

    best: among images with some background, since without it nothing can be wrong. worst_large: the worst of the half
    with more foreground; the worst of all mostly have tiny objects.
    """
    order = np.argsort([row["iou"] for row in rows], kind="stable")
    share = np.array([row["foreground_share"] for row in rows])[order]
    middle = max(0, len(order) // 2 - EXAMPLES // 2)
    return {
        "best": order[share <= 0.95][::-1][:EXAMPLES],
        "median": order[middle : middle + EXAMPLES],
        "worst": order[:EXAMPLES],
        "worst_large": order[share >= np.median(share)][:EXAMPLES],
    }


def shown_predictions(config, model, test, data_dir, examples):
    """Return the thumbnails of the panel and of the examples, {kind: positions in `test`}, for `predictions.npz`."""
    panel = thumbnails.panel(len(test.images))
    shown = list(dict.fromkeys(np.concatenate(list(examples.values())).tolist()))
    arrays = {}
    for group, positions in (("panel", panel), ("example", shown)):
        identifiers = [test.identifiers[position] for position in positions]
        arrays[f"{group}_identifiers"] = np.array(identifiers)
        # predicted again, because the probabilities of all test images would take gigabytes
        chosen = splits.MaskSplit(test.images[positions], test.labels[positions], identifiers)
        for index, probability in enumerate(probabilities(model, chosen)):
            truth = splits.load_mask(config["data"], data_dir, identifiers[index])
            stored = thumbnails.of_prediction(probability, *truth.shape)
            if group == "example":
                image, _ = splits.load_original(config["data"], data_dir, identifiers[index])
                stored |= {"image": thumbnails.of_image(image), "truth": thumbnails.of_mask(truth)}
            arrays |= {f"{group}_{index}_{name}": array for name, array in stored.items()}
    return arrays


def _truths(config, split, data_dir):
    """Yield the mask of each image of `split` at its own size."""
    for identifier in split.identifiers:
        yield splits.load_mask(config["data"], data_dir, identifier)


def _is_binary(config):
    return config["data"]["classes"] == 2


def _iou_metric(config):
    return losses.IntersectionOverUnion(1 if _is_binary(config) else config["data"]["classes"], METRIC)
