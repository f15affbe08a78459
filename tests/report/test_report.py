"""The report: its cells run on any subset of results, its references have targets, it keeps its limits."""

import ast
import os
import re
import shutil
import subprocess
import sys
import venv
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from hw2 import files
from hw2.experiments import EXPERIMENTS
from hw2.labels import VOC_CLASSES, VOID

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "report"

sys.path[:0] = [str(REPORT), str(Path(__file__).parent)]
pytest.importorskip("nbclient", reason="the report's own requirements are not installed")
import cells  # noqa: E402
import claims  # noqa: E402
import facts  # noqa: E402
import made_up  # noqa: E402
import plots  # noqa: E402
import tables  # noqa: E402
from cells import CELL, INLINE, PAGES, source  # noqa: E402
from claims import Comparisons  # noqa: E402
from plots import palette  # noqa: E402
from runs import CHAPTERS, CLASSIFIERS, SEGMENTERS, Runs, runs_of  # noqa: E402

ARTICLE = {"pages of the PDF": 15, "words": 5000, "figures": 12, "tables": 6}
QUESTIONS = (
    "Which dense head, and why",
    "tuning the upper block perform, and why at a low rate",
    "Does augmentation make sense",
    "Training the whole network: better or worse",
    "What does up-sampling bring",
    "Which steps lead to the final network",
    "What do separable convolutions change",
    "Does augmentation improve validation performance",
    "residual connections help, and at which depth",
    "tuned on larger images, with parts frozen",
    "Would the architecture handle more classes",
    "combined predictions better than a single model",
    "Where is overfitting, where underfitting",
    "When did callbacks act, and which schedule is best",
    "What do the data look like",
    "outputs compare with the ground truth",
    "Which metrics suit a segmentation, and which mislead",
    "Transposed convolution or bilinear up-sampling",
    "all twenty classes",
)


def page(name):
    return source(REPORT / f"{name}.qmd")


def prose(text):
    """Return the text without front matter, cells and code."""
    text = re.sub(r"\A---\n.*?\n---\n|```\{=typst\}.*?```", "", CELL.sub("", text), flags=re.DOTALL)
    return INLINE.sub("", text)


# the text -------------------------------------------------------------------------------------------------------------


def test_every_question_is_a_heading_and_a_row_of_the_table_of_answers():
    text = source()
    headings = re.findall(r"^#+ (.*) \{#(sec-[\w-]+)", text, re.MULTILINE)
    assert [question for question in QUESTIONS if not any(question in heading for heading, _ in headings)] == []
    rows = re.findall(r"^\| (\d+) \| ([^|]+\?) \| (.*) \| \[-@(sec-[\w-]+)\] \|$", text, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 21))
    assert all("answer(" in answer for _, _, answer, _ in rows)
    assert {section for *_, section in rows} <= {section for _, section in headings}


@pytest.mark.parametrize("name", PAGES)
def test_references_have_targets_and_figures_have_captions_and_alternative_texts(name):
    text = page(name)
    kinds = r"(?:fig|tbl|sec)-[\w-]+"
    targets = re.findall(rf"\{{#({kinds})", text)
    used = set(re.findall(rf"@({kinds})", text))
    assert len(targets) == len(set(targets))
    assert used <= set(targets)
    assert {target for target in targets if not target.startswith("sec-")} <= used | {"tbl-answers", "fig-overview"}
    floats = re.findall(r"^::: \{#(fig|tbl)-([\w-]+)\}\n(.*?)^:::$", text, re.DOTALL | re.MULTILINE)
    assert len(floats) == sum(not target.startswith("sec-") for target in targets)
    for kind, label, body in floats:
        caption = CELL.sub("", body).strip().split("\n\n")[-1]
        assert caption.endswith(".") and not caption.startswith("|"), label + " has no caption"
        if kind == "fig":
            assert re.search(r'#\| fig-alt: "[^"]{40,}"', body), label


