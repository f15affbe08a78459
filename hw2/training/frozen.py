"""Splits a network into frozen layers, whose outputs are computed once, and trained layers."""

import keras
import numpy as np

from hw2.training import feature_cache


def set_trainable(model, first):
    """Freeze the layers of `model` before the first one whose name begins with `first`; make the others trainable.

    Raises ValueError if there is no such layer.
    """
    reached = False
    for layer in model.layers:
        reached = reached or layer.name.startswith(first)
        layer.trainable = reached
    if not reached:
        raise ValueError(f"no layer's name begins with {first!r}")


def inputs_of_phase(model, phase, images, targets, validation_images, data_dir, log):
    """Return `(trained, inputs, validation_inputs, targets, took)` for a phase.

    If the first layers are frozen and their inputs are not random, `trained` consists of the remaining layers and the
    inputs are cached features; otherwise `trained` is `model` and the inputs are images.

    phase: a `hw2.experiments.schema.Phase`; if it is `mirrored`, the training images are followed by their mirror
        images, and the targets by themselves. images, targets, validation_images: arrays. took: wall-clock and
        processor seconds that the features took.
    """
    if phase.mirrored:
        images = np.concatenate([images, images[:, :, ::-1]])
        targets = np.concatenate([targets, targets])
    first = next(index for index, layer in enumerate(model.layers) if layer.trainable)
    drops_out = any(isinstance(layer, keras.layers.Dropout) for layer in model.layers[:first])
    random = phase.augment or phase.joint or phase.mix or drops_out
    if random or not any(layer.weights for layer in model.layers[:first]):
        return model, images, validation_images, targets, [0.0, 0.0]
    frozen, rest = cut(model, first)
    features, *of_train = feature_cache.cached_features(frozen, images, data_dir, log)
    validation_features, *of_validation = feature_cache.cached_features(frozen, validation_images, data_dir, log)
    return rest, features, validation_features, targets, np.add(of_train, of_validation).tolist()


def cut(model, first):
    """Split `model` before layer number `first`; return `(frozen, rest)`, models that share its layers.

    The output of `frozen` is the tensor that crosses the cut. If several do, as with the skips of a U-Net, they are
    flattened and concatenated, and `rest` separates them again.
    """
    made = [layer.output for layer in model.layers[:first]]
    taken = [tensor for layer in model.layers[first:] for tensor in keras.tree.flatten(layer.input)]
    crossing = [tensor for tensor in made if any(tensor is other for other in taken)]
    packed, inputs, outputs = crossing[0], crossing[0], model.outputs
    if len(crossing) > 1:
        flat = [keras.layers.Flatten(name=f"flat{number}")(tensor) for number, tensor in enumerate(crossing)]
        packed = keras.layers.Concatenate(name="packed")(flat)
        inputs, unpacked, start = keras.Input(packed.shape[1:], name="features"), [], 0
        for tensor, part in zip(crossing, flat, strict=True):
            piece = inputs[:, start : start + part.shape[1]]
            unpacked.append(keras.layers.Reshape(tensor.shape[1:])(piece))
            start += part.shape[1]
        outputs = keras.Model(crossing, model.outputs)(unpacked)
    return keras.Model(model.inputs, packed, name="frozen"), keras.Model(inputs, outputs, name="rest")
