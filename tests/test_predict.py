"""Finished runs in, answers out: what is offered, and that it is what training evaluated."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_runs
from scipy.special import softmax

from hw2 import evaluate, metrics, predict, results
from hw2.labels import VOID


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_runs.write_all(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def models(folder):
    return {model.key: model for model in predict.catalogue(folder)[0]}


@pytest.fixture
def image():
    return np.random.default_rng(5).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def test_catalogue_names_everything_best_first(folder, models):
    keys = [key for key, model in models.items() if model.task != "segmentation"]
    assert set(keys) == {"plain", "best", "best+mirror", "best+mirror_shift", "few", "rehearsal", "both"}
    assert keys.index("best") < keys.index("plain") < keys.index("few") < keys.index("rehearsal")
    assert [key for key, model in models.items() if model.task == "segmentation"] == [
        *("seg_book_bilinear", "seg_book_transpose", "seg_classes")
    ]
    assert [path.name for path in models["both"].members] == ["plain", "best"]
    assert sum(models["both"].weights) == pytest.approx(1)
    assert predict.catalogue(folder / "nothing") == ([], {})


def test_classify_is_the_models_output_calibrated(folder, models, image):
    answer = predict.classify(models["plain"], image)
    model = keras.models.load_model(folder / "plain" / "model.keras")
    logits = model.predict(image[None].astype(np.float32), verbose=0)[0].astype(np.float64)
    stored = results.read_arrays(folder / "plain" / results.PREDICTIONS)
    temperature = metrics.fit_temperature(stored["validation_logits"], stored["validation_labels"].astype(int))
    assert answer.temperature == pytest.approx(temperature)
    expected = softmax(logits / temperature)
    np.testing.assert_allclose(answer.probabilities, np.sort(expected)[::-1], rtol=1e-3)
    assert answer.classes[0] == expected.argmax() and sorted(answer.classes) == list(range(100))
    assert answer.probabilities.sum() == pytest.approx(1)
    again = predict.classify(models["plain"], image)
    assert again.load_seconds < answer.load_seconds  # loaded once
    np.testing.assert_array_equal(again.probabilities, answer.probabilities)


@pytest.mark.parametrize("units", [True, False])
def test_a_model_of_16_bits_is_computed_in_what_this_machine_is_fast_in(tmp_path, monkeypatch, image, units):
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


def test_a_subset_of_classes_is_named_right(models, image):
    answer = predict.classify(models["few"], image)
    assert sorted(answer.classes) == sorted(tiny_runs.SUBSET)
    np.testing.assert_array_equal(answer.classes, tiny_runs.SUBSET[answer.columns])


@pytest.mark.parametrize("way", ["mirror", "mirror_shift"])
def test_augmentation_is_that_of_evaluation(folder, models, image, way):
    model = predict.load(folder / "best")
    logits = evaluate.predict_augmented(lambda x: model.predict_on_batch(x.astype(np.float32)), image[None])[way]
    answer = predict.classify(models[f"best+{way}"], image)
    expected = softmax(logits[0].astype(np.float64) / answer.temperature)
    np.testing.assert_allclose(answer.probabilities, np.sort(expected)[::-1], rtol=2e-2)
    # the stored augmented logits are twice the plain ones: they have a temperature of their own
    assert answer.temperature == pytest.approx(2 * predict.classify(models["best"], image).temperature, rel=0.01)


def test_ensemble_combines_as_evaluation_did(folder, models, image):
    both = models["both"]
    logits = np.stack(
        [predict.load(member).predict_on_batch(image[None].astype(np.float32)) for member in both.members]
    )
    combined = {
        "mean_logits": logits.mean(0),
        "mean_probabilities": evaluate.mean_of_probabilities(logits),
        "weighted_probabilities": evaluate.mean_of_probabilities(logits, np.array(both.weights)),
    }[both.metrics["chosen"]]
    answer = predict.classify(both, image)
    expected = softmax(np.asarray(combined[0], np.float64) / answer.temperature)
    np.testing.assert_allclose(answer.probabilities, np.sort(expected)[::-1], rtol=2e-2)


def test_without_predictions_probabilities_stay_as_they_are(tmp_path, image):
    tiny_runs.write_classifier(tmp_path / "bare", 0)
    (tmp_path / "bare" / results.PREDICTIONS).unlink()
    (model,), _ = predict.catalogue(tmp_path)
    answer = predict.classify(model, image)
    assert answer.temperature is None and len(answer.classes) == 100


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


def test_agreement_by_hand():
    truth = np.array([[1, 1, 0, VOID]])
    assert predict.agreement(np.array([[True, False, True, True]]), truth) == pytest.approx({"dice": 0.5, "iou": 1 / 3})
    assert predict.agreement(truth == 1, truth) == {"dice": 1.0, "iou": 1.0}
    nothing = np.zeros((1, 4), np.uint8)
    assert predict.agreement(nothing > 0, nothing) == {"dice": 1.0, "iou": 1.0}


def spoil(folder, name, damage):
    """Write a run and damage its model file by a function from its bytes to others, None for no file."""
    tiny_runs.write_classifier(folder / name, 0)
    path = folder / name / results.MODEL
    content = damage(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)


def rewritten(content, change, folder):
    """Return a model file whose configuration went through `change`, a function from text to text."""
    path = folder / "rewritten.zip"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = change(members["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in members.items():
            archive.writestr(name, value)
    content = path.read_bytes()
    path.unlink()
    return content


def test_runs_without_a_usable_model_are_figures_only(tmp_path):
    tiny_runs.write_classifier(tmp_path / "good", 0)
    spoil(tmp_path, "absent", lambda content: None)
    spoil(tmp_path, "truncated", lambda content: content[: len(content) // 2])
    spoil(tmp_path, "empty", lambda content: b"")
    foreign = '{"registered_name": "hw2>Vanished", "more": ['
    spoil(
        tmp_path,
        "foreign",
        lambda c: rewritten(c, lambda text: json.dumps([foreign, {"registered_name": "hw2>Gone"}]), tmp_path),
    )
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / results.METRICS).write_text("{")
    (tmp_path / "damaged" / results.FINAL).write_text("{}")
    members = {name: {"test": {}, "weight": 0.5} for name in ("good", "absent")}
    (tmp_path / "mixed").mkdir()
    results.write_json(tmp_path / "mixed" / results.METRICS, {"task": "ensemble", "members": members, "test": {}})
    results.write_json(tmp_path / "mixed" / results.FINAL, {})
    models, figures_only = predict.catalogue(tmp_path)
    assert [model.key for model in models] == ["good"]
    assert set(figures_only) == {"absent", "truncated", "empty", "foreign", "mixed", "damaged"}
    assert "not stored" in figures_only["absent"] and "absent" in figures_only["mixed"]
    assert "another version" in figures_only["foreign"] and "hw2>Gone" in figures_only["foreign"]
    assert set(predict.read_runs(tmp_path)[1]) == {"damaged"}


def test_a_model_that_fails_to_load_is_explained(tmp_path):
    spoil(
        tmp_path,
        "odd-seed1",
        lambda c: rewritten(c, lambda text: text.replace('"filters": 6', '"filters": 5'), tmp_path),
    )
    assert predict.why_unusable(tmp_path / "odd-seed1") is None  # seen only when the weights are read
    with pytest.raises(predict.ModelError, match=r"odd-seed1 cannot be loaded.*--only odd --force"):
        predict.load(tmp_path / "odd-seed1")


def test_a_model_file_cannot_run_code(tmp_path):
    """A Lambda layer carries Python code: safe mode refuses it."""
    inputs = keras.Input((32, 32, 3))
    marker = str(tmp_path / "executed")
    x = keras.layers.Lambda(lambda x: (open(marker, "w"), x)[1])(inputs)  # noqa: SIM115
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)).save(tmp_path / results.MODEL)
    Path(marker).unlink()
    with pytest.raises(predict.ModelError, match="cannot be loaded"):
        predict.load(tmp_path)
    assert not Path(marker).exists()


def test_a_run_trained_again_is_loaded_again(tmp_path, image):
    tiny_runs.write_classifier(tmp_path / "run", 0)
    (model,), _ = predict.catalogue(tmp_path)
    before = predict.classify(model, image).probabilities
    tiny_runs.write_classifier(tmp_path / "run", 7)
    assert not np.array_equal(predict.classify(model, image).probabilities, before)
