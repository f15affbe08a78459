"""The answers for single images: they agree with Keras and with the evaluation of the runs."""

import dataclasses
import os
import threading
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_runs
from scipy.special import expit, softmax

from hw2 import files, runs
from hw2.data import splits
from hw2.data.voc2012 import from_square, to_square
from hw2.errors import ModelError
from hw2.inference import predict
from hw2.inference.catalogue import Model, catalogue, why_unusable
from hw2.labels import VOID
from hw2.metrics.calibration import fit_temperature
from hw2.metrics.combine import mean_of_probabilities, predict_views
from hw2.models import registry
from hw2.models.grad_cam import grad_cam
from hw2.tasks import segmentation


@pytest.fixture
def image():
    return np.random.default_rng(5).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def test_classify_is_the_models_output_calibrated(folder, models, image):
    answer = predict.classify(models["plain"], image)
    model = keras.models.load_model(folder / "plain" / "model.keras")
    logits = model.predict(image[None].astype(np.float32), verbose=0)[0].astype(np.float64)
    stored = files.read_arrays(folder / "plain" / runs.LOGITS)
    temperature = fit_temperature(stored["validation_logits"], stored["validation_labels"].astype(int))
    assert answer.temperature == pytest.approx(temperature)
    expected = softmax(logits / temperature)
    np.testing.assert_allclose(answer.probabilities, np.sort(expected)[::-1], rtol=1e-3)
    assert answer.classes[0] == expected.argmax() and sorted(answer.classes) == list(range(100))
    assert answer.probabilities.sum() == pytest.approx(1)
    again = predict.classify(models["plain"], image)
    assert again.load_seconds < answer.load_seconds  # loaded once
    np.testing.assert_array_equal(again.probabilities, answer.probabilities)


