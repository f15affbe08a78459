import keras
import numpy as np

from hw2.data import augment
from hw2.data.batches import Batches, prediction_batch_size

IMAGES = np.arange(10 * 4 * 4 * 3, dtype=np.uint8).reshape(10, 4, 4, 3)
LABELS = np.arange(10)


def collect(batches):
    parts = [batches[index] for index in range(batches.num_batches)]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def test_prediction_batches_keep_order_and_every_image():
    batches = Batches(IMAGES, LABELS, 4)
    images, labels = collect(batches)
    assert batches.num_batches == 3 and images.dtype == np.float32
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    (alone,) = collect(Batches(IMAGES, None, 5))
    np.testing.assert_array_equal(alone, IMAGES)


def test_training_batches_are_full_shuffled_and_new_each_epoch():
    epochs = [collect(Batches(IMAGES, LABELS, 3, shuffle=True, seed=1, epoch=epoch)) for epoch in range(2)]
    for images, labels in epochs:
        assert len(set(labels)) == 9  # three full batches, no image twice
        np.testing.assert_array_equal(images, IMAGES[labels])
    assert not np.array_equal(epochs[0][1], epochs[1][1])


def test_a_batch_depends_on_seed_epoch_and_index_alone():
    def make():
        return Batches(IMAGES, LABELS, 3, shuffle=True, augment=[augment.flip, augment.shift], seed=5, epoch=2)

    forwards, backwards = make(), make()
    backwards = {index: backwards[index] for index in (2, 1, 0)}
    for index in range(3):
        for one, other in zip(forwards[index], backwards[index], strict=True):
            np.testing.assert_array_equal(one, other)


def test_seeds_epochs_and_batches_have_random_numbers_of_their_own():
    numbers, orders = [], []

    def record(rng, images):
        numbers.append(rng.random())
        return images

    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        _, labels = collect(Batches(IMAGES, LABELS, 3, shuffle=True, augment=[record], seed=seed, epoch=epoch))
        orders.append(tuple(labels))
    assert len(set(numbers)) == 12 and len(set(orders)) == 4


def test_a_batch_larger_than_the_data_is_all_of_it():
    batches = Batches(IMAGES, LABELS, 64, shuffle=True)
    assert batches.num_batches == 1 and len(batches[0][0]) == 10


def test_fewer_images_are_predicted_at_once_where_maps_are_larger():
    images = keras.Input((32, 32, 3))
    plain = keras.Model(images, keras.layers.Conv2D(2, 3)(images))
    enlarged = keras.Model(images, keras.layers.GlobalAveragePooling2D()(keras.layers.Resizing(128, 128)(images)))
    assert prediction_batch_size(plain) == 250 and prediction_batch_size(plain, most=500, pixels=4 * 32 * 32) == 4
    assert prediction_batch_size(enlarged) == 64 and prediction_batch_size(enlarged, pixels=1) == 1


def test_mixing_happens_to_some_batches_and_is_reproducible():
    targets = np.eye(10, dtype=np.float32)

    def make(probability):
        return Batches(
            IMAGES,
            targets,
            2,
            shuffle=True,
            mix=[augment.mixup, augment.cutmix],
            mix_probability=probability,
            seed=3,
            epoch=1,
        )

    images, mixed = collect(make(1.0))
    again, _ = collect(make(1.0))
    np.testing.assert_array_equal(images, again)
    assert (mixed.max(1) < 1).any() and np.allclose(mixed.sum(1), 1)
    _, plain = collect(make(0.0))
    assert (plain.max(1) == 1).all()


def test_each_way_of_mixing_is_drawn_about_as_often():
    used = []
    mix = [lambda rng, *batch, name=name: (used.append(name), batch)[1] for name in "ab"]
    for epoch in range(100):
        Batches(IMAGES, LABELS, 3, shuffle=True, mix=mix, epoch=epoch)[0]
    assert 30 < used.count("a") < 70


def test_weighted_sampling_draws_as_often_as_the_weights_say():
    """Image 0 four times as often as the others, all batches full, another draw each epoch."""
    weights = np.where(LABELS == 0, 4.0, 1.0)
    drawn = [collect(Batches(IMAGES, LABELS, 5, shuffle=True, weights=weights, epoch=epoch))[1] for epoch in range(400)]
    assert all(len(labels) == 10 for labels in drawn) and not np.array_equal(drawn[0], drawn[1])
    share = np.bincount(np.concatenate(drawn), minlength=10) / 4000
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.03)
