"""Compare the training speed of our layers with that of Keras' own: `python scripts/benchmark.py`.

The first network differs in batch normalisation, the others in convolution. Run it again with TF_ENABLE_ONEDNN_OPTS=0
to measure the effect of TensorFlow's oneDNN kernels. Nothing else should run at the same time. Each figure is the
median over rounds that take all variants in turn, so that a slow moment of the machine affects all of them.
"""

import argparse
import os
import statistics
import time

import hw2  # noqa: F401  before Keras: it chooses TensorFlow's kernels

ROUNDS, STEPS, BATCH_SIZE = 5, 4, 128


def residual_network(layers, batch_normalization, _):
    """A residual network of 0.7 million parameters on 32x32 images: three stages of two blocks, 32-64-128 filters."""
    inputs = x = layers.Input((32, 32, 3))
    x = layers.Conv2D(32, 3, padding="same", use_bias=False)(x)
    for stage, filters in enumerate((32, 64, 128)):
        for block in range(2):
            strides = 2 if stage and not block else 1
            shortcut = x
            x = layers.Activation("relu")(batch_normalization()(x))
            if strides == 2:
                shortcut = layers.Conv2D(filters, 1, strides=2, use_bias=False)(x)
            x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
            x = layers.Activation("relu")(batch_normalization()(x))
            x = layers.Add()([layers.Conv2D(filters, 3, padding="same", use_bias=False)(x), shortcut])
    x = layers.Activation("relu")(batch_normalization()(x))
    return inputs, layers.Dense(100, dtype="float32")(layers.GlobalAveragePooling2D()(x))


def vgg16(layers, _, convolution, size=32, channels=3, blocks=((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))):
    """VGG16 with all layers trained, on 32x32 images."""
    inputs = x = layers.Input((size, size, channels))
    for convolutions, filters in blocks:
        for _ in range(convolutions):
            x = convolution(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    return inputs, layers.Dense(100, dtype="float32")(layers.Flatten()(x))


def block5(layers, _, convolution):
    """VGG16's last block alone, on the outputs of the others for 32x32 images."""
    return vgg16(layers, _, convolution, size=2, channels=512, blocks=((3, 512),))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--precision", choices=("float32", "mixed_bfloat16", "mixed_float16"), help="default: this machine's best"
    )
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import numpy as np
    from keras import layers

    from hw2.hardware import choose_precision, device_name
    from hw2.models.layers import BatchNormalization, Conv2D

    precision = arguments.precision or choose_precision()
    keras.config.set_dtype_policy(precision)
    print(
        f"{device_name()}; Keras {keras.__version__} on {keras.backend.backend()}, {precision}, batches of {BATCH_SIZE}"
    )
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, BATCH_SIZE)
    for network in (residual_network, vgg16, block5):
        models = {}
        for name, batch_normalization, convolution in (
            ("Keras' layers", layers.BatchNormalization, layers.Conv2D),
            ("our layers", BatchNormalization, Conv2D),
        ):
            keras.utils.set_random_seed(0)
            model = models[name] = keras.Model(*network(layers, batch_normalization, convolution))
            images = rng.normal(size=(BATCH_SIZE, *model.input_shape[1:])).astype("float32")
            model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            for _ in range(2):
                model.train_on_batch(images, labels)
        speeds = {name: [] for name in models}
        for _ in range(ROUNDS):
            for name, model in models.items():
                began = time.perf_counter()
                for _ in range(STEPS):
                    model.train_on_batch(images, labels)
                speeds[name].append(STEPS * BATCH_SIZE / (time.perf_counter() - began))
        print(f"\n{network.__doc__} {model.count_params():,} parameters.")
        first = statistics.median(speeds["Keras' layers"])
        for name, values in speeds.items():
            speed = statistics.median(values)
            print(f"  {name:24} {speed:7.0f} images/s  {speed / first:4.1f}x  ({min(values):.0f} to {max(values):.0f})")


if __name__ == "__main__":
    main()
