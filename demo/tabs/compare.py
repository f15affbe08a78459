"""The tab that compares models: all classifiers on one picture, and two segmenters behind a slider."""

import html
import json

import components
import gradio as gr
import names
import numpy as np
import render
import store

from hw2 import labels
from hw2.errors import ModelError
from hw2.inference import predict, uploads

LEFT, RIGHT = (0, 179, 230), (255, 140, 0)


def classifiers_part(container, picture, models):
    """Lay out the part that shows the picture to every classifier. models: `{key: Model}`."""
    titles, keys = names.titles(models), names.by_figure(models)

    def compare_classifiers(image):
        """Yield the growing table: loading many models for the first time takes a while."""
        found = components.read_upload(image)
        small = uploads.classifier_input(found.pixels)
        rows, broken = [], []
        for key in keys:
            model = models[key]
            try:
                answer = predict.classify(model, small)
            except ModelError as error:
                broken.append(str(error))
            else:
                number = answer.classes[0]
                rows.append(
                    {
                        "model": key,
                        "class": labels.CIFAR100_CLASSES[number],
                        "superclass": labels.CIFAR100_SUPERCLASSES[labels.CIFAR100_SUPERCLASS_OF[number]],
                        "confidence": round(float(answer.probabilities[0]), 4),
                        "test_accuracy": round(model.figures["test"]["accuracy"], 4),
                        "milliseconds": round(1000 * answer.seconds, 1),
                    }
                )
            yield votes(rows, titles, len(models), broken), rows

    gr.Markdown("## All classifiers on this picture", elem_classes="heading")
    button = gr.Button("Classify with all models", variant="primary", elem_id="compare-button")
    text = components.text_block(components.waiting("The answers appear one by one."))
    with gr.Accordion("As data", open=False):
        table = gr.JSON(label="Answers", show_label=False)
    event = button.click(
        compare_classifiers,
        picture,
        [text, table],
        concurrency_id="models",
        concurrency_limit=2,
        api_name="compare_classifiers",
        api_description="Show one image to every classifier. Returns the page's own text and a list: model, class, "
        "superclass, confidence, accuracy on the test images, milliseconds.",
    )
    event.success(None, js="() => hw2.link('compare')", **components.AT_ONCE)
    waiting = components.waiting("The answers appear one by one.")
    # without its end, the rest of the answers for this picture would stand beside the next one
    picture.change(
        None, None, [text, table], js=f"() => [{json.dumps(waiting)}, null]", cancels=event, **components.AT_ONCE
    )


def votes(rows, titles, total, broken):
    """Return the answers so far as a table with bars, how many models gave each of them, and errors."""
    counts = {}
    for row in rows:
        name = components.words(row["class"])
        counts[name] = counts.get(name, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    parts = ", ".join(f"<b>{name}</b> {count}" for name, count in ranked[:6])
    lines = [f"{len(rows)} of {total} models: {parts}" + (", others" if len(ranked) > 6 else "")]
    lines += [html.escape(message) for message in broken]
    body = "".join(
        f"<tr><th scope='row'>{html.escape(titles[row['model']])}<span class='run'>{html.escape(row['model'])}</span>"
        f"</th><td>{components.words(row['class'])}</td>"
        f"<td class='bar' style='--share:{row['confidence']:.3f}'>{row['confidence']:.1%}</td>"
        f"<td class='number'>{row['test_accuracy']:.1%}</td><td class='number'>{row['milliseconds']:.0f}</td></tr>"
        for row in rows
    )
    return (
        f"<section class='figures' aria-live='polite'><p class='note'>{'<br>'.join(lines)}</p>"
        "<div class='scroll'><table class='votes' aria-label='Answers'><thead><tr><th scope='col'>Model</th>"
        "<th scope='col'>Answer</th><th scope='col'>Confidence</th><th scope='col' class='number'>Test accuracy</th>"
        f"<th scope='col' class='number'>ms</th></tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def segmenters_part(container, picture, models):
    """Lay out the part that shows the masks of two segmenters behind a slider. models: `{key: Model}`."""
    left, right = default_pair(models)
    titles = names.titles(models)

    def compare_segmenters(image, left, right):
        found = components.read_upload(image)
        sides, masks, facts = [], [], []
        for key, tint, side in ((left, LEFT, "Left"), (right, RIGHT, "Right")):
            model = components.find_model(models, key)
            try:
                answer = store.segment(model, found)
            except ModelError as error:
                raise components.model_error(error) from error
            mask = answer.foreground >= components.default_threshold(model)
            masks.append(mask)
            file = f"{found.name}-{store.file_name(key)}"
            sides.append(store.save(render.overlay(found.pixels, mask, tint, 0.55), file, exact=False))
            facts.append(
                (
                    f"{side}: {titles[key]}",
                    f"{mask.mean():.1%} <small>foreground, {components.milliseconds(answer.seconds)}</small>",
                )
            )
        same = predict.agreement(masks[0], masks[1].astype(np.uint8))["iou"]
        facts.append(("Agreement of the two masks", f"{same:.3f} <small>IoU</small>"))
        inner = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd class='small'>{value}</dd></div>" for name, value in facts
        )
        return f"<section class='figures' aria-live='polite'><dl>{inner}</dl></section>", tuple(sides)

    gr.Markdown("## Two segmenters on this picture", elem_classes="heading")
    with gr.Row():
        first = components.Choice(
            components.choices(models), value=left, label="Left", elem_id="pair-left", min_width=240
        )
        second = components.Choice(
            components.choices(models), value=right, label="Right", elem_id="pair-right", min_width=240
        )
    text = components.text_block(components.waiting("Drag the line in the picture to compare the two masks."))
    slider = components.output_slider("Left | Right", max_height=460)
    button = gr.Button("Compare", variant="primary", elem_id="pair-button")
    components.connect(
        container,
        picture,
        button,
        [first.input, second.input],
        compare_segmenters,
        [picture, first, second],
        [text, slider],
        "compare_segmenters",
        "Segment one image with two models, each at its own threshold. Returns the page's own text and the pair of "
        "overlays.",
    )


def default_pair(models):
    """Return two keys: the best network with transposed convolution and the best with bilinear up-sampling.

    models: `{key: Model}`, best first. Without one of each, the two best.
    """
    best = {}
    for key, model in models.items():
        if model.metrics["data"]["classes"] == 2:
            best.setdefault(names.decoder(model), key)
    if {"transpose", "bilinear"} <= set(best):
        return best["transpose"], best["bilinear"]
    keys = list(models)
    return keys[0], keys[min(1, len(keys) - 1)]