def test_links_between_pages_have_targets():
    """In the output, each page is NAME.html; the article is also index.pdf."""
    anchors = {name: re.findall(r"\{#([\w-]+)", page(name)) for name in PAGES}
    for name in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page(name)):
            file, _, anchor = target.partition("#")
            assert file == "index.pdf" or file.removesuffix(".html") in PAGES, target
            assert not anchor or anchor in anchors[file.removesuffix(".html")], target
        assert name == "index" or f"({name}.html)" in source()
    rendered = re.search(r"render: \[(.*)\]", (REPORT / "_quarto.yml").read_text())[1]
    assert rendered.split(", ") == [f"{name}.qmd" for name in PAGES]
    assert set(PAGES) == {path.stem for path in REPORT.glob("[!_]*.qmd")}


def test_the_pdf_has_the_title_of_the_report():
    titles = re.findall(r'\btitle: "(.+?)"', (REPORT / "_quarto.yml").read_text())
    assert len(titles) == 2 and len(set(titles)) == 1


@pytest.mark.parametrize("name", PAGES)
def test_markdown_tables_are_well_formed(name):
    """Every row has as many cells as the head."""
    rows = [INLINE.sub("code", line) for line in page(name).splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) <= 1
    assert not rows or re.fullmatch(r"\|(:?-+:?\|)+", rows[1])


def test_citations_have_entries_and_entries_are_cited():
    entries = re.findall(r"^@\w+\{(\w+),", (REPORT / "references.bib").read_text(), re.MULTILINE)
    text = "".join(prose(page(name)) for name in PAGES)
    cited = {key for key in re.findall(r"(?<![\w@])@([a-z]\w*)", text) if key not in ("fig", "tbl", "sec")}
    assert cited == set(entries)


def test_the_prose_holds_no_typed_results():
    units = r"(?:%|percent|points?|nats|s|min|h|hours?|minutes?|seconds?|epochs?|images|pairs|million|times)\b"
    looks = re.compile(rf"\b\d[\d,]*\s?{units}|\b\d[\d,]*\s?%|\b\d+\.\d+|\b\d{{1,3}},\d{{3}}")
    text = "".join(prose(page(name)) for name in PAGES)
    found = [match[0] for match in looks.finditer(re.sub(r"\{[^}]*\}|^#.*$", "", text, flags=re.MULTILINE))]
    assert [text for text in found if text != "95 %"] == []  # the level of the intervals


def test_the_prose_names_no_runs():
    text = "".join(prose(page(name)) for name in PAGES)
    assert [name for name in EXPERIMENTS if re.search(rf"(?<![#\w-]){name}(?![\w-])", text)] == []


def test_every_difference_that_is_shown_belongs_to_the_family_that_is_corrected():
    class Recorder(Comparisons):
        """Comparisons that keep the arguments of the differences that are shown."""

        def gain(self, run, over, on="test.accuracy", same_training=False):
            shown.add((frozenset((run, over)), on))
            return super().gain(run, over, on, same_training)

    shown, c = set(), Recorder(Runs())
    for name in PAGES:
        for expression in INLINE.findall(page(name)):
            if expression.startswith(("c.gain(", "c.by(")):
                eval(expression, {"c": c})
    for text in re.findall(r"tables\.classifiers\(c, (\{.*?\})", page("index"), re.DOTALL):  # the appendix says so
        shown |= {(frozenset(pair), "test.accuracy") for pair in ast.literal_eval(text).items() if pair[1]}
    corrected = [evidence.key[:4] for evidence, _ in c.claimed if evidence.key[0] in ("improves", "unclear")]
    assert len(shown) > 30
    unclaimed = shown - {(frozenset((run, over)), on) for _, run, over, on in corrected}
    assert unclaimed == set(), "each of these differences needs a claim of c.improves or c.unclear beside it"


def test_inline_code_is_whole():
    for name in PAGES:
        assert len(INLINE.findall(page(name))) == page(name).count("{python} ")
        for expression in INLINE.findall(page(name)):
            compile(expression, expression, "eval")


def test_the_article_has_few_figures_and_tables():
    floats = re.findall(r"^::: \{#(fig|tbl)-", source(), re.MULTILINE)
    assert floats.count("fig") <= ARTICLE["figures"] and floats.count("tbl") <= ARTICLE["tables"]


def test_what_a_reader_has_to_know_is_said():
    text = prose(source())
    assert "2008_002681" in text and "2008_002682" in text  # the near-duplicate
    assert re.search(r"redesigned once when the test accuracy of its first version was\s+known", text)
    conclusion = re.search(r"^# Conclusion.*?\n\n(.*?)\n\n## Limits", text, re.DOTALL | re.MULTILINE)[1]
    assert len(re.findall(r"\.(?=\s|$)", conclusion)) == 5


