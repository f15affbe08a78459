"""Batches for training and prediction."""

import math
import os

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Batches of `(inputs, targets)`, shuffled and augmented anew each epoch, reproducible from `(seed, epoch)` alone.

    inputs: (n, ...) array of images or cached features, any numeric type; batches of it are float32.
    targets: (n, ...) array, whose type is kept; None yields inputs alone.
    shuffle: use a new order each epoch and drop the last, smaller batch, so that all steps see equally many images.
    weights: (n,) with `shuffle`: draw as many images as there are, with replacement and with probabilities proportional
        to these; None uses each image once an epoch.
    joint: functions `(rng, batch, targets) -> (batch, targets)`, applied in order, for masks that move with the images.
    augment: functions `(rng, batch) -> batch`, applied in order after `joint`.
    mix: functions as in `joint`; one of them, drawn for each batch, is applied last with `mix_probability`.
    seed, epoch: of the random numbers.

    No random state is kept between batches, so a resumed run sees the same batches as one that was not interrupted.
    With at least two workers, Keras feeds TensorFlow from its own threads and not through tf.data's autotuner, which
    can stall for seconds at the end of each epoch (TensorFlow 2.21).
    """

    def __init__(
        self,
        inputs,
        targets,
        batch_size,
        *,
        shuffle=False,
        weights=None,
        joint=(),
        augment=(),
        mix=(),
        mix_probability=1.0,
        seed=0,
        epoch=0,
    ):
        workers = max(2, min(8, (os.cpu_count() or 2) // 2))  # threads; augmentation must keep up with a GPU
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=2 * workers)
        self.inputs, self.targets = inputs, targets
        self.batch_size = min(batch_size, len(inputs))
        self.shuffle, self.joint = shuffle, joint
        self.augment, self.mix, self.mix_probability = augment, mix, mix_probability
        self.seed, self.epoch = seed, epoch
        self.order = np.arange(len(inputs))
        if shuffle:
            # stream 0 for the order, streams from 1 for the batches: independent of each other
            rng = np.random.default_rng((seed, epoch, 0))
            if weights is None:
                self.order = rng.permutation(len(inputs))
            else:
                self.order = rng.choice(len(inputs), len(inputs), p=np.asarray(weights) / np.sum(weights))

    @property
    def num_batches(self):
        count = len(self.inputs) // self.batch_size
        return count if self.shuffle or count * self.batch_size == len(self.inputs) else count + 1

    def __getitem__(self, index):
        # sorted, because reading in memory order is faster and the order within a batch does not matter
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
    """Return the number of images that `model` predicts at once, at most `most`.

    Together, their largest maps have at most `pixels` places (256 MiB with 64 channels of float32). A map may be larger
    than the image, because some networks enlarge images first.
    """
    shapes = [getattr(layer.output, "shape", ()) for layer in model.layers]
    largest = max((math.prod(shape[1:3]) for shape in shapes if len(shape) == 4), default=1)
    return max(1, min(most, pixels // largest))


def predict(model, images):
    """Return the outputs (n, ...) of `model` for images (n, height, width, 3) of any numeric type."""
    return model.predict(Batches(images, None, prediction_batch_size(model)), verbose=0)
