"""What the tabs of the page share: places for images and text, messages, models in words, how buttons are wired."""

from pathlib import Path

import gradio as gr
from gradio import processing_utils

from hw2 import images, labels

EXAMPLES = Path(__file__).resolve().parent / "examples"
# Things that CIFAR-100 has a class for, and a cat, for which it has none; objects of VOC.
TO_CLASSIFY = tuple(f"{name}.jpg" for name in ("rocket", "clock", "sea", "house", "tree", "apple", "coffee", "cat"))
TO_SEGMENT = tuple(
    f"{name}.jpg" for name in ("aeroplane", "raft", "sails", "motorcycles", "parrots", "horse", "astronaut", "cat")
)
SOURCES = {"cifar100": "CIFAR-100", "voc2012": "VOC 2012", "voc2012-subset": "part of VOC 2012"}

# On a phone the answer is below what it is asked with.
TO_THE_ANSWER = """() => {
    const answer = [...document.querySelectorAll(".answer, .figures")].find((found) => found.offsetParent);
    if (answer && innerWidth <= 640) answer.scrollIntoView({ block: "start", behavior: "smooth" });
}"""


def choices(models):
    """Return `[(what is shown, key)]` for a list to choose a model from."""
    return [(f"{key}  ·  {description(model)}", key) for key, model in models.items()]


def default(models):
    """Return the key of the best model that answers at once: one network, and one look at the image."""
    single = [key for key, model in models.items() if len(model.members) == 1 and not model.augmentation]
    return (single or list(models))[0]


def description(model):
    """Return accuracy or IoU, parameters and data of a model: "48.3%  ·  14.8 M  ·  CIFAR-100"."""
    figures, parameters = model.figures, model.metrics.get("cost", {}).get("parameters")
    parts = [f"IoU {figures['iou']:.3f}" if model.task == "segmentation" else f"{figures['accuracy']:.1%}"]
    if parameters:
        parts.append(f"{parameters / 1e6:.1f} M" if parameters >= 1e5 else f"{parameters / 1e3:.1f} k")
    return "  ·  ".join([*parts, data_of(model.metrics)])


def data_of(metrics):
    """Return the data of a run in words: "CIFAR-100", "CIFAR-100, 10 classes", "synthetic data"."""
    data = metrics.get("data", {})
    source = SOURCES.get(data.get("source"), "synthetic data" if data.get("source") == "synthetic" else "unknown data")
    number = data.get("classes")
    return source if number in (None, 2, 100) else f"{source}, {number} classes"


def default_threshold(model):
    return round(model.metrics.get("threshold") or 0.5, 2)


def picture(label, **options):
    """Return a place for an image to be sent in, whose file is handed over as it is: `hw2.images` decodes it.

    Gradio's own decoding drops transparency, cuts 16 bits off and knows no limit to what it decodes.
    """
    component = gr.Image(type="filepath", image_mode=None, label=label, buttons=["fullscreen"], **options)
    component.preprocess = uploaded
    keep = component.async_move_resource_to_block_cache

    async def keep_files_alone(path):
        """Fetch no address: Gradio would, whole and into memory, however long it is."""
        if path and str(path).lower().startswith(("http:", "https:")):
            raise gr.Error("Upload the image as a file.", print_exception=False, title="Not read")
        return await keep(path)

    component.async_move_resource_to_block_cache = keep_files_alone
    return component


def uploaded(payload):
    """Return the path of the file that a visitor has sent in; refuse the path of anything else on this disk.

    Gradio looks at a path only where its request marks it as a file, and its own components do not insist on that.
    """
    if not payload:
        return None
    folder = Path(processing_utils.get_upload_folder()).resolve()
    if not payload.path or not Path(payload.path).resolve().is_relative_to(folder):
        raise gr.Error("Upload the image as a file.", print_exception=False, title="Not read")
    return payload.path


def still():
    return gr.WebcamOptions(mirror=True)


def say(text):
    """Return a place for text of our own, without Gradio's frame."""
    return gr.HTML(text, padding=False, elem_classes="bare")


def waiting(text):
    return f"<p class='waiting'>{text}</p>"


def shown(label, alt, exact=True, **options):
    """Return a place for an image that is an answer. exact: as PNG, else as JPEG, which takes a tenth of the time."""
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
    """Show example images to click on."""
    rows = [[str(EXAMPLES / name)] for name in names]
    gr.Examples(rows, image, label=label, cache_examples=False, api_visibility="private", examples_per_page=12)


def read(path, what="image"):
    """Return the image in an uploaded file; whatever is wrong with it becomes a message on the page."""
    if not path:
        raise gr.Error(f"Choose an {what} first.", print_exception=False, title="No image")
    if path.startswith("data:"):
        raise gr.Error("Upload the image as a file.", print_exception=False, title="Not read")
    try:
        return images.read_image(path)
    except images.ImageError as error:
        raise gr.Error(str(error), print_exception=False, title="Not read") from error


def asked(models, key):
    """Return the model of a key."""
    if key not in models:
        raise gr.Error(f"There is no model {key!r}. Those that there are: {', '.join(models)}.", print_exception=False)
    return models[key]


def failed(error):
    """Return an error of a model as a message on the page."""
    return gr.Error(str(error), print_exception=False, title="The model cannot be used")


def wire(button, changes, image, run, inputs, outputs, api_name, description):
    """Let `run` answer to a button, which is the endpoint too, and to changes, when there is an image."""
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


def words(name):
    return name.replace("_", " ")


def milliseconds(seconds):
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


def superclass(number):
    return words(labels.CIFAR100_SUPERCLASSES[labels.CIFAR100_SUPERCLASS_OF[number]])
