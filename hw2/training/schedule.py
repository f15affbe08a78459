"""The optimizer and the learning rate of a phase."""

import math

import keras

from hw2.training import optimizers


def compile_for_phase(model, phase, steps_per_epoch, loss, metric):
    """Compile `model` with the optimizer and the schedule of a phase, and create the optimizer's variables.

    phase: see `hw2.experiments.schema.Phase`. Weight decay excludes biases and the parameters of normalisation.
    """
    steps = phase.epochs * steps_per_epoch
    rate = phase.learning_rate
    if phase.schedule == "cosine" or phase.warmup:
        rate = WarmupCosine(rate, steps, round(phase.warmup * steps), decays=phase.schedule == "cosine")
    decay = phase.weight_decay or None
    if phase.optimizer == "adamw":
        optimizer = optimizers.Adam(rate, weight_decay=decay)
    else:
        optimizer = optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
    if decay:
        # He et al., "Bag of Tricks for Image Classification", 2019, section 3.1
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, loss, metrics=[metric])
    model.optimizer.build(model.trainable_variables)  # not `optimizer`, which Keras wraps in float16


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise to `rate` over `warmup` steps and, if it `decays`, half a cosine down to zero at `steps`.

    Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts. The values equal those of Keras' `CosineDecay`,
    which contains a branch: Keras evaluates the rate once per variable, and these branches can make up most of the
    graph of a small network.
    """

    def __init__(self, rate, steps, warmup, decays):
        super().__init__()
        self.rate, self.steps, self.warmup, self.decays = rate, steps, warmup, decays

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rate = self.rate * keras.ops.minimum(step / self.warmup, 1.0) if self.warmup else self.rate
        if not self.decays:
            return rate
        progress = keras.ops.clip((step - self.warmup) / (self.steps - self.warmup), 0.0, 1.0)
        return rate * (0.5 + 0.5 * keras.ops.cos(math.pi * progress))

    def get_config(self):
        return {"rate": self.rate, "steps": self.steps, "warmup": self.warmup, "decays": self.decays}
