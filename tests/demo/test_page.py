"""The page before it is served: its texts, names, tables and events."""

import collections
import dataclasses
import json
import shutil
from pathlib import Path

import factories
import pytest
import tiny_runs

pytest.importorskip("gradio")
pytest.importorskip("tensorflow")

import components
import gradio as gr
import names
import page
from tabs import compare, results, segment

from hw2 import files, runs
from hw2.inference.catalogue import catalogue

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "demo" / "examples"


def dependencies(blocks):
    """Return the events of a page, in the order in which the browser calls them."""
    return sorted(blocks.get_config_file()["dependencies"], key=lambda found: found["id"])


def test_no_event_calls_itself_again(folder):
    """Gradio's page repeats a whole event for each listener in the mode "always_last": two would alternate for ever."""
    listeners = collections.Counter(
        tuple(target)
        for found in dependencies(page.build(catalogue(folder), folder))
        if found["trigger_mode"] == "always_last"
        for target in found["targets"]
        if target[0] is not None
    )
    assert set(listeners.values()) == {1}
    assert len(listeners) == 5, "one of each part that answers unasked; a tab that does so adds one"


def test_a_tab_is_entered_before_it_is_answered(folder):
    """Listeners are called in turn, each after the former's answer."""
    blocks = page.build(catalogue(folder), folder)
    tabs = {number: block.id for number, block in blocks.blocks.items() if type(block) is gr.Tab}
    assert tuple(tabs.values()) == page.TABS
    for number, name in tabs.items():
        first = next(found for found in dependencies(blocks) if [number, "select"] in map(list, found["targets"]))
        assert f"hw2.enter('{name}'" in first["js"] and not first["backend_fn"]


def test_without_models_the_page_names_the_command_that_trains_one(tmp_path):
    tiny_runs.write_classifier(tmp_path / "figures", 0)
    (tmp_path / "figures" / "model.keras").unlink()
    for folder in (tmp_path, tmp_path / "nothing"):
        config = json.dumps(page.build(catalogue(folder), folder).get_config_file(), default=str)
        assert config.count("python scripts/train_all.py --only") >= 3 and "--results PATH/TO" in config
        assert ("Its model is not stored here: <code>figures</code>" in config) == (folder == tmp_path)


def test_the_page_says_who_receives_a_picture(folder):
    """With a public link, uploads pass the relay of gradio.live."""
    found = catalogue(folder)
    for share in (False, True):
        text = json.dumps(page.build(found, folder, share=share).get_config_file(), default=str)
        assert ("to nobody else" in text and "contacts no other server" in text) == (not share)
        assert ("gradio.live" in text) == share


def test_statistics_of_requests_do_not_grow(folder):
    """Gradio computes them anew at every request, by default of up to 10,000."""
    assert page.build(catalogue(folder), folder)._queue.ANALYTICS_MAX_EVENTS == 100


def test_the_masthead_states_the_budget_and_the_best_by_validation(folder):
    finished = catalogue(folder).runs
    text = page.masthead(finished)
    assert "cpu budget" in text and f"<dd>{len(finished)} " in text
    trained = [name for name in ("plain", "best", "both")]
    best = max(trained, key=lambda name: finished[name]["validation"]["accuracy"])
    assert f"{finished[best]['test']['accuracy']:.1%}" in text and f"{best}</small>" in text
    assert f"Best classifier: {best}</dt>" in text
    assert "rehearsal" not in text and "0.600 <small>IoU on test images</small>" in text and "seg_book_bilinear" in text
    assert "0</dd>" in page.masthead({})


@pytest.mark.parametrize("budget", ["cpu", "gpu"])
def test_the_notice_names_the_command_for_the_folder(budget):
    folder = ROOT / "results" / budget
    text = page.no_model("classifier", folder, {})
    assert f"train_all.py --only vgg16_block5 --budget {budget}<" in text
    assert "--force" in page.no_model("classifier", folder, {"vgg16_block5": "its model is not stored here"})


