"""The blocks that our own networks are built of: `apply_*` functions from tensors to tensors, every layer named."""

import math

from keras import initializers, layers

from hw2.models.layers import BatchNormalization

# For ReLU networks; Keras' default (Glorot) loses half of the variance at every ReLU.
# He et al., "Delving Deep into Rectifiers", 2015, equation 10.
INITIALIZER = "he_normal"
# The same standard deviation for a depthwise kernel, where an output depends on the 3x3 inputs of a single channel; the
# fan-in that Keras computes counts all channels. The divisor corrects for the truncation at two standard deviations.
DEPTHWISE_DEVIATION = math.sqrt(2 / 9) / 0.87962566


def apply_convolution(x, filters, *, separable=False, strides=1, use_bias=False, name):
    """Apply a 3x3 convolution, or its depthwise-separable form: (batch, h, w, c) -> (batch, h, w, filters).

    separable: a 3x3 filter for each channel, then a 1x1 convolution across channels, which is 1/filters + 1/9 of the
        multiply-adds (Howard et al., "MobileNets", 2017, section 3.1). The first convolution on the image's three
        channels is better left standard.
    """
    if separable:
        # a new initializer for every layer: one object would give all layers of a shape the same kernel
        initializer = initializers.TruncatedNormal(stddev=DEPTHWISE_DEVIATION)
        x = layers.DepthwiseConv2D(
            3, strides, padding="same", use_bias=False, depthwise_initializer=initializer, name=f"{name}_depthwise"
        )(x)
        return layers.Conv2D(filters, 1, use_bias=use_bias, kernel_initializer=INITIALIZER, name=f"{name}_pointwise")(x)
    return layers.Conv2D(
        filters, 3, strides, padding="same", use_bias=use_bias, kernel_initializer=INITIALIZER, name=name
    )(x)


def apply_convolution_unit(x, filters, *, batch_norm=True, separable=False, pool=False, name):
    """Apply convolution, 2x2 max pooling and batch normalisation if asked for, ReLU."""
    x = apply_convolution(x, filters, separable=separable, use_bias=not batch_norm, name=name)
    if pool:
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    if batch_norm:
        x = BatchNormalization(name=f"{name}_bn")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def apply_residual_unit(x, filters, *, separable=False, name):
    """Apply a pre-activation residual unit of two convolutions: x + convolutions(x).

    He et al., "Identity Mappings in Deep Residual Networks", 2016, figure 4e: normalisation and ReLU stand before each
    convolution, so that nothing stands on the way of the sum. Where the number of filters changes, the shortcut is a
    1x1 convolution of the activated input.
    """
    shortcut = x
    x = BatchNormalization(name=f"{name}_bn1")(x)
    x = layers.Activation("relu", name=f"{name}_relu1")(x)
    if shortcut.shape[-1] != filters:
        shortcut = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer=INITIALIZER, name=f"{name}_shortcut")(x)
    x = apply_convolution(x, filters, separable=separable, name=f"{name}_conv1")
    x = BatchNormalization(name=f"{name}_bn2")(x)
    x = layers.Activation("relu", name=f"{name}_relu2")(x)
    x = apply_convolution(x, filters, separable=separable, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([shortcut, x])
