"""Pretrained weights that Keras publishes, read from the data folder or downloaded."""

import dataclasses
from pathlib import Path

import h5py
import keras

from hw2.data import download
from hw2.errors import DataError


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
    """A file of weights in the HDF5 layout of `keras.applications`: one group of arrays per layer.

    name: of the file. folder: its URL up to the name. network: name for messages. md5: of the file, or None if unknown.
    """

    name: str
    folder: str
    network: str
    md5: str | None = None

    def load(self, model, data_dir):
        """Set the weights of all layers of `model` except those whose names begin with "head" or "decoder".

        The file is taken from `data_dir` if it is there, else from Keras' own cache or its address.
        Raises DataError if the file cannot be obtained or does not fit the layers.
        """
        place, url = Path(data_dir) / self.name, self.folder + self.name
        path = place
        if not place.exists():
            try:
                with download.alone(data_dir, self.name):  # Keras would take a file that is being written for whole
                    path = keras.utils.get_file(self.name, url, cache_subdir="models", file_hash=self.md5)
            except Exception as error:  # get_file raises a bare Exception for a failed download
                raise DataError(
                    f"The ImageNet weights of {self.network} could not be downloaded: {error}\n"
                    f"Download {url}\nto {place}, then start again."
                ) from error
        layers = [layer for layer in model.layers if layer.weights and not layer.name.startswith(("head", "decoder"))]
        try:
            with h5py.File(path) as file:
                for layer in layers:
                    group = file[layer.name]
                    layer.set_weights([group[key][()] for key in group.attrs["weight_names"]])
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{path} does not contain the weights of this {self.network}: {error}\n"
                f"Delete it, download {url}\nto {place}, then start again. (These weights fit width 1 only.)"
            ) from error
