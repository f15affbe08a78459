"""Our own classifiers, trained from nothing: one function whose arguments are the steps of the design, and our best."""

import keras
from keras import layers

from hw2.models.blocks import INITIALIZER, apply_convolution_unit, apply_residual_unit
from hw2.models.layers import BatchNormalization, PatchWhitening

CIFAR100_MEAN, CIFAR100_DEVIATION = (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)  # RGB, of the training images


def scratch_classifier(
    num_classes,
    image_size=32,
    stem_filters=32,
    filters=(48, 96, 192),
    units=2,
    batch_norm=True,
    residual=False,
    separable=False,
):
    """A stem and three stages, each at half the resolution of the one before, then a mean over the map and one layer.

    num_classes: int. Number of logits.
    image_size: int. Size that the network sees; the model itself scales the 32x32 images to it, bilinearly.
    stem_filters: int. Filters of the first convolution, which works at full resolution.
    filters: filters of the stages.
    units: int. A unit is one convolution, or with `residual` two convolutions and a sum around them.
    batch_norm: bool. Normalise after every convolution (residual units: before it, always).
    residual, separable: bool. See `hw2.models.blocks`.

    Returns a `keras.Model` from (batch, 32, 32, 3), RGB from 0 to 255, to (batch, num_classes) float32 logits. Layers
    are named after their stage, "stem", "stage1" to "stage3" and "head", so that the first ones can be frozen.
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
        x = BatchNormalization(name="head_bn")(x)
        x = layers.Activation("relu", name="head_relu")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, dtype="float32", name="head_logits")(x), name="scratch")


def whitened_classifier(num_classes, image_size=32, filters=(64, 128, 256), units=2):
    """Whitened patches, then stages that pool after their first convolution, the maxima of the last map, one layer.

    After the network of Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.1, with ReLU in
    place of GELU, which a processor takes long for. Compared with `scratch_classifier`, more multiply-adds are in wide
    layers on small maps, and the first filters need not be learned.

    units: int. Convolutions of a stage.
    Other arguments, result and names of layers: as of `scratch_classifier`. The weights of `stem_whitening` are to be
    set from training images, see `adapt_whitening`.
    """
    inputs = keras.Input((32, 32, 3), name="images")
    x = PatchWhitening(name="stem_whitening")(apply_preprocessing(inputs, image_size))
    x = layers.Activation("relu", name="stem_relu")(x)
    for stage, stage_filters in enumerate(filters, start=1):
        for unit in range(1, units + 1):
            x = apply_convolution_unit(x, stage_filters, pool=unit == 1, name=f"stage{stage}_unit{unit}")
    x = layers.GlobalMaxPooling2D(name="head_pool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, dtype="float32", name="head_logits")(x), name="whitened")


def apply_preprocessing(images, image_size):
    """Scale 32x32 images to `image_size`, bilinearly, and to mean 0 and variance 1."""
    if image_size != 32:
        images = layers.Resizing(image_size, image_size, dtype="float32", name="resizing")(images)
    variance = [deviation**2 for deviation in CIFAR100_DEVIATION]
    return layers.Normalization(mean=CIFAR100_MEAN, variance=variance, dtype="float32", name="normalization")(images)


def adapt_whitening(model, images):
    """Set the filters that whiten patches, if the model has any, from training images (n, 32, 32, 3), RGB 0 to 255."""
    for layer in model.layers:
        if isinstance(layer, PatchWhitening):
            sample = images[:: max(1, len(images) // 1000)]  # a thousand images have a million patches of 12 numbers
            layer.adapt(keras.Model(model.inputs, layer.input).predict(sample.astype("float32"), verbose=0))
