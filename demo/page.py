"""The page: its tabs, its look and its limits. `build` makes it of the results in a folder."""

import html
import os
import shlex
from pathlib import Path

import hw2  # noqa: F401  before anything imports Keras: it chooses TensorFlow's kernels

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # and nobody is told of it; read when Gradio is imported

import board
import classify
import compare
import gradio as gr
import numpy as np
import parts
import segment

from hw2 import predict

HERE = Path(__file__).resolve().parent
KEEP_SECONDS = 15 * 60  # uploaded and computed images are deleted after this; long enough to try a few models on one
QUEUE = 100  # who comes when so many wait is told so

# Gradio gives the examples to click on no names; a screen reader reads the name of the file then.
NAME_THE_EXAMPLES = """() => {
    const name = () => document.querySelectorAll("button.gallery-item:not([aria-label])").forEach((button) => {
        const image = button.querySelector("img");
        if (!image) return;
        const [file] = image.src.split("/").pop().split(".");
        button.setAttribute("aria-label", "Example: " + file.replace("_", " "));
    });
    new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
    name();
}"""

SYSTEM_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO_FONT = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")
TEAL = gr.themes.Color(
    *("#eef6f5", "#d9ebe9", "#b4d7d4", "#86bcb9", "#4fa09f", "#1d6f72", "#1a6366", "#175558", "#134649", "#0f383a"),
    "#0a2728",
    name="teal",
)
STONE = gr.themes.Color(
    *("#fbfaf7", "#f5f2ec", "#e6e1d6", "#d2ccbf", "#9c9a90", "#6a6e6c", "#4e5655", "#39413f", "#232b2b", "#1a2121"),
    "#12181a",
    name="stone",
)


def theme():
    """Return the look: paper, ink and one accent; fonts that every machine has, so nothing is fetched for them."""
    return gr.themes.Base(
        primary_hue=TEAL,
        secondary_hue=TEAL,
        neutral_hue=STONE,
        font=SYSTEM_FONT,
        font_mono=MONO_FONT,
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_md,
    ).set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_800",
        body_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="*neutral_50",
        background_fill_primary_dark="*neutral_900",
        block_background_fill="*neutral_50",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_700",
        block_label_background_fill="*neutral_50",
        block_label_background_fill_dark="*neutral_900",
        block_label_text_color="*neutral_500",
        block_label_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        block_title_text_weight="600",
        input_background_fill="#ffffff",
        input_background_fill_dark="*neutral_800",
        button_primary_background_fill="*primary_500",
        button_primary_background_fill_hover="*primary_600",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="*neutral_950",
        color_accent="*primary_500",
        slider_color="*primary_500",
        slider_color_dark="*primary_400",
        shadow_drop="none",
        shadow_drop_lg="none",
    )


LAUNCH = {
    "theme": theme(),
    "css_paths": HERE / "style.css",
    "js": NAME_THE_EXAMPLES,
    "footer_links": ["api"],
    "favicon_path": HERE / "favicon.png",
    "ssr_mode": False,
    "enable_monitoring": False,
    "run_history": False,
    "show_error": False,  # messages meant for the user are gr.Error; anything else is for the log alone
    "quiet": True,
}


def build(results_dir):
    """Return the page, gr.Blocks, for the finished runs in a folder; `launch` it with LAUNCH."""
    results_dir = Path(results_dir)
    models, figures_only = predict.catalogue(results_dir)
    runs, problems = predict.read_runs(results_dir)
    # whoever looks at the page need not know where on this machine it lies
    figures_only |= {name: why.replace(str(results_dir), results_dir.name) for name, why in problems.items()}
    classifiers = {model.key: model for model in models if model.task in ("classification", "ensemble")}
    segmenters = {model.key: model for model in models if model.task == "segmentation"}

    with gr.Blocks(
        title="hw2: what small networks see", analytics_enabled=False, delete_cache=(60, KEEP_SECONDS)
    ) as blocks:
        parts.say(masthead(runs))
        with gr.Tabs():
            with gr.Tab("Classify", id="classify"):
                if classifiers:
                    classify.tab(classifiers)
                else:
                    parts.say(no_model("classifier", results_dir, figures_only))
            with gr.Tab("Segment", id="segment"):
                if segmenters:
                    segment.tab(segmenters)
                else:
                    parts.say(no_model("segmenter", results_dir, figures_only))
            with gr.Tab("Compare", id="compare"):
                if classifiers:
                    compare.classifiers_part(classifiers)
                if segmenters:
                    compare.segmenters_part(segmenters)
                if not (classifiers or segmenters):
                    parts.say(no_model("model", results_dir, figures_only))
            with gr.Tab("Results", id="results"):
                if runs:
                    board.tab(results_dir, runs, figures_only)
                else:
                    parts.say(no_model("model", results_dir, figures_only))
        add_listing(models)
    blocks.queue(max_size=QUEUE, default_concurrency_limit=4)
    return blocks


