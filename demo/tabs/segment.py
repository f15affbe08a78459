"""The tab that separates the foreground of a picture from its background."""

import html
import json

import components
import gradio as gr
import names
import numpy as np
import render
import store
from PIL import Image

from hw2 import labels
from hw2.errors import ImageError, ModelError
from hw2.inference import predict

TRANSPARENT, PICTURE = "transparent", "another picture"
BACKGROUNDS = (TRANSPARENT, "white", "black", "blurred", "grey", PICTURE)
COLOUR, OPACITY = "#00b3e6", 0.55
FULL_SIDE = 6000  # of a cut-out in full size: photographs of 24 megapixels keep theirs
MASK_OF_EXAMPLE = "aeroplane"

# While a number is typed, the field may hold something else for a moment.
WITHIN_THE_RANGE = (
    "const clamp = (x) => Math.min(1, Math.max(0, Number(x) || 0)); rest[1] = clamp(rest[1]); rest[3] = clamp(rest[3]);"
)


def tab(container, picture, models):
    """Lay out the tab; return the list of models and the threshold.

    container: the gr.Tab. picture: the input that all tabs share. models: `{key: Model}`.
    """
    first = names.default(models)

    def answer_for(image, model, threshold):
        """Return `(Picture, Model, Segmentation, mask)`. Raises gr.Error."""
        found = components.read_upload(image)
        model = components.find_model(models, model)
        try:
            answer = store.segment(model, found)
        except ModelError as error:
            raise components.model_error(error) from error
        return found, model, answer, answer.foreground >= threshold

    def segment(
        image, model, threshold, colour, opacity, truth=None, background=TRANSPARENT, backdrop=None, truth_of=None
    ):
        tint = parse_colour(colour)
        if truth_of and truth_of != image:  # the mask of the picture before
            truth = None
        found, model, answer, mask = answer_for(image, model, threshold)
        shown_labels = None if answer.labels is None else np.where(mask, answer.labels, 0)
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
                true_mask = store.mask(truth, mask.shape)
            except ImageError as error:
                data["mask_error"] = str(error)
            else:
                data |= {name: round(value, 5) for name, value in predict.agreement(mask, true_mask).items()}
                errors = store.save(render.errors(found.pixels, mask, true_mask), f"{found.name}-errors", exact=False)
        before = store.recent.get(
            ("before", found.key),
            lambda: store.encoded(Image.fromarray(found.pixels), exact=False),
        )
        overlay = render.overlay(found.pixels, mask, tint, opacity, shown_labels)
        pair = (
            store.write(before, f"{found.name}.jpg"),
            store.save(overlay, f"{found.name}-foreground", exact=False),
        )
        return (
            segment_text(data, model),
            pair,
            store.save(render.black_and_white(mask), f"{found.name}-mask"),
            store.save(render.probability(answer.foreground), f"{found.name}-confidence", exact=False),
            write_cut_out(found.pixels, mask, background, backdrop, found.name),
            gr.update(value=errors, visible=errors is not None),
            data,
        )

    def cut_out(image, model, threshold, background=TRANSPARENT, backdrop=None):
        """Return a file: the cut-out with as many pixels as the uploaded picture."""
        found, _, answer, _ = answer_for(image, model, threshold)
        try:
            pixels = store.decoder.read_image(image, FULL_SIDE)
        except ImageError as error:
            raise gr.Error(str(error), **components.NOT_READABLE) from error
        foreground = render.resized(answer.foreground, pixels.shape[:2])
        path = write_cut_out(pixels, foreground >= threshold, background, backdrop, f"{found.name}-full-size")
        return gr.update(value=path, visible=True)

    with gr.Row():
        model = components.Choice(
            components.choices(models), value=first, label="Model", elem_id="segment-model", scale=15, min_width=260
        )
        threshold = components.Slider(
            0,
            1,
            value=components.default_threshold(models[first]),
            step=0.01,
            label="Threshold",
            info="Lower: more counts as foreground",
            elem_id="segment-threshold",
            scale=14,
            min_width=220,
        )
    text = components.text_block(components.waiting())
    overlay = components.output_slider("Before | Foreground", elem_id="segment-overlay", max_height=460)
    errors = components.output_image(
        "Errors: missed / false alarm", "Agreement with the true mask, by colour", visible=False, height=380
    )
    with gr.Row(elem_classes="thirds"):
        cut = components.output_image(
            "Cut-out", "The foreground on the chosen background", min_width=140, elem_classes="transparent"
        )
        mask = components.output_image("Mask", "The foreground in white, the background in black", min_width=140)
        probability = components.output_image("Confidence", "Bright where foreground is probable", min_width=140)
    with gr.Row():
        background = components.Choice(
            list(BACKGROUNDS), value=TRANSPARENT, label="Background of the cut-out", min_width=180
        )
        colour = gr.ColorPicker(COLOUR, label="Colour", min_width=100)
        opacity = components.Slider(0, 1, value=OPACITY, step=0.05, label="Opacity", min_width=160)
    backdrop = components.picture_input(
        "Picture for the background", height=180, sources=["upload", "clipboard"], visible=False
    )
    with gr.Row():
        button = gr.Button("Segment", variant="primary", elem_id="segment-button", min_width=120)
        full = gr.Button("Cut out at full size", elem_id="segment-full", min_width=120)
    file = gr.File(label="Full-size cut-out", visible=False, interactive=False)
    with gr.Accordion("Compare with a mask of your own", open=False):
        components.text_block("<p class='note'>Black and white, or in the colours of PASCAL VOC.</p>")
        truth = components.picture_input(
            "True mask", height=180, sources=["upload", "clipboard"], elem_id="segment-truth"
        )
        mask_example = gr.Button("Try it: the aeroplane and its mask", size="sm", elem_id="segment-mask-example")
    with gr.Accordion("As data", open=False):
        data = gr.JSON(label="Answer", show_label=False)
    inputs = [picture, model, threshold, colour, opacity, truth, background, backdrop]
    outputs = [text, overlay, mask, probability, cut, errors, data]
    truth_of = gr.Textbox("", visible="hidden")  # the path of the picture for which the mask was given
    thresholds = {key: components.default_threshold(found) for key, found in models.items()}
    for trigger, sent, changed, script in (
        (model.input, model, threshold, f"(key) => ({json.dumps(thresholds)})[key]"),
        (truth.change, [picture, truth], truth_of, "(picture, truth) => truth && picture ? picture.path : ''"),
        # a mask that was given for this picture stays, or one given before any picture; that of another is dropped
        (
            picture.change,
            [picture, truth, truth_of],
            [truth, truth_of],
            "(picture, truth, of) => truth && picture && ['', picture.path].includes(of || '') ? "
            "[undefined, picture.path] : [null, '']",
        ),
    ):
        trigger(None, sent, changed, js=script, **components.AT_ONCE)
    components.connect(
        container,
        picture,
        button,
        [
            *(model.input, threshold.change, opacity.change, colour.change),
            *(background.change, backdrop.change, truth.change),
        ],
        segment,
        inputs,
        outputs,
        "segment",
        "Separate foreground from background. Give the key of a model (see /models), the threshold on the probability, "
        "the overlay's colour (#rrggbb) and opacity, a true mask or null, and what the cut-out's background becomes "
        f"({', '.join(BACKGROUNDS)}), with a file for the last. Returns the page's own text, the picture before and "
        "after its foreground is coloured, mask, confidence map, cut-out, error map (with a true mask), and the answer "
        "as data: share of foreground, classes where the model distinguishes them, Dice and IoU with a true mask, and "
        "timings.",
        state=[truth_of],
        correct=WITHIN_THE_RANGE,
    )
    cutting = full.click(
        cut_out,
        [picture, model, threshold, background, backdrop],
        file,
        concurrency_id="models",
        concurrency_limit=2,
        api_name="cut_out",
        api_description="Cut out the foreground of an image at the size of the file (at most 6,000 pixels a side). "
        "Give the key of a model (see /models), the threshold on the probability, and the background. Returns the "
        "file.",
    )
    # a cut-out of the picture before is not awaited any longer
    picture.change(
        None,
        None,
        file,
        js="() => ({ __type__: 'update', value: null, visible: false })",
        cancels=cutting,
        **components.AT_ONCE,
    )

    background.input(lambda chosen: gr.update(visible=chosen == PICTURE), background, backdrop, **components.AT_ONCE)

    def example_with_mask():
        image, true = (components.example_path(f"{MASK_OF_EXAMPLE}{end}") for end in (".jpg", "_mask.png"))
        return image, true, image

    mask_example.click(
        example_with_mask,
        None,
        [picture, truth, truth_of],
        js=f"() => {{ hw2.example = '{MASK_OF_EXAMPLE}'; }}",
        **components.AT_ONCE,
    )
    return model, threshold


