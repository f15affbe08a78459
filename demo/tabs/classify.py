"""The tab that classifies a picture and shows the regions that support the answer."""

import time

import components
import gradio as gr
import names
import numpy as np
import render
import store
from scipy import ndimage

from hw2 import labels
from hw2.errors import ModelError
from hw2.inference import predict, uploads

TOP = "the most probable class"
CENTRE, AROUND, CUT_OUT = "the central square", "a square around the object", "the object, cut out"
MARGIN = 0.1  # around an object, as a share of its longer side
GREY = 128  # replaces the background of an object that is cut out

# A click on an answer asks for its heat map. The list is replaced at every answer, so its frame listens.
EXPLAIN_ON_CLICK = """element.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-class]");
    if (button) trigger("click", { name: button.dataset.class });
});"""


def tab(container, picture, models, segmenters):
    """Lay out the tab; return the list of models.

    container: the gr.Tab. picture: the input that all tabs share. models, segmenters: `{key: Model}`.
    """
    first = names.default(models)
    regions = [CENTRE, AROUND, CUT_OUT] if segmenters else [CENTRE]

    def classify(image, model, explain_class, region):
        began = time.perf_counter()
        found = components.read_upload(image)
        model = components.find_model(models, model)
        decoded = time.perf_counter()
        try:
            cut = found.pixels
            if region != CENTRE:
                segmenter = segmenters[names.default(segmenters)]
                foreground = store.segment(segmenter, found).foreground
                cut = object_in(cut, foreground >= components.default_threshold(segmenter), region == CUT_OUT)
            if cut is None:
                raise gr.Error(
                    "The segmentation network finds no object in this picture. Choose the central square.",
                    print_exception=False,
                    title="No object",
                )
            small = uploads.classifier_input(cut)
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
            "region": region,
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
        overlay = None
        if heat is not None:
            file = f"{found.name}-{store.file_name(explained)}-grad-cam"
            overlay = store.save(render.heat_over(cut, heat), file, exact=False)
        seen = store.save(render.pixels(small, 384), f"{found.name}-32x32")
        return answer_list(data, model), overlay, seen, data

    with gr.Row():
        model = components.Choice(
            components.choices(models), value=first, label="Model", elem_id="classify-model", scale=17, min_width=250
        )
        region = components.Choice(
            regions, value=CENTRE, label="Part of the picture", elem_id="classify-region", scale=12, min_width=175
        )
        explain_class = components.Choice(
            [(TOP, TOP), *((components.words(name), name) for name in labels.CIFAR100_CLASSES)],
            value=TOP,
            label="Explain",
            elem_id="classify-explain",
            scale=14,
            min_width=205,
        )
    answer = components.text_block(components.waiting(), js_on_load=EXPLAIN_ON_CLICK)
    with gr.Row():
        overlay = components.output_image(
            "What it looked at (Grad-CAM)", "The picture, in warm colours where it supports the class", min_width=200
        )
        seen = components.output_image(
            "What the network sees (32x32)", "The picture as the network receives it, 32 x 32 pixels", min_width=200
        )
    button = gr.Button("Classify", variant="primary", elem_id="classify-button")
    with gr.Accordion("As data", open=False):
        data = gr.JSON(label="Answer", show_label=False)
    inputs, outputs = [picture, model, explain_class, region], [answer, overlay, seen, data]
    components.connect(
        container,
        picture,
        button,
        [model.input, explain_class.change, region.input],
        classify,
        inputs,
        outputs,
        "classify",
        "Classify an image into the classes of CIFAR-100. Give the key of a model (see /models), the class whose "
        f"evidence is to be shown, and the part of the image to be classified ({'; '.join(regions)}). Returns the "
        "page's own text, the Grad-CAM overlay, the 32x32 input enlarged, and the answer as data: the five most "
        "probable classes with superclass and calibrated probability, and timings.",
        first={explain_class: TOP},  # the class that was explained may not be among another picture's
    )

    def clicked(event: gr.EventData):
        name = getattr(event, "name", None)
        return name if name in labels.CIFAR100_CLASSES else TOP

    answer.click(clicked, None, explain_class, **components.AT_ONCE)
    return model


def object_in(image, mask, cut_out):
    """Return the square around the largest region of a mask (height, width) bool, None if the mask is empty.

    cut_out: make everything else grey. The square is not larger than the picture's shorter side, so that it has no
    border.
    """
    regions, count = ndimage.label(mask)
    if not count:
        return None
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    rows, columns = ndimage.find_objects(regions)[largest - 1]
    height, width = mask.shape
    side = max(rows.stop - rows.start, columns.stop - columns.start)
    side = min(round(side * (1 + 2 * MARGIN)), height, width)
    top, left = (
        int(np.clip((piece.start + piece.stop - side) // 2, 0, length - side))
        for piece, length in ((rows, height), (columns, width))
    )
    if cut_out:
        image = np.where((regions == largest)[..., None], image, GREY).astype(np.uint8)
    return image[top : top + side, left : left + side]


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
    """Return the five most probable classes as a list with bars, and a note on their meaning, the model and timings."""
    rows = "".join(
        f"<li style='--share:{row['probability']:.4f}' {'class=explained' * (row['class'] == data['explained'])}>"
        f"<button type='button' data-class='{row['class']}' title='Show where the picture supports this class'>"
        f"<span class='name'>{components.words(row['class'])}</span>"
        f"<span class='kind'>{components.words(row['superclass'])}</span>"
        f"<span class='share'>{row['probability']:.1%}</span></button></li>"
        for row in data["top"]
    )
    took = data["milliseconds"]
    count = model.metrics["data"]["classes"]
    explained = components.words(data["explained"])
    notes = [
        f"The network must choose among {count} classes, listed under About. The percentages hold for pictures like "
        "those of CIFAR-100: of other subjects it may be sure and wrong.",
        f"The heat map is for <b>{explained}</b>; click another class to see its own.",
        components.small_print(model)
        + f"; network {took['network']:.0f} ms, Grad-CAM {took['grad_cam']:.0f} ms, reading {took['reading']:.0f} ms"
        + (f", loading the model {took['loading'] / 1000:.1f} s" if took["loading"] >= 50 else ""),
    ]
    notes = [*components.rehearsal_note(model), *notes]
    return (
        f"<section class='answer' aria-live='polite'><ol aria-label='Most probable classes'>{rows}</ol>"
        f"<p class='note'>{'<br>'.join(notes)}</p></section>"
    )
