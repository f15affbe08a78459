"""The report: its cells run on any subset of results, its references have targets, its prose holds no typed results."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hw2 import evaluate, results, stats

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "report"
INLINE = re.compile(r"`\{python\} ([^`]+)`")
FIGURE = re.compile(r"^figures\.(?!use_theme)(\w+)\(.*\)$", re.DOTALL | re.MULTILINE)
CELL = re.compile(r"^```\{python\}\n(.*?)^```$", re.DOTALL | re.MULTILINE)

sys.path.insert(0, str(REPORT))
pytest.importorskip("nbclient", reason="the report's own requirements are not installed")
import figures  # noqa: E402
import statements  # noqa: E402
from runs import CHAPTERS, Runs  # noqa: E402

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


def source(path=REPORT / "index.qmd"):
    """Return the report's text with its parts included."""
    return re.sub(r"\{\{< include (\S+) >\}\}", lambda match: source(path.parent / match[1]), path.read_text())


def prose():
    """Return the text without front matter, cells, code and formulas."""
    text = re.sub(r"\A---\n.*?\n---\n", "", CELL.sub("", source()), flags=re.DOTALL)
    return re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "", INLINE.sub("", text), flags=re.DOTALL)


# made-up results ----------------------------------------------------------------------------------------------------


def made_up(folder, names, images=200, seed=0, source=None):
    """Write results of the form that training leaves, with random content, for `names`."""
    rng = np.random.default_rng(seed)
    for name in names:
        writer = made_up_segmentation if name.startswith("seg_") else made_up_classification
        writer(Path(folder) / name, name, rng, images, source)
    return folder


def made_up_classification(folder, name, rng, images, source):
    classes = int(re.search(r"(\d+)classes", name)[1]) if "classes" in name else 100
    kind = "ensemble" if name.startswith("ensemble") else "classification"
    skill = 2 + 2.5 * (len(name) % 7) / 6
    arrays = {}
    for part in ("validation", "test"):
        labels = np.random.default_rng(1).integers(0, classes, images)
        logits = rng.normal(size=(images, classes))
        logits[np.arange(images), labels] += skill
        arrays |= {
            f"{part}_logits": (1.5 * logits).astype(np.float16),
            f"{part}_labels": labels.astype(np.uint8),
            f"{part}_indices": np.arange(images, dtype=np.int32),
        }
    if classes < 100:
        arrays["classes"] = np.arange(classes, dtype=np.uint8)
    if name == "scratch_final":
        arrays |= {
            "grad_cam_images": rng.integers(0, 255, (8, 32, 32, 3)).astype(np.uint8),
            "grad_cam_maps": rng.random((8, 4, 4)).astype(np.float32),
            "grad_cam_labels": arrays["test_labels"][:8],
            "grad_cam_answers": arrays["test_logits"][:8].argmax(1).astype(np.uint8),
        }
    arrays["test_logits_mirror_shift"] = arrays["test_logits_mirror"] = arrays["test_logits"]
    results.write_arrays(folder / "predictions.npz", arrays)
    figures = {
        part: evaluate.classification_figures(arrays[f"{part}_logits"], arrays[f"{part}_labels"].astype(int))
        for part in ("validation", "test")
    }
    metrics = shared(name, kind, source or "cifar100", rng) | figures
    metrics["test_time_augmentation"] = {"mirror": figures, "mirror_shift": figures}
    metrics["robustness"] = {
        corruption: [figures["test"]["accuracy"] * share for share in (0.8, 0.6, 0.3)]
        for corruption in ("gaussian_noise", "blur", "contrast", "jpeg", "pixelation")
    }
    if kind == "ensemble":
        members = ["scratch_final", "scratch_final-seed1", "scratch_final-seed2"]
        share = rng.uniform(0.2, 0.3, (3, 3)) * (1 - np.eye(3))
        metrics |= {
            "members": {member: {"test": figures["test"], "weight": 1 / 3} for member in members},
            "chosen": "mean_probabilities",
            "by_size": [{"members": n, "mean": 0.4 + n / 50, "least": 0.4, "most": 0.5} for n in (1, 2, 3)],
            "disagreement": share.tolist(),
        }
        finish(folder, metrics, {"experiment": name})
        return
    metrics["data"]["classes"] = classes
    phases = [{"epochs": 3, "learning_rate": 1e-3, "trainable": "head"}, {"epochs": 4, "learning_rate": 1e-4}]
    finish(folder, metrics, {"experiment": name, "model_arguments": {"image_size": 32}, "phases": phases}, "accuracy")


