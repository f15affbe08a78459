"""VGG16's preprocessing and heads; `test_weights` compares its features with Keras'."""

import keras
import numpy as np
import pytest

from hw2.models import registry
from hw2.models.vgg16 import VGG16Preprocessing


def test_preprocessing_by_hand():
    """An orange pixel: blue, green, red, each minus its mean."""
    pixel = np.array([[[[255, 128, 0]]]], "float32")
    out = keras.ops.convert_to_numpy(VGG16Preprocessing()(pixel))
    np.testing.assert_allclose(out.ravel(), [0 - 103.939, 128 - 116.779, 255 - 123.68], rtol=1e-5)


@pytest.mark.parametrize("head, parameters", [("linear", 51_300), ("dense", 627_812), ("dense_bn", 632_932)])
def test_heads(head, parameters):
    """512 * 100 + 100; with 1,024 hidden units; with two normalisations, one of which replaces the hidden bias."""
    model = registry.build("vgg16_classifier", 100, head=head, dropout=0.5)
    in_head = sum(layer.count_params() for layer in model.layers if layer.name.startswith("head"))
    assert in_head == parameters and model.count_params() == parameters + 14_714_688
    assert model.output_shape == (None, 100)


def test_an_unknown_head_is_an_error():
    with pytest.raises(ValueError, match="'round'"):
        registry.build("vgg16_classifier", 100, head="round", width=1 / 16)
