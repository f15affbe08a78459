"""Losses and the training metric of segmentation, on any Keras backend. All of them ignore void pixels.

truth: (batch, height, width) labels of masks: 0 background, above it objects, `VOID`. logits: (batch, height, width, 1)
for foreground against background, or (batch, height, width, classes).
"""

import keras
from keras import ops

from hw2.labels import VOID


def cross_entropy(truth, logits):
    """Return the mean cross-entropy over the labelled pixels, in nats, binary for one logit per pixel."""
    truth, valid, logits = _labels(truth, logits)
    if logits.shape[-1] == 1:
        # log(1 + exp(x)) - x where the truth is foreground
        values = ops.softplus(logits[..., 0]) - ops.cast(truth, "float32") * logits[..., 0]
    else:
        values = ops.sparse_categorical_crossentropy(truth, logits, from_logits=True)
    return ops.sum(values * valid) / ops.maximum(ops.sum(valid), 1.0)


def dice(truth, logits):
    """Return one minus the soft Dice coefficient of the whole batch, averaged over the classes in its truth.

    Milletari et al., "V-Net", 2016, section 3, with sums over the batch: with a coefficient for each image, an image
    without foreground would only push its predictions towards zero. For one logit per pixel, Dice of the foreground.
    """
    truth, valid, logits = _labels(truth, logits)
    num_classes = logits.shape[-1]
    if num_classes == 1:
        probability = ops.sigmoid(logits) * valid[..., None]
        target = (ops.cast(truth, "float32") * valid)[..., None]
    else:
        probability = ops.softmax(logits) * valid[..., None]
        target = ops.one_hot(truth, num_classes) * valid[..., None]
    both, each = (ops.sum(x, axis=(0, 1, 2)) for x in (probability * target, probability + target))
    present = ops.cast(ops.sum(target, axis=(0, 1, 2)) > 0, "float32")
    return 1.0 - ops.sum(present * (2 * both + 1) / (each + 1)) / ops.maximum(ops.sum(present), 1.0)


def both(truth, logits):
    """Return the sum of the cross-entropy, which judges single pixels, and the Dice loss, which judges the overlap."""
    return cross_entropy(truth, logits) + dice(truth, logits)


LOSSES = {"cross_entropy": cross_entropy, "dice": dice, "both": both}


class IntersectionOverUnion(keras.metrics.Metric):
    """IoU over all batches of an epoch: of the foreground for one logit per pixel, else the mean over the classes.

    Jaccard, "The distribution of the flora in the alpine zone", 1912: TP / (TP + FP + FN). Classes that are neither in
    the truth nor predicted are left out of the mean. num_outputs: logits per pixel.
    """

    def __init__(self, num_outputs, name="iou"):
        super().__init__(name=name)
        self.intersection = self.add_weight(shape=(num_outputs,), initializer="zeros", name="intersection")
        self.union = self.add_weight(shape=(num_outputs,), initializer="zeros", name="union")

    def update_state(self, truth, logits, sample_weight=None):
        truth, valid, logits = _labels(truth, logits)
        if logits.shape[-1] == 1:
            predicted = ops.cast(logits[..., 0] > 0, "float32") * valid
            true = ops.cast(truth, "float32") * valid
            both, either = ops.sum(predicted * true), ops.sum(ops.maximum(predicted, true))
        else:
            # one pass over the logits; `top_k` takes a third of the time of `argmax` with TensorFlow on a CPU
            classes = logits.shape[-1]
            cells = truth * classes + ops.top_k(logits, 1)[1][..., 0]
            counts = ops.segment_sum(ops.ravel(valid), ops.ravel(cells), num_segments=classes**2)
            counts = ops.reshape(counts, (classes, classes))
            both = ops.diagonal(counts)
            either = ops.sum(counts, axis=0) + ops.sum(counts, axis=1) - both
        self.intersection.assign_add(ops.reshape(both, (-1,)))
        self.union.assign_add(ops.reshape(either, (-1,)))

    def result(self):
        seen = ops.cast(self.union > 0, "float32")
        return ops.sum(seen * self.intersection / ops.maximum(self.union, 1.0)) / ops.maximum(ops.sum(seen), 1.0)


def _labels(truth, logits):
    """Return `(labels, valid, logits)`: int32 labels with 0 for void, and 1 for any object if there is one logit."""
    if len(logits.shape) == len(truth.shape):  # Keras has removed the last axis, of one logit
        logits = logits[..., None]
    truth = ops.cast(truth, "int32")
    valid = truth != VOID
    truth = ops.where(valid, truth, 0)
    if logits.shape[-1] == 1:
        truth = ops.cast(truth > 0, "int32")
    return truth, ops.cast(valid, "float32"), ops.cast(logits, "float32")
