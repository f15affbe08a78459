"""VGG16 with ImageNet weights (Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015).

Layer by layer, so that it can be built narrower for a rehearsal and cut where the frozen part ends; names of layers and
values are those of `keras.applications.VGG16`.
"""

from pathlib import Path

import h5py
import keras
from keras import layers

from hw2 import DataError
from hw2.models.layers import BatchNormalization, Conv2D

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions and filters of each block
WEIGHTS = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
WEIGHTS_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{WEIGHTS}"
WEIGHTS_MD5 = "6d6bbae143d832006294945121d1f1fc"


@keras.saving.register_keras_serializable("hw2")
class VGG16Preprocessing(layers.Layer):
    """RGB from 0 to 255 -> blue, green, red minus the ImageNet mean: what the weights were trained on, in one place."""

    MEAN_BGR = (103.939, 116.779, 123.68)

    def call(self, images):
        return images[..., ::-1] - keras.ops.convert_to_tensor(self.MEAN_BGR, dtype=images.dtype)


def apply_blocks(x, width=1.0):
    """Apply the five convolutional blocks: (batch, size, size, 3) -> (batch, size / 32, size / 32, 512).

    width: factor on the number of filters; 1 for the real network, less for a quick rehearsal.
    """
    for block, (convolutions, filters) in enumerate(BLOCKS, start=1):
        for convolution in range(1, convolutions + 1):
            name = f"block{block}_conv{convolution}"
            x = Conv2D(round(filters * width), 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x


def vgg16_classifier(num_classes, image_size=32, head="linear", dropout=0.0, width=1.0):
    """VGG16 and a new head, on images of 32x32 that the model itself enlarges to `image_size`.

    num_classes: int. Number of logits.
    image_size: int, a multiple of 32. The size that VGG16 sees, by bilinear up-sampling. Its total stride is 32: at 32
        the last map is 1x1, and the average pooling before the head has nothing to average.
    head: "linear", "dense" or "dense_bn". See `apply_head`.
    dropout: float. Share of the features that the head's dropout sets to zero.

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
    """Apply a classification head to features (batch, channels); every layer's name begins with "head"."""
    if head not in ("linear", "dense", "dense_bn"):
        raise ValueError(f"head is 'linear', 'dense' or 'dense_bn', not {head!r}")
    if head == "dense_bn":
        x = BatchNormalization(name="head_bn_features")(x)
    if head in ("dense", "dense_bn"):
        x = layers.Dense(1024, use_bias=head == "dense", name="head_dense")(x)
        if head == "dense_bn":
            x = BatchNormalization(name="head_bn")(x)
        x = layers.Activation("relu", name="head_relu")(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return layers.Dense(num_classes, dtype="float32", name="head_logits")(x)


def load_imagenet_weights(model, data_dir):
    """Set the weights of every VGG16 convolution in `model` from Keras' file, in `data_dir` or else downloaded.

    Raises DataError if the file can neither be found nor downloaded, or is not that file.
    """
    path = Path(data_dir) / WEIGHTS
    if not path.exists():
        try:
            path = keras.utils.get_file(WEIGHTS, WEIGHTS_URL, cache_subdir="models", file_hash=WEIGHTS_MD5)
        except Exception as error:  # get_file raises bare Exception for a failed download
            raise DataError(
                f"The ImageNet weights of VGG16 could not be downloaded: {error}\n"
                f"Get {WEIGHTS_URL}\nand put it at {path}. Then start again."
            ) from error
    try:
        with h5py.File(path) as file:
            for block, (convolutions, _) in enumerate(BLOCKS, start=1):
                for convolution in range(1, convolutions + 1):
                    name = f"block{block}_conv{convolution}"
                    group = file[name]
                    model.get_layer(name).set_weights([group[key][()] for key in group.attrs["weight_names"]])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is not the file of VGG16 weights that Keras publishes ({error}). Delete it and start again."
        ) from error
