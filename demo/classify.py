"""The tab that classifies an image and shows where the network looked."""

import time

import gradio as gr
import numpy as np
import paint
import parts

from hw2 import explain, images, labels, predict

TOP = "the most probable class"


def tab(models):
    """Lay out the tab. models: `{key: predict.Model}`, best first."""

    def classify(image, model, explain_class):
        began = time.perf_counter()
        pixels = parts.read(image)
        model = parts.asked(models, model)
        small = images.classifier_input(pixels)
        decoded = time.perf_counter()
        try:
            answer = predict.classify(model, small)
            column, explained = wanted(answer, explain_class)
            explaining = time.perf_counter()
            heat = heat_map(model, small, column)
        except predict.ModelError as error:
            raise parts.failed(error) from error
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
        overlay = None if heat is None else paint.heat_over(pixels, heat)
        return answer_list(data, model), overlay, paint.pixels(small, 384), data

    with gr.Row(elem_classes="workplace"):
        with gr.Column(scale=5, min_width=300):
            image = parts.picture("Image", height=300, elem_id="classify-image", webcam_options=parts.still())
            model = gr.Dropdown(
                parts.choices(models), value=parts.default(models), label="Model", elem_id="classify-model"
            )
            explain_class = gr.Dropdown(
                [(TOP, TOP), *((parts.words(name), name) for name in labels.CIFAR100_CLASSES)],
                value=TOP,
                label="Show where it sees",
                elem_id="classify-explain",
            )
            button = gr.Button("Classify", variant="primary", elem_id="classify-button")
            parts.examples(image, parts.TO_CLASSIFY)
        with gr.Column(scale=7, min_width=300):
            answer = parts.say(parts.waiting("Upload, paste or photograph something, or take an example."))
            with gr.Row():
                overlay = parts.shown(
                    "Where it looks", "Grad-CAM: the image, in warm colours where it speaks for the class", exact=False
                )
                seen = parts.shown("Its 32 x 32 pixels", "The image as the network receives it")
            with gr.Accordion("As data", open=False):
                data = gr.JSON(label="Answer", show_label=False)
    parts.wire(
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


def wanted(answer, explain_class):
    """Return `(column of the logits, name)` of the class to be explained."""
    if explain_class == TOP:
        return int(answer.columns[0]), labels.CIFAR100_CLASSES[answer.classes[0]]
    found = np.flatnonzero(answer.classes == labels.CIFAR100_CLASSES.index(explain_class))
    if not len(found):
        raise gr.Error(
            f"This model was not trained on {parts.words(explain_class)}.", print_exception=False, title="Not known"
        )
    return int(answer.columns[found[0]]), explain_class


def heat_map(model, small, column):
    """Return the Grad-CAM map of a model, or None where there cannot be one."""
    try:
        return explain.grad_cam([predict.load(folder) for folder in model.members], small, column, model.weights)
    except (NotImplementedError, ValueError):
        return None


def answer_list(data, model):
    """Return the five most probable classes as a list with bars, and a line on how the answer came about."""
    rows = "".join(
        f"<li style='--share:{row['probability']:.4f}'><span class='name'>{parts.words(row['class'])}</span>"
        f"<span class='kind'>{parts.words(row['superclass'])}</span>"
        f"<span class='share'>{row['probability']:.1%}</span></li>"
        for row in data["top"]
    )
    took = data["milliseconds"]
    notes = [
        f"probabilities calibrated on validation images (temperature {data['temperature']:.2f})"
        if data["temperature"]
        else "probabilities as the network gives them, not calibrated",
        f"network {took['network']:.0f} ms, Grad-CAM {took['grad_cam']:.0f} ms, reading {took['reading']:.0f} ms"
        + (f", loading the model {took['loading'] / 1000:.1f} s" if took["loading"] >= 50 else ""),
    ]
    if model.metrics.get("data", {}).get("source") == "synthetic":
        notes.insert(0, "<strong>trained on synthetic data: a rehearsal, its answers mean nothing</strong>")
    return (
        f"<section class='answer' aria-live='polite'><ol aria-label='Most probable classes'>{rows}</ol>"
        f"<p class='note'>{'<br>'.join(notes)}</p></section>"
    )
