"""Every plot of the report: a function from the finished runs to a matplotlib figure, in one theme and one palette.

A plot shows those of its experiments that are finished, curves the first seed of each; without any, it is an empty
panel that names the missing ones.
"""

from plots.classification import (
    ensembles,
    grad_cam,
    receptive_field,
    receptive_fields,
    reliability,
    robustness,
    superclass_confusion,
)
from plots.cost import STEP, front, overview
from plots.masks import class_outputs, errors, example, outputs, panel, voc_examples, zoom
from plots.segmentation import (
    accuracy_by_share,
    class_confusion,
    class_iou,
    decoders,
    dice_and_iou,
    precision_recall,
    voc_classes,
    voc_shapes,
)
from plots.style import use_theme
from plots.training import accuracies, learning_curves, number_of_classes, schedules, validation_losses