def warm_up(results_dir):
    """Load and compile the models that the page starts with, so that the first who asks need not wait for it."""
    models, _ = predict.catalogue(results_dir)
    classifiers = {model.key: model for model in models if model.task != "segmentation"}
    segmenters = [model for model in models if model.task == "segmentation"]
    try:
        if classifiers:
            model, small = classifiers[parts.default(classifiers)], np.zeros((32, 32, 3), np.uint8)
            classify.heat_map(model, small, int(predict.classify(model, small).columns[0]))
        if segmenters:
            predict.segment(segmenters[0], np.zeros((32, 32, 3), np.uint8))
    except predict.ModelError as error:
        print(error, flush=True)  # the page says it too, to who asks for that model


def masthead(runs):
    """Return the head of the page: what this is, and the best figures there are."""
    facts = []
    for tasks, name, figure in (
        (("classification", "ensemble"), "best classifier", "accuracy"),
        (("segmentation",), "best segmenter", "iou"),
    ):
        found = [
            (run["validation"][figure], run["test"][figure], key)
            for key, run in runs.items()
            if run.get("task") in tasks
            and figure in run.get("test", {})
            and figure in run.get("validation", {})
            and run["data"].get("source") != "synthetic"
            and run["data"].get("classes", 100) in (100, 2)
        ]
        if found:
            _, best, key = max(found)  # the best of many test figures would flatter itself
            shown = f"{best:.1%}" if figure == "accuracy" else f"{best:.3f}"
            meaning = "of test images right" if figure == "accuracy" else "IoU on test images"
            facts.append(f"<div><dt>{name}</dt><dd>{shown} <small>{meaning}, {html.escape(key)}</small></dd></div>")
    facts.append(f"<div><dt>finished runs</dt><dd>{len(runs)}</dd></div>")
    return (
        "<header class='masthead'><h1>What small networks see</h1>"
        "<p>Give a picture to networks that were trained here, on images no larger than a postage stamp: what do they "
        f"take it for, where do they look, and what would they cut out?</p><dl>{''.join(facts)}</dl></header>"
    )


def no_model(kind, results_dir, figures_only):
    """Return what is shown in place of a tab for whose models there is none: the command that makes one."""
    only = {"classifier": "vgg16_block5", "segmenter": "seg_unet_scratch", "model": "vgg16_block5"}[kind]
    folder = html.escape(results_dir.name)
    options = " --force" if only in figures_only else ""  # else it would be skipped: it is finished
    folders = results_dir.resolve()
    if folders != HERE.parent / "results":
        inside = folders.is_relative_to(HERE.parent)
        shown = folders.relative_to(HERE.parent) if inside else Path("PATH/TO", folders.name)
        options += f" --results {html.escape(shlex.quote(str(shown)))}"
    listed = "".join(f"<li><code>{html.escape(k)}</code>: {html.escape(why)}</li>" for k, why in figures_only.items())
    return (
        f"<section class='notice'><h2>No trained {kind} yet</h2><p>There is none in <code>{folder}</code>. This "
        f"command, in the folder of the project, trains one:</p>"
        f"<pre><code>python scripts/train_all.py --only {only}{options}</code></pre>"
        "<p>This one rehearses on synthetic data, in a minute; its answers mean nothing, but the page works:</p>"
        f"<pre><code>python scripts/train_all.py --budget smoke --only {only}\n"
        "python demo/app.py --results .smoke-results</code></pre><p>Then start the page again.</p>"
        + (f"<p>Runs whose models cannot be used, here as figures only:</p><ul>{listed}</ul>" if listed else "")
        + "</section>"
    )


def add_listing(models):
    """Add the endpoint that says which models there are."""

    def listing() -> list:
        return [
            {
                "key": model.key,
                "task": "segmentation" if model.task == "segmentation" else "classification",
                "description": parts.description(model),
                "threshold": parts.default_threshold(model) if model.task == "segmentation" else None,
            }
            for model in models
        ]

    gr.api(
        listing, api_name="models", api_description="The models that can be asked for, best first: key, task, figures."
    )
