"""The page: its tabs, its theme and its limits. `build` lays it out for a catalogue of finished runs."""

import html
import os
import shlex
from pathlib import Path

import hw2  # noqa: F401  before Keras is imported: it chooses TensorFlow's kernels

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported

import components
import gradio as gr
import numpy as np
from tabs import classify, compare, results, segment

from hw2.errors import ModelError
from hw2.inference import predict

HERE = Path(__file__).resolve().parent
KEEP_SECONDS = 15 * 60  # uploads and computed images are deleted after this: time to try several models on an image
QUEUE = 100  # waiting requests; further ones are refused with a message

# Gradio gives its examples no accessible names; a screen reader then reads the name of the file.
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
    """Return the theme: paper, ink and one accent colour, with fonts of the system so that none is downloaded."""
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
    "show_error": False,  # messages for visitors are gr.Error; other exceptions belong in the log only
    "quiet": True,
}


def build(found, results_dir):
    """Return the page, gr.Blocks, of a Catalogue of the runs under `results_dir`; `launch` it with LAUNCH."""
    results_dir = Path(results_dir)
    classifiers = {model.key: model for model in found.models if model.task != "segmentation"}
    segmenters = {model.key: model for model in found.models if model.task == "segmentation"}

    def missing(kind):
        components.text_block(no_model(kind, results_dir, found.figures_only))

    with gr.Blocks(
        title="hw2: image classification and segmentation", analytics_enabled=False, delete_cache=(60, KEEP_SECONDS)
    ) as blocks:
        components.text_block(masthead(found.runs))
        with gr.Tabs():
            with gr.Tab("Classify", id="classify"):
                classify.tab(classifiers) if classifiers else missing("classifier")
            with gr.Tab("Segment", id="segment"):
                segment.tab(segmenters) if segmenters else missing("segmenter")
            with gr.Tab("Compare", id="compare"):
                if classifiers:
                    compare.classifiers_part(classifiers)
                if segmenters:
                    compare.segmenters_part(segmenters)
                if not found.models:
                    missing("model")
            with gr.Tab("Results", id="results"):
                results.tab(results_dir, found.runs, found.figures_only) if found.runs else missing("model")
        add_listing(found.models)
    blocks.queue(max_size=QUEUE, default_concurrency_limit=4)
    return blocks


def warm_up(models):
    """Load and compile the models that the page starts with, so that the first visitor does not wait for them."""
    classifiers = {model.key: model for model in models if model.task != "segmentation"}
    segmenters = [model for model in models if model.task == "segmentation"]
    try:
        if classifiers:
            model, image = classifiers[components.default(classifiers)], np.zeros((32, 32, 3), np.uint8)
            predict.heat_map(model, image, int(predict.classify(model, image).columns[0]))
        if segmenters:
            predict.segment(segmenters[0], np.zeros((32, 32, 3), np.uint8))
    except ModelError as error:
        print(error, flush=True)  # visitors who choose this model see it on the page


def masthead(finished):
    """Return the head of the page: its subject, the budget and number of the runs, and the best test figures.

    finished: {name: metrics}. The best run is chosen by its validation figure: the best of many test figures would be
    biased upwards.
    """
    facts = []
    for tasks, name, figure in (
        (("classification", "ensemble"), "best classifier", "accuracy"),
        (("segmentation",), "best segmenter", "iou"),
    ):
        ranked = [
            (metrics["validation"][figure], metrics["test"][figure], run)
            for run, metrics in finished.items()
            if metrics["task"] in tasks
            and metrics["data"]["source"] != "synthetic"
            and metrics["data"]["classes"] in (100, 2)
        ]
        if ranked:
            _, best, run = max(ranked)
            shown = f"{best:.1%}" if figure == "accuracy" else f"{best:.3f}"
            unit = "accuracy" if figure == "accuracy" else "IoU"
            facts.append((name, f"{shown} <small>{unit} on test images, {html.escape(run)}</small>"))
    budgets = ", ".join(sorted({metrics["budget"] for metrics in finished.values()}))
    facts.append(
        ("finished runs", f"{len(finished)} <small>{html.escape(budgets)} budget</small>" if finished else "0")
    )
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return (
        "<header class='masthead'><h1>Image classification and segmentation</h1>"
        "<p>Upload a picture. Networks that were trained in this project on small images name its subject, show the "
        "regions that support the answer, and separate the foreground from the background.</p>"
        f"<dl>{listed}</dl></header>"
    )


def no_model(kind, results_dir, figures_only):
    """Return the notice that replaces a tab without models: the command that trains one."""
    only = {"classifier": "vgg16_block5", "segmenter": "seg_unet_scratch", "model": "vgg16_block5"}[kind]
    options = " --force" if only in figures_only else ""  # a finished run is skipped otherwise
    folder, known = results_dir.resolve(), HERE.parent / "results"
    if folder.parent == known and folder.name in ("cpu", "gpu"):
        options += f" --budget {folder.name}"
    else:
        shown = folder.relative_to(HERE.parent) if folder.is_relative_to(HERE.parent) else Path("PATH/TO", folder.name)
        options += f" --results {html.escape(shlex.quote(str(shown)))}"
    return (
        f"<section class='notice'><h2>No trained {kind} yet</h2><p>There is none in "
        f"<code>{html.escape(results_dir.name)}</code>. This command, in the folder of the project, trains one:</p>"
        f"<pre><code>python scripts/train_all.py --only {only}{options}</code></pre>"
        "<p>These rehearse on synthetic data in a minute; the answers are meaningless, but the page works:</p>"
        f"<pre><code>python scripts/train_all.py --budget smoke --only {only}\n"
        "python demo/app.py --results results/smoke</code></pre><p>Then start the page again.</p>"
        + (f"<p>Runs without a usable model:</p>{components.reasons(figures_only)}" if figures_only else "")
        + "</section>"
    )


def add_listing(models):
    """Add the endpoint that lists the models."""

    def listing() -> list:
        return [
            {
                "key": model.key,
                "task": "segmentation" if model.task == "segmentation" else "classification",
                "description": components.description(model),
                "threshold": components.default_threshold(model) if model.task == "segmentation" else None,
            }
            for model in models
        ]

    gr.api(listing, api_name="models", api_description="The available models, best first: key, task and test figures.")
