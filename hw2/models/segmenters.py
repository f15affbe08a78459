"""Segmenters built from scratch or on VGG16: functions from the number of classes and options to a `keras.Model`.

All models map (batch, image_size, image_size, 3), RGB from 0 to 255, to float32 logits (batch, image_size, image_size,
outputs): one output for two classes (foreground against background), else one per class. `image_size` is a multiple of
the encoder's total stride. The names of a decoder's layers begin with "decoder", and in `model.layers` those that have
weights follow all layers of the encoder, so that the encoder can be frozen.
"""

import keras
from keras import layers

from hw2.models import layers as faster
from hw2.models.blocks import INITIALIZER, apply_convolution_unit
from hw2.models.registry import VGG16_BLOCKS
from hw2.models.vgg16 import VGG16Preprocessing


def apply_upsampling(x, filters, decoder, *, use_bias=True, activation=None, name):
    """Double the resolution in one of two ways that have the same number of weights.

    decoder: "transpose" for `Conv2DTranspose` with stride 2, whose 3x3 kernel overlaps unevenly (Odena et al.,
        "Deconvolution and Checkerboard Artifacts", 2016); "bilinear" for bilinear up-sampling followed by a 3x3
        convolution, which treats all pixels alike and takes four times the multiply-adds. Raises ValueError for any
        other value.
    """
    arguments = {
        "padding": "same",
        "use_bias": use_bias,
        "activation": activation,
        "kernel_initializer": INITIALIZER,
        "name": name,
    }
    if decoder == "transpose":
        return layers.Conv2DTranspose(filters, 3, strides=2, **arguments)(x)
    if decoder != "bilinear":
        raise ValueError(f"decoder is 'transpose' or 'bilinear', not {decoder!r}")
    # float32, because XLA, which Keras uses for TensorFlow on a GPU, has no gradient of resizing in 16 bits
    x = layers.UpSampling2D(2, interpolation="bilinear", dtype="float32", name=f"{name}_upsampling")(x)
    return layers.Conv2D(filters, 3, **arguments)(x)


def apply_decoder(x, skips, filters, decoder):
    """Apply the decoder of a U-Net (Ronneberger et al., "U-Net", 2015) with batch normalisation.

    skips: maps of the encoder, the deepest first, each twice the size of the previous one. filters: int per skip.
    decoder: see `apply_upsampling`.
    """
    for step, (skip, count) in enumerate(zip(skips, filters, strict=True), start=1):
        name = f"decoder{step}"
        x = apply_upsampling(x, count, decoder, use_bias=False, name=f"{name}_up")
        x = faster.BatchNormalization(name=f"{name}_up_bn")(x)
        x = layers.Activation("relu", name=f"{name}_up_relu")(x)
        x = layers.Concatenate(name=f"{name}_skip")([x, skip])
        x = apply_convolution_unit(x, count, name=f"{name}_conv")
    return x


def apply_logits(x, num_classes, enlarge=1):
    """Apply the last convolution and enlarge its float32 logits bilinearly by the factor `enlarge`.

    Logits at a lower resolution than the image's save the multiply-adds of the decoder's last steps (Long et al.,
    "Fully convolutional networks for semantic segmentation", 2015).
    """
    outputs = 1 if num_classes == 2 else num_classes
    x = layers.Conv2D(outputs, 3, padding="same", dtype="float32", name="decoder_logits")(x)
    if enlarge > 1:
        x = layers.UpSampling2D(enlarge, interpolation="bilinear", dtype="float32", name="decoder_enlarged")(x)
    return x


def seg_book(num_classes, *, image_size, decoder, width):
    """Build the encoder-decoder of Chollet, "Deep Learning with Python", 2nd ed., section 9.2 (3rd ed., chapter 11).

    Strided convolutions with 64, 128 and 256 filters down to an eighth of the resolution, then transposed convolutions;
    no skips, no normalisation.

    decoder: "transpose" for the book's decoder; "bilinear" replaces its transposed convolutions with stride 2 as
        `apply_upsampling` does, and those with stride 1 by convolutions. width: float. Factor on the filters.
    """
    filters = [round(f * width) for f in (64, 128, 256)]
    inputs = keras.Input((image_size, image_size, 3), name="images")
    x = layers.Rescaling(1 / 255, dtype="float32", name="rescaling")(inputs)
    common = {"activation": "relu", "padding": "same", "kernel_initializer": INITIALIZER}
    for stage, count in enumerate(filters, start=1):
        x = layers.Conv2D(count, 3, strides=2, **common, name=f"encoder{stage}_conv1")(x)
        x = layers.Conv2D(count, 3, **common, name=f"encoder{stage}_conv2")(x)
    same_size = layers.Conv2DTranspose if decoder == "transpose" else layers.Conv2D
    for stage, count in zip((3, 2, 1), reversed(filters), strict=True):
        x = same_size(count, 3, **common, name=f"decoder{stage}_conv")(x)
        x = apply_upsampling(x, count, decoder, activation="relu", name=f"decoder{stage}_up")
    return keras.Model(inputs, apply_logits(x, num_classes), name=f"seg_book_{decoder}")


def seg_unet(num_classes, *, image_size, decoder, filters, decoder_filters):
    """Build a U-Net for training from scratch.

    filters: sequence of int. Filters of the encoder's stages of two convolutions, separated by 2x2 max pooling.
    decoder_filters: sequence of int, one shorter. Filters of the decoder's steps. decoder: see `apply_upsampling`.
    """
    inputs = keras.Input((image_size, image_size, 3), name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="rescaling")(inputs)
    skips = []
    for stage, count in enumerate(filters, start=1):
        if skips:
            x = layers.MaxPooling2D(2, name=f"encoder{stage}_pool")(x)
        for convolution in (1, 2):
            x = apply_convolution_unit(x, count, name=f"encoder{stage}_conv{convolution}")
        skips.append(x)
    x = apply_decoder(skips[-1], skips[-2::-1], decoder_filters, decoder)
    return keras.Model(inputs, apply_logits(x, num_classes), name=f"seg_unet_{decoder}")


def seg_unet_vgg16(num_classes, *, image_size, decoder, decoder_filters, width):
    """Build a U-Net whose encoder is VGG16 without its last pooling; the skips are the last maps of blocks 4 to 1.

    decoder_filters: sequence of at most four int. Filters of the decoder's steps; logits are computed at the resolution
        of the last step, see `apply_logits`. decoder: see `apply_upsampling`. width: float. Factor on VGG16's filters.
    """
    inputs = keras.Input((image_size, image_size, 3), name="images")
    x = VGG16Preprocessing(dtype="float32", name="preprocessing")(inputs)
    skips, previous = [], None
    for block, (convolutions, count) in VGG16_BLOCKS.items():
        if previous:
            x = layers.MaxPooling2D(2, name=f"{previous}_pool")(x)
        for convolution in range(1, convolutions + 1):
            name = f"{block}_conv{convolution}"
            x = layers.Conv2D(round(count * width), 3, padding="same", activation="relu", name=name)(x)
        # the maps of VGG16 with ImageNet weights differ widely in scale
        skips.append(faster.BatchNormalization(name=f"decoder_{block}_bn")(x))
        previous = block
    x = apply_decoder(skips[-1], skips[-2::-1][: len(decoder_filters)], decoder_filters, decoder)
    x = apply_logits(x, num_classes, enlarge=2 ** (len(VGG16_BLOCKS) - 1 - len(decoder_filters)))
    return keras.Model(inputs, x, name=f"seg_unet_vgg16_{decoder}")
