"""The tab that classifies an image and shows the regions that support the answer."""

import time

import components
import gradio as gr
import numpy as np
import render

from hw2 import labels
from hw2.errors import ModelError
from hw2.inference import predict, uploads

TOP = "the most probable class"


def tab(models):
    """Lay out the tab. models: `{key: Model}`, best first."""

    def classify(image, model, explain_class):
        began = time.perf_counter()
        pixels = components.read_upload(image)
        model = components.find_model(models, model)
        small = uploads.classifier_input(pixels)
        decoded = time.perf_counter()
        try:
            answer = predict.classify(model, small)
            column, explained = column_of(answer, explain_class)
            explaining = time.perf_counter()
            heat = predict.heat_map(model, small, column)
        except ModelError as error:
            raise components.model_error(error) from error
        ended = time.perf_counter()
        top = [
            {
                "class": labels.CIFAR100_CLASSES[number],
                "superclass": labels.CIFAR100_SUPERCLASSES[labels.CIFAR100_SUPERCLASS_OF[number]],
                "probability": round(float(probability), 5),
            }
            for number, probability in zip(answer.classes[:5], answer.probabilities[:5], strict=True)
        ]
        data = {
            "model": model.key,
            "top": top,
            "temperature": answer.temperature,
            "explained": explained,
            "milliseconds": {
                "reading": round(1000 * (decoded - began), 1),
                "loading": round(1000 * answer.load_seconds, 1),
                "network": round(1000 * answer.seconds, 1),
                "grad_cam": round(1000 * (ended - explaining), 1),
            },
        }
        overlay = None if heat is None else render.heat_over(pixels, heat)
        return answer_list(data, model), overlay, render.pixels(small, 384), data

    with gr.Row(elem_classes="workplace"):
        with gr.Column(scale=5, min_width=300):
            image = components.input_image(
                "Image", height=300, elem_id="classify-image", webcam_options=components.webcam_options()
            )
            model = gr.Dropdown(
                components.choices(models), value=components.default(models), label="Model", elem_id="classify-model"
            )
            explain_class = gr.Dropdown(
                [(TOP, TOP), *((components.words(name), name) for name in labels.CIFAR100_CLASSES)],
                value=TOP,
                label="Explain",
                elem_id="classify-explain",
            )
            button = gr.Button("Classify", variant="primary", elem_id="classify-button")
            components.examples(image, components.TO_CLASSIFY)
        with gr.Column(scale=7, min_width=300):
            answer = components.text_block(
                components.waiting("Upload, paste or photograph something, or choose an example.")
            )
            with gr.Row():
                overlay = components.output_image(
                    "Grad-CAM", "The image, in warm colours where it supports the class", exact=False
                )
                seen = components.output_image("Network input", "The image as the network receives it, 32 x 32 pixels")
            with gr.Accordion("As data", open=False):
                data = gr.JSON(label="Answer", show_label=False)
    components.connect(
        button,
        [model.input, explain_class.input],
        image,
        classify,
        [image, model, explain_class],
        [answer, overlay, seen, data],
        "classify",
        "Classify an image into the classes of CIFAR-100. Give the key of a model (see /models) and the class whose "
        "evidence is to be shown. Returns the page's own text, the Grad-CAM overlay, the 32x32 input enlarged, and the "
        "answer as data: the five most probable classes with superclass and calibrated probability, and timings.",
    )


def column_of(answer, explain_class):
    """Return `(column of the logits, name)` of the class to be explained: TOP or a name. Raises gr.Error."""
    if explain_class == TOP:
        return int(answer.columns[0]), labels.CIFAR100_CLASSES[answer.classes[0]]
    found = np.flatnonzero(answer.classes == labels.CIFAR100_CLASSES.index(explain_class))
    if not len(found):
        raise gr.Error(
            f"This model was not trained on {components.words(explain_class)}.",
            print_exception=False,
            title="Unknown class",
        )
    return int(answer.columns[found[0]]), explain_class


def answer_list(data, model):
    """Return the five most probable classes as a list with bars, and a note on calibration and timings."""
    rows = "".join(
        f"<li style='--share:{row['probability']:.4f}'><span class='name'>{components.words(row['class'])}</span>"
        f"<span class='kind'>{components.words(row['superclass'])}</span>"
        f"<span class='share'>{row['probability']:.1%}</span></li>"
        for row in data["top"]
    )
    took = data["milliseconds"]
    notes = [
        f"probabilities calibrated on validation images (temperature {data['temperature']:.2f})",
        f"network {took['network']:.0f} ms, Grad-CAM {took['grad_cam']:.0f} ms, reading {took['reading']:.0f} ms"
        + (f", loading the model {took['loading'] / 1000:.1f} s" if took["loading"] >= 50 else ""),
    ]
    notes = [*components.rehearsal_note(model), *notes]
    return (
        f"<section class='answer' aria-live='polite'><ol aria-label='Most probable classes'>{rows}</ol>"
        f"<p class='note'>{'<br>'.join(notes)}</p></section>"
    )
