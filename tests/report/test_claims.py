"""Claims of the report: comparisons over seeds and images, Holm's correction, notes that contradict the text."""

import ast
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t

from hw2 import files
from hw2.errors import EntryError
from hw2.experiments import EXPERIMENTS
from hw2.experiments.schema import experiment_of
from hw2.labels import VOID

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "cpu"
sys.path[:0] = [str(ROOT / "report"), str(Path(__file__).parent)]
pytest.importorskip("jinja2", reason="the report's own requirements are not installed")
import claims  # noqa: E402
import made_up  # noqa: E402
import tables  # noqa: E402
from claims import Comparisons, Difference  # noqa: E402
from runs import Runs  # noqa: E402

BOOKS = ["seg_book_transpose", "seg_book_transpose-seed1", "seg_book_bilinear", "seg_book_bilinear-seed1"]


def classifier(folder, name, right):
    """Write a run whose answers to 400 test images are right where `right` is. right: (400,) bool."""
    made_up.write(folder, [name])
    labels = np.zeros(400, np.uint8)
    arrays = {"test_answers": (~right).astype(np.uint8), "test_labels": labels, "test_indices": np.arange(400)}
    arrays["test_answers_mirror_shift"] = labels  # right everywhere
    files.write_arrays(folder / name / "predictions.npz", arrays)
    made_up.change_metrics(folder, name, test__accuracy=float(right.mean()))


def first(count):
    return np.arange(400) < count


# numbers as text ------------------------------------------------------------------------------------------------------


def test_numbers_as_text():
    assert claims.points(Difference(0.031, 0.022, 0.04, 0.01)) == "+3.1 points (+2.2 to +4.0)"
    assert (
        claims.points(Difference(-0.031, -0.04, 0.001, 0.1)) == "\N{MINUS SIGN}3.1 points (\N{MINUS SIGN}4.0 to +0.1)"
    )
    assert claims.percent(0.7244) == "72.4\N{NO-BREAK SPACE}%" and claims.percent(0.7244, 0) == "72\N{NO-BREAK SPACE}%"
    assert claims.duration(90) == "90 s" and claims.duration(600) == "10 min" and claims.duration(9000) == "2.5 h"
    assert claims.ratio(9, 1) == "9" and claims.ratio(3, 2) == "1.5" and claims.ratio(1, 0) == claims.DASH
    assert claims.number(50_000) == "50,000" and claims.number(1.234) == "1.23"
    for missing in (claims.points(None), claims.percent(None), claims.duration(None), claims.number(None)):
        assert missing == claims.DASH
    assert claims.Text("")._repr_markdown_() == "<!-- -->"


# comparisons ----------------------------------------------------------------------------------------------------------


def test_a_difference_covers_images_and_training(tmp_path):
    """Two nets with two seeds each; all numbers by hand."""
    for name, count in (
        ("scratch_bn", 100),
        ("scratch_bn-seed1", 120),
        ("scratch_deep", 300),
        ("scratch_deep-seed1", 312),
    ):
        classifier(tmp_path, name, first(count))
    c = Comparisons(Runs(tmp_path))
    pooled = np.sqrt((0.05**2 / 2 + 0.03**2 / 2) / 2)
    np.testing.assert_allclose(c.spread("test.accuracy"), (pooled, 2))
    found = c.difference("scratch_deep", "scratch_bn")
    change = (first(300) * 0.5 + first(312) * 0.5) - (first(100) * 0.5 + first(120) * 0.5)
    images, training = change.var(ddof=1) / 400, pooled**2
    freedom = (images + training) ** 2 / (training**2 / 2)
    reach = student_t.ppf(0.975, freedom) * np.sqrt(images + training)
    np.testing.assert_allclose(found[:3], [0.49, 0.49 - reach, 0.49 + reach])
    assert found.p == pytest.approx(2 * student_t.sf(0.49 / np.sqrt(images + training), freedom))
    same = c.difference("scratch_deep", "scratch_bn", same_training=True)
    assert same.high - same.low == pytest.approx(2 * 1.96 * np.sqrt(images), rel=1e-3)
    values = first(300) * 0.5 + first(312) * 0.5
    images, training = values.var(ddof=1) / 400, pooled**2 / 2
    freedom = (images + training) ** 2 / (training**2 / 2)
    reach = 100 * student_t.ppf(0.975, freedom) * np.sqrt(images + training)
    assert c.level("scratch_deep") == f"76.5\N{NO-BREAK SPACE}% ({76.5 - reach:.1f} to {76.5 + reach:.1f})"
    assert c.level("scratch_plain") == claims.DASH
    assert c.seeds("scratch_bn") == 2 and c.mean("scratch_bn") == pytest.approx(0.275)
    assert c.mean("scratch_bn-seed1") == 0.3 and c.difference("scratch_deep", "scratch_plain") is None


