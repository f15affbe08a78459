"""The one source of batches for training and prediction."""

import math
import os

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Batches of `(inputs, targets)`, shuffled and augmented anew each epoch, reproducible from `(seed, epoch)` alone.

    inputs: (n, ...) array of images or cached features, any numeric type; a batch of it is float32.
    targets: (n, ...) array, handed over as it is; None yields inputs alone.
    shuffle: in a new order each epoch, and without the last, smaller batch (so that every step sees as many images).
    joint: functions `(rng, batch, targets) -> (batch, targets)`, applied in order: for masks, which move as images do.
    augment: functions `(rng, batch) -> batch`, applied in order after `joint`.
    mix: functions as in `joint`; at the end one of them, drawn for each batch, is applied with `mix_probability`.

    Nothing random is kept between batches, so a run that resumes at an epoch sees the batches that it would have
    seen. Two workers at least: Keras then feeds TensorFlow through its own threads, not through tf.data's autotuner,
    which can stall for seconds at the end of each epoch (seen with TensorFlow 2.21).
    """

    def __init__(
        self,
        inputs,
        targets,
        batch_size,
        *,
        shuffle=False,
        joint=(),
        augment=(),
        mix=(),
        mix_probability=1.0,
        seed=0,
        epoch=0,
    ):
        workers = max(2, min(8, (os.cpu_count() or 2) // 2))  # threads, which keep a GPU fed
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=2 * workers)
        self.inputs, self.targets = inputs, targets
        self.batch_size = min(batch_size, len(inputs))
        self.shuffle, self.joint = shuffle, joint
        self.augment, self.mix, self.mix_probability = augment, mix, mix_probability
        self.seed, self.epoch = seed, epoch
        self.order = np.arange(len(inputs))
        if shuffle:
            # 0 for the order, 1 and up for the batches' own randomness: streams that have nothing in common
            self.order = np.random.default_rng((seed, epoch, 0)).permutation(len(inputs))

    @property
    def num_batches(self):
        count = len(self.inputs) // self.batch_size
        return count if self.shuffle or count * self.batch_size == len(self.inputs) else count + 1

    def __getitem__(self, index):
        # sorted: reading in the order of memory is faster, and the order within a batch means nothing
        chosen = np.sort(self.order[index * self.batch_size : (index + 1) * self.batch_size])
        batch = self.inputs[chosen]
        rng = np.random.default_rng((self.seed, self.epoch, 1 + index))
        targets = None if self.targets is None else self.targets[chosen]
        for function in self.joint:
            batch, targets = function(rng, batch, targets)
        for function in self.augment:
            batch = function(rng, batch)
        if targets is None:
            return (np.asarray(batch, np.float32),)
        if self.mix and rng.random() < self.mix_probability:
            batch, targets = self.mix[rng.integers(len(self.mix))](rng, batch, targets)
        return np.asarray(batch, np.float32), targets


def prediction_batch_size(model, most=250, pixels=2**20):
    """Return how many images `model` is to see at once when it is not trained.

    As many as fill the largest of its maps with `pixels` places (256 MiB at 64 channels of float32), which may be
    larger than the images: some networks enlarge them first.
    """
    shapes = [getattr(layer.output, "shape", ()) for layer in model.layers]
    largest = max((math.prod(shape[1:3]) for shape in shapes if len(shape) == 4), default=1)
    return max(1, min(most, pixels // largest))


def predict(model, images):
    """Return what `model` makes of images (n, height, width, 3), any numeric type: an array (n, ...)."""
    return model.predict(Batches(images, None, prediction_batch_size(model)), verbose=0)