# the facts ------------------------------------------------------------------------------------------------------------


def test_facts_of_the_outputs_by_hand(tmp_path):
    """The IoU of the images is spread evenly from 0 to 1."""
    made_up.write(tmp_path, ["seg_unet_scratch"])
    table = files.read_csv(tmp_path / "seg_unet_scratch" / "images.csv")
    rows = [row | {"iou": place / (len(table) - 1)} for place, row in enumerate(table)]
    files.write_csv(tmp_path / "seg_unet_scratch" / "images.csv", rows)
    told = facts.outputs(Runs(tmp_path), "seg_unet_scratch")
    assert (told["median"], told["tenth"]) == (claims.percent(0.5, 0), claims.percent(0.1, 0))


def test_the_classes_that_are_worst_where_they_are_large_by_hand(tmp_path):
    """All objects are large; half of the images show birds, with an IoU of 0.3, the others chairs, with 0.6."""
    made_up.write(tmp_path, ["seg_unet_scratch", "seg_baselines"])
    half, pixels = made_up.IMAGES // 2, np.zeros((made_up.IMAGES, 21), int)
    pixels[:half, VOC_CLASSES.index("bird")] = pixels[half:, VOC_CLASSES.index("chair")] = 100
    made_up.change_arrays(tmp_path, "seg_baselines", val_pixels=pixels)
    table = files.read_csv(tmp_path / "seg_unet_scratch" / "images.csv")
    rows = [row | {"iou": 0.3 if place < half else 0.6, "foreground_share": 0.5} for place, row in enumerate(table)]
    files.write_csv(tmp_path / "seg_unet_scratch" / "images.csv", rows)
    runs = Runs(tmp_path)
    told = facts.large_objects(runs, runs.images("seg_unet_scratch"))
    assert (told["worst"], told["worst_iou"]) == ("bird", claims.percent(0.3, 0))
    assert (told["second"], told["second_iou"]) == ("chair", claims.percent(0.6, 0))


def test_lost_and_misnamed_pixels_and_the_number_of_images_by_hand(tmp_path):
    """Of 100 pixels of class 1, 20 are lost and 10 misnamed; of background, 40 are taken for objects."""
    run = "seg_unet_vgg16_classes"
    made_up.write(tmp_path, [run, "seg_baselines"])
    confusion = np.zeros((21, 21), int)
    confusion[0, :2], confusion[1, :3] = (60, 40), (20, 70, 10)
    ious = [0.5, *np.linspace(0.2, 0.9, 20).tolist()]
    made_up.change_metrics(tmp_path, run, test__confusion=confusion.tolist(), test__class_iou=ious)
    pixels = np.zeros((20, 21), int)  # class k in k images, and the fewer the images, the larger the object
    for label in range(1, 21):
        pixels[:label, label] = 10_000 // label**2
    made_up.change_arrays(tmp_path, "seg_baselines", train_pixels=pixels, sbd_pixels=pixels[:0])
    told = facts.naming(Runs(tmp_path), run)
    assert (told["lost"], told["misnamed"]) == (claims.percent(0.2, 0), claims.percent(0.1, 0))
    assert told["by_number"].startswith("+1.00")


# the plots ------------------------------------------------------------------------------------------------------------


def test_axes_show_what_their_labels_say(tmp_path):
    made_up.write(tmp_path, ["seg_unet_scratch", "seg_baselines", "scratch_final"])
    strengths = {"blur": [0.3, 0.2, 0.1]}
    made_up.change_metrics(
        tmp_path, "scratch_final", robustness=strengths, test__accuracy=0.6, validation__accuracy=0.7
    )
    runs = Runs(tmp_path)
    arrays = runs.arrays("seg_unet_scratch")
    (axes,) = plots.precision_recall(runs, ["seg_unet_scratch"]).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")
    np.testing.assert_array_equal(axes.lines[0].get_data(), [arrays["curve_recall"], arrays["curve_precision"]])
    axes = plots.voc_shapes(runs).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width (px)", "height (px)")
    sizes = np.concatenate([runs.arrays("seg_baselines")[f"{part}_sizes"] for part in ("train", "val")])
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), sizes[:, ::-1])
    axes = plots.robustness(runs, ["scratch_final"]).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.6, 0.3, 0.2, 0.1])