def test_nets_that_start_alike_share_the_noise_of_training(tmp_path):
    """Pretrained nets vary by one image in the mean, the others by ten; a comparison of both has a part of each."""
    counts = {"vgg16_full": 300, "vgg16_full-seed1": 304, "scratch_bn": 100, "scratch_bn-seed1": 140}
    for name, count in (counts | {"vgg16_block5": 200, "scratch_deep": 210}).items():
        classifier(tmp_path, name, first(count))
        config = files.read_json(tmp_path / name / "config.json")
        files.write_json(tmp_path / name / "config.json", config | {"weights": "imagenet" if "vgg" in name else None})
    c = Comparisons(Runs(tmp_path))
    one, other = 0.01**2 / 2, 0.1**2 / 2  # variances of two seeds, each with a degree of freedom
    assert c.spread("test.accuracy") == (pytest.approx(np.sqrt((one + other) / 2)), 2)
    assert c.spread("test.accuracy", pretrained=True) == (pytest.approx(np.sqrt(one)), 1)
    assert c.spread("test.accuracy", pretrained=False) == (pytest.approx(np.sqrt(other)), 1)
    assert (c.deviation("test.accuracy", pretrained=True), c.deviation("test.images.iou")) == ("0.71", claims.DASH)
    change = first(200).astype(float) - first(210)
    images = change.var(ddof=1) / 400
    freedom = (images + one + other) ** 2 / (one**2 + other**2)
    reach = student_t.ppf(0.975, freedom) * np.sqrt(images + one + other)
    np.testing.assert_allclose(
        c.difference("vgg16_block5", "scratch_deep")[:3], [-0.025, -0.025 - reach, -0.025 + reach]
    )
    # both of one kind: its variance twice, but one estimate of it
    change = (first(300) * 0.5 + first(304) * 0.5) - first(200)
    images, training = change.var(ddof=1) / 400, one * 1.5
    reach = student_t.ppf(0.975, (images + training) ** 2 / training**2) * np.sqrt(images + training)
    assert c.difference("vgg16_full", "vgg16_block5").low == pytest.approx(0.255 - reach)


def test_a_single_run_has_the_training_noise_of_the_nets_with_seeds(tmp_path):
    for name, count in (("scratch_bn", 100), ("scratch_bn-seed1", 140), ("vgg16_full", 150), ("vgg16_block5", 130)):
        classifier(tmp_path, name, first(count))
    c = Comparisons(Runs(tmp_path))
    assert c.difference("vgg16_full", "vgg16_block5", same_training=True).low > 0
    assert c.difference("vgg16_full", "vgg16_block5").low < 0


def test_runs_of_other_images_are_not_compared(tmp_path):
    classifier(tmp_path, "vgg16_full", first(100))
    classifier(tmp_path, "vgg16_block5", first(200))
    arrays = files.read_arrays(tmp_path / "vgg16_block5" / "predictions.npz")
    files.write_arrays(
        tmp_path / "vgg16_block5" / "predictions.npz", arrays | {"test_labels": arrays["test_labels"] + 1}
    )
    assert Comparisons(Runs(tmp_path)).difference("vgg16_full", "vgg16_block5") is None


