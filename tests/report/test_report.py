"""The report: its cells run on any subset of results, its references have targets, its prose holds no typed results."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from hw2 import files
from hw2.metrics import intervals

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "report"

sys.path[:0] = [str(REPORT), str(Path(__file__).parent)]
pytest.importorskip("nbclient", reason="the report's own requirements are not installed")
import cells  # noqa: E402
import claims  # noqa: E402
import made_up  # noqa: E402
import plots  # noqa: E402
from cells import CELL, INLINE, source  # noqa: E402
from runs import CHAPTERS, Runs, runs_of  # noqa: E402

QUESTIONS = (
    "Why these three heads",
    "augmentation make sense for feature extraction",
    "tuning the upper block change performance, and why a low learning rate",
    "augmentation make sense for fine-tuning",
    "training the whole network bring, and what happens to the gap",
    "Why does a 32×32 input hurt VGG16, and what does up-sampling bring",  # noqa: RUF001
    "each step of the design",
    "Where is overfitting, where underfitting",
    "convolutions become depthwise-separable",
    "Does augmentation help validation",
    "residual connections help, and at which depth",
    "schedules, early stopping, checkpoints",
    "larger images",
    "more classes",
    "combined predictions better than a single model",
    "What do the data look like",
    "Which models",
    "outputs compare with the truth",
    "Which metrics suit a segmentation",
    "Transposed convolution or bilinear",
    "all twenty classes",
    "how sure they are",
    "look at an image more than once",
    "taken for what",
    "survive worse images",
    "Where do the models look",
    "What does accuracy cost",
    "limits of this",
)


def prose():
    """Return the text without front matter, cells, code and formulas."""
    text = re.sub(r"\A---\n.*?\n---\n", "", CELL.sub("", source()), flags=re.DOTALL)
    return re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "", INLINE.sub("", text), flags=re.DOTALL)


# the text -------------------------------------------------------------------------------------------------------------


def test_every_question_of_the_assignment_is_a_heading():
    headings = re.findall(r"^#+ (.*)$", prose(), re.MULTILINE)
    assert [question for question in QUESTIONS if not any(question in heading for heading in headings)] == []


def test_references_have_targets_and_figures_have_captions_and_alternative_texts():
    text = source()
    kinds = r"(?:fig|tbl|sec|eq)-[\w-]+"
    targets = re.findall(rf"\{{#({kinds})", text)
    used = re.findall(rf"@({kinds})", text)
    assert sorted(targets) == sorted(set(targets))
    assert set(used) <= set(targets)
    for kind, label, body in re.findall(r"^::: \{#(fig|tbl)-([\w-]+)\}\n(.*?)^:::$", text, re.DOTALL | re.MULTILINE):
        caption = CELL.sub("", body).strip()
        assert caption.endswith((".", ".)")), label + " has no caption"
        if kind == "fig":
            assert re.search(r'#\| fig-alt: "[^"]{40,}"', body), label
        measured = re.search(r"(plots|tables)\.\w+\((runs|c)\b", body) and label != "state"
        assert not measured or "runs.provenance(" in caption, label + " does not say what it was measured with"


def test_citations_have_entries_and_entries_are_cited():
    entries = re.findall(r"^@\w+\{(\w+),", (REPORT / "references.bib").read_text(), re.MULTILINE)
    cited = {key for key in re.findall(r"(?<![\w@])@([a-z]\w*)", prose()) if key not in ("fig", "tbl", "sec", "eq")}
    assert cited == set(entries)


def test_the_prose_holds_no_typed_results():
    units = r"(?:%|percent|points?|nats|s|min|h|hours?|minutes?|seconds?|epochs?|images|pairs|million|times)\b"
    looks = re.compile(rf"\b\d[\d,]*\s?{units}|\b\d[\d,]*\s?%|\b\d+\.\d+|\b\d{{1,3}},\d{{3}}")
    found = [match[0] for match in looks.finditer(re.sub(r"\{[^}]*\}|^#.*$", "", prose(), flags=re.MULTILINE))]
    assert [text for text in found if text != "95 %"] == []  # the level of the intervals


def test_inline_code_is_whole():
    assert len(INLINE.findall(source())) == source().count("{python} ")
    for expression in INLINE.findall(source()):
        compile(expression, expression, "eval")


# claims ---------------------------------------------------------------------------------------------------------------


def change_metrics(folder, run, **changes):
    """Replace values of a run's metrics. changes: by path, with "__" between the keys."""
    metrics = files.read_json(folder / run / "metrics.json")
    for path, value in changes.items():
        *keys, last = path.split("__")
        place = metrics
        for key in keys:
            place = place[key]
        place[last] = value
    files.write_json(folder / run / "metrics.json", metrics)


