"""The page: its tabs, its theme and its limits. `build` lays it out for a catalogue of finished runs."""

import html
import json
import os
import shlex
from pathlib import Path

import hw2  # noqa: F401  before Keras is imported: it leaves memory of a GPU to other processes

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
# of this many requests, statistics that nobody reads are computed anew at every request
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")

import components
import gradio as gr
import names
import numpy as np
import store
from starlette.middleware import Middleware
from tabs import about, classify, compare, results, segment

from hw2.errors import ImageError, ModelError
from hw2.experiments import title_of
from hw2.inference import predict

HERE = Path(__file__).resolve().parent
REPORT = HERE.parent / "report" / "_output"
TABS = ("classify", "segment", "compare", "results", "about")
SESSIONS = 100  # whose components Gradio remembers, in 0.2 MB each; it forgets none before, and a call is a session too
QUEUE = 100  # waiting requests; further ones are refused with a message

# Gradio gives its examples no accessible names; a screen reader then reads the name of the file.
NAME_THE_EXAMPLES = """() => {
    const name = () => document.querySelectorAll("button.gallery-item:not([aria-label])").forEach((button) => {
        const image = button.querySelector("img");
        if (!image) return;
        const [file] = image.src.split("/").pop().split(".");
        button.setAttribute("aria-label", "Example: " + file.replace("_", " "));
        button.title = file.replace("_", " ");
    });
    new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
    name();
}"""

# What the page remembers in the browser: the example on show, and the address that leads to the same answer.
SCRIPT = """<script>
window.hw2 = {
    examples: EXAMPLES,
    example: null,
    open: "classify",
    questions: 0,
    about: {},
    pressed: false,
    isOpen(id) { return hw2.open === id; },
    // what a tab asks for: a text that differs from the one before, so that the server is called
    ask(id, picture) {
        hw2.about[id] = hw2.isOpen(id) && picture ? picture.path : null;
        return hw2.about[id] === null ? "" : `${++hw2.questions} ${picture.path}`;
    },
    isAbout(id, picture) { return !!picture && hw2.about[id] === picture.path; },
    press(id, picture) {
        hw2.pressed = true;
        return hw2.ask(id, picture || { path: "" }); // the server says what is missing
    },
    opened() {
        const asked = new URLSearchParams(location.search).get("example");
        hw2.example = hw2.examples.includes(asked) ? asked : hw2.examples[0];
    },
    // the tab that the address asks for, unless the visitor has opened another one already
    asked() {
        const tab = new URLSearchParams(location.search).get("tab");
        if (!TABS.includes(tab) || hw2.open !== TABS[0]) return undefined;
        hw2.open = tab;
        return { __type__: "update", selected: tab };
    },
    link(tab, model) {
        if (hw2.isOpen(tab)) hw2.show({ tab, model, example: hw2.example });
    },
    show(parts) {
        const query = new URLSearchParams(location.search);
        for (const [name, value] of Object.entries(parts)) value ? query.set(name, value) : query.delete(name);
        history.replaceState(null, "", "?" + query);
    },
    // a picture of the visitor's own has no link, also where it is an example's file and its answer stands already
    ownPicture() {
        hw2.example = null;
        hw2.show({ example: null });
    },
    enter(id, hidden) {
        hw2.open = id;
        document.querySelector("#workplace").classList.toggle("without-picture", hidden);
    },
};
</script>"""

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
    "head": SCRIPT.replace("EXAMPLES", json.dumps([*components.KNOWN, *components.UNKNOWN])).replace(
        "TABS", json.dumps(TABS)
    )
    + f"<script>{(HERE / 'stream.js').read_text()}</script>",
    "footer_links": ["api"],
    "favicon_path": HERE / "favicon.png",
    "ssr_mode": False,
    "state_session_capacity": SESSIONS,
    "enable_monitoring": False,
    "run_history": False,
    "show_error": False,  # messages for visitors are gr.Error; other exceptions belong in the log only
    "quiet": True,
}


