"""Grad-CAM: the regions of an image that support an output of a classifier, on TensorFlow and JAX."""

import functools

import keras
import numpy as np

MIN_SIDE = 3  # smaller maps do not localise: VGG16's last maps of a 32x32 image are 1x1 and 2x2


def grad_cam(models, image, column, weights=None):
    """Return the evidence for one output, (size, size) float32 from 0 to 1; all 0 if no region supports the output.

    models: list of Keras classifiers. The maps of an ensemble are scaled to a maximum of 1, enlarged bilinearly to the
        largest of them, and averaged.
    image: (32, 32, 3), RGB from 0 to 255. column: int. Index of the logit.
    weights: float per model, or None for equal weights.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
    equations 1 and 2: the maps of a convolutional layer are weighted by the mean gradient of the logit with respect to
    each map and summed; negative values are set to 0. The layer is the last one on the only path from input to output
    whose maps are at least 3x3.

    Raises NotImplementedError on other backends, ValueError for a model without such a layer.
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
    """Split `model` after the last layer with large enough maps that no path bypasses; return both parts."""
    for layer in reversed(model.layers):
        output = layer.output
        shape = output.shape if isinstance(output, keras.KerasTensor) else ()
        if len(shape) != 4 or shape[1] is None or shape[1] < MIN_SIDE:
            continue
        try:
            rest = keras.Model(output, model.output)
        except ValueError:  # a path bypasses the layer, which is inside a residual unit
            continue
        front = keras.Model(model.inputs[0], output)
        if any(isinstance(found, keras.layers.Conv2D) for found in front.layers):
            return front, rest
    raise ValueError(f"{model.name} has no convolution with maps of {MIN_SIDE}x{MIN_SIDE} or more")


@functools.cache
def _compiled(model):
    """Return a compiled function of images and column to the maps and the gradient with respect to them."""
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
    raise NotImplementedError(f"Grad-CAM is not implemented for the {backend} backend")


def _enlarged(heat, size):
    """Return a square map, enlarged bilinearly to (size, size)."""
    if len(heat) == size:
        return heat
    enlarged = keras.ops.image.resize(heat[None, ..., None], (size, size), interpolation="bilinear")
    return keras.ops.convert_to_numpy(enlarged)[0, ..., 0]