def test_segmentation_is_compared_by_image_and_recorded_figures_by_seed(tmp_path):
    made_up.write(tmp_path, BOOKS)
    for run, iou, pattern in zip(BOOKS, (0.50, 0.60, 0.52, 0.62), (5.0, 7.0, 1.0, 1.0), strict=True):
        made_up.change_metrics(tmp_path, run, test__images__iou__mean=iou, checkerboard=pattern)
    table = files.read_csv(tmp_path / BOOKS[0] / "images.csv")
    for run, gain in zip(BOOKS, (0.0, 0.02, 0.03, 0.03), strict=True):
        files.write_csv(tmp_path / run / "images.csv", [row | {"iou": row["iou"] + gain} for row in table])
    c = Comparisons(Runs(tmp_path))
    found = c.difference("seg_book_bilinear", "seg_book_transpose", "test.images.iou")
    assert found.estimate == pytest.approx(0.02)
    assert c.spread("test.images.iou", "segmentation") == (pytest.approx(np.sqrt(0.005)), 2)
    pattern = c.difference("seg_book_transpose", "seg_book_bilinear", "checkerboard")
    assert pattern.estimate == pytest.approx(5.0)


def test_views_are_compared_on_the_same_images(tmp_path):
    classifier(tmp_path, "scratch_final", first(300))
    c = Comparisons(Runs(tmp_path))
    assert c.views("scratch_final", "mirror_shift").estimate == 0.25
    assert c.views("scratch_final", "nothing") is None


def test_the_interval_of_views_is_that_of_a_paired_difference(tmp_path):
    """100 of 400 answers change from wrong to right: the standard error is that of a share of a quarter."""
    classifier(tmp_path, "scratch_final", first(300))
    found = Comparisons(Runs(tmp_path)).views("scratch_final", "mirror_shift")
    reach = 1.96 * np.sqrt(0.25 * 0.75 / 399)
    np.testing.assert_allclose(found[:3], [0.25, 0.25 - reach, 0.25 + reach])


def test_robustness_is_the_mean_over_corruptions_and_strengths(tmp_path):
    made_up.write(tmp_path, ["scratch_final"])
    made_up.change_metrics(tmp_path, "scratch_final", robustness={"blur": [0.9, 0.6], "jpeg": [0.4, 0.1]})
    assert Comparisons(Runs(tmp_path)).mean("scratch_final", "corrupted") == pytest.approx(0.5)


def test_the_iou_at_another_threshold_follows_from_the_curve(tmp_path):
    """Of 10 true and 12 predicted pixels, 8 in common: precision 8/12, recall 8/10, IoU 8/14."""
    made_up.write(tmp_path, ["seg_unet_scratch"])
    made_up.change_arrays(
        tmp_path,
        "seg_unet_scratch",
        curve_threshold=np.array([0.0, 0.5]),
        curve_precision=np.array([0.5, 8 / 12]),
        curve_recall=np.array([1.0, 0.8]),
    )
    c = Comparisons(Runs(tmp_path))
    assert c.mean("seg_unet_scratch", "iou_at:0.6") == pytest.approx(8 / 14)
    assert c.mean("seg_unet_scratch", "iou_at:0.1") == pytest.approx(0.5)


def test_figures_of_the_learning_curve(tmp_path):
    made_up.write(tmp_path, ["vgg16_full"])  # seven epochs in two phases, from the fourth on the second
    c = Comparisons(Runs(tmp_path))
    for on, expected in {"train": 0.7, "gap": 0.14, "loss_rise": 1.0, "tuned_epochs": 4, "best_epoch": 7}.items():
        assert c.mean("vgg16_full", on) == pytest.approx(expected), on
    assert c.mean("vgg16_full", "released_after") == pytest.approx(0.32)
    assert c.mean("vgg16_full", "event:divided") == 1 and c.mean("vgg16_full", "event:stopped") == 0
    assert c.gap("vgg16_full") == "14 points" and c.gap("vgg16_block5") == claims.DASH
    c.mean = lambda name, on: 0.0096
    assert c.gap("vgg16_full") == "1 point"