@pytest.mark.parametrize("units", [True, False])
def test_a_model_of_16_bits_is_computed_in_the_fast_format_of_this_machine(tmp_path, monkeypatch, image, units):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        tiny_runs.write_classifier(tmp_path / "half", 0)
    finally:
        keras.config.set_dtype_policy("float32")
    monkeypatch.setattr(predict, "choose_precision", lambda: "mixed_bfloat16" if units else "float32")
    loaded, stored = predict.load(tmp_path / "half"), keras.models.load_model(tmp_path / "half" / "model.keras")
    policies = {layer.dtype_policy.name for layer in loaded.layers}
    assert ("mixed_bfloat16" in policies) == units
    for one, other in zip(loaded.get_weights(), stored.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    logits = [predict._predict(model, image[None]) for model in (loaded, stored)]
    np.testing.assert_allclose(*logits, atol=0.05)


def test_a_photograph_is_not_classified_at_its_own_size(models):
    """A network with pooling over all positions would answer, and wrongly."""
    with pytest.raises(ValueError, match=r"\(48, 64, 3\), not \(32, 32, 3\).*classifier_input"):
        predict.classify(models["plain"], np.zeros((48, 64, 3), np.uint8))


def test_classes_of_a_subset_are_numbered_as_in_cifar100(models, image):
    answer = predict.classify(models["few"], image)
    assert sorted(answer.classes) == sorted(tiny_runs.SUBSET)
    np.testing.assert_array_equal(answer.classes, tiny_runs.SUBSET[answer.columns])


@pytest.mark.parametrize("way", ["mirror", "mirror_shift"])
def test_augmentation_is_that_of_evaluation(folder, models, image, way):
    model = predict.load(folder / "best")
    logits = predict_views(lambda x: model.predict_on_batch(x.astype(np.float32)), image[None])[way]
    answer = predict.classify(models[f"best+{way}"], image)
    expected = softmax(logits[0].astype(np.float64) / answer.temperature)
    np.testing.assert_allclose(answer.probabilities, np.sort(expected)[::-1], rtol=2e-2)
    # the stored logits of the views are twice the plain ones, so they have a temperature of their own
    assert answer.temperature == pytest.approx(2 * predict.classify(models["best"], image).temperature, rel=0.01)


def test_an_ensemble_combines_as_in_evaluation(folder, models, image):
    both = models["both"]
    logits = np.stack(
        [predict.load(member).predict_on_batch(image[None].astype(np.float32)) for member in both.members]
    )
    combined = {
        "mean_logits": logits.mean(0),
        "mean_probabilities": mean_of_probabilities(logits),
        "weighted_probabilities": mean_of_probabilities(logits, np.array(both.weights)),
    }[both.metrics["chosen"]]
    answer = predict.classify(both, image)
    expected = softmax(np.asarray(combined[0], np.float64) / answer.temperature)
    np.testing.assert_allclose(answer.probabilities, np.sort(expected)[::-1], rtol=2e-2)


@pytest.mark.parametrize("shape", [(48, 64, 3), (1, 1, 3), (1000, 7, 3)])
def test_segment_any_shape(models, shape):
    image = np.zeros(shape, np.uint8)
    image[:, : shape[1] // 2] = (220, 30, 30)
    image[:, shape[1] // 2 :] = (30, 30, 220)
    answer = predict.segment(models["seg_book_bilinear"], image)
    assert answer.foreground.shape == shape[:2] and answer.foreground.dtype == np.float32 and answer.labels is None
    if shape[1] > 1:
        assert answer.foreground[:, 0].min() > 0.9
    assert answer.foreground[:, -1].max() < 0.1
    answer = predict.segment(models["seg_classes"], image)
    assert answer.labels.shape == shape[:2] and answer.labels.min() >= 1
    if shape[1] > 1:
        assert (answer.labels[:, 0] == 20).all() and answer.foreground[:, 0].min() > 0.9


def test_a_large_picture_is_averaged_before_it_is_segmented(models, monkeypatch):
    """The network sees a chequered pattern of single pixels as grey."""
    seen, answer = [], np.zeros((1, 32, 32, 1))
    monkeypatch.setattr(predict, "_predict", lambda model, images: seen.append(images) or answer)
    chequered = np.repeat((255 * (np.indices((128, 128)).sum(0) % 2)).astype(np.uint8)[..., None], 3, -1)
    predict.segment(models["seg_book_bilinear"], chequered)
    assert np.abs(seen[-1][0, 1:-1, 1:-1].astype(int) - 127).max() < 5


def test_a_mask_is_averaged_with_that_of_the_mirror_image(models, monkeypatch):
    """The network sees both images; its answer to the mirrored one is mirrored back."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :8, 0] = 255
    seen, answers = [], np.linspace(-3, 3, 2 * 32 * 32).reshape(2, 32, 32, 1)
    monkeypatch.setattr(predict, "_predict", lambda model, images: seen.append(images) or answers)
    found = predict.segment(dataclasses.replace(models["seg_book_bilinear"], view="mirror"), image)
    np.testing.assert_array_equal(seen[-1], [image, image[:, ::-1]])
    expected = (expit(answers[0, ..., 0]) + expit(answers[1, ..., 0])[:, ::-1]) / 2
    np.testing.assert_allclose(found.foreground, expected, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 21])
def test_a_mask_is_averaged_over_sizes_as_in_evaluation(tmp_path, classes):
    """The picture is scaled to each size, of a network with the same weights; with its mirror image."""
    arguments = {**registry.NETWORKS["seg_unet"].arguments, "image_size": 64, "filters": [4, 6], "decoder_filters": [4]}
    networks = [registry.build("seg_unet", classes, **arguments | {"image_size": size}) for size in (64, 32)]
    networks[1].set_weights(networks[0].get_weights())
    files.write_json(
        tmp_path / runs.CONFIG, {"model": "seg_unet", "model_arguments": arguments, "data": {"classes": classes}}
    )
    networks[0].save(tmp_path / runs.MODEL)
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    model = Model("run", tmp_path, "segmentation", {}, (tmp_path,), view="mirror_scales")
    found = predict.segment(model, picture)
    parts = []
    for size in (64, 32):
        image, mask = to_square(picture, np.zeros((50, 70), np.uint8), size)
        parts.append(splits.MaskSplit(image[None], mask[None], ["picture"]))
    (mean,) = segmentation.mean_probabilities(networks, parts, mirrored=True)
    mean = from_square(mean, 50, 70)
    if classes == 2:
        np.testing.assert_allclose(found.foreground, mean, atol=1e-5)
    else:
        same = np.where(found.foreground >= 0.5, found.labels, 0) == mean.argmax(-1)
        assert same.mean() > 0.99  # evaluation keeps the probabilities of classes in float16
    plain = predict.segment(dataclasses.replace(model, view="mirror"), picture)
    assert np.abs(plain.foreground - found.foreground).max() > 1e-3


def test_a_network_of_another_size_has_the_number_format_of_the_run(tmp_path, monkeypatch):
    """The run was measured in its own format at all sizes."""
    arguments = {**registry.NETWORKS["seg_unet"].arguments, "image_size": 64, "filters": [4, 6], "decoder_filters": [4]}
    monkeypatch.setattr(predict, "choose_precision", lambda: "mixed_bfloat16")
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        registry.build("seg_unet", 2, **arguments).save(tmp_path / runs.MODEL)
    finally:
        keras.config.set_dtype_policy(policy)
    files.write_json(
        tmp_path / runs.CONFIG, {"model": "seg_unet", "model_arguments": arguments, "data": {"classes": 2}}
    )
    own, other = predict.load(tmp_path), predict.load(tmp_path, 32)
    formats = [[layer.compute_dtype for layer in model.layers if layer.weights] for model in (own, other)]
    assert formats[0] == formats[1] and formats[0][0] == "bfloat16"
    assert keras.config.dtype_policy() == policy


def test_at_one_half_the_foreground_of_several_classes_is_that_of_evaluation(models, monkeypatch):
    """The most probable class decides, also where all classes together outweigh the background, and in a tie."""
    logits = np.random.default_rng(0).normal(0, 1, (1, 32, 32, 21)).astype(np.float32)
    logits[..., 0] += 2.5
    logits[0, 0, :, 5] = logits[0, 0, :, 0] = logits[0, 0].max(-1)
    monkeypatch.setattr(predict, "_predict", lambda model, images: logits)
    found = predict.segment(models["seg_classes"], np.zeros((32, 32, 3), np.uint8))
    expected = softmax(logits[0], axis=-1).argmax(-1)
    assert 0.1 < (expected > 0).mean() < 0.9 and not expected[0].any()
    np.testing.assert_array_equal(found.foreground >= 0.5, expected > 0)
    np.testing.assert_array_equal(np.where(found.foreground >= 0.5, found.labels, 0), expected)
    assert found.foreground.dtype == np.float32 and 0 <= found.foreground.min() < found.foreground.max() <= 1


def test_agreement_by_hand():
    truth = np.array([[1, 1, 0, VOID]])
    assert predict.agreement(np.array([[True, False, True, True]]), truth) == pytest.approx({"dice": 0.5, "iou": 1 / 3})
    assert predict.agreement(truth == 1, truth) == {"dice": 1.0, "iou": 1.0}
    nothing = np.zeros((1, 4), np.uint8)
    assert predict.agreement(nothing > 0, nothing) == {"dice": 1.0, "iou": 1.0}


def test_a_model_that_fails_to_load_is_explained(tmp_path):
    tiny_runs.write_classifier(tmp_path / "odd-seed1", 0)
    path = tmp_path / "odd-seed1" / runs.MODEL
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = members["config.json"].replace(b'"filters": 6', b'"filters": 5')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert why_unusable(tmp_path / "odd-seed1") is None  # found only when the weights are read
    with pytest.raises(ModelError, match=r"odd-seed1 cannot be loaded.*--only odd --seed 1 --force"):
        predict.load(tmp_path / "odd-seed1")


def test_a_model_file_cannot_run_code(tmp_path):
    """A Lambda layer carries Python code: safe mode refuses it."""
    inputs = keras.Input((32, 32, 3))
    marker = str(tmp_path / "executed")
    x = keras.layers.Lambda(lambda x: (open(marker, "w"), x)[1])(inputs)  # noqa: SIM115
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)).save(tmp_path / runs.MODEL)
    Path(marker).unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        predict.load(tmp_path)
    assert not Path(marker).exists()


def test_a_retrained_run_is_loaded_again(tmp_path, image):
    tiny_runs.write_classifier(tmp_path / "run", 0)
    (model,) = catalogue(tmp_path).models
    before = predict.classify(model, image).probabilities
    tiny_runs.write_classifier(tmp_path / "run", 7)
    assert not np.array_equal(predict.classify(model, image).probabilities, before)


def test_predictions_and_logits_are_not_needed(tmp_path, models, image):
    tiny_runs.write_classifier(tmp_path / "bare", 0)
    for name in (runs.PREDICTIONS, runs.LOGITS, runs.HISTORY):
        (tmp_path / "bare" / name).unlink()
    (model,) = catalogue(tmp_path).models
    np.testing.assert_array_equal(
        predict.classify(model, image).probabilities, predict.classify(models["plain"], image).probabilities
    )


def test_heat_map_is_the_weighted_mean_of_the_members(models, image):
    both = models["both"]
    expected = grad_cam([predict.load(member) for member in both.members], image, 7, both.weights)
    found = predict.heat_map(both, image, 7)
    np.testing.assert_array_equal(found, expected)
    assert found.max() > 0


def test_a_network_without_maps_has_no_heat_map(tmp_path, image):
    inputs = keras.Input((32, 32, 3))
    keras.Model(inputs, keras.layers.Dense(100)(keras.layers.Flatten()(inputs))).save(tmp_path / runs.MODEL)
    assert predict.heat_map(Model("flat", tmp_path, "classification", {}, (tmp_path,)), image, 0) is None


def test_a_model_in_memory_answers_while_another_is_loaded(models, image, monkeypatch):
    begun, leave, loaded = threading.Event(), threading.Event(), []
    predict.classify(models["plain"], image)
    os.utime(models["seg_classes"].folder / runs.MODEL)  # as if it had been retrained
    load_model = keras.models.load_model

    def slow(*arguments, **options):
        begun.set()
        assert leave.wait(30)
        loaded.append(arguments)
        return load_model(*arguments, **options)

    monkeypatch.setattr(keras.models, "load_model", slow)
    loading = [threading.Thread(target=predict.segment, args=(models["seg_classes"], image)) for _ in range(2)]
    for thread in loading:
        thread.start()
    assert begun.wait(30)
    answering = threading.Thread(target=predict.classify, args=(models["plain"], image))
    answering.start()
    answering.join(10)
    assert not answering.is_alive() and not loaded
    leave.set()
    for thread in (*loading, answering):
        thread.join(30)
        assert not thread.is_alive()
    assert len(loaded) == 1  # although two asked for it


def test_one_image_is_computed_at_a_time(models, image, monkeypatch):
    """While a heat map is computed, neither a classification nor a segmentation begins."""
    inside, leave = threading.Event(), threading.Event()

    def slow(*arguments):
        inside.set()
        assert leave.wait(30)
        return np.zeros((4, 4), np.float32)

    for key in ("plain", "seg_classes"):
        predict.load(models[key].folder)
    monkeypatch.setattr(predict, "grad_cam", slow)
    first = threading.Thread(target=predict.heat_map, args=(models["plain"], image, 0))
    others = [
        threading.Thread(target=predict.classify, args=(models["plain"], image)),
        threading.Thread(target=predict.segment, args=(models["seg_classes"], image)),
    ]
    first.start()
    assert inside.wait(30)
    for other in others:
        other.start()
        other.join(0.3)
    waiting = [other.is_alive() for other in others]
    leave.set()
    for thread in (first, *others):
        thread.join(30)
        assert not thread.is_alive()
    assert waiting == [True, True]
