"""The segmenters: functions from `num_classes` and options to a model from images to logits of the same size.

All take (batch, image_size, image_size, 3), RGB from 0 to 255, and give (batch, image_size, image_size, outputs)
float32 logits: one output for two classes (foreground against background), else one for each class. Encoders come
first and decoders' layers are named "decoder_...", so that an encoder can be frozen.
"""

import keras
from keras import layers

from hw2 import WeightsUnavailable
from hw2.models.blocks import INITIALIZER, apply_convolution_unit
from hw2.models.layers import BatchNormalization
from hw2.models.vgg16 import BLOCKS, VGG16Preprocessing


def apply_upsampling(x, filters, decoder, *, use_bias=True, activation=None, name):
    """Double the resolution in one of two ways with the same number of weights.

    decoder: "transpose" for `Conv2DTranspose` with stride 2, whose 3x3 kernel meets some output pixels in one and
    others in four places (Odena et al., "Deconvolution and Checkerboard Artifacts", 2016); "bilinear" for bilinear
    up-sampling and then a 3x3 convolution, which treats all alike and costs four times the multiply-adds.
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
    # XLA, which Keras turns on where TensorFlow has a GPU, cannot take the gradient of its resizing in 16 bits
    x = layers.UpSampling2D(2, interpolation="bilinear", dtype="float32", name=f"{name}_upsampling")(x)
    return layers.Conv2D(filters, 3, **arguments)(x)


def seg_book(num_classes, image_size=160, decoder="transpose", width=1.0):
    """The encoder-decoder of Chollet, "Deep Learning with Python", 2nd ed. section 9.2 (3rd ed. chapter 11).

    Strided convolutions with 64, 128 and 256 filters down to an eighth, transposed convolutions back up; no skips, no
    normalisation. decoder "bilinear": each transposed convolution with stride 2 becomes up-sampling and convolution,
    those with stride 1 convolutions. width: factor on the filters.
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


def apply_logits(x, num_classes):
    outputs = 1 if num_classes == 2 else num_classes
    return layers.Conv2D(outputs, 3, padding="same", dtype="float32", name="decoder_logits")(x)


def apply_decoder(x, skips, filters, decoder):
    """Apply the right half of a U-Net: (Ronneberger et al., "U-Net", 2015), with batch normalisation.

    skips: the encoder's maps, deepest first, each twice the size of the one before. filters: of each step.
    """
    for step, (skip, count) in enumerate(zip(skips, filters, strict=True), start=1):
        name = f"decoder{step}"
        x = apply_upsampling(x, count, decoder, use_bias=False, name=f"{name}_up")
        x = BatchNormalization(name=f"{name}_up_bn")(x)
        x = layers.Activation("relu", name=f"{name}_up_relu")(x)
        x = layers.Concatenate(name=f"{name}_skip")([x, skip])
        x = apply_convolution_unit(x, count, name=f"{name}_conv")
    return x


def seg_unet(num_classes, image_size=160, decoder="bilinear", filters=(32, 64, 128, 256), decoder_filters=(96, 64, 32)):
    """A U-Net from nothing: stages of two convolutions, halved between them, and as many steps up with skips."""
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


def seg_unet_vgg16(num_classes, image_size=160, decoder="bilinear", decoder_filters=(128, 96, 64, 32), width=1.0):
    """A U-Net whose left half is VGG16 up to its fifth block; skips are the last maps of blocks 4, 3, 2 and 1.

    decoder_filters: of each step up. With fewer than four steps the logits are enlarged bilinearly the rest of the way,
    as in FCN (Long et al., "Fully convolutional networks for semantic segmentation", 2015): at full size, where half of
    a U-Net's multiply-adds are, there is nothing to learn then.
    """
    inputs = keras.Input((image_size, image_size, 3), name="images")
    x = VGG16Preprocessing(dtype="float32", name="preprocessing")(inputs)
    skips = []
    for block, (convolutions, count) in enumerate(BLOCKS, start=1):
        if skips:
            x = layers.MaxPooling2D(2, name=f"block{block - 1}_pool")(x)
        for convolution in range(1, convolutions + 1):
            name = f"block{block}_conv{convolution}"
            x = layers.Conv2D(round(count * width), 3, padding="same", activation="relu", name=name)(x)
        # ImageNet's VGG16 gives maps of very different scales: the decoder's first normalisation is here
        skips.append(BatchNormalization(name=f"decoder_block{block}_bn")(x))
    x = apply_decoder(skips[-1], skips[-2::-1][: len(decoder_filters)], decoder_filters, decoder)
    x = apply_logits(x, num_classes)
    if (factor := 2 ** (len(BLOCKS) - 1 - len(decoder_filters))) > 1:
        x = layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32", name="decoder_enlarged")(x)
    return keras.Model(inputs, x, name=f"seg_unet_vgg16_{decoder}")


def seg_unet_mobilenetv2(num_classes, image_size=160, decoder="transpose", weights="imagenet"):
    """The modified U-Net of TensorFlow's segmentation tutorial: MobileNetV2 (Sandler et al., 2018) as left half.

    Its weights expect pixels from -1 to 1. Keras downloads them; raises WeightsUnavailable where it cannot.
    """
    inputs = keras.Input((image_size, image_size, 3), name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(inputs)
    try:
        base = keras.applications.MobileNetV2(input_tensor=x, include_top=False, weights=weights)
    except Exception as error:
        if "URL fetch failure" not in str(error):  # what Keras raises, a bare Exception, for a failed download
            raise
        raise WeightsUnavailable(
            f"The ImageNet weights of MobileNetV2 could not be downloaded ({error}): skipped. Start it again with a "
            "network: python scripts/train_all.py --only seg_unet_mobilenetv2"
        ) from error
    names = ("block_13_expand_relu", "block_6_expand_relu", "block_3_expand_relu", "block_1_expand_relu")
    skips = [base.get_layer(name).output for name in names]
    x = apply_decoder(base.get_layer("block_16_project").output, skips, (128, 96, 64, 32), decoder)
    x = apply_upsampling(x, 16, decoder, activation="relu", name="decoder5_up")
    return keras.Model(inputs, apply_logits(x, num_classes), name=f"seg_unet_mobilenetv2_{decoder}")
