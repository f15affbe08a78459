"""Our own classifiers, trained from nothing: one function, whose arguments are the steps of the design."""

import keras
from keras import layers

from hw2.models.blocks import INITIALIZER, apply_convolution_unit, apply_residual_unit
from hw2.models.layers import BatchNormalization

CIFAR100_MEAN, CIFAR100_DEVIATION = (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)  # RGB, of the training images


def scratch_classifier(
    num_classes,
    image_size=32,
    stem_filters=32,
    filters=(48, 96, 192),
    units=2,
    stem_strides=2,
    batch_norm=True,
    residual=False,
    separable=False,
    squeeze_excite=False,
    dropout=0.0,
    unit_dropout=0.0,
):
    """A stem and three stages, each at half the resolution of the one before, then a mean over the map and one layer.

    num_classes: int. Number of logits.
    image_size: int. Size that the network sees; the model itself scales the 32x32 images to it, bilinearly.
    stem_filters: int. Filters of the first convolution, which works at full resolution.
    filters: filters of the stages.
    units: int. A unit is one convolution, or with `residual` two convolutions and a sum around them.
    stem_strides: int. What the resolution is divided by between the stem and the first stage (max pooling).
    batch_norm: bool. Normalise after every convolution (residual units: before it, always).
    residual, separable, squeeze_excite: bool. See `hw2.models.blocks`.
    dropout, unit_dropout: float. Share of zeros before the last layer, and inside the residual units.

    Returns a `keras.Model` from (batch, 32, 32, 3), RGB from 0 to 255, to (batch, num_classes) float32 logits. Layers
    are named after their stage, "stem", "stage1" to "stage3" and "head", so that the first ones can be frozen.
    """
    inputs = x = keras.Input((32, 32, 3), name="images")
    if image_size != 32:
        x = layers.Resizing(image_size, image_size, dtype="float32", name="resizing")(x)
    x = layers.Normalization(
        mean=CIFAR100_MEAN, variance=[d * d for d in CIFAR100_DEVIATION], dtype="float32", name="normalization"
    )(x)
    if residual:
        x = layers.Conv2D(
            stem_filters, 3, padding="same", use_bias=False, kernel_initializer=INITIALIZER, name="stem_conv"
        )(x)
    else:
        x = apply_convolution_unit(x, stem_filters, batch_norm=batch_norm, name="stem_conv")
    for stage, stage_filters in enumerate(filters, start=1):
        if stage > 1 or stem_strides > 1:
            x = layers.MaxPooling2D(2 if stage > 1 else stem_strides, name=f"stage{stage}_pool")(x)
        for unit in range(1, units + 1):
            name = f"stage{stage}_unit{unit}"
            if residual:
                x = apply_residual_unit(
                    x,
                    stage_filters,
                    separable=separable,
                    squeeze_excite=squeeze_excite,
                    dropout=unit_dropout,
                    name=name,
                )
            else:
                x = apply_convolution_unit(x, stage_filters, batch_norm=batch_norm, separable=separable, name=name)
    if residual:
        x = BatchNormalization(name="head_bn")(x)
        x = layers.Activation("relu", name="head_relu")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return keras.Model(inputs, layers.Dense(num_classes, dtype="float32", name="head_logits")(x), name="scratch")
