"""The report's pages, and their cells executed as Quarto does. Needs nbclient, nbformat and ipykernel, not pytest."""

import json
import re
import sys
from pathlib import Path

import nbformat
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

REPORT = Path(__file__).resolve().parents[2] / "report"
INLINE = re.compile(r"`\{python\} ([^`]+)`")
PLOT = re.compile(r"^plots\.(?!use_theme)(\w+)\(.*\)$", re.DOTALL | re.MULTILINE)
CELL = re.compile(r"^```\{python\}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FRAMEWORKS = ("tensorflow", "keras", "jax", "torch")
BLOCK = f"""
import os, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FRAMEWORKS!r}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
"""
SHOW = "import json; print(json.dumps([getattr(v, '_repr_markdown_', v.__str__)() for v in [{}]]))"


PAGES = ("index", "appendix-classification", "appendix-segmentation", "appendix-runs")


def source(path=REPORT / "index.qmd"):
    """Return the text of a page with its parts included; by default, of the article."""
    return re.sub(r"\{\{< include (\S+) >\}\}", lambda match: source(path.parent / match[1]), path.read_text())


def start_kernel():
    """Return the manager of a new Python kernel in the report's folder, to be shut down by the caller."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(REPORT))
    client.stop_channels()
    return manager


def execute(manager, folder, draw=False, pages=PAGES):
    """Run all cells on a folder of runs, without any framework, and return the text with their output, by page.

    draw: draw one plot of each kind; the others are made and not drawn, which is quick.
    """
    return {page: _execute(manager, folder, draw, source(REPORT / f"{page}.qmd")) for page in pages}


def _execute(manager, folder, draw, page):
    code = nbformat.v4.new_code_cell
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [code(BLOCK + f"os.environ['HW2_RESULTS'] = {str(folder)!r}")]
    parts = re.split(CELL, page)
    kinds, drawn = set(), set()
    for position, part in enumerate(parts):
        if position % 2:
            after = ""
            if (plot := PLOT.search(part)) and draw and plot[1] not in kinds:
                kinds.add(plot[1])
                drawn.add(position)
            elif plot:
                after = "None"
            if "plots.use_theme()" in part:  # arranging the parts of a figure takes longer than drawing them
                after = "plots.style.matplotlib.rcParams['figure.constrained_layout.use'] = False"
            notebook.cells.append(code(part + after))
        elif expressions := INLINE.findall(part):
            notebook.cells.append(code(SHOW.format(", ".join(f"({text})" for text in expressions))))
    NotebookClient(notebook, km=manager, timeout=120).execute()

    ran, text = iter(notebook.cells[1:]), ""
    for position, part in enumerate(parts):
        if position % 2:
            outputs = next(ran)["outputs"]
            forms = {form for output in outputs for form in output.get("data", {})}
            if position in drawn:
                assert "image/svg+xml" in forms, part
            if re.search(r"^tables\.", part, re.MULTILINE):
                assert forms == {"text/markdown", "text/plain"}, part
                text += re.sub(r"<style.*?</style>|<[^>]*>", " ", outputs[0]["data"]["text/markdown"], flags=re.DOTALL)
        elif INLINE.search(part):
            values = json.loads(next(ran)["outputs"][0]["text"])
            assert all(values), part  # Quarto shows the code of an empty value
            values = iter(values)
            text += INLINE.sub(lambda _, values=values: next(values), part)
        else:
            text += part
    return text


def words(text):
    """Return the number of words of a page that a reader sees: captions and answers too, numbers of tables not."""
    text = re.sub(r"\A---\n.*?\n---\n|<!--.*?-->|```\{=\w+\}.*?```", " ", text, flags=re.DOTALL)
    text = re.sub(r"^:::.*$|\{[^}]*\}|\[?-?@[\w-]+\]?|[|*#`]", " ", text, flags=re.MULTILINE)
    return len(re.findall(r"\S*\w\S*", text))


def check(pages):
    """Assert what holds for any results: no missing value in the text, and a short abstract."""
    for text in pages.values():
        found = re.search(r".{0,80}(\bnan\b|\bNone\b|\binf\b|Traceback).{0,80}", text)
        assert not found, found
    abstract = re.search(r"\*\*Abstract\.\*\*(.*?)^:::", pages["index"], re.DOTALL | re.MULTILINE)[1]
    assert len(abstract.split()) <= 120, len(abstract.split())


if __name__ == "__main__":  # python cells.py FOLDER: run all cells in this interpreter's environment
    kernel = start_kernel()
    try:
        check(execute(kernel, Path(sys.argv[1]).resolve(), draw=True))
    finally:
        kernel.shutdown_kernel(now=True)
