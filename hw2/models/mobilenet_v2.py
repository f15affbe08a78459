"""Segmenters whose encoder is MobileNetV2 with ImageNet weights (Sandler et al., "MobileNetV2", CVPR 2018).

Inputs, outputs and layer names: see `hw2.models.segmenters`. The encoder's layers have the names and outputs of
`keras.applications.MobileNetV2`.
"""

import keras
from keras import layers

from hw2.models import layers as faster
from hw2.models.blocks import INITIALIZER
from hw2.models.segmenters import apply_decoder, apply_logits, apply_upsampling
from hw2.models.weights import PublishedWeights

WEIGHTS = PublishedWeights(
    name="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    folder="https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/",
    network="MobileNetV2",
)
load_imagenet_weights = WEIGHTS.load
# the last maps at strides 16, 8, 4 and 2
SKIPS = ("block_13_expand_relu", "block_6_expand_relu", "block_3_expand_relu", "block_1_expand_relu")
# Keras' MobileNetV2 has 0.999, with which the running statistics lag thousands of steps behind during fine-tuning.
MOMENTUM = 0.9


def seg_unet_mobilenetv2(num_classes, *, image_size, decoder, decoder_filters, width):
    """Build the modified U-Net of TensorFlow's segmentation tutorial, whose skips are expansions of MobileNetV2.

    decoder_filters: four int. Filters of the decoder's steps; a fifth step without a skip has half of the last one's.
    decoder: see `apply_upsampling`. width: see `encoder`.

    Source: https://www.tensorflow.org/tutorials/images/segmentation
    """
    inputs, base = encoder(image_size, width)
    skips = [base.get_layer(name).output for name in SKIPS]
    x = apply_decoder(base.get_layer("block_16_project").output, skips, decoder_filters, decoder)
    x = apply_upsampling(x, decoder_filters[-1] // 2, decoder, activation="relu", name=f"decoder{len(SKIPS) + 1}_up")
    return keras.Model(inputs, apply_logits(x, num_classes), name=f"seg_unet_mobilenetv2_{decoder}")


def seg_mobilenetv2(num_classes, *, image_size, decoder, decoder_filters, skip_filters, width):
    """Build a light U-Net on MobileNetV2: narrow skips at strides 16, 8 and 4, logits at a quarter of the resolution.

    The skips are reduced by 1x1 convolutions, as in Chen et al., "Encoder-Decoder with Atrous Separable Convolution"
    (DeepLabv3+), ECCV 2018, section 3.1: wide skips would outweigh the deeper features.

    decoder_filters: three int. Filters of the decoder's steps. skip_filters: int. Filters of each reduced skip.
    decoder: see `apply_upsampling`. width: see `encoder`.
    """
    inputs, base = encoder(image_size, width)
    skips = []
    for step, name in enumerate(SKIPS[: len(decoder_filters)], start=1):
        x = layers.Conv2D(
            skip_filters, 1, use_bias=False, kernel_initializer=INITIALIZER, name=f"decoder{step}_reduced"
        )(base.get_layer(name).output)
        x = faster.BatchNormalization(name=f"decoder{step}_reduced_bn")(x)
        skips.append(layers.Activation("relu", name=f"decoder{step}_reduced_relu")(x))
    x = apply_decoder(base.get_layer("block_16_project_BN").output, skips, decoder_filters, decoder)
    x = apply_logits(x, num_classes, enlarge=2 ** (len(SKIPS) + 1 - len(decoder_filters)))
    return keras.Model(inputs, x, name=f"seg_mobilenetv2_{decoder}")


def encoder(image_size, width):
    """Return `(inputs, model)`: the input for RGB images from 0 to 255, and MobileNetV2 applied to it.

    width: float. MobileNetV2's alpha, a factor on its filters; 1 for the network that has ImageNet weights.
    """
    inputs = keras.Input((image_size, image_size, 3), name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="rescaling")(inputs)
    shape = (image_size, image_size, 3)
    model = keras.applications.MobileNetV2(input_shape=shape, include_top=False, alpha=width, weights=None)
    return inputs, keras.models.clone_model(model, input_tensors=x, clone_function=_with_faster_normalization)


def _with_faster_normalization(layer):
    config = layer.get_config()
    if isinstance(layer, layers.BatchNormalization):
        return faster.BatchNormalization.from_config(config | {"momentum": MOMENTUM})
    return layer.__class__.from_config(config)
