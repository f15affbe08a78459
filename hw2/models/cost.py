"""The computational cost of a forward pass, of a network or of the part that a phase trains."""

import math

from keras import layers

from hw2.models.layers import PatchWhitening


def multiply_adds(model):
    """Return the number of multiply-adds of convolutions and dense layers for one image.

    Normalisation, activations, pooling and biases are not counted, as is usual in papers. Raises NotImplementedError
    for another kind of layer that has a matrix of weights.
    """
    return sum(_of_layer(layer) for layer in model.layers)


def cost_of_stages(model, stages):
    """Return `{stage: [multiply_adds, values]}` for one image and the layers from this stage's first one on.

    The stage "" stands for all layers.

    values: numbers in the outputs of these layers. They are what the layers without multiply-adds cost, and depthwise
    convolutions, which memory limits.
    stages: beginnings of layer names. The layers are those that a phase trains, see `hw2.training.frozen`.
    """
    names = [layer.name for layer in model.layers]
    costs = [(_of_layer(layer), math.prod(layer.output.shape[1:])) for layer in model.layers]
    first = {
        stage: next(index for index, name in enumerate(names) if name.startswith(stage)) for stage in ("", *stages)
    }
    return {stage: [sum(values) for values in zip(*costs[index:], strict=True)] for stage, index in first.items()}


def _of_layer(layer):
    if isinstance(layer, layers.Conv2DTranspose):  # the kernel is applied once per input position
        return math.prod(layer.kernel.shape) * math.prod(layer.input.shape[1:3])
    if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, PatchWhitening)):  # per output position
        return math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
    if isinstance(layer, layers.Dense):  # per position of a map, and once for a vector
        return math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
    if any(len(weight.shape) > 1 for weight in layer.weights):
        raise NotImplementedError(
            f"the multiply-adds of the layer {layer.name} ({type(layer).__name__}) are not known. Add a rule for it to "
            "_of_layer in hw2/models/cost.py"
        )
    return 0