def launch_options(max_upload_mb):
    """Return the options with which the page is launched. max_upload_mb: largest file accepted."""
    limit = int(max_upload_mb * 1_000_000)
    return LAUNCH | {"max_file_size": limit, "app_kwargs": {"middleware": [Middleware(LimitedBody, limit=limit)]}}


class LimitedBody:
    """ASGI middleware that refuses requests whose body is too large: Gradio limits only the files of its upload form.

    limit: bytes of a file. A body may hold one in base64, as MCP clients send it.
    """

    def __init__(self, app, limit):
        self.app, self.limit = app, limit * 4 // 3 + 1_000_000

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.limit:
            await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"text/plain")]})
            return await send({"type": "http.response.body", "body": b"The request is too large."})
        received = 0

        async def counted():
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message if received <= self.limit else {"type": "http.disconnect"}

        return await self.app(scope, counted, send)


def build(found, results_dir, *, report=False, max_upload_mb=20, share=False):
    """Return the page, gr.Blocks, of a Catalogue of the runs under `results_dir`; `launch` it with `launch_options`.

    report: whether the server has the rendered report at report/index.html. share: whether a public link is requested.
    """
    results_dir = Path(results_dir)
    classifiers = {model.key: model for model in found.models if model.task != "segmentation"}
    segmenters = {model.key: model for model in found.models if model.task == "segmentation"}

    def missing(kind):
        components.text_block(no_model(kind, results_dir, found.figures_only))

    chosen, threshold = {}, None
    with gr.Blocks(
        title="hw2: image classification and segmentation",
        analytics_enabled=False,
        delete_cache=(60, store.KEEP_SECONDS),
    ) as blocks:
        components.text_block(masthead(found.runs))
        with gr.Row(
            elem_id="workplace", elem_classes=["workplace"] if found.models else ["workplace", "without-picture"]
        ):
            with gr.Column(scale=4, min_width=280, elem_id="aside"):
                picture = components.picture_input(
                    "Picture", height=280, elem_id="picture", webcam_options=components.WEBCAM
                )
                for event in (picture.upload, picture.clear):
                    event(None, js="() => hw2.ownPicture()", **components.AT_ONCE)
                components.gallery(picture, components.KNOWN, "Examples")
                components.gallery(picture, components.UNKNOWN, "Not among the 100 classes: watch it guess")
            with gr.Column(scale=8, min_width=300), gr.Tabs(elem_id="tabs") as tabs:
                with gr.Tab("Classify", id="classify") as container:
                    beside(container, picture=bool(classifiers))
                    if classifiers:
                        chosen["classify"] = classify.tab(container, picture, classifiers, segmenters)
                    else:
                        missing("classifier")
                with gr.Tab("Segment", id="segment") as container:
                    beside(container, picture=bool(segmenters))
                    if segmenters:
                        chosen["segment"], threshold = segment.tab(container, picture, segmenters)
                    else:
                        missing("segmenter")
                with gr.Tab("Compare", id="compare") as container:
                    beside(container, picture=bool(found.models))
                    if classifiers:
                        compare.classifiers_part(container, picture, classifiers)
                    if segmenters:
                        compare.segmenters_part(container, picture, segmenters)
                    if not found.models:
                        missing("model")
                with gr.Tab("Results", id="results") as container:
                    beside(container, picture=False)
                    results.tab(results_dir, found.runs, found.figures_only) if found.runs else missing("model")
                with gr.Tab("About", id="about") as container:
                    beside(container, picture=False)
                    about.tab(report, max_upload_mb, share)
        if found.models:
            open_link(blocks, picture, tabs, chosen, threshold, segmenters)
        add_listing(found.models)
    blocks.queue(max_size=QUEUE, default_concurrency_limit=4)
    return blocks


def beside(container, picture):
    """Show or hide the picture and the examples when a tab is opened.

    This is called before the tab is laid out: listeners to an event are called in turn, each after the former's answer.
    """
    container.select(
        None, js=f"() => hw2.enter('{container.id}', {str(not picture).lower()})", api_visibility="private"
    )


