"""VGG16 with ImageNet weights (Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015).

Built layer by layer, so that it can be narrower for a rehearsal and be cut where its frozen part ends. Layer names and
outputs are those of `keras.applications.VGG16`.
"""

import keras
from keras import layers

from hw2.models import layers as faster
from hw2.models.registry import VGG16_BLOCKS
from hw2.models.weights import PublishedWeights

WEIGHTS = PublishedWeights(
    name="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    folder="https://storage.googleapis.com/tensorflow/keras-applications/vgg16/",
    network="VGG16",
    md5="6d6bbae143d832006294945121d1f1fc",
)
load_imagenet_weights = WEIGHTS.load


@keras.saving.register_keras_serializable("hw2")
class VGG16Preprocessing(layers.Layer):
    """Converts RGB from 0 to 255 to the input of the ImageNet weights: blue, green, red, minus the mean of ImageNet."""

    MEAN_BGR = (103.939, 116.779, 123.68)

    def call(self, images):
        return images[..., ::-1] - keras.ops.convert_to_tensor(self.MEAN_BGR, dtype=images.dtype)


def apply_blocks(x, width=1.0):
    """Apply the five convolutional blocks: (batch, size, size, 3) -> (batch, size / 32, size / 32, 512 * width).

    width: float. Factor on the number of filters; 1 for the network that has ImageNet weights.
    """
    for block, (convolutions, filters) in VGG16_BLOCKS.items():
        for convolution in range(1, convolutions + 1):
            name = f"{block}_conv{convolution}"
            x = faster.Conv2D(round(filters * width), 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"{block}_pool")(x)
    return x


def vgg16_classifier(num_classes, *, image_size, head, dropout, width):
    """Build VGG16 with a new head for 32x32 images, which the model enlarges to `image_size`.

    num_classes: int. Number of logits.
    image_size: int, a multiple of 32. Size in pixels at which VGG16 sees the images, after bilinear up-sampling. Its
        total stride is 32: at 32 px the last map is 1x1, so the global average pooling before the head is the identity.
    head: "linear", "dense" or "dense_bn". See `apply_head`.
    dropout: float. Share of the features that dropout before the logits sets to zero.
    width: float. See `apply_blocks`.

    Returns a `keras.Model` from (batch, 32, 32, 3), RGB from 0 to 255, to (batch, num_classes) float32 logits.
    """
    inputs = x = keras.Input((32, 32, 3), name="images")
    x = VGG16Preprocessing(dtype="float32", name="preprocessing")(x)
    if image_size != 32:
        x = layers.UpSampling2D(image_size // 32, interpolation="bilinear", name="upsampling")(x)
    x = apply_blocks(x, width)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = apply_head(x, num_classes, head, dropout)
    return keras.Model(inputs, x, name="vgg16_classifier")


def apply_head(x, num_classes, head, dropout):
    """Apply a classification head to features (batch, channels); all its layer names begin with "head".

    head: "linear" for the layer of logits alone, "dense" for a hidden layer of 1,024 units before it, "dense_bn" for
        the same with the features and the hidden layer batch-normalised. Raises ValueError for any other value.
    """
    if head not in ("linear", "dense", "dense_bn"):
        raise ValueError(f"head is 'linear', 'dense' or 'dense_bn', not {head!r}")
    if head == "dense_bn":
        x = faster.BatchNormalization(name="head_bn_features")(x)
    if head in ("dense", "dense_bn"):
        x = layers.Dense(1024, use_bias=head == "dense", name="head_dense")(x)
        if head == "dense_bn":
            x = faster.BatchNormalization(name="head_bn")(x)
        x = layers.Activation("relu", name="head_relu")(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return layers.Dense(num_classes, dtype="float32", name="head_logits")(x)
