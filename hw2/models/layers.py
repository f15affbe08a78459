"""A Keras layer with the same mathematics and the same saved form as Keras' own, and a faster TensorFlow kernel.

It falls back to Keras' implementation where the kernel does not exist, so a model saved under one backend loads under
any other. `scripts/benchmark.py` measures what it brings.
"""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None


@keras.saving.register_keras_serializable("hw2")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with TensorFlow's fused kernel for images; elsewhere Keras' layer unchanged.

    Ioffe and Szegedy, "Batch Normalization", 2015. The kernel is one pass over the data where Keras' composition of
    operations is about ten. It reports the unbiased variance of the batch (divided by N - 1); Keras keeps the biased
    one (divided by N), and so does this layer: its state is Keras' to the last digits.
    """

    def call(self, inputs, training=None, mask=None):
        images = len(inputs.shape) == 4 and self.axis in (-1, 3) and mask is None
        if tf is None or not (images and self.scale and self.center) or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        inputs = tf.cast(inputs, self.compute_dtype)
        if not (training and self.trainable):
            outputs, *_ = tf.compat.v1.nn.fused_batch_norm(
                inputs,
                self.gamma,
                self.beta,
                mean=self.moving_mean,
                variance=self.moving_variance,
                epsilon=self.epsilon,
                is_training=False,
            )
            return outputs
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        variance *= (count - 1) / count
        self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1 - self.momentum))
        self.moving_variance.assign(self.moving_variance * self.momentum + variance * (1 - self.momentum))
        return outputs
