"""A network that learns from the answers of others."""

import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from scipy.special import softmax
from small_runs import TINY, VGG16, interrupt_at, run

from hw2 import files, runs
from hw2.data import splits
from hw2.errors import ResultsError, TrainingError
from hw2.models import float16_file, registry
from hw2.training.distillation import mean_answers
from hw2.training.run import training_targets

SHORT = TINY | {"phases": [TINY["phases"][0] | {"epochs": 1}]}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    for seed in (0, 1):
        run(folder, SHORT | {"seed": 3 + seed}, f"teacher{seed}")
    return folder / "results"


def test_answers_are_the_mean_over_teachers_and_mirror_images(teachers):
    train, _ = splits.load_training(SHORT["data"], None)
    images = train.images[:6]
    models = [keras.models.load_model(teachers / f"teacher{seed}" / "model.keras") for seed in (0, 1)]
    views = (images.astype("float32"), images[:, :, ::-1].astype("float32"))
    expected = np.mean([softmax(model.predict_on_batch(view), -1) for model in models for view in views], 0)
    answers = mean_answers([teachers / "teacher0", teachers / "teacher1"], images)
    assert answers.shape == (6, 30) and answers.dtype == np.float32
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_a_teacher_of_another_kind_is_read_in_a_process_that_knows_no_other_network(tmp_path):
    """Its layers are registered, and it computes in the number format of this machine."""
    config = VGG16 | {"data": VGG16["data"] | {"classes": 30}}
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        float16_file.save(registry.build_model(config), tmp_path / runs.MODEL)
    finally:
        keras.config.set_dtype_policy(policy)
    files.write_json(tmp_path / runs.CONFIG, config)
    code = f"""
import pathlib
import numpy as np
from hw2.training import distillation
formats, predict = [], distillation.predict
distillation.predict = lambda model, view: formats.append(model.layers[3].compute_dtype) or predict(model, view)
answers = distillation.mean_answers([pathlib.Path({str(tmp_path)!r})], np.zeros((2, 32, 32, 3), np.uint8))
print(answers.shape, *set(formats))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "(2, 30) float32\n", ended.stderr


def test_targets_mix_labels_and_answers_and_a_missing_teacher_is_named(teachers):
    from hw2.tasks import classification

    train, _ = splits.load_training(SHORT["data"], None)
    config = SHORT | {"teachers": ["teacher0"], "teacher_share": 0.25}
    targets = training_targets(config, classification, train, teachers)
    answers = mean_answers([teachers / "teacher0"], train.images)
    labels = np.eye(30)[train.labels]
    np.testing.assert_allclose(targets, 0.75 * labels + 0.25 * answers, atol=1e-6)
    assert training_targets(SHORT, classification, train, teachers).sum() == len(train.labels)
    with pytest.raises(TrainingError, match=r"learns from the answers of teacher7.*--only teacher7"):
        training_targets(config | {"teachers": ["teacher7"]}, classification, train, teachers)


def test_a_teacher_that_was_trained_again_is_noticed(teachers, tmp_path):
    """A finished student says so; an unfinished one is not resumed, as its targets would come from two teachers."""
    shutil.copytree(teachers, tmp_path / "results")
    ending = tmp_path / "results" / "teacher1" / "final.json"
    before = files.read_json(ending)
    learned = TINY | {"teachers": ["teacher0", "teacher1"], "teacher_share": 0.5}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, learned, "student", log=interrupt_at("epoch 2/3"))
    files.write_json(ending, before | {"finished": "later"})
    with pytest.raises(TrainingError, match=r"teacher1 has been trained again since.*--only student --seed 0 --force"):
        run(tmp_path, learned, "student")
    files.write_json(ending, before)
    metrics, lines = run(tmp_path, learned, "student"), []
    finished = {name: files.read_json(teachers / name / "final.json")["finished"] for name in learned["teachers"]}
    assert metrics["teachers"] == finished and metrics["started_from"] is None
    files.write_json(ending, before | {"finished": "later"})
    run(tmp_path, learned, "student", log=lines.append)
    assert len(lines) == 1 and "teacher1, from whose answers it learned, has been retrained since" in lines[0]
    # a run that was finished before this was recorded stays as it is
    record = tmp_path / "results" / "student" / "metrics.json"
    files.write_json(record, {key: value for key, value in metrics.items() if key != "teachers"})
    runs.write_final(record.parent, "earlier")
    run(tmp_path, learned, "student", log=lines.append)
    assert len(lines) == 1


def test_a_student_without_its_teacher_is_not_begun(teachers):
    with pytest.raises(TrainingError, match="--only teacher7"):
        run(teachers.parent, SHORT | {"teachers": ["teacher7"]}, "orphan")
    assert runs.run_state(teachers / "orphan") == "missing"


def test_a_student_trains_and_records_its_teachers(teachers):
    learned = SHORT | {"teachers": ["teacher0", "teacher1"], "teacher_share": 0.5}
    run(teachers.parent, learned, "student")
    config = files.read_json(teachers / "student" / "config.json")
    assert (config["teachers"], config["teacher_share"]) == (["teacher0", "teacher1"], 0.5)
    losses = [files.read_csv(teachers / name / "history.csv")[0]["loss"] for name in ("teacher0", "student")]
    assert losses[1] != losses[0]  # the same seed and images, other targets
    # --force discards a finished run only if its teachers are there
    model = (teachers / "teacher1" / "model.keras").rename(teachers.parent / "model.keras")
    with pytest.raises(TrainingError, match="teacher1"):
        run(teachers.parent, learned, "student", force=True)
    assert runs.run_state(teachers / "student") == "finished" and runs.damage(teachers / "student") == []
    # and a damaged teacher is named
    (teachers / "teacher1" / "model.keras").write_bytes(model.read_bytes()[:1000])
    with pytest.raises(ResultsError, match=r"teacher1.model\.keras cannot be loaded"):
        mean_answers([teachers / "teacher1"], np.zeros((1, 32, 32, 3), np.uint8))
    model.rename(teachers / "teacher1" / "model.keras")