def test_conclusions_follow_the_answers(tmp_path):
    made_up.write(tmp_path, ["vgg16_full", "vgg16_block5"])
    labels = np.zeros(400, np.uint8)
    right = np.arange(400) < 300
    for name, correct in {"good": right, "bad": np.arange(400) < 100, "twin": np.roll(right, 1)}.items():
        arrays = {"test_answers": (~correct).astype(np.uint8), "test_labels": labels, "test_indices": np.arange(400)}
        arrays["test_answers_mirror_shift"] = labels  # right everywhere
        shutil.copytree(tmp_path / "vgg16_full", tmp_path / name)
        files.write_arrays(tmp_path / name / "predictions.npz", arrays)
        change_metrics(tmp_path, name, test__accuracy=float(correct.mean()))
    c = claims.Conclusions(Runs(tmp_path))
    assert re.search(r"It raises test accuracy by 50\.0 points \(95 % interval", c.change("It", "bad", "good"))
    assert "lowers test accuracy by" in c.change("It", "good", "bad")
    assert "makes no clear difference" in c.change("It", "good", "twin")
    assert "Open until `nowhere` has run" in c.change("It", "good", "nowhere")
    assert "not tested on the same images" in c.change("It", "good", "vgg16_full")
    assert claims.when(c.difference("bad", "good"), "better", "worse", "unclear") == "better"
    assert claims.when(None, "better", "worse", "unclear") == ""
    assert claims.sign(c.difference("good", "twin")) == 0
    assert c.difference("good", "good", "", "mirror_shift").estimate == 0.25
    assert c.difference("good", "vgg16_block5", "mirror_shift", "mirror_shift") is None  # one has no such answers


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
    change_metrics(tmp_path, "scratch_final", calibration__temperature=7.25)
    (axes,) = plots.reliability(Runs(tmp_path), ["scratch_final"]).axes
    points = [np.ravel(line.get_data()) for line in axes.lines[1:]]  # the first is the diagonal
    np.testing.assert_allclose(points, [[0.95, 0.5], [0.5, 0.5]], atol=1e-3)
    assert "T = 7.25" in [text.get_text() for text in axes.texts]


def test_confusions_are_counted_by_class_and_superclass():
    """Classes 4 (beaver) and 30 (dolphin) are aquatic mammals, 1 (aquarium fish) is a fish: superclasses 0 and 1."""
    labels, answers = np.array([4, 4, 30, 1]), np.array([30, 1, 4, 1])
    shares = plots.superclass_shares(answers, labels)
    np.testing.assert_allclose(shares[:2, :2], [[2 / 3, 1 / 3], [0, 1]])
    assert plots.confused_pairs(answers, labels, count=1) == [("beaver", "dolphin", 2)]


def test_panel_joins_the_shared_images_and_a_runs_own_outputs(tmp_path):
    made_up.write(tmp_path, ["seg_baselines", "seg_book_bilinear", "seg_unet_vgg16_classes"])
    runs = Runs(tmp_path)
    shared, own = (runs.arrays(name) for name in ("seg_baselines", "seg_unet_vgg16_classes"))
    found = plots.panel(runs, "seg_unet_vgg16_classes", 2)
    assert found["image"].shape == (60, 80, 3) and found["truth"] is shared["panel_2_truth"]
    assert found["probability"] is own["panel_2_probability"] and found["prediction"] is own["panel_2_prediction"]
    assert set(plots.panel(runs, "seg_book_bilinear", 2)) == {"image", "truth", "probability"}
    assert plots.has_panel(runs, "seg_book_bilinear")
    runs.arrays("seg_book_bilinear")["panel_identifiers"] = np.array(["2007_000001"])
    assert not plots.has_panel(runs, "seg_book_bilinear")  # of other images
    identifier = runs.get("seg_book_bilinear", "examples.median")[1]
    arrays = runs.arrays("seg_book_bilinear")
    assert plots.example(runs, "seg_book_bilinear", identifier)["truth"] is arrays["example_3_truth"]
    assert arrays["example_identifiers"][3] == identifier