def test_learning_curves_have_the_colours_of_the_legend(tmp_path):
    runs = Runs(made_up.write(tmp_path, ["vgg16_full"]))
    history, figure = runs.history("vgg16_full"), plots.learning_curves(runs, ["vgg16_full"])
    (legend,) = figure.legends
    named = zip(legend.get_texts(), legend.get_lines(), strict=True)
    colours = {text.get_text(): line.get_color() for text, line in named}
    drawn = {line.get_color(): line.get_ydata() for line in figure.axes[0].lines if len(line.get_ydata()) > 2}
    np.testing.assert_array_equal(drawn[colours["training"]], history["accuracy"])
    np.testing.assert_array_equal(drawn[colours["validation"]], history["val_accuracy"])


def test_receptive_fields_of_vgg16():
    """Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019: 212 at pool 5."""
    fields = {name: (field, stride) for name, field, stride in plots.receptive_fields()}
    assert fields["1.1"] == (3, 1) and fields["1.2"] == (5, 1) and fields["pool 1"] == (6, 2)
    assert fields["5.3"] == (196, 16) and fields["pool 5"] == (212, 32)


def test_confusion_of_classes_is_in_percent_of_the_true_pixels(tmp_path):
    made_up.write(tmp_path, ["seg_unet_vgg16_classes"])
    confusion = np.diag([100] * 21)
    confusion[2, 5] = 300  # of 400 pixels of class 2, 300 are taken for class 5
    made_up.change_metrics(tmp_path, "seg_unet_vgg16_classes", test__confusion=confusion.tolist())
    (axes,) = plots.class_confusion(Runs(tmp_path), "seg_unet_vgg16_classes").axes
    written = {text.get_position(): text.get_text() for text in axes.texts}  # by (answer, truth)
    assert written[5, 2] == "75" and written[2, 2] == "25" and written[5, 5] == "100"


def test_colours_of_right_and_wrong_pixels():
    """The caption says: found blue, missed orange, false alarms red, void pale."""
    picture = plots.errors(np.array([[True, False, True, False, True]]), np.array([[7, 7, 0, 0, VOID]], np.uint8))
    colours = [to_hex(pixel / 255).upper() for pixel in picture[0]]
    assert colours == [palette.BLUE, palette.ORANGE, palette.RED, "#FFFFFF", palette.PALE]


def test_calibration_is_that_of_the_metrics(tmp_path):
    """Two bins of confidence: at 0.95, 20 of 40 answers are right; calibrated to 0.5, the same."""
    made_up.write(tmp_path, ["scratch_final"])
    answers = np.repeat(np.array([0, 1], np.uint8), 20)
    arrays = {"test_labels": np.zeros(40, np.uint8), "test_answers": answers}
    arrays |= {
        "test_confidences": np.full(40, 0.95, np.float16),
        "test_calibrated_confidences": np.full(40, 0.5, np.float16),
    }
    files.write_arrays(tmp_path / "scratch_final" / "predictions.npz", arrays)
    made_up.change_metrics(tmp_path, "scratch_final", calibration__temperature=7.25)
    (axes,) = plots.reliability(Runs(tmp_path), ["scratch_final"]).axes
    points = [np.ravel(line.get_data()) for line in axes.lines[1:]]  # the first is the diagonal
    np.testing.assert_allclose(points, [[0.95, 0.5], [0.5, 0.5]], atol=1e-3)
    assert "T = 7.25" in [text.get_text() for text in axes.texts]


def test_confusions_are_counted_by_superclass():
    """Classes 4 (beaver) and 30 (dolphin) are aquatic mammals, 1 (aquarium fish) is a fish: superclasses 0 and 1."""
    labels, answers = np.array([4, 4, 30, 1]), np.array([30, 1, 4, 1])
    shares = plots.classification.superclass_shares(answers, labels)
    np.testing.assert_allclose(shares[:2, :2], [[2 / 3, 1 / 3], [0, 1]])


