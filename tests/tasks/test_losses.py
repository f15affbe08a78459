"""Losses and IoU against slow NumPy and scikit-learn, with void pixels."""

import keras
import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import jaccard_score

from hw2.experiments import schema
from hw2.labels import VOID
from hw2.tasks import losses


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
        pairs = [(probability[..., c][valid], (truth == c)[valid]) for c in (0, 1, 2, 4)]  # class 3 does not occur
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


def test_the_table_of_experiments_knows_the_same_losses():
    assert set(schema.LOSSES["segmentation"]) == set(losses.LOSSES)


@pytest.mark.parametrize("outputs", (1, 4))
@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_train_in_16_bits_compiled_by_xla(name, outputs):
    """As TensorFlow trains on a GPU; a CPU can do both."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(outputs, 3, padding="same")])
    model.compile("sgd", losses.LOSSES[name], metrics=[losses.IntersectionOverUnion(outputs)], jit_compile=True)
    images, masks = np.ones((2, 8, 8, 3), np.float32), np.full((2, 8, 8), VOID, np.uint8)
    masks[:, :4] = 1
    loss, iou = model.train_on_batch(images, masks)
    assert np.isfinite(loss) and 0 <= iou <= 1