BOOKS = ["seg_book_transpose", "seg_book_transpose-seed1", "seg_book_bilinear", "seg_book_bilinear-seed1"]


def test_over_seeds_is_paired_by_seed(tmp_path):
    made_up.write(tmp_path, BOOKS)
    for run, iou in zip(BOOKS, (0.50, 0.60, 0.52, 0.62), strict=True):
        change_metrics(tmp_path, run, test__images__iou__mean=iou)
    c = claims.Conclusions(Runs(tmp_path))
    np.testing.assert_allclose(c.over_seeds("seg_book_transpose", "seg_book_bilinear"), 0.02, atol=1e-9)
    assert c.over_seeds("seg_unet_vgg16_transpose", "seg_unet_vgg16_bilinear") is None


def test_a_difference_of_single_runs_is_compared_with_the_spread_of_seeds(tmp_path):
    made_up.write(tmp_path, [*BOOKS, "seg_unet_scratch", "seg_unet_scratch_dice"])
    for run, iou in zip(BOOKS, (0.50, 0.52, 0.50, 0.52), strict=True):
        change_metrics(tmp_path, run, test__images__iou__mean=iou)
    table = files.read_csv(tmp_path / "seg_unet_scratch" / "images.csv")
    # the standard deviation of the seeds is 1.41 points, that of a difference 2 points, and two of these are 4
    for change, told in ((0.03, "within the 4.0 points"), (0.05, r"by 5\.0 points \([^)]*\)\.$")):
        files.write_csv(
            tmp_path / "seg_unet_scratch_dice" / "images.csv", [row | {"iou": row["iou"] + change} for row in table]
        )
        c = claims.Conclusions(Runs(tmp_path))
        assert re.search(told, c.mask_change("Dice", "seg_unet_scratch", "seg_unet_scratch_dice"))


def test_time_includes_that_of_the_run_whose_weights_were_used(tmp_path):
    runs = Runs(made_up.write(tmp_path, ["scratch_final-seed1", "scratch_final", "scratch_final_longer", "vgg16_full"]))
    alone = [runs.get(name, "cost.seconds") for name in ("scratch_final", "scratch_final_longer", "vgg16_full")]
    assert runs.training_seconds("scratch_final") == alone[0]
    assert runs.training_seconds("scratch_final_longer") == alone[0] + alone[1]
    assert runs.training_seconds("vgg16_full") == alone[2]
    assert runs.training_seconds("scratch_final_48px") is None


def test_machines_are_distinguished(tmp_path):
    made_up.write(tmp_path, ["scratch_final", "scratch_residual", "vgg16_full", "ensemble_mixed"])
    change_metrics(tmp_path, "vgg16_full", cost__device="another machine", precision="mixed_bfloat16")
    member = files.read_json(tmp_path / "ensemble_mixed" / "metrics.json")["members"]["scratch_final"]
    change_metrics(tmp_path, "ensemble_mixed", members=dict.fromkeys(("scratch_final", "vgg16_full"), member))
    runs = Runs(tmp_path)
    assert runs.machines(["ensemble_mixed"]) == {"a made-up machine": "float32", "another machine": "bfloat16"}
    assert runs.provenance(["scratch_final", "scratch_residual"]) == "cpu budget, CIFAR-100, seed 0"
    assert runs.provenance(["scratch_final", "vgg16_full"]).endswith(", 2 machines")

    def shapes(names):
        (axes,) = plots.cost(runs, names).axes
        return [text.get_text() for text in axes.get_legend().get_texts() if "float" in text.get_text()]

    assert shapes(["scratch_final", "scratch_residual"]) == []
    everyone = ["scratch_final", "vgg16_full", "ensemble_mixed", "scratch_residual"]
    assert shapes(everyone) == ["float32", "bfloat16", "float32 and bfloat16"]


