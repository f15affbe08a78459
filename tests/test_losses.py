"""Losses and IoU against slow NumPy, void pixels and all; models: shapes, and what the two decoders share."""

import keras
import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import jaccard_score

from hw2 import WeightsUnavailable, losses
from hw2.labels import VOID
from hw2.models import segmenters
from hw2.models.cost import multiply_adds


@pytest.fixture(params=[1, 5], ids=["binary", "classes"])
def case(request):
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([0, 1, 2, 4, VOID], np.uint8), (3, 6, 7))
    return truth, rng.normal(0, 2, (3, 6, 7, request.param)).astype("float32")


def value(x):
    return float(keras.ops.convert_to_numpy(x))


def test_cross_entropy_against_a_loop(case):
    truth, logits = case
    terms = []
    for label, row in zip(truth.ravel(), logits.reshape(-1, logits.shape[-1]), strict=True):
        if label != VOID:
            if len(row) == 1:
                terms.append(-np.log(expit(row[0] if label else -row[0])))
            else:
                terms.append(-log_softmax(row)[label])
    assert value(losses.cross_entropy(truth, logits)) == pytest.approx(np.mean(terms), rel=1e-5)
    assert value(losses.both(truth, logits)) == pytest.approx(
        np.mean(terms) + value(losses.dice(truth, logits)), rel=1e-5
    )


def test_dice_against_a_loop(case):
    truth, logits = case
    valid = truth != VOID
    if logits.shape[-1] == 1:
        pairs = [(expit(logits[..., 0])[valid], (truth > 0)[valid])]
    else:
        probability = softmax(logits, -1)
        pairs = [(probability[..., c][valid], (truth == c)[valid]) for c in (0, 1, 2, 4)]  # class 3 is not there
    expected = np.mean([(2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1) for p, t in pairs])
    assert value(losses.dice(truth, logits)) == pytest.approx(1 - expected, rel=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_void_changes_nothing_and_truth_is_the_minimum(name, case):
    truth, logits = case
    loss = losses.LOSSES[name]
    other = np.where((truth == VOID)[..., None], logits + 5, logits)
    assert value(loss(truth, logits)) == pytest.approx(value(loss(truth, other)))
    labels = np.where(truth == VOID, 0, truth)
    perfect = 40 * np.eye(5)[labels] if logits.shape[-1] > 1 else 40.0 * np.sign((labels > 0) - 0.5)[..., None]
    assert value(loss(truth, perfect.astype("float32"))) == pytest.approx(0, abs=1e-3)
    nothing = np.full_like(truth, VOID)
    assert np.isfinite(value(loss(nothing, logits)))


def test_iou_over_batches_against_scikit_learn(case):
    truth, logits = case
    metric = losses.IntersectionOverUnion(logits.shape[-1])
    for part in range(3):
        metric.update_state(truth[part : part + 1], logits[part : part + 1])
    valid = truth != VOID
    if logits.shape[-1] == 1:
        expected = jaccard_score((truth > 0)[valid], (logits[..., 0] > 0)[valid])
    else:
        expected = jaccard_score(truth[valid], logits.argmax(-1)[valid], average="macro")
    assert value(metric.result()) == pytest.approx(expected, rel=1e-5)
    metric.reset_state()
    assert value(metric.result()) == 0


MODELS = [
    ("seg_book", {"decoder": "transpose", "width": 0.125}),
    ("seg_book", {"decoder": "bilinear", "width": 0.125}),
    ("seg_unet", {"filters": (4, 6, 8), "decoder_filters": (6, 4)}),
    ("seg_unet_vgg16", {"decoder": "transpose", "width": 0.125, "decoder_filters": (8, 8, 4, 4)}),
    ("seg_unet_mobilenetv2", {"weights": None}),
]


@pytest.mark.parametrize("name, arguments", MODELS)
def test_segmenters_give_logits_of_the_images_size_and_survive_saving(name, arguments, tmp_path):
    keras.utils.set_random_seed(0)
    model = getattr(segmenters, name)(2, image_size=32, **arguments)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    outputs, outputs_of_loaded = (keras.ops.convert_to_numpy(net(images, training=False)) for net in (model, loaded))
    assert outputs.shape == (2, 32, 32, 1) and outputs.dtype == np.float32
    np.testing.assert_allclose(outputs_of_loaded, outputs, rtol=1e-4, atol=1e-5)
    classes = getattr(segmenters, name)(21, image_size=32, **arguments)
    assert classes.output_shape == (None, 32, 32, 21)
    # frozen from the front: every decoder layer with weights comes after every encoder layer with weights
    weighted = [layer.name.startswith("decoder") for layer in model.layers if layer.weights]
    assert weighted == sorted(weighted)


def test_bilinear_decoder_trains_as_on_a_gpu():
    """Where TensorFlow has a GPU, Keras compiles by XLA, and numbers have 16 bits: both can be had on a CPU."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((4, 4, 3))
        x = keras.layers.Conv2D(2, 3, padding="same", activation="relu")(inputs)
        x = segmenters.apply_upsampling(x, 2, "bilinear", name="decoder")
        model = keras.Model(inputs, segmenters.apply_logits(x, 2))
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(optimizer="sgd", loss=losses.cross_entropy, jit_compile=True)
    images, masks = np.ones((2, 4, 4, 3), np.float32), np.ones((2, 8, 8), np.uint8)
    assert np.isfinite(model.train_on_batch(images, masks))


def test_both_decoders_have_the_same_weights_and_bilinear_costs_more():
    transpose, bilinear = (
        segmenters.seg_book(2, image_size=32, decoder=d, width=0.25) for d in ("transpose", "bilinear")
    )
    assert transpose.count_params() == bilinear.count_params()
    assert multiply_adds(transpose) < multiply_adds(bilinear)
    with pytest.raises(ValueError, match="'nearest'"):
        segmenters.seg_book(2, decoder="nearest")


@pytest.mark.parametrize("error, raised", [("URL fetch failure", WeightsUnavailable), ("another error", ValueError)])
def test_missing_mobilenet_weights_are_explained(monkeypatch, error, raised):
    """But what is wrong in the program is not the network's fault."""

    def build(**arguments):
        raise ValueError(error)

    monkeypatch.setattr(keras.applications, "MobileNetV2", build)
    with pytest.raises(raised, match=r"could not be downloaded.*skipped" if raised is WeightsUnavailable else error):
        segmenters.seg_unet_mobilenetv2(2)