def test_recorded_figures_are_shown_with_their_units_and_limits(tmp_path):
    made_up.write(tmp_path, ["vgg16_full", "vgg16_block5"])
    for run, parameters in (("vgg16_full", 15_000_000), ("vgg16_block5", 5_000_000)):
        made_up.change_metrics(tmp_path, run, cost__parameters=parameters)
    c, space = Comparisons(Runs(tmp_path)), "\N{NO-BREAK SPACE}"
    shown = {
        c.between("vgg16_full", "train", 0.5).shown: f"70.0{space}% (expected: at least 50.0{space}%)",
        c.between("vgg16_full", "loss_rise", 0.5, 1.5).shown: "1 (expected: at least 0.5 and at most 1.5)",
        c.exceeds("vgg16_full", "vgg16_block5", "cost.parameters", times=2).shown: (
            "15,000,000 and 5,000,000 (expected: the first is more than 2 times the second)"
        ),
        c.exceeds("vgg16_full", "vgg16_full", "train", than_on="gap").shown: (
            f"70.0{space}% and 14.0{space}% (expected: the first is greater)"
        ),
        c.between("scratch_final", "train", 0.5).shown: "",
    }
    assert list(shown) == list(shown.values())


def test_only_shares_are_shown_in_percent():
    for evidence, what in Comparisons(Runs()).claimed:
        assert all(float(found.replace(",", "")) <= 100 for found in re.findall(r"([\d.,]+)\s%", evidence.shown)), what


def test_the_time_of_a_net_is_that_of_its_fastest_seed(tmp_path):
    made_up.write(tmp_path, ["scratch_bn", "scratch_bn-seed1"])
    made_up.change_metrics(
        tmp_path, "scratch_bn", cost={"seconds": 1200.0, "parameters": 1, "device": "a busy machine"}
    )
    made_up.change_metrics(
        tmp_path, "scratch_bn-seed1", cost={"seconds": 600.0, "parameters": 1, "device": "a quiet machine"}
    )
    c = Comparisons(Runs(tmp_path))
    assert c.mean("scratch_bn", "minutes") == 10 and c.minutes("scratch_bn") == "10 min"
    history = tmp_path / "scratch_bn" / "history.csv"
    frame = pd.read_csv(history)
    frame["seconds"] *= 2
    frame.to_csv(history, index=False)
    slow, fast = Comparisons(Runs(tmp_path)).figures("scratch_bn", "images_per_second")
    assert slow < fast == Comparisons(Runs(tmp_path)).mean("scratch_bn", "images_per_second")


def test_masks_are_compared_with_those_of_other_seeds(tmp_path):
    made_up.write(tmp_path, [*BOOKS, "seg_baselines"])
    for run, level in zip(BOOKS, (0, 250, 0, 250), strict=True):
        path = tmp_path / run / "predictions.npz"
        arrays = files.read_arrays(path)
        panels = {key: np.full_like(value, level) for key, value in arrays.items() if re.match(r"panel_\d+_prob", key)}
        files.write_arrays(path, arrays | panels)
    c = Comparisons(Runs(tmp_path))
    assert c.masks_differ("seg_book_transpose", "seg_book_transpose") == 1.0
    assert c.masks_differ("seg_book_transpose", "seg_book_bilinear") == 0.5  # two of the four pairs
    assert c.alike("seg_book_transpose", "seg_book_bilinear").holds is True
    assert c.alike("seg_book_transpose", "seg_unet_scratch").holds is None


def test_masks_differ_at_their_own_thresholds_and_void_does_not_count(tmp_path):
    """Of three labelled pixels and one of void, the masks differ in one labelled pixel and in the void."""
    transposed, bilinear = "seg_book_transpose", "seg_book_bilinear"
    made_up.write(tmp_path, [transposed, bilinear, "seg_baselines"])
    for run, name, pixels in (
        ("seg_baselines", "truth", [0, 1, 1, VOID]),
        (transposed, "probability", [0, 100, 100, 100]),  # 100 of 255 is above the threshold
        (bilinear, "probability", [0, 0, 100, 0]),
    ):
        panels = {f"panel_{index}_{name}": np.array([pixels], np.uint8) for index in range(made_up.SHOWN)}
        made_up.change_arrays(tmp_path, run, **panels)
    for run in (transposed, bilinear):
        made_up.change_metrics(tmp_path, run, threshold=0.3)
    assert Comparisons(Runs(tmp_path)).masks_differ(transposed, bilinear) == pytest.approx(1 / 3)


