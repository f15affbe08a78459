"""Model files of half the size: kernels as float16; biases and statistics, which have one axis, as float32."""

import io
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from hw2.errors import ResultsError

WEIGHTS_MEMBER = "model.weights.h5"


def round_kernels(model):
    """Round every weight with two or more axes to float16 in place, so that `save` is lossless.

    A weight with a value beyond float16's range (65,504) is left unchanged.
    """
    for variable in model.weights:
        if len(variable.shape) >= 2:
            value = keras.ops.convert_to_numpy(variable)
            with np.errstate(over="ignore"):
                rounded = value.astype(np.float16)
            if np.isfinite(rounded).all():
                variable.assign(rounded.astype(value.dtype))


def save(model, path):
    """Write a `.keras` file without optimizer, to be read by `keras.models.load_model`.

    Weights that float16 represents exactly (see `round_kernels`) are stored as float16, all others as float32. Keras
    converts stored weights to the type of each variable on loading, so only the weights inside the archive have to be
    rewritten.
    """
    # a new model of the same layers is not compiled, so the archive contains neither optimizer nor loss
    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    bare.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    compact = io.BytesIO()
    with h5py.File(io.BytesIO(members[WEIGHTS_MEMBER])) as source, h5py.File(compact, "w") as target:

        def copy(name, node):
            copied = target.require_group(name) if isinstance(node, h5py.Group) else None
            if copied is None:
                copied = target.create_dataset(name, data=_smallest(node[()]))
            copied.attrs.update(node.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)
    members[WEIGHTS_MEMBER] = compact.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def load(path):
    """Return the model in a `.keras` file, not compiled. Raises ResultsError for a file that is none, or damaged."""
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises nearly every exception on a damaged or foreign file
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ResultsError(
            f"{path} cannot be loaded ({reason}). Restore the file, or train {Path(path).parent.name} again with "
            "--force."
        ) from error


def _smallest(values):
    if values.ndim < 2 or values.dtype != np.float32:
        return values
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else values


def why_unreadable(model):
    """Return why `model` could not be loaded from a file again, or None: Keras has to find the class of each layer."""
    for layer in model.layers:
        kind = type(layer)
        own = kind.__module__.partition(".")[0] != "keras"
        if isinstance(layer, keras.layers.Lambda) or (own and keras.saving.get_registered_name(kind) == kind.__name__):
            return (
                f"the layer {layer.name} ({kind.__name__}) could not be read from the stored model. Make it a class "
                'with @keras.saving.register_keras_serializable("hw2") above it, in a module of hw2/models'
            )
    return None