def test_panel_joins_the_shared_images_and_a_runs_own_outputs(tmp_path):
    made_up.write(tmp_path, ["seg_baselines", "seg_book_bilinear", "seg_unet_vgg16_classes"])
    runs = Runs(tmp_path)
    shared, own = (runs.arrays(name) for name in ("seg_baselines", "seg_unet_vgg16_classes"))
    found = plots.panel(runs, "seg_unet_vgg16_classes", 2)
    assert found["image"].shape == (60, 80, 3) and found["truth"] is shared["panel_2_truth"]
    assert found["probability"] is own["panel_2_probability"] and found["prediction"] is own["panel_2_prediction"]
    assert set(plots.panel(runs, "seg_book_bilinear", 2)) == {"image", "truth", "probability"}
    assert runs.has_panel("seg_book_bilinear")
    runs.arrays("seg_book_bilinear")["panel_identifiers"] = np.array(["2007_000001"])
    assert not runs.has_panel("seg_book_bilinear")  # of other images
    identifier = runs.get("seg_book_bilinear", "examples.median")[1]
    arrays = runs.arrays("seg_book_bilinear")
    assert plots.example(runs, "seg_book_bilinear", identifier)["truth"] is arrays["example_3_truth"]
    assert arrays["example_identifiers"][3] == identifier


def test_the_picture_names_runs_that_beat_all_cheaper_ones(tmp_path):
    names = ["vgg16_features_linear", "vgg16_features_dense", "vgg16_full", "scratch_final"]
    made_up.write(tmp_path, names)
    for name, accuracy in zip(names, (0.3, 0.2, 0.5, 0.505), strict=True):
        made_up.change_metrics(tmp_path, name, validation__accuracy=accuracy)
    cost = {name: minutes for minutes, name in enumerate(names)}
    chosen = plots.front(Runs(tmp_path), cost, "validation.accuracy")
    assert chosen == ["vgg16_features_linear", "scratch_final"]  # not the one that is best but for half a point


def test_schedules_are_compared_with_the_same_seed(tmp_path):
    names = ["scratch_residual", "scratch_residual_constant", "scratch_residual_plateau"]
    made_up.write(tmp_path, [names[0], f"{names[0]}-seed1", f"{names[1]}-seed1", f"{names[2]}-seed1"])
    runs = Runs(tmp_path)
    shown = []
    read, runs.history = runs.history, lambda run: (shown.append(run), read(run))[1]
    plots.schedules(runs, names)
    assert shown == [f"{name}-seed1" for name in names]


@pytest.mark.parametrize(
    "unet, minutes", [("seg_unet_mobilenetv2_transpose", 14), ("seg_unet_mobilenetv2_bilinear", 10.6)]
)
def test_names_in_the_picture_neither_overlap_nor_leave_the_axes(tmp_path, unet, minutes):
    """Segmenters whose dots are close to each other in time and IoU, or near the left edge."""
    names = ["seg_book_transpose", "seg_unet_scratch", unet, "seg_mobilenetv2"]
    made_up.write(tmp_path, names)
    for name, iou, cost in zip(names, (0.5, 0.53, 0.745, 0.775), (9.5, 10.5, minutes, 31), strict=True):
        changes = {"test__iou": iou, "validation__iou": iou, "cost__seconds": 60 * cost}
        made_up.change_metrics(tmp_path, name, **changes)
    axes = plots.overview(Runs(tmp_path), CLASSIFIERS, SEGMENTERS).axes[1]
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert len(boxes) == len(names)
    for (one, box), (other, another) in combinations(boxes.items(), 2):
        assert not box.overlaps(another), (one, other)
    assert all(box.x0 >= axes.bbox.x0 and box.x1 <= axes.bbox.x1 for box in boxes.values())


# the tables -----------------------------------------------------------------------------------------------------------


def test_columns_are_as_wide_as_their_texts():
    """Quarto makes columns without a width equal in the PDF, and breaks the long names of nets."""
    rows = [{"net": "n" * 18, "seeds of it": 1, "note": "a " * 100}, {"net": "n", "seeds of it": 22, "note": ""}]
    html = tables.styled(rows, left=3).html
    widths = [float(width) for width in re.findall(r'<col style="width: ([\d.]+)%">', html)]
    np.testing.assert_allclose(widths, 100 * np.array([20, 7, 42]) / 69, atol=0.05)