# claims ---------------------------------------------------------------------------------------------------------------


def test_a_note_appears_only_where_results_contradict_the_text(tmp_path, monkeypatch):
    for name, right in (
        ("vgg16_full", first(300)),
        ("vgg16_block5", first(100)),
        ("vgg16_full_augment", first(300)[::-1]),
    ):
        classifier(tmp_path, name, right)
    monkeypatch.setattr(claims, "sources", lambda: {"a.qmd": TEXT})
    c = Comparisons(Runs(tmp_path))
    assert c.claim(c.improves("vgg16_full", over="vgg16_block5"), "it helps") == ""
    told = c.claim(c.improves("vgg16_block5", over="vgg16_full"), "it helps")
    assert "The text says that it helps. These results do not bear this out: \N{MINUS SIGN}50.0 points (" in told
    assert c.claim(c.improves("vgg16_full", over="scratch_final"), "it helps") == ""  # a run is missing
    assert c.claim(c.unclear("vgg16_full", over="vgg16_full_augment"), "nothing changes") == ""
    assert "do not bear" in c.claim(c.unclear("vgg16_full", over="vgg16_block5"), "nothing changes")
    assert c.claim(c.exceeds("vgg16_full", "vgg16_block5", "test.accuracy", times=2.9), "thrice") == ""
    assert "75.0\N{NO-BREAK SPACE}% and 25.0\N{NO-BREAK SPACE}% (" in c.claim(
        c.exceeds("vgg16_full", "vgg16_block5", "test.accuracy", times=3.1), "thrice"
    )
    assert ": 75.0\N{NO-BREAK SPACE}% (" in c.claim(c.between("vgg16_full", "test.accuracy", high=0.5), "it is low")
    among = ["vgg16_full", "vgg16_block5"]
    assert c.claim(c.best("vgg16_full", among, "test.accuracy"), "it is best") == ""
    assert "VGG16, all layers" in c.claim(c.best("vgg16_block5", among, "test.accuracy"), "it is best")
    assert c.answer("yes", c.improves("vgg16_full", over="vgg16_block5")) == "yes"
    assert "not borne out" in c.answer("yes", c.improves("vgg16_block5", over="vgg16_full"))
    assert "not measured" in c.answer("yes", c.improves("vgg16_full", over="scratch_final"))


def test_the_table_of_claims_says_what_holds(tmp_path):
    for name, count in (("vgg16_full", 300), ("vgg16_block5", 100)):
        classifier(tmp_path, name, first(count))
    c = Comparisons(Runs(tmp_path))
    pairs = (("vgg16_full", "vgg16_block5"), ("vgg16_block5", "vgg16_full"), ("vgg16_full", "scratch_final"))
    c.claimed = [(c.improves(run, over), f"{run} is better than {over}") for run, over in pairs]
    rows = made_up.rows_of(tables.claims(c).html)
    assert [row["holds"] for row in rows] == ["yes", "no", "open"]


TEXT = """
`{python} claim(c.improves("vgg16_full", over="vgg16_block5"), "it helps")` and `{python} c.share("vgg16_full")`
`{python} answer("yes", c.improves("vgg16_full", over="vgg16_block5"), c.unclear("vgg16_full", over="vgg16_block5"))`
"""


@pytest.mark.parametrize(
    "probabilities, cutoff", [([0.01, 0.02, 0.04], 0.04), ([0.01, 0.03, 0.04], 0.01), ([0.02, 0.03, 0.04], 0.0)]
)
def test_the_family_is_corrected_by_holm(tmp_path, probabilities, cutoff):
    c = Comparisons(Runs(tmp_path))
    twice = [*probabilities, probabilities[0]]
    c.claimed = [(claims.Evidence(("improves", p), None, "", Difference(1.0, 0.0, 2.0, p)), "") for p in twice]
    assert c.cutoff == cutoff  # the comparison that is claimed twice counts once
    assert c.family == 3


