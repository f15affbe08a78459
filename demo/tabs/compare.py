"""The tab that compares models: one image for every classifier, or two segmenters side by side behind a slider."""

import html

import components
import gradio as gr
import numpy as np
import render

from hw2 import labels
from hw2.errors import ModelError
from hw2.inference import predict, uploads


def classifiers_part(models):
    """Lay out the part that shows one image to every classifier. models: `{key: Model}`."""
    headers = ["Model", "Answer", "Confidence, %", "Test accuracy, %", "ms", "Superclass"]

    def compare_classifiers(image):
        """Yield the growing table: loading many models for the first time takes a while."""
        pixels = components.read_upload(image)
        small = uploads.classifier_input(pixels)
        rows, votes, broken = [], {}, []
        for key, model in models.items():
            try:
                answer = predict.classify(model, small)
            except ModelError as error:
                broken.append(str(error))
                yield votes_text(votes, len(rows), len(models), broken), rows
                continue
            number = answer.classes[0]
            name = components.words(labels.CIFAR100_CLASSES[number])
            votes[name] = votes.get(name, 0) + 1
            confidence = round(100 * float(answer.probabilities[0]), 1)
            took, accuracy = round(1000 * answer.seconds, 1), round(100 * model.figures["test"]["accuracy"], 1)
            rows.append([key, name, confidence, accuracy, took, components.superclass(number)])
            yield votes_text(votes, len(rows), len(models), broken), rows

    gr.Markdown("## One image, all classifiers", elem_classes="heading")
    with gr.Row(elem_classes="workplace"):
        with gr.Column(scale=4, min_width=280):
            image = components.input_image(
                "Image", height=240, elem_id="compare-image", webcam_options=components.webcam_options()
            )
            button = gr.Button("Classify with all models", variant="primary", elem_id="compare-button")
            components.examples(image, components.TO_CLASSIFY)
        with gr.Column(scale=8, min_width=300):
            text = components.text_block(components.waiting("The answers appear one by one."))
            table = gr.Dataframe(
                headers=headers,
                datatype=["str", "str", "number", "number", "number", "str"],
                interactive=False,
                label="Answers",
                show_label=False,
                elem_id="compare-table",
                buttons=["fullscreen", "copy"],
            )
    common = {"inputs": image, "outputs": [text, table], "concurrency_id": "models", "concurrency_limit": 2}
    button.click(
        compare_classifiers,
        **common,
        api_name="compare_classifiers",
        api_description="Show one image to every classifier. Returns the page's own text and a table: model, answer, "
        "confidence in percent, accuracy on the test images in percent, milliseconds, superclass.",
    )


def votes_text(votes, done, total, broken):
    """Return how many models gave each answer, most frequent first, and the errors of those that failed."""
    ranked = sorted(votes.items(), key=lambda item: -item[1])
    parts = ", ".join(f"<b>{name}</b> {count}" for name, count in ranked[:6])
    lines = [f"{done} of {total} models: {parts}" + (", others" if len(ranked) > 6 else "")]
    lines += [html.escape(message) for message in broken]
    return f"<section class='figures' aria-live='polite'><p class='note'>{'<br>'.join(lines)}</p></section>"


def segmenters_part(models):
    """Lay out the part that shows the masks of two segmenters behind a slider. models: `{key: Model}`."""
    left, right = default_pair(list(models))

    def compare_segmenters(image, left, right):
        pixels = components.read_upload(image)
        sides, masks, texts = [], [], []
        for key, tint in ((left, (29, 111, 114)), (right, (200, 85, 61))):
            model = components.find_model(models, key)
            try:
                answer = predict.segment(model, pixels)
            except ModelError as error:
                raise components.model_error(error) from error
            mask = answer.foreground >= components.default_threshold(model)
            masks.append(mask)
            sides.append(render.overlay(pixels, mask, tint, 0.6))
            texts.append((key, f"{mask.mean():.1%} foreground, {components.milliseconds(answer.seconds)}"))
        same = predict.agreement(masks[0], masks[1].astype(np.uint8))["iou"]
        facts = [
            ("left, " + texts[0][0], texts[0][1]),
            ("right, " + texts[1][0], texts[1][1]),
            ("IoU of the two masks", f"{same:.3f}"),
        ]
        inner = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd class='small'>{value}</dd></div>" for name, value in facts
        )
        return f"<section class='figures' aria-live='polite'><dl>{inner}</dl></section>", tuple(sides)

    gr.Markdown("## Two segmenters", elem_classes="heading")
    with gr.Row(elem_classes="workplace"):
        with gr.Column(scale=4, min_width=280):
            image = components.input_image(
                "Image", height=240, elem_id="pair-image", webcam_options=components.webcam_options()
            )
            first = gr.Dropdown(components.choices(models), value=left, label="Left", elem_id="pair-left")
            second = gr.Dropdown(components.choices(models), value=right, label="Right", elem_id="pair-right")
            button = gr.Button("Compare", variant="primary", elem_id="pair-button")
            components.examples(image, components.TO_SEGMENT)
        with gr.Column(scale=8, min_width=300):
            text = components.text_block(components.waiting("Drag the slider to compare the two masks."))
            # png: the lossy default blurs the edges that are compared
            slider = gr.ImageSlider(label="Left | right", format="png", interactive=False, type="pil", height=420)
    components.connect(
        button,
        [first.input, second.input],
        image,
        compare_segmenters,
        [image, first, second],
        [text, slider],
        "compare_segmenters",
        "Segment one image with two models, each at its own threshold. Returns the page's own text and the pair of "
        "overlays.",
    )


def default_pair(keys):
    """Return two keys: the best pair of models that differ in the decoder (transposed, bilinear), else the two best."""
    for key in keys:
        for one, other in (("transpose", "bilinear"), ("bilinear", "transpose")):
            twin = key.replace(one, other)
            if twin != key and twin in keys:
                return (key, twin) if one == "transpose" else (twin, key)
    return keys[0], keys[min(1, len(keys) - 1)]
