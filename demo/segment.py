"""The tab that separates foreground from background."""

import html

import gradio as gr
import numpy as np
import paint
import parts

from hw2 import images, labels, predict


def tab(models):
    """Lay out the tab. models: `{key: predict.Model}`, the first of them chosen at the start."""
    first = next(iter(models))

    def segment(image, model, threshold, colour, opacity, truth):
        pixels = parts.read(image)
        model = parts.asked(models, model)
        try:
            tint = paint.parse_colour(colour)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        try:
            answer = predict.segment(model, pixels)
        except predict.ModelError as error:
            raise parts.failed(error) from error
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
                true_mask = images.read_mask(truth, mask.shape)
            except images.ImageError as error:
                raise gr.Error(str(error), print_exception=False, title="The mask is not accepted") from error
            data |= {name: round(value, 5) for name, value in predict.agreement(mask, true_mask).items()}
            errors = paint.errors(pixels, mask, true_mask)
        return (
            segment_text(data, model),
            paint.overlay(pixels, mask, tint, opacity, shown_labels),
            paint.black_and_white(mask),
            paint.probability(answer.foreground),
            paint.cut_out(pixels, mask),
            gr.update(value=errors, visible=errors is not None),
            data,
        )

    with gr.Row(elem_classes="workplace"):
        with gr.Column(scale=5, min_width=300):
            image = parts.picture("Image", height=300, elem_id="segment-image", webcam_options=parts.still())
            model = gr.Dropdown(parts.choices(models), value=first, label="Model", elem_id="segment-model")
            threshold = gr.Slider(
                0.02,
                0.98,
                value=parts.default_threshold(models[first]),
                step=0.01,
                label="Threshold",
                info="Probability from which a pixel counts as foreground",
            )
            with gr.Row():
                opacity = gr.Slider(0, 1, value=0.55, step=0.05, label="Opacity", min_width=140)
                colour = gr.ColorPicker("#e4572e", label="Colour", min_width=120)
            button = gr.Button("Segment", variant="primary", elem_id="segment-button")
            with gr.Accordion("Compare with a mask that you have", open=False):
                parts.say("<p class='note'>Black and white, or in the colours of PASCAL VOC.</p>")
                truth = parts.picture(
                    "True mask",
                    height=180,
                    sources=["upload", "clipboard"],
                    elem_id="segment-truth",
                )
                parts.examples(truth, ("aeroplane_mask.png", "horse_mask.png"), "Masks of two examples")
            parts.examples(image, parts.TO_SEGMENT)
        with gr.Column(scale=7, min_width=300):
            text = parts.say(parts.waiting("Upload, paste or photograph something, or take an example."))
            overlay = parts.shown(
                "What it takes for foreground", "The image with the foreground coloured", exact=False, height=380
            )
            errors = parts.shown(
                "Where it errs", "Agreement with the true mask, by colour", exact=False, visible=False, height=380
            )
            with gr.Row(elem_classes="thirds"):
                mask = parts.shown("Mask", "The foreground white, the rest black", min_width=120)
                probability = parts.shown(
                    "Probability", "Bright where foreground is probable", exact=False, min_width=120
                )
                cut_out = parts.shown(
                    "Cut-out",
                    "The foreground alone, on transparent ground",
                    min_width=120,
                    elem_classes="transparent",
                )
            with gr.Accordion("As data", open=False):
                data = gr.JSON(label="Answer", show_label=False)
    model.input(
        lambda key: parts.default_threshold(parts.asked(models, key)),
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
    parts.wire(
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
        "of foreground, classes where the model knows them, Dice and IoU with a true mask, and timings.",
    )


def segment_text(data, model):
    """Return the share of the foreground, its classes, the agreement with the truth, and how long it took."""
    facts = [("foreground", f"{data['foreground_share']:.1%}")]
    if "dice" in data:
        facts += [("Dice", f"{data['dice']:.3f}"), ("IoU", f"{data['iou']:.3f}")]
    took = data["milliseconds"]
    facts.append(("network", f"{took['network']:.0f} ms"))
    shares = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    notes = []
    if model.metrics.get("data", {}).get("source") == "synthetic":
        notes.append("<strong>trained on synthetic data: a rehearsal, its answers mean nothing</strong>")
    if "dice" in data:
        keys = (("right", paint.RIGHT), ("missed", paint.MISSED), ("too much", paint.EXTRA))
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