def test_the_text_is_the_registry_of_claims(tmp_path):
    """Claims use nothing but comparisons and literals, name experiments of the table, and read on after "that"."""
    expressions = claims.claim_expressions()
    assert len(expressions) > 60
    for expression in expressions:
        names = {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}
        assert names <= {"c", "claim", "answer", "True", "False"}, expression
        texts = [node.value for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Constant)]
        assert any(text in EXPERIMENTS for text in texts), expression
    c = Comparisons(Runs(tmp_path))
    assert all(evidence.verdict(c.cutoff) is None for evidence, _ in c.claimed)
    for text in (text for content in claims.sources().values() for text in claims.INLINE.findall(content)):
        if text.startswith("claim("):
            what = ast.literal_eval(ast.parse(text).body[0].value.args[1])
            assert what[0].islower() or what.startswith(("CIFAR", "VGG16", "GrabCut")), what
            assert not what.endswith("."), what


committed = pytest.mark.skipif(
    not (RESULTS / "scratch_final" / "final.json").exists(), reason="no runs are stored here"
)


@committed
def test_the_committed_results_contradict_no_claim():
    c = Comparisons(Runs(RESULTS))
    assert c.contradicted() == []
    known = [evidence for evidence, _ in c.claimed if evidence.verdict(c.cutoff)]
    assert len(known) > 60
    # a claim without a verdict is about a run that is not there; a misspelt figure would hide behind it
    for expression in claims.claim_expressions():
        first = len(c.claimed)
        eval(expression, {"c": c, "claim": c.claim, "answer": c.answer})
        if any(evidence.verdict(c.cutoff) is None for evidence, _ in c.claimed[first:]):
            constants = {node.value for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Constant)}
            named = [text for text in constants if isinstance(text, str) and experiment_of(text) in EXPERIMENTS]
            assert any(not c.named(name) for name in named), expression


@committed
def test_a_misspelt_experiment_is_no_run_that_is_missing():
    c = Comparisons(Runs(RESULTS))
    with pytest.raises(EntryError, match="'scratch_residul', which is no experiment"):
        c.improves("scratch_bn", over="scratch_residul")


@committed
def test_ratios_of_times_compare_runs_of_the_same_machine():
    c = Comparisons(Runs(RESULTS))
    compared = [
        ast.literal_eval(text.removeprefix("c.times"))
        for content in claims.sources().values()
        for text in claims.INLINE.findall(content)
        if text.startswith("c.times(")
    ]
    timed = [(one, other, on) for one, other, on in compared if on in claims.FASTEST]
    assert timed
    for one, other, on in timed:
        devices = set()
        for name in (one, other):
            fastest = c.named(name)[c.figures(name, on).index(c.mean(name, on))]
            devices.add((c.runs.get(fastest, "cost.device"), c.runs.get(fastest, "precision")))
        assert len(devices) == 1, (one, other, devices)


@committed
@pytest.mark.parametrize(
    "one, other, contradicted",
    [
        ("vgg16_features_linear", "vgg16_full", "training all layers is better than block 5 alone"),
        ("vgg16_features_dense_bn", "vgg16_upsampled_features", "enlarging helps frozen features"),
        ("seg_unet_scratch", "seg_unet_vgg16_bilinear", "a pretrained encoder helps"),
    ],
)
def test_swapped_predictions_are_noticed(tmp_path, one, other, contradicted):
    folder = tmp_path / "cpu"
    shutil.copytree(RESULTS, folder, ignore=shutil.ignore_patterns("*.keras", "logits.npz"))
    for file in ("predictions.npz", "metrics.json", "images.csv"):
        if (folder / one / file).exists():
            (folder / one / file).rename(tmp_path / file)
            (folder / other / file).rename(folder / one / file)
            (tmp_path / file).rename(folder / other / file)
    c = Comparisons(Runs(folder))
    assert contradicted in c.contradicted()
    evidence = next(evidence for evidence, what in c.claimed if what == contradicted)
    assert re.search(r"do not bear this out: \N{MINUS SIGN}[\d.]+ points", c.claim(evidence, contradicted))