def test_a_net_is_compared_with_an_earlier_row(tmp_path):
    made_up.write(tmp_path, ["scratch_plain", "scratch_bn_augment", "scratch_deep"])
    steps = {"scratch_plain": None, "scratch_bn": "scratch_plain", "scratch_bn_augment": "scratch_bn"}
    html = tables.classifiers(Comparisons(Runs(tmp_path)), steps | {"scratch_deep": "scratch_bn_augment"}).html
    cells_of = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)[1:]]
    found = [(row[0], row[1], row[4]) for row in cells_of]
    dash = "\N{EN DASH}"
    assert found == [("1", "plain net", dash), ("2", "normalised net, augmented", dash), ("3", "deep net", "2")]
    assert [row[5] == dash for row in cells_of] == [True, True, False]


def test_seeds_of_both_decoders_are_counted(tmp_path):
    pair = ("seg_unet_mobilenetv2_transpose", "seg_unet_mobilenetv2_bilinear")
    made_up.write(tmp_path, [*pair, "seg_unet_mobilenetv2_transpose-seed1"])
    html = tables.decoders(Comparisons(Runs(tmp_path)), [pair]).html
    assert "2 / 1" in html.replace("\N{NO-BREAK SPACE}", " ")


def test_decoders_are_compared_as_bilinear_minus_transposed(tmp_path):
    pair = ("seg_book_transpose", "seg_book_bilinear")
    made_up.write(tmp_path, pair)
    rows = files.read_csv(tmp_path / pair[0] / "images.csv")
    noise = np.random.default_rng(0).normal(0, 0.01, len(rows))
    better = [row | {"iou": row["iou"] + 0.1 + change} for row, change in zip(rows, noise.tolist(), strict=True)]
    files.write_csv(tmp_path / pair[1] / "images.csv", better)
    (row,) = made_up.rows_of(tables.decoders(Comparisons(Runs(tmp_path)), [pair]).html)
    assert row["IoU per image (points)"].startswith(("+9.", "+10."))


def test_columns_hold_what_their_headings_say(tmp_path):
    made_up.write(tmp_path, ["scratch_final"])
    calibration = files.read_json(tmp_path / "scratch_final" / "metrics.json")["calibration"] | {
        "temperature": 1.5,
        "before": {"ece": 0.11, "loss": 1.25, "brier": 0.5},
        "after": {"ece": 0.02, "loss": 1.15, "brier": 0.4},
    }
    made_up.change_metrics(
        tmp_path, "scratch_final", calibration=calibration, validation__accuracy=0.7, test__accuracy=0.6
    )
    c = Comparisons(Runs(tmp_path))
    (row,) = made_up.rows_of(tables.calibration(c, ["scratch_final"]).html)
    assert list(row.items())[1:] == [
        ("temperature", "1.50"),
        ("ECE (%)", "11.0"),
        ("ECE with T (%)", "2.0"),
        ("loss (nats)", "1.25"),
        ("loss with T (nats)", "1.15"),
        ("Brier", "0.500"),
        ("Brier with T", "0.400"),
    ]
    (row,) = made_up.rows_of(tables.every_run(c.runs, ["scratch_final"]).html)
    assert (row["validation (%)"], row["test (%)"]) == ("70.0", "60.0")


def test_events_of_a_run_and_members_of_an_ensemble_by_hand(tmp_path):
    made_up.write(tmp_path, ["vgg16_full", "ensemble_mixed"])
    c = Comparisons(Runs(tmp_path))
    (row,) = made_up.rows_of(tables.events(c, ["vgg16_full"]).html)
    assert (row["weights kept"], row["rate divided after"], row["best epoch"]) == ("best", "5", "7")
    singles = [member["test"]["accuracy"] for member in c.runs.get("ensemble_mixed", "members").values()]
    (row,) = made_up.rows_of(tables.ensembles(c, ["ensemble_mixed"]).html)
    assert row["best member (%)"] == f"{100 * max(singles):.1f}"
    assert row["mean member (%)"] == f"{100 * np.mean(singles):.1f}"


def test_the_images_of_fewer_classes_are_counted(tmp_path):
    names = ["scratch_residual_10classes", "scratch_residual"]
    html = tables.classes(Comparisons(Runs(made_up.write(tmp_path, names))), names).html
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)[1:]]
    assert [row[:2] for row in rows] == [["10", "4,500"], ["100", "45,000"]]


# the runs -------------------------------------------------------------------------------------------------------------


