"""The synthetic sets have the form of the real ones and can be learned, though not perfectly."""

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression

from hw2.data import synthetic
from hw2.labels import VOID


def test_images_of_classes():
    images, labels = synthetic.classification(500, seed=1)
    assert images.shape == (500, 32, 32, 3) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert (np.bincount(labels, minlength=100) == 5).all()
    again, _ = synthetic.classification(500, seed=1)
    other, _ = synthetic.classification(500, seed=2)
    assert np.array_equal(images, again) and not np.array_equal(images, other)


def test_a_small_network_learns_the_classes():
    """There are a hundred classes, so chance is 1 %."""
    keras.utils.set_random_seed(0)
    train, test = synthetic.classification(2000, seed=0), synthetic.classification(500, seed=1)
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 128, -1)])
    for filters in (16, 32, 64):
        model.add(keras.layers.Conv2D(filters, 3, strides=2, activation="relu"))
        model.add(keras.layers.BatchNormalization(momentum=0.8))
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(100))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(*train, batch_size=50, epochs=3, verbose=0)
    assert 0.2 < model.evaluate(*test, verbose=0)[1] < 0.99


def test_masks():
    images, masks = synthetic.segmentation(40, 48, seed=0)
    assert images.shape == (40, 48, 48, 3) and masks.shape == (40, 48, 48)
    assert images.dtype == masks.dtype == np.uint8
    assert set(np.unique(masks)) <= {*range(21), VOID} and len(np.unique(masks)) > 10
    foreground, void = (masks > 0) & (masks < VOID), masks == VOID
    assert 0.05 < foreground.mean() < 0.6 and 0 < void.mean() < 0.2
    assert all((mask == VOID).any() for mask in masks)


def test_foreground_can_be_learned_from_colour_and_not_perfectly():
    (images, masks), (test_images, test_masks) = (synthetic.segmentation(30, 32, seed=seed) for seed in (0, 1))
    counted, test_counted = masks != VOID, test_masks != VOID
    model = LogisticRegression(max_iter=500).fit(images[counted] / 255.0, masks[counted] > 0)
    score = model.score(test_images[test_counted] / 255.0, test_masks[test_counted] > 0)
    chance = max((test_masks[test_counted] > 0).mean(), (test_masks[test_counted] == 0).mean())
    assert chance + 0.05 < score < 0.999