def test_baselines_and_classes_are_on_the_board():
    configurations = {
        "seg_classes": factories.configuration("seg_classes", "segmentation", classes=21),
        "seg_baselines": factories.configuration("seg_baselines", "baselines"),
    }
    finished = {
        "seg_classes": factories.segmenter(configurations["seg_classes"], iou=0.7),
        "seg_baselines": factories.baselines(configurations["seg_baselines"]),
    }
    classification, segmentation = results.board(finished)
    assert classification == []
    grabcut, ellipse, background, classes = segmentation  # the harder task comes last, whatever its figures
    assert [*grabcut[:2], grabcut[-1]] == ["GrabCut, without training", 0.39, "seg_baselines: grabcut"]
    assert grabcut[3] == pytest.approx(2 * 0.39 / 1.39, abs=1e-4)  # Dice from IoU
    assert ellipse[-1] == "seg_baselines: centred_ellipse" and background[-1] == "seg_baselines: all_background"
    # IoU 0.7 of the object and 156 / 186 of the background: 30 of 256 pixels are missed
    assert [classes[-1], classes[1]] == ["seg_classes", pytest.approx((0.7 + 156 / 186) / 2, abs=1e-4)]
    assert classes[3:5] == [pytest.approx(1.4 / 1.7, abs=1e-4), pytest.approx(100 * 226 / 256, abs=0.01)]


