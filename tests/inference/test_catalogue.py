"""Which models are offered, in which order, and the reasons why others are not."""

import json
import shutil
import subprocess
import sys
import zipfile

import pytest
import tiny_runs

from hw2 import files, runs
from hw2.inference.catalogue import catalogue, why_unusable


def damage_model(folder, change):
    """Write a run and replace its model file by `change` of its bytes, None for no file."""
    tiny_runs.write_classifier(folder, 0)
    path = folder / runs.MODEL
    content = change(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)


def with_layer(folder, registered_name):
    """Write a run and give its model file a configuration with a layer of that name."""
    tiny_runs.write_classifier(folder, 0)
    path = folder / runs.MODEL
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = json.dumps([{"registered_name": registered_name}])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_all_usable_models_are_listed_best_first(folder, models):
    keys = [key for key, model in models.items() if model.task != "segmentation"]
    assert set(keys) == {"plain", "best", "best+mirror", "best+mirror_shift", "few", "rehearsal", "both"}
    assert keys.index("best") < keys.index("plain") < keys.index("few") < keys.index("rehearsal")
    assert [key for key, model in models.items() if model.task == "segmentation"] == [
        *("seg_book_bilinear", "seg_book_transpose", "seg_classes", "seg_classes+mirror", "seg_classes+mirror_scales")
    ]
    assert [path.name for path in models["both"].members] == ["plain", "best"]
    metrics = runs.read_metrics(folder / "both")
    chosen = [member["weight"] for member in metrics["members"].values()]
    weighted = metrics["chosen"] == "weighted_probabilities"
    assert models["both"].weights == pytest.approx(chosen if weighted else [0.5, 0.5])
    augmented = runs.read_metrics(folder / "best")["test_time_augmentation"]["mirror"]
    assert models["best+mirror"].figures["test"] == augmented["test"]
    assert catalogue(folder / "nothing") == ([], {}, {})


def test_models_are_ranked_by_their_validation_figures(folder, tmp_path):
    for name, validation, test in (("one", 0.6, 0.5), ("two", 0.5, 0.6)):
        shutil.copytree(folder / "plain", tmp_path / name)
        metrics = runs.read_metrics(tmp_path / name)
        metrics["validation"]["accuracy"], metrics["test"]["accuracy"] = validation, test
        files.write_json(tmp_path / name / runs.METRICS, metrics)
    assert [model.key for model in catalogue(tmp_path).models] == ["one", "two"]


def test_each_file_of_metrics_is_read_once(folder, monkeypatch):
    read, read_text = [], type(folder).read_text

    def counting(path, *arguments, **options):
        read.append(path)
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(type(folder), "read_text", counting)
    catalogue(folder)
    counted = [path.parent.name for path in read if path.name == runs.METRICS]
    assert sorted(counted) == sorted(path.parent.name for path in folder.glob(f"*/{runs.METRICS}"))


def test_runs_without_a_usable_model_are_figures_only(tmp_path):
    tiny_runs.write_classifier(tmp_path / "good", 0)
    tiny_runs.write_classifier(tmp_path / "absent", 1)
    tiny_runs.write_ensemble(tmp_path / "mixed", ["good", "absent"])
    (tmp_path / "absent" / runs.MODEL).unlink()
    damage_model(tmp_path / "truncated", lambda content: content[: len(content) // 2])
    damage_model(tmp_path / "empty", lambda content: b"")
    with_layer(tmp_path / "foreign", "hw2>Gone")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / runs.METRICS).write_text("{")
    (tmp_path / "damaged" / runs.FINAL).write_text("{}")
    models, figures_only, finished = catalogue(tmp_path)
    assert [model.key for model in models] == ["good"]
    assert set(figures_only) == {"absent", "truncated", "empty", "foreign", "mixed", "damaged"}
    assert set(finished) == {"good", *figures_only} - {"damaged"}
    assert "not stored" in figures_only["absent"] and "absent (its model is not stored" in figures_only["mixed"]
    assert "another version" in figures_only["foreign"] and "hw2>Gone" in figures_only["foreign"]
    assert "damaged/metrics.json" in figures_only["damaged"] and str(tmp_path) not in figures_only["damaged"]


def test_no_damage_of_an_archive_escapes(tmp_path):
    """Python raises many exceptions for archives: wrong compression, wrong checksums, passwords, deep nesting."""
    path = tmp_path / runs.MODEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps([{"registered_name": "Dense"}] * 3))
        archive.writestr("model.weights.h5", "")
    whole = path.read_bytes()
    reasons = set()
    for place in range(len(whole)):
        for flipped in (0x01, 0x08, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
            reasons.add(why_unusable(tmp_path))
    assert {None, "its model file is damaged"} < reasons
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "[" * 200_000)
        archive.writestr("model.weights.h5", "")
    assert why_unusable(tmp_path) == "its model file is damaged"


def test_a_layer_of_this_program_is_known(tmp_path):
    with_layer(tmp_path / "whitened", "hw2>PatchWhitening")
    assert why_unusable(tmp_path / "whitened") is None


def test_reading_figures_needs_no_keras(folder, tmp_path):
    files.write_json(tmp_path / "plain" / runs.METRICS, runs.read_metrics(folder / "plain"))
    runs.write_final(tmp_path / "plain", "2026-01-01T00:00:00+00:00")
    code = (
        "import sys; from hw2.inference.catalogue import catalogue; "
        "print(list(catalogue(sys.argv[1]).runs), 'keras' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['plain'] False"
