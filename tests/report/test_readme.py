"""README shows the committed results, and the picture of the report shows them too."""

import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "cpu"
sys.path[:0] = [str(ROOT / "report"), str(Path(__file__).parent)]
pytest.importorskip("jinja2", reason="the report's own requirements are not installed")
import made_up  # noqa: E402
import readme  # noqa: E402
from claims import Comparisons  # noqa: E402
from runs import Runs  # noqa: E402


@pytest.mark.skipif(not RESULTS.exists(), reason="no runs are stored here")
def test_readme_shows_the_committed_results():
    c = Comparisons(Runs(RESULTS))
    text = readme.README.read_text()
    assert readme.with_results(text, c) == text, "run `python report/readme.py`"
    assert readme.with_speed(text, readme.BENCHMARK) == text, "run `python report/readme.py`"
    assert readme.shown(readme.PICTURE) == readme.drawn(c), "run `python report/readme.py`"
    assert readme.PICTURE.stat().st_size < 100_000


def test_only_the_part_between_the_markers_changes(tmp_path):
    c = Comparisons(Runs(made_up.write(tmp_path, ["vgg16_features_dense_bn", "seg_unet_scratch"])))
    text = readme.with_results(f"before\n{readme.START}old\n{readme.END}after\n", c)
    assert text.startswith(f"before\n{readme.START}| task") and text.endswith(f"{readme.END}after\n")
    assert "old" not in text and text.count("\n| ") == 3
    assert "| CIFAR-100, test accuracy | frozen VGG16, dense head | " in text
    assert readme.with_results(text, c) == text


def test_the_picture_records_what_it_shows(tmp_path):
    c = Comparisons(Runs(made_up.write(tmp_path / "runs", ["vgg16_full"])))
    readme.draw(c, tmp_path / "figure.png")
    assert readme.shown(tmp_path / "figure.png") == readme.drawn(c)
    shutil.rmtree(tmp_path / "runs")
    made_up.write(tmp_path / "runs", ["vgg16_full"], seed=1)
    assert readme.shown(tmp_path / "figure.png") != readme.drawn(Comparisons(Runs(tmp_path / "runs")))


def test_the_table_of_speeds_has_the_rows_that_are_measured_against_pytorch(tmp_path):
    def row(**medians):
        return {"title": "a network", "variants": {name: {"median": value} for name, value in medians.items()}}

    rows = {"one": row(ours=1200.4, keras=900, pytorch=600.2), "two": row(ours=5.0), "three": row(keras=1, pytorch=2)}
    rows |= {"four": {"title": "not measured", "not_measured": "no torch"}, "five": row(ours=5.0, pytorch=4.0)}
    rows["six"] = {"title": "without torch", "variants": {"ours": {"median": 1}, "pytorch": {"not_measured": "why"}}}
    processors = ("Intel(R) Xeon(R), 2 cores (amx_bf16, avx2, avx512f)", "mixed_bfloat16"), ("Some GPU", "float32")
    machines = [{"processor": processor, "precision": precision} for processor, precision in processors]
    entries = [{"machine": machines[0], "rows": rows}, {"machine": machines[1], "rows": {"one": rows["one"]}}]
    (tmp_path / "benchmark.json").write_text(json.dumps({"machines": entries}))
    text = f"a\n{readme.SPEED_START}old\n{readme.SPEED_END}b\n"
    lines = readme.with_speed(text, tmp_path / "benchmark.json").splitlines()
    first = "a network | 1,200 | 900 | 600 | 2.00 |"
    group = [
        f"| 2 cores, AMX, bfloat16 | {first}",
        "|  | a network | 5 |  | 4 | 1.25 |",
        f"| Some GPU, float32 | {first}",
    ]
    assert lines[4:] == [*group, readme.SPEED_END.strip(), "b"]
    assert "old" not in lines and "| --- |" not in lines
    assert readme.speed_section(tmp_path / "absent.json").strip() == ""


def test_a_folder_without_runs_changes_nothing(tmp_path, monkeypatch):
    """A mistyped folder would otherwise empty the table."""
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("as it was")
    with pytest.raises(SystemExit, match="There is no folder of runs"):
        readme.main(str(tmp_path / "cpuu"))
    with pytest.raises(SystemExit, match="holds no finished run"):
        readme.main(str(tmp_path))
    assert (tmp_path / "README.md").read_text() == "as it was"


@pytest.mark.skipif(not (RESULTS / "scratch_final" / "model.keras").exists(), reason="no models are stored here")
def test_the_example_in_python_runs(monkeypatch):
    """But for the download of CIFAR-100."""
    pytest.importorskip("tensorflow")
    from hw2.data import splits

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(splits, "load_training", lambda data, data_dir: ("train", "validation"))
    code = readme.README.read_text().partition("## Use it from Python\n\n```python\n")[2].partition("```")[0]
    names = {}
    exec(code, names)
    assert names["train"] == "train" and names["model"].output_shape == names["network"].output_shape == (None, 100)
    assert len(names["answer"].classes) == 100 and 0 < names["mask"].mean() < 1