def test_curves_of_a_file_that_was_cut_off(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.csv").write_text("epoch,loss,val_loss\n1,0.5,0.6\n2,0.4")
    curves = results.curves(tmp_path, ["run", "not there"], "validation loss")
    assert curves.to_dict("list") == {"epoch": [1], "value": [0.6], "run": ["run"]}


def test_each_quantity_is_the_column_of_its_name(tmp_path):
    columns = ("accuracy", "val_accuracy", "loss", "val_loss", "iou", "val_iou", "learning_rate")
    files.write_csv(tmp_path / "run" / runs.HISTORY, [{"epoch": 1} | dict(zip(columns, range(7), strict=True))])
    shown = {quantity: results.curves(tmp_path, ["run"], quantity)["value"].item() for quantity in results.QUANTITIES}
    assert shown == {
        "training accuracy": 0,
        "validation accuracy": 1,
        "training loss": 2,
        "validation loss": 3,
        "training IoU": 4,
        "validation IoU": 5,
        "learning rate": 6,
    }


def with_value(key, value):
    """Return a function that sets one value of a JSON file; key: such as "test.accuracy"."""

    def change(path):
        content = files.read_json(path)
        *keys, last = key.split(".")
        place = content
        for name in keys:
            place = place[name]
        place[last] = value
        path.write_text(json.dumps(content))

    return change


def with_content(content):
    return lambda path: path.write_bytes(content)


METRICS = ("task", "budget", "data", "data.source", "data.test", "cost", "cost.cpu_seconds", "validation", "test.iou")
METRICS += ("test.intervals", "test.foreground", "threshold", "test_time_augmentation.mirror.test")
DAMAGES = [(runs.METRICS, with_content(content)) for content in (b"{}", b"[]", b"3", b"null", b"\xff", b"[" * 99_999)]
DAMAGES += [(runs.METRICS, with_value(key, value)) for key in METRICS for value in ("text", -1)]
DAMAGES += [(runs.METRICS, with_value("test_time_augmentation", {"another": None}))]
DAMAGES += [(runs.CONFIG, with_content(b"[" * 99_999)), (runs.CONFIG, with_value("model_arguments", [1]))]
DAMAGES += [(runs.CONFIG, with_value("model_arguments.decoder", [1]))]
DAMAGES += [
    (runs.HISTORY, with_content(b"epoch,val_iou\n" + rows))
    for rows in (b"1,0.5,7", b"1,\xff", b"one,0.5", b"1,nan", b"1,1e999", b"1,1" + b"0" * 400, b"1" * 200_000)
]
DAMAGES += [(runs.HISTORY, with_content(b"another,val_iou\n1,0.5")), (runs.MODEL, with_content(b"PK"))]


@pytest.mark.parametrize(("file", "damage"), DAMAGES, ids=range(len(DAMAGES)))
def test_a_damaged_run_does_not_keep_the_page_from_starting(folder, tmp_path, file, damage):
    for name in ("seg_book_bilinear", "seg_book_transpose", "seg_classes"):
        shutil.copytree(folder / name, tmp_path / name)
    damage(tmp_path / ("seg_book_transpose" if file == runs.CONFIG else "seg_classes") / file)
    found = catalogue(tmp_path)
    assert found.models[0].key == "seg_book_bilinear"
    text = json.dumps(page.build(found, tmp_path).get_config_file(), default=str)
    assert "seg_book_bilinear" in text
    if file == runs.METRICS and "seg_classes" not in found.runs:
        assert "metrics.json is damaged" in text or "has no metrics.json" in text


def test_the_threshold_is_the_one_that_was_chosen(folder):
    """Also 0, and that of the view; several classes need none, and have one half."""
    models = {model.key: model for model in catalogue(folder).models}
    assert components.default_threshold(models["seg_book_bilinear"]) == 0.4
    assert components.default_threshold(models["seg_classes"]) == 0.5
    metrics = models["seg_book_bilinear"].metrics
    views = {"mirror": metrics | {"threshold": 0.3}}
    metrics = metrics | {"threshold": 0.0, "test_time_augmentation": views}
    model = dataclasses.replace(models["seg_book_bilinear"], metrics=metrics)
    assert components.default_threshold(model) == 0
    assert components.default_threshold(dataclasses.replace(model, view="mirror")) == 0.3


def test_names_of_models(folder, tmp_path):
    models = {model.key: model for model in catalogue(folder).models if model.task == "segmentation"}
    assert compare.default_pair(models) == ("seg_book_transpose", "seg_book_bilinear")
    titles = names.titles(models)
    assert titles["seg_book_bilinear"] == "Best segmentation network here"
    assert titles["seg_book_transpose"] == "Book's net, transposed" and titles["seg_classes"] == "Seg classes"
    assert names.figure(models["seg_classes"]).startswith("mean IoU 0.")
    assert names.figure(models["seg_book_bilinear"]) == "IoU 0.60"
    only = {"seg_classes": models["seg_classes"]}
    assert compare.default_pair(only) == ("seg_classes", "seg_classes")
    assert names.configuration(tmp_path) == {}


def test_names_of_runs():
    metrics = {"data": {"classes": 100, "source": "cifar100"}}
    assert names.title("vgg16_upsampled_full-seed2", metrics) == "VGG16, all layers, enlarged images, seed 2"
    assert names.title("scratch_final", metrics, "mirror") == "Final net, with its mirror image"
    rehearsal = {"data": {"classes": 100, "source": "synthetic"}}
    assert names.title("scratch_final", rehearsal) == "Final net, a rehearsal on synthetic data"


def test_examples_are_files_with_terms():
    named = {f"{name}.jpg" for name in (*components.KNOWN, *components.UNKNOWN)} | {
        f"{segment.MASK_OF_EXAMPLE}_mask.png"
    }
    assert named | {"README.md"} == {path.name for path in EXAMPLES.iterdir()}
    text = (EXAMPLES / "README.md").read_text()
    assert all(name.partition(".")[0] in text for name in named)


def test_the_interval_of_an_accuracy_counts_the_images_of_its_classes():
    config = factories.configuration("scratch_residual_10classes", "classification", classes=10)
    metrics, _, _ = factories.classifier(config)
    metrics["test"]["accuracy"] = 0.5
    ((_, accuracy, interval, *_),), _ = results.board({"scratch_residual_10classes": metrics})
    assert accuracy == 50 and interval == "46.9 to 53.1"  # of 1,000 images
