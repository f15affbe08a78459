"""What a forward pass costs."""

import math

from keras import layers

from hw2.models.layers import PatchWhitening


def multiply_adds(model):
    """Return the multiply-adds of convolutions and dense layers for one image, as papers count them.

    Everything else (normalisation, activations, pooling) is left out, as is usual.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2DTranspose):  # every input position meets the whole kernel
            total += math.prod(layer.kernel.shape) * math.prod(layer.input.shape[1:3])
        elif isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, PatchWhitening)):  # every output position does
            total += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
        elif isinstance(layer, layers.Dense):
            total += math.prod(layer.kernel.shape)
    return total
