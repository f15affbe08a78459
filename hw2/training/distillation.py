"""Targets for a network that learns from others.

Hinton et al., "Distilling the Knowledge in a Neural Network", 2015: the answers of an ensemble tell how similar classes
are, which labels do not. Here at temperature 1, since the teachers were trained with smoothed and mixed labels and are
never certain.
"""

import numpy as np
from scipy.special import softmax

from hw2 import files, runs
from hw2.data.batches import predict
from hw2.models import float16_file, registry


def mean_answers(folders, images):
    """Return the teachers' mean probabilities of each image and its mirror image, (n, classes) float32.

    folders: of the finished runs that teach. images: (n, height, width, 3) uint8.
    """
    total = 0.0
    for folder in folders:
        # built first, which registers its layers and gives it the number format of this machine
        teacher = registry.build_model(files.read_json(folder / runs.CONFIG))
        teacher.set_weights(float16_file.load(folder / runs.MODEL).get_weights())
        for view in (images, images[:, :, ::-1]):
            total = total + softmax(np.asarray(predict(teacher, view), np.float64), axis=-1)
    return (total / (2 * len(folders))).astype(np.float32)
