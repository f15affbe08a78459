"""Components that the tabs share: images, text, messages, descriptions of models, and the connection of events."""

import html
from pathlib import Path

import gradio as gr
from gradio import processing_utils

from hw2 import labels
from hw2.errors import ImageError
from hw2.inference import uploads

EXAMPLES = Path(__file__).resolve().parent / "examples"
# Objects of CIFAR-100 classes, and a cat, for which it has no class; objects of VOC.
TO_CLASSIFY = tuple(f"{name}.jpg" for name in ("rocket", "clock", "sea", "house", "tree", "apple", "coffee", "cat"))
TO_SEGMENT = tuple(
    f"{name}.jpg" for name in ("aeroplane", "raft", "sails", "motorcycles", "parrots", "horse", "astronaut", "cat")
)
SOURCES = {
    "cifar100": "CIFAR-100",
    "voc2012": "VOC 2012",
    "voc2012-subset": "part of VOC 2012",
    "synthetic": "synthetic data",
}

# On a phone the answer is below the inputs, outside the view.
TO_THE_ANSWER = """() => {
    const answer = [...document.querySelectorAll(".answer, .figures")].find((found) => found.offsetParent);
    if (answer && innerWidth <= 640) answer.scrollIntoView({ block: "start", behavior: "smooth" });
}"""


def choices(models):
    """Return `[(text, key)]` for a drop-down list of models."""
    return [(f"{key}  ·  {description(model)}", key) for key, model in models.items()]


def default(models):
    """Return the key of the best model that answers at once: a single network without test-time augmentation."""
    single = [key for key, model in models.items() if len(model.members) == 1 and not model.view]
    return (single or list(models))[0]


def description(model):
    """Return accuracy or IoU, parameters and data of a model: "48.3%  ·  14.8 M  ·  CIFAR-100"."""
    test, parameters = model.figures["test"], model.metrics["cost"]["parameters"]
    figure = f"IoU {test['iou']:.3f}" if model.task == "segmentation" else f"{test['accuracy']:.1%}"
    size = f"{parameters / 1e6:.1f} M" if parameters >= 1e5 else f"{parameters / 1e3:.1f} k"
    return "  ·  ".join([figure, size, data_of(model.metrics)])


def data_of(metrics):
    """Return the data of a run in words: "CIFAR-100", "CIFAR-100, 10 classes", "synthetic data"."""
    source, number = SOURCES[metrics["data"]["source"]], metrics["data"]["classes"]
    return source if number in (2, 100) else f"{source}, {number} classes"


def default_threshold(model):
    return round(model.metrics["threshold"] or 0.5, 2)


def input_image(label, **options):
    """Return an input for an image whose file is passed on unchanged, for `hw2.inference.uploads` to decode.

    Gradio's own decoding drops transparency, truncates 16-bit images and has no limit on the size of the image.
    """
    component = gr.Image(type="filepath", image_mode=None, label=label, buttons=["fullscreen"], **options)
    component.preprocess = uploaded
    keep = component.async_move_resource_to_block_cache

    async def keep_files_alone(path):
        """Refuse URLs: Gradio would download them into memory, whatever their size."""
        if path and str(path).lower().startswith(("http:", "https:")):
            raise gr.Error("Upload the image as a file.", print_exception=False, title="Not readable")
        return await keep(path)

    component.async_move_resource_to_block_cache = keep_files_alone
    return component


def uploaded(payload):
    """Return the path of a visitor's uploaded file; refuse every other path on this disk.

    Gradio checks a path only where the request marks it as a file, and its own components do not require that mark.
    """
    if not payload:
        return None
    folder = Path(processing_utils.get_upload_folder()).resolve()
    if not payload.path or not Path(payload.path).resolve().is_relative_to(folder):
        raise gr.Error("Upload the image as a file.", print_exception=False, title="Not readable")
    return payload.path


def webcam_options():
    return gr.WebcamOptions(mirror=True)


def text_block(text):
    """Return a block of HTML without Gradio's frame."""
    return gr.HTML(text, padding=False, elem_classes="bare")


def waiting(text):
    return f"<p class='waiting'>{text}</p>"


def output_image(label, alt, exact=True, **options):
    """Return an output image. exact: send it as PNG, else as JPEG, which takes a tenth of the time to encode."""
    return gr.Image(
        label=label,
        alt_text=alt,
        format="png" if exact else "jpeg",
        interactive=False,
        type="pil",
        buttons=["download", "fullscreen"],
        **options,
    )


def examples(image, names, label="Examples"):
    """Add example images that fill the input `image` when they are clicked."""
    rows = [[str(EXAMPLES / name)] for name in names]
    gr.Examples(rows, image, label=label, cache_examples=False, api_visibility="private", examples_per_page=12)


def read_upload(path):
    """Return the image in an uploaded file. Raises gr.Error, a message on the page, for a file without a usable one."""
    if not path:
        raise gr.Error("Choose an image first.", print_exception=False, title="No image")
    if path.startswith("data:"):
        raise gr.Error("Upload the image as a file.", print_exception=False, title="Not readable")
    try:
        return uploads.read_image(path)
    except ImageError as error:
        raise gr.Error(str(error), print_exception=False, title="Not readable") from error


def find_model(models, key):
    """Return the model with a key. Raises gr.Error, a message on the page."""
    if key not in models:
        raise gr.Error(f"There is no model {key!r}. Available models: {', '.join(models)}.", print_exception=False)
    return models[key]


def model_error(error):
    """Return a ModelError as a message on the page."""
    return gr.Error(str(error), print_exception=False, title="The model cannot be used")


def connect(button, changes, image, run, inputs, outputs, api_name, description):
    """Call `run` at a press of the button, a call of the endpoint, and a change of an input while there is an image."""
    common = {"inputs": inputs, "outputs": outputs, "concurrency_id": "models", "concurrency_limit": 2}
    blank = [None] * len(outputs)
    public = button.click(run, **common, api_name=api_name, api_description=description)
    public.success(None, js=TO_THE_ANSWER, api_visibility="private")
    public.failure(lambda: blank, outputs=outputs, queue=False, api_visibility="private", show_progress="hidden")

    def if_there_is_an_image(*values):
        return run(*values) if values[0] else blank

    private = gr.on(
        [image.change, *changes], if_there_is_an_image, **common, api_visibility="private", trigger_mode="always_last"
    )
    private.success(None, js=TO_THE_ANSWER, api_visibility="private")
    private.failure(lambda: blank, outputs=outputs, queue=False, api_visibility="private", show_progress="hidden")


def rehearsal_note(model):
    """Return a list with the warning that belongs to a model trained on synthetic data, else an empty list."""
    if model.metrics["data"]["source"] != "synthetic":
        return []
    return ["<strong>This model was trained on synthetic data as a rehearsal. Its answers are meaningless.</strong>"]


def reasons(figures_only):
    """Return an HTML list of runs and the reasons why their models cannot be used."""
    items = (f"<li><code>{html.escape(name)}</code>: {html.escape(why)}</li>" for name, why in figures_only.items())
    return f"<ul>{''.join(items)}</ul>"


def words(name):
    return name.replace("_", " ")


def milliseconds(seconds):
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


def superclass(number):
    return words(labels.CIFAR100_SUPERCLASSES[labels.CIFAR100_SUPERCLASS_OF[number]])