def made_up_segmentation(folder, name, rng, images, source):
    classes = 21 if name.endswith("classes") else 2
    count = max(8, images // 5)
    rows = []
    for index in range(count):
        iou = float(rng.beta(4, 2))
        other = {"dice": 2 * iou / (1 + iou), "boundary_iou": iou / 2, "pixel_accuracy": 0.5 + iou / 2}
        share = float(rng.beta(2, 4))
        rows.append({"identifier": f"2007_{index:06}", "foreground_share": share, "iou": iou} | other)
    results.write_csv(folder / "images.csv", rows)
    means = {
        key: {"mean": 0.6, "low": 0.55, "high": 0.65}
        for key in ("dice", "iou", "boundary_iou", "boundary_f1", "hausdorff_95")
    }
    overlap = {"pixel_accuracy": 0.9, "dice": 0.8, "iou": 0.67, "mean_iou": 0.75, "precision": 0.8, "recall": 0.8}
    figures = {"dataset": overlap, "images": means, "iou": float(rng.uniform(0.5, 0.8)), "accuracy": 0.9}
    figures["intervals"] = {name: {"low": 0.6, "high": 0.7} for name in ("iou", "dice")}
    if classes == 21:
        confusion = rng.integers(1, 100, (21, 21)) + 900 * np.eye(21, dtype=int)
        figures |= {"class_iou": rng.uniform(0.2, 0.9, 21).tolist(), "confusion": confusion.tolist()}
    metrics = shared(name, "segmentation", source or "voc2012-subset", rng) | {
        "threshold": None if classes == 21 else 0.45,
        "validation": figures,
        "test": figures,
        "checkerboard": float(rng.uniform(1, 2)),
        "examples": {
            kind: [row["identifier"] for row in rows[start : start + 2]]
            for start, kind in enumerate(("best", "median", "worst", "worst_large"))
        },
    }
    curve = np.linspace(0, 1, 21)
    arrays = {"curve_threshold": curve, "curve_precision": 0.5 + curve / 2, "curve_recall": 1 - curve}
    arrays["panel_identifiers"] = np.array([row["identifier"] for row in rows[:6]])
    for index in range(6):
        truth = np.zeros((60, 80), np.uint8)
        truth[10 + index : 50, 20:60] = 15
        truth[10 + index, 20:60] = 255
        arrays[f"panel_{index}_image"] = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
        arrays[f"panel_{index}_truth"] = truth
        arrays[f"panel_{index}_probability"] = (truth > 0) * np.uint8(200)
        if classes == 21:
            arrays[f"panel_{index}_prediction"] = truth % 255
    if name == "seg_baselines":
        metrics["baselines"] = {key: figures for key in ("all_background", "all_foreground", "grabcut")}
        for split in ("train", "val", "sbd"):
            arrays |= {
                f"{split}_sizes": rng.integers(300, 501, (count, 2)),
                f"{split}_pixels": rng.integers(0, 900, (count, 21)) * (rng.random((count, 21)) < 0.4),
                f"{split}_void": rng.integers(0, 900, count),
                f"{split}_border_width": rng.uniform(4, 6, count),
            }
    results.write_arrays(folder / "predictions.npz", arrays)
    finish(folder, metrics, {"experiment": name, "model_arguments": {"image_size": 160}}, "iou")


def shared(name, task, source, rng):
    parameters = int(rng.integers(100_000, 20_000_000))
    return {
        "task": task,
        "budget": "cpu",
        "seed": int(name.rpartition("-seed")[2]) if "-seed" in name else 0,
        "precision": "float32",
        "data": {"source": source, "train": 45_000, "validation": 5_000, "test": 10_000},
        "events": [{"epoch": 5, "event": "learning rate divided by 5"}],
        "cost": {
            "seconds": float(rng.uniform(100, 9000)),
            "feature_seconds": float(rng.uniform(10, 900)),
            "epochs": 7,
            "images_per_second": float(rng.uniform(100, 4000)),
            "parameters": parameters,
            "trainable_parameters": parameters // 2,
            "multiply_adds": parameters * 50,
            "device": "a made-up machine",
        },
    }


def finish(folder, metrics, config, value=None):
    if value:
        rows = [
            {
                "epoch": epoch,
                "phase": 1 + (epoch > 3),
                "loss": 3 / epoch,
                value: 0.1 * epoch,
                "val_loss": 3.5 / epoch,
                f"val_{value}": 0.08 * epoch,
                "learning_rate": 0.01 / epoch,
                "seconds": 10.0,
            }
            for epoch in range(1, 8)
        ]
        results.write_csv(folder / "history.csv", rows)
    results.write_json(folder / "config.json", config)
    results.write_json(folder / "metrics.json", metrics)
    results.write_json(folder / "final.json", {"experiment": folder.name})


# the text ------------------------------------------------------------------------------------------------------------


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
        measured = re.search(r"(figures|tables)\.\w+\((runs|c)\b", body) and label != "state"
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


# the statements ------------------------------------------------------------------------------------------------------


def test_conclusions_follow_the_results(tmp_path):
    made_up(tmp_path, ["vgg16_full", "vgg16_block5"])
    labels = np.zeros(400, int)
    logits = np.zeros((400, 100), np.float16)
    worse, same = logits.copy(), logits.copy()
    logits[:300, 0] = 1
    worse[:, 1] = 1
    worse[:100, 0] = 2
    same[1:301, 0] = 1
    same[0, 1] = 1
    for name, values in {"good": logits, "bad": worse, "twin": same}.items():
        arrays = {"test_logits": values, "test_labels": labels, "test_indices": np.arange(400)}
        shutil.copytree(tmp_path / "vgg16_full", tmp_path / name)
        results.write_arrays(tmp_path / name / "predictions.npz", arrays)
        metrics = results.read_metrics(tmp_path / name)
        metrics["test"]["accuracy"] = float(np.mean(values.argmax(1) == 0))
        results.write_json(tmp_path / name / "metrics.json", metrics)
    c = statements.Conclusions(Runs(tmp_path))
    assert re.search(r"It raises test accuracy by \d+\.\d points \(95 % interval", c.change("It", "bad", "good"))
    assert "lowers test accuracy by" in c.change("It", "good", "bad")
    assert "makes no clear difference" in c.change("It", "good", "twin")
    assert "Open until `nowhere` has run" in c.change("It", "good", "nowhere")
    assert "not tested on the same images" in c.change("It", "good", "vgg16_full")
    found = c.difference("bad", "good")
    assert statements.when(found, "better", "worse", "unclear") == "better"
    assert statements.when(None, "better", "worse", "unclear") == ""
    assert statements.sign(c.difference("good", "twin")) == 0


def test_over_seeds_is_paired_by_seed(tmp_path):
    runs = ["seg_book_transpose", "seg_book_transpose-seed1", "seg_book_bilinear", "seg_book_bilinear-seed1"]
    made_up(tmp_path, runs)
    for run, iou in zip(runs, (0.50, 0.60, 0.52, 0.62), strict=True):
        metrics = results.read_metrics(tmp_path / run)
        metrics["test"]["images"]["iou"]["mean"] = iou
        results.write_json(tmp_path / run / "metrics.json", metrics)
    c = statements.Conclusions(Runs(tmp_path))
    np.testing.assert_allclose(c.over_seeds("seg_book_transpose", "seg_book_bilinear"), 0.02, atol=1e-9)
    assert c.over_seeds("seg_unet_vgg16_transpose", "seg_unet_vgg16_bilinear") is None


def test_two_single_runs_are_held_against_the_luck_of_seeds(tmp_path):
    runs = ["seg_book_transpose", "seg_book_transpose-seed1", "seg_book_bilinear", "seg_book_bilinear-seed1"]
    made_up(tmp_path, [*runs, "seg_unet_scratch", "seg_unet_scratch_dice"])
    for run, iou in zip(runs, (0.50, 0.52, 0.50, 0.52), strict=True):
        metrics = results.read_metrics(tmp_path / run)
        metrics["test"]["images"]["iou"]["mean"] = iou
        results.write_json(tmp_path / run / "metrics.json", metrics)
    table = results.read_csv(tmp_path / "seg_unet_scratch" / "images.csv")
    # the seeds' standard deviation is 1.41 points, that of a difference 2 points, and two of these are 4
    for change, told in ((0.03, "within the 4.0 points"), (0.05, r"by 5\.0 points \([^)]*\)\.$")):
        results.write_csv(
            tmp_path / "seg_unet_scratch_dice" / "images.csv", [row | {"iou": row["iou"] + change} for row in table]
        )
        c = statements.Conclusions(Runs(tmp_path))
        assert re.search(told, c.mask_change("Dice", "seg_unet_scratch", "seg_unet_scratch_dice"))


def test_a_net_of_all_classes_among_some_of_them(tmp_path):
    made_up(tmp_path, ["scratch_residual", "scratch_residual_10classes"])
    logits = np.zeros((6, 100), np.float16)
    logits[:, 99] = 9  # of a class that is not among the subset's
    logits[[0, 1, 2, 3], [5, 5, 7, 5]] = 1
    one = {"test_logits": logits, "test_labels": np.array([5, 5, 5, 5, 0, 1]), "test_indices": np.arange(6)}
    own = np.array([[0, 1], [1, 0], [0, 1], [0, 1]], np.float16)  # of the classes 7 and 5
    two = {
        "test_logits": own,
        "test_labels": np.ones(4, int),
        "test_indices": np.arange(4),
        "classes": np.array([7, 5]),
    }
    for name, arrays in (("scratch_residual", one), ("scratch_residual_10classes", two)):
        results.write_arrays(tmp_path / name / "predictions.npz", arrays)
    c = statements.Conclusions(Runs(tmp_path))
    accuracy, difference = c.among_classes("scratch_residual", "scratch_residual_10classes")
    assert accuracy == 0.75 and difference.estimate == 0
    assert c.among_classes("scratch_residual", "scratch_residual") is None


def test_time_has_that_of_the_run_it_goes_on_from(tmp_path):
    made_up(tmp_path, ["scratch_final", "scratch_final_longer"])
    config = results.read_json(tmp_path / "scratch_final_longer" / "config.json")
    results.write_json(tmp_path / "scratch_final_longer" / "config.json", config | {"weights": "scratch_final"})
    runs = Runs(tmp_path)
    alone = [runs.get(name, "cost.seconds") for name in ("scratch_final", "scratch_final_longer")]
    assert runs.training_seconds("scratch_final") == alone[0]
    assert runs.training_seconds("scratch_final_longer") == sum(alone)
    assert runs.training_seconds("scratch_final_48px") is None


def test_machines_are_told_apart_where_there_are_several(tmp_path):
    made_up(tmp_path, ["scratch_final", "scratch_residual", "vgg16_full", "ensemble_mixed"])
    metrics = results.read_metrics(tmp_path / "vgg16_full")
    metrics["cost"]["device"], metrics["precision"] = "another machine", "mixed_bfloat16"
    results.write_json(tmp_path / "vgg16_full" / "metrics.json", metrics)
    ensemble = results.read_metrics(tmp_path / "ensemble_mixed")
    ensemble["members"] = dict.fromkeys(("scratch_final", "vgg16_full"), ensemble["members"]["scratch_final"])
    results.write_json(tmp_path / "ensemble_mixed" / "metrics.json", ensemble)
    runs = Runs(tmp_path)
    assert runs.machines(["ensemble_mixed"]) == {"a made-up machine": "float32", "another machine": "bfloat16"}
    assert runs.provenance(["scratch_final", "scratch_residual"]) == "cpu budget, CIFAR-100, seed 0"
    assert runs.provenance(["scratch_final", "vgg16_full"]).endswith(", 2 machines")

    def shapes(names):
        (axes,) = figures.cost(runs, names).axes
        return [text.get_text() for text in axes.get_legend().get_texts() if "float" in text.get_text()]

    assert shapes(["scratch_final", "scratch_residual"]) == []
    everyone = ["scratch_final", "vgg16_full", "ensemble_mixed", "scratch_residual"]
    assert shapes(everyone) == ["float32", "bfloat16", "float32 and bfloat16"]


def test_bounds_of_a_clear_difference_are_not_written_as_zero():
    assert statements.points(stats.Interval(0.004, 0.0002, 0.007)) == "+0.40 points (+0.02 to +0.70)"
    assert statements.points(stats.Interval(0.004, -0.0002, 0.007)) == "+0.4 points (\N{MINUS SIGN}0.0 to +0.7)"
    assert statements.listed(["a"]) == "a" and statements.listed(["a", "b", "c"]) == "a, b and c"


def test_class_difficulty_names_what_goes_with_iou(tmp_path):
    """Classes in ever more images, of areas that have nothing to do with it; IoU follows the one or nothing."""
    pixels = np.zeros((20, 21), np.int64)
    for index, area in enumerate(np.random.default_rng(0).permutation(20)):
        pixels[: index + 1, index + 1] = 100 + area
    made_up(tmp_path, ["seg_unet_vgg16_classes"])
    for ious, told in (
        (
            np.arange(20) / 20,
            r"clearly with the number of training images \w+ \w+ the class \(rank correlation \+1.00\)\.",
        ),
        (np.tile([0.2, 0.8], 10), "with neither the number .* nor the median area"),
    ):
        runs = Runs(tmp_path)
        runs.metrics["seg_unet_vgg16_classes"]["test"]["class_iou"] = [0.9, *ious]
        conclusions = statements.Conclusions(runs)
        assert re.search(told, conclusions.class_difficulty("seg_unet_vgg16_classes", {"train_pixels": pixels}))
        assert "Open until `seg_baselines`" in conclusions.class_difficulty("seg_unet_vgg16_classes", {})


# the cells -----------------------------------------------------------------------------------------------------------

BLOCK = """
import os, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "jax", "torch"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
"""
SHOW = "import json; print(json.dumps([getattr(v, '_repr_markdown_', v.__str__)() for v in [{}]]))"


@pytest.fixture(scope="module")
def execute():
    """Return a function that runs all cells on a results folder and returns the text with what they wrote."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(REPORT))
    client.stop_channels()
    yield lambda folder, draw=False: run_cells(manager, folder, draw)
    manager.shutdown_kernel(now=True)


def run_cells(manager, folder, draw):
    """Run all cells. draw: have one figure of each kind drawn too; the others are made, which is quick."""
    import nbformat
    from nbclient import NotebookClient

    code = nbformat.v4.new_code_cell
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [code(BLOCK + f"os.environ['HW2_RESULTS'] = {str(folder)!r}")]
    parts = re.split(CELL, source())
    kinds, drawn = set(), set()
    for position, part in enumerate(parts):
        if position % 2:
            after = ""
            if (figure := FIGURE.search(part)) and draw and figure[1] not in kinds:
                kinds.add(figure[1])
                drawn.add(position)
            elif figure:
                after = "None"
            if "figures.use_theme()" in part:  # to arrange a figure's parts takes longer than to draw them
                after = "figures.matplotlib.rcParams['figure.constrained_layout.use'] = False"
            notebook.cells.append(code(part + after))
        elif expressions := INLINE.findall(part):
            notebook.cells.append(code(SHOW.format(", ".join(f"({text})" for text in expressions))))
    NotebookClient(notebook, km=manager, timeout=120).execute()

    ran, text = iter(notebook.cells[1:]), ""
    for position, part in enumerate(parts):
        if position % 2:
            outputs = next(ran)["outputs"]
            written = "".join(o.get("text", "") for o in outputs)
            text += written if "output: asis" in part else ""
            forms = {form for output in outputs for form in output.get("data", {})}
            if position in drawn:
                assert "image/svg+xml" in forms, part
            if re.search(r"^tables\.", part, re.MULTILINE):
                assert forms == {"text/markdown", "text/plain"}, part
                text += re.sub(r"<style.*?</style>|<[^>]*>", " ", outputs[0]["data"]["text/markdown"], flags=re.DOTALL)
        elif INLINE.search(part):
            values = json.loads(next(ran)["outputs"][0]["text"])
            assert all(values), part  # Quarto shows the code of what is empty
            values = iter(values)
            text += INLINE.sub(lambda _, values=values: next(values), part)
        else:
            text += part
    return text


def everything(text):
    """Checks that hold whatever the results are."""
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|Traceback", text)
    abstract = re.search(r"\*\*Abstract\.\*\*(.*?)^:::", text, re.DOTALL | re.MULTILINE)[1]
    assert len(abstract.split()) <= 150


def test_cells_run_on_the_committed_results(execute):
    text = execute(ROOT / "results")
    everything(text)
    finished = Runs(ROOT / "results").metrics
    for chapter in CHAPTERS.values():
        for name in chapter:
            assert name in finished or name in text  # what is missing is named


def test_cells_run_without_results(execute, tmp_path):
    text = execute(tmp_path)
    everything(text)
    assert text.count(".not-run") > 20
    assert not re.search(r"(raises?|lowers?) test accuracy by \d", text)


def test_cells_run_on_some_results(execute, tmp_path):
    names = ["vgg16_full", "scratch_bn", "ensemble_mixed", "seg_book_bilinear", "seg_unet_vgg16_classes"]
    text = execute(made_up(tmp_path, names, source="synthetic"))
    everything(text)
    assert "synthetic images" in text and "**Not run yet:**" in text


def test_cells_run_on_all_results(execute, tmp_path):
    text = execute(made_up(tmp_path, [name for names in CHAPTERS.values() for name in names]), draw=True)
    everything(text)
    assert "Open until" not in text and "**Not run yet:**" not in text


@pytest.mark.skipif(shutil.which("quarto") is None, reason="quarto is not on the PATH")
def test_quarto_renders_html_and_pdf_without_a_warning(tmp_path):
    folder = shutil.copytree(REPORT, tmp_path / "report", ignore=shutil.ignore_patterns("_output", ".quarto", "__py*"))
    shutil.copytree(ROOT / "hw2", tmp_path / "hw2")
    environment = os.environ | {"HW2_RESULTS": str(ROOT / "results"), "QUARTO_PYTHON": sys.executable}
    done = subprocess.run(["quarto", "render", folder], env=environment, capture_output=True, text=True, timeout=300)
    written = done.stdout + done.stderr
    assert done.returncode == 0, written
    assert not re.search(r"^\W*(\[\d+m)?WARN(?!ING \| Kernel is running)", written, re.MULTILINE), written
    page = (folder / "_output" / "index.html").read_text()
    assert "?@" not in page and "quarto-unresolved-ref" not in page
    assert (folder / "_output" / "index.pdf").stat().st_size > 50_000
