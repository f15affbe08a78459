"""The tab that segments an image into foreground and background."""

import html

import components
import gradio as gr
import numpy as np
import render

from hw2 import labels
from hw2.errors import ImageError, ModelError
from hw2.inference import predict, uploads


def tab(models):
    """Lay out the tab. models: `{key: Model}`, the first of them chosen at the start."""
    first = next(iter(models))

    def segment(image, model, threshold, colour, opacity, truth):
        pixels = components.read_upload(image)
        model = components.find_model(models, model)
        try:
            tint = render.parse_colour(colour)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        try:
            answer = predict.segment(model, pixels)
        except ModelError as error:
            raise components.model_error(error) from error
        mask = answer.foreground >= threshold
        shown_labels = None
        if answer.labels is not None:
            shown_labels = np.where(mask, answer.labels, 0)
        data = {
            "model": model.key,
            "threshold": threshold,
            "foreground_share": round(float(mask.mean()), 5),
            "milliseconds": {
                "loading": round(1000 * answer.load_seconds, 1),
                "network": round(1000 * answer.seconds, 1),
            },
        }
        if shown_labels is not None:
            data["classes"] = {
                labels.VOC_CLASSES[label]: round(float(np.mean(shown_labels == label)), 5)
                for label in np.unique(shown_labels[mask])
            }
        errors = None
        if truth:
            try:
                true_mask = uploads.read_mask(truth, mask.shape)
            except ImageError as error:
                raise gr.Error(str(error), print_exception=False, title="The mask is not accepted") from error
            data |= {name: round(value, 5) for name, value in predict.agreement(mask, true_mask).items()}
            errors = render.errors(pixels, mask, true_mask)
        return (
            segment_text(data, model),
            render.overlay(pixels, mask, tint, opacity, shown_labels),
            render.black_and_white(mask),
            render.probability(answer.foreground),
            render.cut_out(pixels, mask),
            gr.update(value=errors, visible=errors is not None),
            data,
        )

    with gr.Row(elem_classes="workplace"):
        with gr.Column(scale=5, min_width=300):
            image = components.input_image(
                "Image", height=300, elem_id="segment-image", webcam_options=components.webcam_options()
            )
            model = gr.Dropdown(components.choices(models), value=first, label="Model", elem_id="segment-model")
            threshold = gr.Slider(
                0.02,
                0.98,
                value=components.default_threshold(models[first]),
                step=0.01,
                label="Threshold",
                info="Least probability of a foreground pixel",
            )
            with gr.Row():
                opacity = gr.Slider(0, 1, value=0.55, step=0.05, label="Opacity", min_width=140)
                colour = gr.ColorPicker("#e4572e", label="Colour", min_width=120)
            button = gr.Button("Segment", variant="primary", elem_id="segment-button")
            with gr.Accordion("Compare with a mask of your own", open=False):
                components.text_block("<p class='note'>Black and white, or in the colours of PASCAL VOC.</p>")
                truth = components.input_image(
                    "True mask",
                    height=180,
                    sources=["upload", "clipboard"],
                    elem_id="segment-truth",
                )
                components.examples(truth, ("aeroplane_mask.png", "horse_mask.png"), "Masks of two examples")
            components.examples(image, components.TO_SEGMENT)
        with gr.Column(scale=7, min_width=300):
            text = components.text_block(
                components.waiting("Upload, paste or photograph something, or choose an example.")
            )
            overlay = components.output_image(
                "Foreground", "The image with the foreground coloured", exact=False, height=380
            )
            errors = components.output_image(
                "Errors", "Agreement with the true mask, by colour", exact=False, visible=False, height=380
            )
            with gr.Row(elem_classes="thirds"):
                mask = components.output_image(
                    "Mask", "The foreground in white, the background in black", min_width=120
                )
                probability = components.output_image(
                    "Probability", "Bright where foreground is probable", exact=False, min_width=120
                )
                cut_out = components.output_image(
                    "Cut-out",
                    "The foreground on a transparent background",
                    min_width=120,
                    elem_classes="transparent",
                )
            with gr.Accordion("As data", open=False):
                data = gr.JSON(label="Answer", show_label=False)
    model.input(
        lambda key: components.default_threshold(components.find_model(models, key)),
        model,
        threshold,
        queue=False,
        api_visibility="private",
    ).then(
        lambda *values: segment(*values) if values[0] else [None] * 7,
        [image, model, threshold, colour, opacity, truth],
        [text, overlay, mask, probability, cut_out, errors, data],
        concurrency_id="models",
        api_visibility="private",
    )
    components.connect(
        button,
        [threshold.release, opacity.release, colour.change, truth.change],
        image,
        segment,
        [image, model, threshold, colour, opacity, truth],
        [text, overlay, mask, probability, cut_out, errors, data],
        "segment",
        "Separate foreground from background. Give the key of a model (see /models), the threshold on the probability, "
        "the overlay's colour (#rrggbb) and opacity, and a true mask or null. Returns the page's own text, overlay, "
        "mask, probability map, cut-out (PNG with alpha), error map (with a true mask), and the answer as data: share "
        "of foreground, classes where the model distinguishes them, Dice and IoU with a true mask, and timings.",
    )


def segment_text(data, model):
    """Return the share of the foreground, its classes, the agreement with the truth, and the timings."""
    facts = [("foreground", f"{data['foreground_share']:.1%}")]
    if "dice" in data:
        facts += [("Dice", f"{data['dice']:.3f}"), ("IoU", f"{data['iou']:.3f}")]
    took = data["milliseconds"]
    facts.append(("network", f"{took['network']:.0f} ms"))
    shares = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    notes = components.rehearsal_note(model)
    if "dice" in data:
        keys = (("correct", render.RIGHT), ("missed", render.MISSED), ("false alarm", render.EXTRA))
        notes.append("".join(swatch(name, colour) for name, colour in keys) + swatch("not counted", (245, 245, 245)))
    if data.get("classes"):
        found = sorted(data["classes"].items(), key=lambda item: -item[1])
        notes.append(
            "".join(
                swatch(f"{name} {share:.1%}", labels.VOC_PALETTE[labels.VOC_CLASSES.index(name)])
                for name, share in found
                if share >= 0.001
            )
        )
    if took["loading"] >= 50:
        notes.append(f"loading the model took {took['loading'] / 1000:.1f} s, once")
    note = f"<p class='note'>{'<br>'.join(notes)}</p>" if notes else ""
    return f"<section class='figures' aria-live='polite'><dl>{shares}</dl>{note}</section>"


def swatch(name, colour):
    return f"<span class='swatch'><i style='background:rgb{tuple(map(int, colour))}'></i>{html.escape(name)}</span>"