def open_link(blocks, picture, tabs, chosen, threshold, segmenters):
    """Show what the page's address asks for, by default the first example, which is then answered.

    chosen: {tab: list of models}. threshold: that of the chosen one of `segmenters`, {key: Model}; None without these.
    The address is ?tab=segment&model=KEY&example=cat.
    """
    examples = (*components.KNOWN, *components.UNKNOWN)

    def opened(request: gr.Request):
        asked = {name: request.query_params.get(name) for name in ("tab", "model", "example")}
        example = asked["example"] if asked["example"] in examples else examples[0]
        lists = [
            gr.update(value=asked["model"])
            if name == asked["tab"] and asked["model"] in [value for _, value in choice.choices]
            else gr.skip()
            for name, choice in chosen.items()
        ]
        if segmenters:
            known = asked["tab"] == "segment" and asked["model"] in segmenters
            lists.append(components.default_threshold(segmenters[asked["model"]]) if known else gr.skip())
        return components.example_path(f"{example}.jpg"), *lists

    blocks.load(None, None, tabs, js="() => hw2.asked()", **components.AT_ONCE)
    outputs = [picture, *chosen.values(), *([threshold] if segmenters else [])]
    blocks.load(opened, None, outputs, js="() => hw2.opened()", **components.AT_ONCE)


def warm_up(models):
    """Load and compile the models that the page starts with, so that the first visitor does not wait for them."""
    classifiers = {model.key: model for model in models if model.task != "segmentation"}
    segmenters = {model.key: model for model in models if model.task == "segmentation"}
    try:
        store.decoder.read_image(components.EXAMPLES / f"{components.KNOWN[0]}.jpg")
        if classifiers:
            model, image = classifiers[names.default(classifiers)], np.zeros((32, 32, 3), np.uint8)
            predict.heat_map(model, image, int(predict.classify(model, image).columns[0]))
        if segmenters:
            predict.segment(segmenters[names.default(segmenters)], np.zeros((32, 32, 3), np.uint8))
    except (ModelError, ImageError) as error:
        print(error, flush=True)  # visitors who choose this model see it on the page


def masthead(finished):
    """Return the head of the page: its subject, the budget and number of the runs, and the best test figures.

    finished: {name: metrics}. The best run is chosen by its validation figure: the best of many test figures would be
    biased upwards.
    """
    facts = []
    for tasks, name, figure in (
        (("classification", "ensemble"), "Best classifier", "accuracy"),
        (("segmentation",), "Best segmentation network", "iou"),
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
            unit = "of test images right" if figure == "accuracy" else "IoU on test images"
            facts.append(
                (
                    f"{name}: {html.escape(title_of(run))}",
                    f"{shown} <small>{unit}</small> <small class='run'>{html.escape(run)}</small>",
                )
            )
    budgets = ", ".join(sorted({metrics["budget"] for metrics in finished.values()}))
    facts.append(
        ("Finished runs", f"{len(finished)} <small>{html.escape(budgets)} budget</small>" if finished else "0")
    )
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return (
        "<header class='masthead'><h1>Image classification and segmentation</h1>"
        "<p>Networks trained in this project name the subject of your picture, show what they looked at, and cut it "
        "out. They know 100 kinds of things, from apple to worm, and must always choose one of them.</p>"
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


def add_listing(found):
    """Add the endpoint that lists the models."""

    of_task = [[model for model in found if (model.task == "segmentation") == segments] for segments in (False, True)]
    titles, defaults = {}, set()
    for group in ({model.key: model for model in models} for models in filter(None, of_task)):
        titles |= names.titles(group)
        defaults.add(names.default(group))

    def models() -> list:
        return [
            {
                "key": model.key,
                "task": "segmentation" if model.task == "segmentation" else "classification",
                "name": titles[model.key],
                "description": components.description(model),
                "default": model.key in defaults,
                "threshold": components.default_threshold(model) if model.task == "segmentation" else None,
            }
            for model in found
        ]

    gr.api(
        models,
        api_name="models",
        api_description="The available models, best first: key, name, task, test figures, and whether the page starts "
        "with it.",
    )