def test_bounds_of_a_clear_difference_are_not_written_as_zero():
    assert claims.points(intervals.Interval(0.004, 0.0002, 0.007)) == "+0.40 points (+0.02 to +0.70)"
    assert claims.points(intervals.Interval(0.004, -0.0002, 0.007)) == "+0.4 points (\N{MINUS SIGN}0.0 to +0.7)"
    assert claims.listed(["a"]) == "a" and claims.listed(["a", "b", "c"]) == "a, b and c"


def test_class_difficulty_names_the_properties_that_correlate_with_iou(tmp_path):
    """Classes in ever more images, of areas that are unrelated to their number; IoU follows the number or nothing."""
    pixels = np.zeros((20, 21), np.int64)
    for index, area in enumerate(np.random.default_rng(0).permutation(20)):
        pixels[: index + 1, index + 1] = 100 + area
    made_up.write(tmp_path, ["seg_unet_vgg16_classes"])
    for ious, told in (
        (
            np.arange(20) / 20,
            r"clearly with the number of training images [^(]* the class \(rank correlation \+1.00\)\.",
        ),
        (np.tile([0.2, 0.8], 10), "with neither the number .* nor the median area"),
    ):
        runs = Runs(tmp_path)
        runs.metrics["seg_unet_vgg16_classes"]["test"]["class_iou"] = [0.9, *ious]
        conclusions = claims.Conclusions(runs)
        assert re.search(told, conclusions.class_difficulty("seg_unet_vgg16_classes", {"train_pixels": pixels}))
        assert "Open until `seg_baselines`" in conclusions.class_difficulty("seg_unet_vgg16_classes", {})


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
    """Return a function that runs all cells on a folder of runs and returns the text with their output."""
    kernel = cells.start_kernel()

    def run(folder, draw=False):
        text = cells.execute(kernel, folder, draw)
        cells.check(text)
        return text

    yield run
    kernel.shutdown_kernel(now=True)


def everything(folder, **options):
    """Write made-up results of all runs that the report discusses."""
    return made_up.write(folder, [name for names in CHAPTERS.values() for name in names], **options)


def test_cells_run_on_the_committed_results(execute):
    committed = Runs()
    text = execute(committed.folder)
    for chapter in CHAPTERS.values():
        for name in chapter:
            assert name in committed or name in text  # missing runs are named


def test_cells_run_without_results(execute, tmp_path):
    text = execute(tmp_path)
    assert text.count(".not-run") > 20
    assert not re.search(r"(raises?|lowers?) test accuracy by \d", text)


def test_cells_run_on_some_results(execute, tmp_path):
    names = ["vgg16_full", "scratch_bn", "ensemble_mixed", "seg_book_bilinear", "seg_unet_vgg16_classes"]
    text = execute(made_up.write(tmp_path, names, source="synthetic"))
    assert "synthetic images" in text and "**Not run yet:**" in text
    assert "are of the `cpu` budget, from the folder" in text


def test_cells_run_on_all_results(execute, tmp_path):
    text = execute(everything(tmp_path), draw=True)
    assert "Open until" not in text and "**Not run yet:**" not in text


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
    environment = os.environ | {"HW2_RESULTS": str(Runs().folder), "QUARTO_PYTHON": sys.executable}
    done = subprocess.run(["quarto", "render", folder], env=environment, capture_output=True, text=True, timeout=300)
    written = done.stdout + done.stderr
    assert done.returncode == 0, written
    assert not re.search(r"^\W*(\[\d+m)?WARN(?!ING \| Kernel is running)", written, re.MULTILINE), written
    page = (folder / "_output" / "index.html").read_text()
    assert "?@" not in page and "quarto-unresolved-ref" not in page
    assert (folder / "_output" / "index.pdf").stat().st_size > 50_000