def parse_colour(text):
    """Return (red, green, blue) of a colour. Raises gr.Error."""
    try:
        return render.parse_colour(text)
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False, title="Colour?") from error


def write_cut_out(pixels, mask, background, backdrop, name):
    """Write the foreground on one of BACKGROUNDS and return the path. backdrop: path of another picture, or None."""
    behind = None
    if background == PICTURE:
        if not backdrop:
            raise gr.Error("Choose the picture for the background.", print_exception=False, title="No background")
        behind = components.read_upload(backdrop).pixels
    image = render.cut_out(pixels, mask)
    if background == TRANSPARENT:
        return store.save(image, f"{name}-cut-out")
    return store.save(render.before_background(image, pixels, background, behind), f"{name}-cut-out", exact=False)


def segment_text(data, model):
    """Return the share of the foreground, its classes, the agreement with the truth, and the timings."""
    facts = [("Foreground", f"{data['foreground_share']:.1%}")]
    if "dice" in data:
        facts += [("Dice", f"{data['dice']:.3f}"), ("IoU", f"{data['iou']:.3f}")]
    took = data["milliseconds"]
    shares = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    notes = components.rehearsal_note(model)
    if "mask_error" in data:
        notes.append(f"<strong>The mask is not compared.</strong> {html.escape(data['mask_error'])}")
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
    if model.metrics["data"]["classes"] > 2:
        notes.append(
            "The threshold is for the most probable class against the background alone; at 0.5, each pixel gets the "
            "most probable of all classes, as in the measured figures."
        )
    notes.append(
        f"{components.small_print(model)}; network {took['network']:.0f} ms"
        + (f", loading the model {took['loading'] / 1000:.1f} s" if took["loading"] >= 50 else "")
    )
    note = f"<p class='note'>{'<br>'.join(notes)}</p>"
    return f"<section class='figures' aria-live='polite'><dl>{shares}</dl>{note}</section>"


def swatch(name, colour):
    return f"<span class='swatch'><i style='background:rgb{tuple(map(int, colour))}'></i>{html.escape(name)}</span>"