def test_runs_are_those_of_the_table_and_strangers_are_listed_apart(tmp_path):
    assert runs_of("scratch_final", "vgg16_full") == (
        "scratch_final", "scratch_final-seed1", "scratch_final-seed2", "vgg16_full",
    )  # fmt: skip
    made_up.write(tmp_path, ["vgg16_full", "scratch_final-seed1"])
    shutil.copytree(tmp_path / "vgg16_full", tmp_path / "my_own")
    runs = Runs(tmp_path)
    assert runs.wanted() == CHAPTERS | {"Others": ("my_own",)}
    assert runs.seeds("scratch_final") == ["scratch_final-seed1"] and runs.seeds("scratch_final_48px") == []
    assert runs.first(["scratch_final", "scratch_final_48px", "vgg16_full"]) == ["scratch_final-seed1", "vgg16_full"]


def test_the_folder_is_that_of_the_variable_or_of_the_budget_with_more_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("runs.RESULTS", tmp_path)
    monkeypatch.delenv("HW2_RESULTS", raising=False)
    made_up.write(tmp_path / "cpu", ["vgg16_full", "vgg16_block5"])
    made_up.write(tmp_path / "gpu", ["vgg16_full"])
    assert Runs().folder == tmp_path / "cpu"
    made_up.write(tmp_path / "gpu", ["vgg16_block5"])
    assert Runs().folder == tmp_path / "gpu"
    monkeypatch.setenv("HW2_RESULTS", str(tmp_path / "cpu"))
    assert Runs().folder == tmp_path / "cpu" and Runs(tmp_path / "gpu").folder == tmp_path / "gpu"
    # as in README's command, although Quarto runs the report in its own folder
    monkeypatch.chdir(ROOT / "report")
    monkeypatch.setenv("HW2_RESULTS", os.path.relpath(tmp_path / "gpu", ROOT))
    assert Runs().folder.resolve() == (tmp_path / "gpu").resolve()


def test_time_includes_that_of_the_run_whose_weights_were_used(tmp_path):
    runs = Runs(made_up.write(tmp_path, ["scratch_final-seed1", "scratch_final", "scratch_final_longer", "vgg16_full"]))
    alone = [runs.get(name, "cost.seconds") for name in ("scratch_final", "scratch_final_longer", "vgg16_full")]
    assert runs.training_seconds("scratch_final") == alone[0]
    assert runs.training_seconds("scratch_final_longer") == alone[0] + alone[1]
    assert runs.training_seconds("vgg16_full") == alone[2]
    assert runs.training_seconds("scratch_final_48px") is None
    made_up.write(tmp_path, ["scratch_distilled", "scratch_final-seed2"])
    runs = Runs(tmp_path)
    needed = ("scratch_distilled", "scratch_final", "scratch_final-seed1", "scratch_final-seed2")
    assert runs.training_seconds("scratch_distilled") == sum(runs.get(name, "cost.seconds") for name in needed)


def test_speed_is_that_of_the_last_phase_in_seconds_of_all_cores(tmp_path):
    """Of a GPU, in seconds of the clock."""
    made_up.write(tmp_path, ["vgg16_full"])
    history = {"epoch": [1, 2], "phase": [1, 2], "images": [500, 600], "seconds": [9, 9], "cpu_seconds": [4, 12]}
    pd.DataFrame(history).to_csv(tmp_path / "vgg16_full" / "history.csv", index=False)
    for device, speed in (("a CPU, 2 cores (avx2)", 600 / 6), ("a GPU", 600 / 9)):
        made_up.change_metrics(tmp_path, "vgg16_full", cost__device=device)
        assert Runs(tmp_path).images_per_second("vgg16_full") == pytest.approx(speed)


def test_made_up_files_are_like_the_committed_ones(tmp_path):
    """As to the metrics, see `tests/test_factories.py`."""
    real = Runs(ROOT / "results" / "cpu")
    names = ("scratch_final", "vgg16_full", "ensemble_scratch_final", "seg_book_bilinear", "seg_unet_vgg16_classes")
    names = real.finished((*names, "seg_baselines"))
    if not names:
        pytest.skip("no runs are stored here")
    mine = Runs(made_up.write(tmp_path, names))
    for name in names:
        assert mine.config(name).keys() == real.config(name).keys(), name
        assert set(mine.images(name).columns) <= set(real.images(name).columns), name
        assert set(mine.history(name).columns) <= set(real.history(name).columns), name
        for key, array in mine.arrays(name).items():
            found = real.arrays(name)[key]
            assert (array.dtype.kind, array.ndim) == (found.dtype.kind, found.ndim), (name, key)


