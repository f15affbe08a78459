"""Two Keras layers with the same mathematics and the same saved form as Keras' own, and faster TensorFlow kernels.

Both fall back to Keras' implementation where the other kernel does not exist or was measured to be no faster, so a
model saved under one backend loads under any other. `scripts/benchmark.py` measures what they bring.
"""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None


def on_tensorflow_cpu():
    """Whether the TensorFlow backend runs without a GPU: there its stock kernels are the slow ones."""
    return tf is not None and not tf.config.list_physical_devices("GPU")


def conv2d_same(inputs, kernel):
    """Convolution with stride 1 and "same" padding whose two gradients are forward convolutions themselves.

    TensorFlow's CPU kernels for the gradients slow down to 2 GFLOP/s on the small maps of a deep network, where its
    forward kernel stays over 100. The gradient with respect to the input is `dy` convolved with the kernel, mirrored
    in space and with its channels swapped; the gradient with respect to the kernel is the input convolved with `dy`,
    the batch in the place of the channels (Goodfellow, Bengio and Courville, "Deep Learning", section 9.5).

    inputs: (batch, height, width, in_channels); kernel: (odd, odd, in_channels, out_channels); both float32.
    """

    @tf.custom_gradient
    def convolution(inputs, kernel):
        def gradients(dy):
            mirrored = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            d_inputs = tf.nn.conv2d(dy, mirrored, 1, "SAME")
            top, left = (size // 2 for size in kernel.shape[:2])
            padding = [[0, 0], [top, top], [left, left], [0, 0]]
            d_kernel = tf.nn.conv2d(tf.transpose(inputs, [3, 1, 2, 0]), tf.transpose(dy, [1, 2, 0, 3]), 1, padding)
            return d_inputs, tf.transpose(d_kernel, [1, 2, 0, 3])

        return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradients

    # a tensor, not the variable itself: a custom gradient would have to answer for variables that it sees
    return convolution(inputs, tf.convert_to_tensor(kernel))


@keras.saving.register_keras_serializable("hw2")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, trained about three times as fast by TensorFlow on a CPU in float32.

    It is Keras' layer unchanged in bfloat16, on a GPU, on other backends, on maps beyond 128x128, and with strides,
    dilation or groups.
    """

    LARGEST_MAP = 128 * 128  # beyond it TensorFlow's own gradients were the faster ones

    def convolution_op(self, inputs, kernel):
        plain = (
            self.padding == "same"
            and self.data_format == "channels_last"
            and set(self.strides) == {1}
            and set(self.dilation_rate) == {1}
            and self.groups == 1
            and all(size % 2 == 1 and size > 1 for size in self.kernel_size)
        )
        height, width = inputs.shape[1:3]
        small = height is not None and width is not None and height * width <= self.LARGEST_MAP
        if plain and small and self.compute_dtype == "float32" and on_tensorflow_cpu():
            return conv2d_same(inputs, kernel)
        return super().convolution_op(inputs, kernel)


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
