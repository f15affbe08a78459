"""The tab that compares: one image through every classifier, or through two segmenters behind a slider."""

import html

import gradio as gr
import numpy as np
import paint
import parts

from hw2 import images, labels, predict


def classifiers_part(models):
    """Lay out the part that asks every classifier."""
    headers = ["Model", "Answer", "Sure, %", "Test, %", "ms", "Superclass"]

    def compare_classifiers(image):
        """Yield the table as it grows: loading twenty models for the first time takes a while."""
        pixels = parts.read(image)
        small = images.classifier_input(pixels)
        rows, votes, broken = [], {}, []
        for key, model in models.items():
            try:
                answer = predict.classify(model, small)
            except predict.ModelError as error:
                broken.append(str(error))
                yield votes_text(votes, len(rows), len(models), broken), rows
                continue
            number = answer.classes[0]
            name = parts.words(labels.CIFAR100_CLASSES[number])
            votes[name] = votes.get(name, 0) + 1
            confidence = round(100 * float(answer.probabilities[0]), 1)
            took, accuracy = round(1000 * answer.seconds, 1), round(100 * model.figures["accuracy"], 1)
            rows.append([key, name, confidence, accuracy, took, parts.superclass(number)])
            yield votes_text(votes, len(rows), len(models), broken), rows

    gr.Markdown("## One image, every classifier", elem_classes="heading")
    with gr.Row(elem_classes="workplace"):
        with gr.Column(scale=4, min_width=280):
            image = parts.picture("Image", height=240, elem_id="compare-image", webcam_options=parts.still())
            button = gr.Button("Ask them all", variant="primary", elem_id="compare-button")
            parts.examples(image, parts.TO_CLASSIFY)
        with gr.Column(scale=8, min_width=300):
            text = parts.say(parts.waiting("Their answers come one by one."))
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
    """Return who said what, most votes first."""
    ranked = sorted(votes.items(), key=lambda item: -item[1])
    parts = ", ".join(f"<b>{name}</b> {count}" for name, count in ranked[:6])
    lines = [f"{done} of {total} models: {parts}" + (", others" if len(ranked) > 6 else "")]
    lines += [html.escape(message) for message in broken]
    return f"<section class='figures' aria-live='polite'><p class='note'>{'<br>'.join(lines)}</p></section>"


def segmenters_part(models):
    """Lay out the part that shows two segmenters' answers, one over the other."""
    left, right = default_pair(list(models))

    def compare_segmenters(image, left, right):
        pixels = parts.read(image)
        sides, masks, texts = [], [], []
        for key, tint in ((left, (29, 111, 114)), (right, (200, 85, 61))):
            model = parts.asked(models, key)
            try:
                answer = predict.segment(model, pixels)
            except predict.ModelError as error:
                raise parts.failed(error) from error
            mask = answer.foreground >= parts.default_threshold(model)
            masks.append(mask)
            sides.append(paint.overlay(pixels, mask, tint, 0.6))
            texts.append((key, f"{mask.mean():.1%} foreground, {parts.milliseconds(answer.seconds)}"))
        same = predict.agreement(masks[0], masks[1].astype(np.uint8))["iou"]
        facts = [
            ("left, " + texts[0][0], texts[0][1]),
            ("right, " + texts[1][0], texts[1][1]),
            ("IoU of the two", f"{same:.3f}"),
        ]
        inner = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd class='small'>{value}</dd></div>" for name, value in facts
        )
        return f"<section class='figures' aria-live='polite'><dl>{inner}</dl></section>", tuple(sides)

    gr.Markdown("## Two segmenters, one slider", elem_classes="heading")
    with gr.Row(elem_classes="workplace"):
        with gr.Column(scale=4, min_width=280):
            image = parts.picture("Image", height=240, elem_id="pair-image", webcam_options=parts.still())
            first = gr.Dropdown(parts.choices(models), value=left, label="Left", elem_id="pair-left")
            second = gr.Dropdown(parts.choices(models), value=right, label="Right", elem_id="pair-right")
            button = gr.Button("Compare", variant="primary", elem_id="pair-button")
            parts.examples(image, parts.TO_SEGMENT)
        with gr.Column(scale=8, min_width=300):
            text = parts.say(parts.waiting("Drag the slider between the two answers."))
            # png: the lossy default smears the edges that are to be compared
            slider = gr.ImageSlider(label="Left | right", format="png", interactive=False, type="pil", height=420)
    parts.wire(
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
    """Return two keys: the best model with transposed convolutions and its bilinear twin, if there are such."""
    for key in keys:
        for one, other in (("transpose", "bilinear"), ("bilinear", "transpose")):
            twin = key.replace(one, other)
            if twin != key and twin in keys:
                return (key, twin) if one == "transpose" else (twin, key)
    return keys[0], keys[min(1, len(keys) - 1)]
