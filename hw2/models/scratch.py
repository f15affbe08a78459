"""Classifiers trained from scratch: one whose arguments are the steps of the design, and one on whitened patches."""

import keras
from keras import layers

from hw2.models import layers as faster
from hw2.models.blocks import INITIALIZER, apply_convolution_unit, apply_residual_unit

CIFAR100_MEAN, CIFAR100_DEVIATION = (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)  # RGB, of the training images


def scratch_classifier(num_classes, *, image_size, stem_filters, filters, units, batch_norm, residual, separable):
    """Build a classifier of a stem, stages that each halve the resolution, global average pooling and a dense layer.

    num_classes: int. Number of logits.
    image_size: int. Size in pixels at which the network sees the 32x32 images; the model scales them bilinearly.
    stem_filters: int. Filters of the first convolution, at full resolution.
    filters: sequence of int. Filters of each stage.
    units: int. Units of a stage: convolutions or, if `residual`, pairs of convolutions with a shortcut.
    batch_norm: bool. Normalise after every convolution. Residual units always normalise before it.
    residual, separable: bool. See `hw2.models.blocks`.

    Returns a `keras.Model` from (batch, 32, 32, 3), RGB from 0 to 255, to (batch, num_classes) float32 logits. Layer
    names begin with the stage, "stem", "stage1", ... or "head".
    """
    inputs = keras.Input((32, 32, 3), name="images")
    x = apply_preprocessing(inputs, image_size)
    if residual:
        x = layers.Conv2D(
            stem_filters, 3, padding="same", use_bias=False, kernel_initializer=INITIALIZER, name="stem_conv"
        )(x)
    else:
        x = apply_convolution_unit(x, stem_filters, batch_norm=batch_norm, name="stem_conv")
    for stage, stage_filters in enumerate(filters, start=1):
        x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        for unit in range(1, units + 1):
            name = f"stage{stage}_unit{unit}"
            if residual:
                x = apply_residual_unit(x, stage_filters, separable=separable, name=name)
            else:
                x = apply_convolution_unit(x, stage_filters, batch_norm=batch_norm, separable=separable, name=name)
    if residual:
        x = faster.BatchNormalization(name="head_bn")(x)
        x = layers.Activation("relu", name="head_relu")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, dtype="float32", name="head_logits")(x), name="scratch")


def whitened_classifier(num_classes, *, image_size, filters, units, whitening):
    """Build a classifier of whitened patches, stages that pool after their first convolution, global maxima, one layer.

    Modelled on Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.1, but with ReLU, which is
    faster than GELU on a CPU. Compared with `scratch_classifier`, more of the multiply-adds are in wide layers on small
    maps, and the first filters are not learned: `adapt_whitening` sets them from training images.

    units: int. Convolutions of a stage. whitening: bool. False learns the first filters. Other arguments, result and
    layer names: see `scratch_classifier`.
    """
    inputs = keras.Input((32, 32, 3), name="images")
    x = apply_preprocessing(inputs, image_size)
    if whitening:
        x = faster.PatchWhitening(name="stem_whitening")(x)
    else:  # as many filters of the same size
        x = layers.Conv2D(24, 2, use_bias=False, kernel_initializer=INITIALIZER, name="stem_conv")(x)
    x = layers.Activation("relu", name="stem_relu")(x)
    for stage, stage_filters in enumerate(filters, start=1):
        for unit in range(1, units + 1):
            x = apply_convolution_unit(x, stage_filters, pool=unit == 1, name=f"stage{stage}_unit{unit}")
    x = layers.GlobalMaxPooling2D(name="head_pool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, dtype="float32", name="head_logits")(x), name="whitened")


def apply_preprocessing(images, image_size):
    """Resize 32x32 images bilinearly to `image_size` and normalise each channel to mean 0 and variance 1."""
    if image_size != 32:
        images = layers.Resizing(image_size, image_size, dtype="float32", name="resizing")(images)
    variance = [deviation**2 for deviation in CIFAR100_DEVIATION]
    return layers.Normalization(mean=CIFAR100_MEAN, variance=variance, dtype="float32", name="normalization")(images)


def adapt_whitening(model, images):
    """Set the whitening filters of a model, if it has any, from training images (n, 32, 32, 3), RGB from 0 to 255."""
    for layer in model.layers:
        if isinstance(layer, faster.PatchWhitening):
            sample = images[:: max(1, len(images) // 1000)]  # a thousand images have about a million patches
            layer.adapt(keras.Model(model.inputs, layer.input).predict(sample.astype("float32"), verbose=0))
