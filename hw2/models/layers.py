"""Layers: faster versions of Keras' batch normalisation and convolution, and filters that whiten patches.

The faster versions keep the class names of Keras' layers, which stored models contain. Other modules import this one as
`faster`, so that `faster.Conv2D` is not mistaken for `keras.layers.Conv2D`.
"""

import keras
import numpy as np

from hw2.hardware import gpu_compute_capability

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None


@keras.saving.register_keras_serializable("hw2")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, computed by TensorFlow's fused kernel where the input is a batch of images.

    Ioffe and Szegedy, "Batch Normalization", 2015. The kernel passes over the data once, Keras' operations about ten
    times. It returns the unbiased variance of the batch (divided by N - 1); Keras accumulates the biased variance
    (divided by N), and so does this layer, whose state equals that of Keras' layer. Other inputs and other backends use
    Keras' implementation, so a model saved on one backend loads on any other. `scripts/benchmark.py` measures the
    difference in speed.
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


@keras.saving.register_keras_serializable("hw2")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, computed with matrix products where a 3x3 filter meets a small map.

    On maps of at most 2x2, every output depends on every input, so that the layer is a dense layer with shared weights.
    VGG16's last block has such maps at 32 px. The convolution kernels of CPU libraries, in particular those for the
    gradient with respect to the weights, are optimised for large maps: the matrix product trains this block several
    times as fast (`scripts/benchmark.py`). On maps of at most 8x8, TensorFlow on a CPU computes the gradient with
    respect to the weights as a matrix product for each of the nine positions in the filter, which is faster too. Other
    layers use Keras' implementation.
    """

    def convolution_op(self, inputs, kernel):
        height, width = inputs.shape[1:3] if self.data_format == "channels_last" else (None, None)
        plain = (self.kernel_size, self.strides, self.padding, self.groups) == ((3, 3), (1, 1), "same", 1)
        largest = 8 if tf and gpu_compute_capability() is None else 2
        if not plain or self.dilation_rate != (1, 1) or max(height or 9, width or 9) > largest:
            return super().convolution_op(inputs, kernel)
        if max(height, width) > 2:
            return convolution_on_small_maps(inputs, tf.convert_to_tensor(kernel))
        ops, places = keras.ops, [(row, column) for row in range(height) for column in range(width)]
        # converted to a tensor first: JAX cannot unstack a Keras variable
        taps = [ops.unstack(row, axis=0) for row in ops.unstack(ops.convert_to_tensor(kernel), axis=0)]

        def from_place(row, column):
            """Return the weights from one position of the input to all positions of the output, (in, places * out)."""
            return ops.concatenate([taps[1 + row - to_row][1 + column - to_column] for to_row, to_column in places], -1)

        matrix = ops.concatenate([from_place(*place) for place in places], axis=0)
        outputs = ops.matmul(ops.reshape(inputs, (-1, matrix.shape[0])), matrix)
        return ops.reshape(outputs, (-1, height, width, self.filters))


def convolution_on_small_maps(inputs, kernel):
    """Convolve (batch, height, width, channels) with a kernel (3, 3, channels, filters), padded to the same size.

    TensorFlow only. The gradient with respect to the kernel is a matrix product for each position in the kernel.
    """

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradients(upstream):
            height, width, channels = inputs.shape[1:]
            padded = tf.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))
            outputs = tf.reshape(upstream, (-1, kernel.shape[-1]))
            of_kernel = [
                tf.matmul(
                    tf.reshape(padded[:, row : row + height, column : column + width], (-1, channels)),
                    outputs,
                    transpose_a=True,
                )
                for row in range(3)
                for column in range(3)
            ]
            of_inputs = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(inputs), 1, "SAME")
            return of_inputs, tf.reshape(tf.stack(of_kernel), kernel.shape)

        return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradients

    return convolve(inputs, kernel)


@keras.saving.register_keras_serializable("hw2")
class PatchWhitening(keras.layers.Layer):
    """A fixed convolution that maps patches to uncorrelated numbers of equal variance, and to their negatives.

    (batch, height, width, channels) -> (batch, height - size + 1, width - size + 1, 2 * channels * size**2).
    Neighbouring pixels are nearly equal, so the first layer of a network otherwise spends its first epochs on learning
    differences between them. The negatives preserve both signs through a ReLU. Page, "How to Train Your ResNet",
    part 8, 2019; Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.2.

    size: int. Side of a patch in pixels. epsilon: float. Added to the variances, so that directions with little
        variance, which are mostly noise, are amplified less.
    """

    def __init__(self, size=2, epsilon=0.01, **arguments):
        super().__init__(**arguments)
        self.size, self.epsilon = size, epsilon

    def build(self, input_shape):
        inputs = input_shape[-1] * self.size**2
        self.kernel = self.add_weight(
            shape=(self.size, self.size, input_shape[-1], 2 * inputs), trainable=False, name="kernel"
        )

    def call(self, inputs):
        return keras.ops.conv(inputs, self.kernel, padding="valid")

    def adapt(self, images):
        """Set the filters to the eigenvectors of the patches' covariance, each divided by its standard deviation.

        images: (n, height, width, channels), n at least several hundred, with a mean near zero.
        """
        patches = np.lib.stride_tricks.sliding_window_view(images, (self.size, self.size), axis=(1, 2))
        patches = np.moveaxis(patches, 3, -1)  # (n, height, width, row, column, channel), as a kernel is stored
        patches = patches.reshape(-1, np.prod(self.kernel.shape[:3])).astype(np.float64)
        variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
        filters = (directions / np.sqrt(variances + self.epsilon)).reshape(*self.kernel.shape[:3], -1)
        self.kernel.assign(np.concatenate([filters, -filters], axis=-1))

    def get_config(self):
        return super().get_config() | {"size": self.size, "epsilon": self.epsilon}
