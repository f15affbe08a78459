"""Where a classifier looked: Grad-CAM, on TensorFlow and JAX."""

import functools

import keras
import numpy as np

MIN_SIDE = 3  # VGG16's last map of a 32x32 image is a single number, the one before 2x2: they tell no place


def grad_cam(models, image, column, weights=None):
    """Return where `image` speaks for an output, (size, size) float32 from 0 to 1; all 0 where it nowhere does.

    models: Keras classifiers; of an ensemble the maps are averaged, each scaled to 1 before. image: (32, 32, 3), RGB
    from 0 to 255. column: of the logits. weights: of the models, equal ones if None.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
    equations 1 and 2: the maps of a convolutional layer, weighted by the mean gradient of the logit with respect to
    each, and what is positive of the sum. The layer is the last one whose maps have at least 3x3 places.

    Raises NotImplementedError on a backend without a way to differentiate here, ValueError for a model without maps.
    """
    maps = [_one_map(model, np.asarray(image, np.float32)[None], int(column)) for model in models]
    size = max(len(one) for one in maps)
    maps = [_enlarged(one, size) for one in maps]
    return np.average(maps, axis=0, weights=weights).astype(np.float32)


def _one_map(model, images, column):
    features, gradient = _compiled(model)(images, column)
    features, gradient = (
        np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")))[0] for x in (features, gradient)
    )
    heat = np.maximum((features * gradient.mean((0, 1))).sum(-1), 0)
    return heat / (heat.max() or 1)


@functools.cache
def _split(model):
    """Return the models before and after the last layer with large enough maps through which all of the graph goes."""
    for layer in reversed(model.layers):
        output = layer.output
        shape = output.shape if isinstance(output, keras.KerasTensor) else ()
        if len(shape) != 4 or shape[1] is None or shape[1] < MIN_SIDE:
            continue
        try:
            rest = keras.Model(output, model.output)
        except ValueError:  # something goes around this layer: it is inside a residual unit
            continue
        front = keras.Model(model.inputs[0], output)
        if any(isinstance(found, keras.layers.Conv2D) for found in front.layers):
            return front, rest
    raise ValueError(f"{model.name} has no convolution with maps of {MIN_SIDE}x{MIN_SIDE} or more")


@functools.cache
def _compiled(model):
    """Return a function of images and column to the maps and their gradient, compiled: several times as fast."""
    front, rest = _split(model)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def maps_and_gradient(images, column):
            features = front(images, training=False)
            with tf.GradientTape() as tape:
                tape.watch(features)
                output = tf.gather(rest(features, training=False)[0], column)
            return features, tape.gradient(output, features)

        return lambda images, column: maps_and_gradient(tf.constant(images), tf.constant(column))
    if backend == "jax":
        import jax

        @jax.jit
        def maps_and_gradient(images, column):
            features = front(images, training=False)
            return features, jax.grad(lambda values: rest(values, training=False)[0, column])(features)

        return maps_and_gradient
    raise NotImplementedError(f"there is no Grad-CAM on {backend} here")


def _enlarged(heat, size):
    """Return a square map, bilinearly enlarged to `size`."""
    if len(heat) == size:
        return heat
    enlarged = keras.ops.image.resize(heat[None, ..., None], (size, size), interpolation="bilinear")
    return keras.ops.convert_to_numpy(enlarged)[0, ..., 0]
