"""Building blocks of the networks: `apply_*` functions from tensors to tensors that name every layer."""

import math

from keras import initializers, layers

from hw2.models import layers as faster

# Keeps the variance in ReLU networks, whereas Keras' default (Glorot) halves it at every ReLU.
# He et al., "Delving Deep into Rectifiers", 2015, equation 10.
INITIALIZER = "he_normal"
# The same for a 3x3 depthwise kernel, whose fan-in is 9: an output depends on a single channel, whereas the fan-in that
# Keras computes counts all of them. The divisor corrects for truncation at two standard deviations.
DEPTHWISE_DEVIATION = math.sqrt(2 / 9) / 0.87962566


def apply_convolution(x, filters, *, separable=False, use_bias=False, name):
    """Apply a 3x3 convolution, or its depthwise-separable form: (batch, h, w, c) -> (batch, h, w, filters).

    separable: apply a 3x3 filter to each channel, then a 1x1 convolution across channels, which takes 1/filters + 1/9
        of the multiply-adds (Howard et al., "MobileNets", 2017, section 3.1).
    """
    if separable:
        # a new initializer for every layer: a shared one would give all layers of the same shape the same kernel
        initializer = initializers.TruncatedNormal(stddev=DEPTHWISE_DEVIATION)
        x = layers.DepthwiseConv2D(
            3, padding="same", use_bias=False, depthwise_initializer=initializer, name=f"{name}_depthwise"
        )(x)
        return layers.Conv2D(filters, 1, use_bias=use_bias, kernel_initializer=INITIALIZER, name=f"{name}_pointwise")(x)
    return layers.Conv2D(filters, 3, padding="same", use_bias=use_bias, kernel_initializer=INITIALIZER, name=name)(x)


def apply_convolution_unit(x, filters, *, batch_norm=True, separable=False, pool=False, name):
    """Apply a 3x3 convolution, optionally 2x2 max pooling and batch normalisation, and ReLU."""
    x = apply_convolution(x, filters, separable=separable, use_bias=not batch_norm, name=name)
    if pool:
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    if batch_norm:
        x = faster.BatchNormalization(name=f"{name}_bn")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def apply_residual_unit(x, filters, *, separable=False, name):
    """Apply a pre-activation residual unit of two convolutions: x + convolutions(x).

    He et al., "Identity Mappings in Deep Residual Networks", 2016, figure 4e: normalisation and ReLU precede each
    convolution, so that the shortcut is the identity. Where the number of filters changes, the shortcut is a 1x1
    convolution of the activated input.
    """
    shortcut = x
    x = faster.BatchNormalization(name=f"{name}_bn1")(x)
    x = layers.Activation("relu", name=f"{name}_relu1")(x)
    if shortcut.shape[-1] != filters:
        shortcut = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer=INITIALIZER, name=f"{name}_shortcut")(x)
    x = apply_convolution(x, filters, separable=separable, name=f"{name}_conv1")
    x = faster.BatchNormalization(name=f"{name}_bn2")(x)
    x = layers.Activation("relu", name=f"{name}_relu2")(x)
    x = apply_convolution(x, filters, separable=separable, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([shortcut, x])