# the cells ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def execute():
    """Return a function that runs all cells on a folder of runs and returns the text with their output, by page."""
    kernel = cells.start_kernel()

    def run(folder, draw=False):
        pages = cells.execute(kernel, folder, draw)
        cells.check(pages)
        return pages

    yield run
    kernel.shutdown_kernel(now=True)


def everything(folder, **options):
    """Write made-up results of all runs that the report discusses."""
    return made_up.write(folder, [name for names in CHAPTERS.values() for name in names], **options)


def test_cells_run_on_the_committed_results(execute):
    committed = Runs()
    pages = execute(committed.folder)
    assert 3000 < cells.words(pages["index"]) <= ARTICLE["words"]
    if committed.folder.name == "cpu":
        assert "do not bear this out" not in pages["index"] and "not borne out" not in pages["index"]
    absent = [name for name in EXPERIMENTS if not committed.seeds(name)]
    for name in absent:  # named where they are missed
        assert EXPERIMENTS[name].title in "".join(pages.values())


def test_cells_run_without_results(execute, tmp_path):
    pages = execute(tmp_path)
    assert pages["index"].count("*not measured yet*") == 20
    assert pages["index"].count("Not measured yet: ") > 5
    assert "no finished run yet" in pages["index"]
    assert "do not bear this out" not in pages["index"]


def test_cells_run_on_some_results(execute, tmp_path):
    names = ["vgg16_full", "scratch_bn-seed1", "ensemble_mixed", "seg_book_bilinear", "seg_unet_vgg16_classes"]
    pages = execute(made_up.write(tmp_path, names, source="synthetic"))
    assert "Not measured yet: " in pages["index"] and "*not measured yet*" in pages["index"]


def test_cells_run_on_all_results(execute, tmp_path):
    pages = execute(everything(tmp_path), draw=True)
    assert "not measured yet" not in "".join(pages.values()).lower()


@pytest.mark.slow
def test_the_requirements_of_the_report_suffice(tmp_path):
    """All cells run in an environment with nothing but these packages; Quarto itself is a program and not imported."""
    lines = (REPORT / "requirements.txt").read_text().splitlines()
    (tmp_path / "requirements.txt").write_text("\n".join(line for line in lines if not line.startswith("quarto-cli")))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    commands = (
        ["-m", "pip", "install", "--quiet", "-r", tmp_path / "requirements.txt"],
        ["-c", f"import importlib.util as u; assert not any(map(u.find_spec, {cells.FRAMEWORKS}))"],
        [cells.__file__, everything(tmp_path / "results")],
    )
    for command in commands:
        done = subprocess.run([python, *command], env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("quarto") is None, reason="quarto is not on the PATH")
def test_quarto_renders_html_and_pdf_without_a_warning(tmp_path):
    folder = shutil.copytree(REPORT, tmp_path / "report", ignore=shutil.ignore_patterns("_output", ".quarto", "__py*"))
    shutil.copytree(ROOT / "hw2", tmp_path / "hw2")
    (tmp_path / "results").mkdir()
    shutil.copy(ROOT / "results" / "trials.csv", tmp_path / "results")
    environment = os.environ | {"HW2_RESULTS": str(Runs().folder), "QUARTO_PYTHON": sys.executable}
    done = subprocess.run(["quarto", "render", folder], env=environment, capture_output=True, text=True, timeout=300)
    written = done.stdout + done.stderr
    assert done.returncode == 0, written
    assert not re.search(r"^\W*(\[\d+m)?WARN(?!ING \| Kernel is running)", written, re.MULTILINE), written
    for name in PAGES:
        html = (folder / "_output" / f"{name}.html").read_text()
        assert "?@" not in html and "quarto-unresolved-ref" not in html
    pdf = (folder / "_output" / "index.pdf").read_bytes()
    assert len(pdf) > 50_000
    pages = re.findall(rb"/Type\s*/Page\b(?!s)", pdf)
    assert not pages or len(pages) <= ARTICLE["pages of the PDF"]
