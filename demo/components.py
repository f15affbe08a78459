"""Components that the tabs share: inputs that guard the server, text, messages, and the connection of events."""

import html
import json
import math
from pathlib import Path

import gradio as gr
import names
import store
from gradio import component_meta, processing_utils

from hw2 import labels
from hw2.errors import ImageError

# Gradio would write a stub, `components.pyi`, beside the module of every class of components
component_meta.create_or_modify_pyi = lambda *_: None

EXAMPLES = Path(__file__).resolve().parent / "examples"
KNOWN = ("raccoon", "rocket", "house", "sea")
UNKNOWN = ("cat", "aeroplane", "parrots", "sails", "coins")
SOURCES = {
    "cifar100": "CIFAR-100",
    "voc2012": "VOC 2012",
    "voc2012-subset": "part of VOC 2012",
    "synthetic": "synthetic data",
}
NOT_READABLE = {"print_exception": False, "title": "Not readable"}
# options of an event that the page answers by itself, or that the server answers at once
AT_ONCE = {"queue": False, "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}
WEBCAM = gr.WebcamOptions(mirror=True)

# On a phone the answer is below the inputs, outside the view. Only a press of the button asks for it there.
TO_THE_ANSWER = """() => {
    const answer = [...document.querySelectorAll(".answer, .figures")].find((found) => found.offsetParent);
    if (hw2.pressed && answer && innerWidth <= 640) answer.scrollIntoView({ block: "start", behavior: "smooth" });
    hw2.pressed = false;
}"""


class Picture(gr.Image):
    """An input whose file is passed on unchanged, for `hw2.inference.uploads` to decode.

    Gradio's own decoding drops transparency, truncates 16-bit images and has no limit on the size of the image. The
    checks are methods of a class because Gradio builds a component anew from its class when an event updates it. The
    constructor is Gradio's own, whose signature tells the browser what to show; `picture_input` calls it.
    """

    is_template = True  # the browser shows it as a gr.Image

    def preprocess(self, payload):
        """Return the path of an uploaded file; refuse every other path on this disk.

        Gradio checks a path only where the request marks it as a file, and its own components do not require that mark.
        """
        if not payload:
            return None
        folder = Path(processing_utils.get_upload_folder()).resolve()
        if not payload.path or not Path(payload.path).resolve().is_relative_to(folder):
            raise gr.Error("Upload the image as a file.", **NOT_READABLE)
        return payload.path

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        """Refuse URLs: Gradio would download them into memory, whatever their size."""
        if url_or_file_path and str(url_or_file_path).lower().startswith(("http:", "https:")):
            raise gr.Error("Upload the image as a file; addresses are not fetched.", **NOT_READABLE)
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def example_payload(self):
        """Return the example of the API page: a file of the caller's, as addresses are refused."""
        return {"path": "picture.jpg", "meta": {"_type": "gradio.FileData"}, "orig_name": "picture.jpg"}

    def example_value(self):
        return "picture.jpg"


def picture_input(label, **options):
    """Return a Picture whose value is the path of the uploaded file."""
    return Picture(type="filepath", image_mode=None, label=label, buttons=["fullscreen"], **options)


class Slider(gr.Slider):
    """A slider that refuses whatever is no number within its range, in words."""

    is_template = True

    def preprocess(self, payload):
        number = isinstance(payload, int | float) and not isinstance(payload, bool) and math.isfinite(payload)
        if not number or not self.minimum <= payload <= self.maximum:
            raise gr.Error(
                f"{self.label} is a number from {self.minimum} to {self.maximum}, not {_shown(payload)}.",
                print_exception=False,
                title=f"{self.label}?",
            )
        return float(payload)


class Choice(gr.Dropdown):
    """A list that refuses every value besides its own, in words."""

    is_template = True

    def preprocess(self, payload):
        allowed = [value for _, value in self.choices]
        if payload is None:
            payload = [] if self.multiselect else self._default(allowed)
        for value in payload if self.multiselect and isinstance(payload, list) else [payload]:
            if value not in allowed:
                raise gr.Error(
                    f"{self.label}: {_shown(value)} is not in the list of choices: {', '.join(map(str, allowed[:20]))}"
                    + (f" and {len(allowed) - 20} others." if len(allowed) > 20 else "."),
                    print_exception=False,
                    title=f"{self.label}?",
                )
        return payload

    def _default(self, allowed):
        return self.value if self.value in allowed else allowed[0]


def _shown(value):
    """Return a value that a program sent, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def choices(models):
    """Return `[(text, key)]` for a list of models, best first."""
    titles = names.titles(models)
    return [(f"{titles[key]}, {names.figure(models[key])}", key) for key in names.by_figure(models)]


def description(model):
    """Return accuracy or IoU, parameters and data of a model: "48.3%  ·  14.8 M  ·  CIFAR-100"."""
    test, parameters = model.figures["test"], model.metrics["cost"]["parameters"]
    figure = f"{names.iou(model)} {test['iou']:.3f}" if model.task == "segmentation" else f"{test['accuracy']:.1%}"
    size = f"{parameters / 1e6:.1f} M" if parameters >= 1e5 else f"{parameters / 1e3:.1f} k"
    return "  ·  ".join([figure, size, data_of(model.metrics)])


def small_print(model):
    """Return the run of a model and its record, for the note under an answer."""
    what = "of the test images right" if model.task != "segmentation" else "on the test images"
    figure, size, data = html.escape(description(model)).split("  ·  ")
    return f"<span class='run'>{html.escape(model.key)}</span>: {figure} {what}, {size} weights, {data}"


def data_of(metrics):
    """Return the data of a run in words: "CIFAR-100", "CIFAR-100, 10 classes", "synthetic data"."""
    source, number = metrics["data"]["source"], metrics["data"]["classes"]
    source = SOURCES.get(source, source)
    return source if number in (2, 100) else f"{source}, {number} classes"


def default_threshold(model):
    """Return the threshold with which a segmenter was evaluated, for several classes one half (see `predict`)."""
    chosen = model.figures["threshold"]
    return 0.5 if chosen is None else round(chosen, 2)


def text_block(text, **options):
    """Return a block of HTML without Gradio's frame."""
    return gr.HTML(text, padding=False, elem_classes="bare", **options)


def waiting(text="Upload, paste or photograph something, or choose an example."):
    return f"<p class='waiting'>{text}</p>"


def output_image(label, alt, **options):
    """Return an image of an answer, whose file `store.save` wrote."""
    return gr.Image(
        label=label,
        alt_text=alt,
        interactive=False,
        type="filepath",
        buttons=["download", "fullscreen"],
        **options,
    )


def output_slider(label, **options):
    """Return a pair of images behind a slider, whose files `store.save` wrote."""
    return gr.ImageSlider(
        label=label, interactive=False, type="filepath", buttons=["download", "fullscreen"], **options
    )


def example_path(name):
    """Return the path of a copy of an example among the uploads, where the page's inputs accept it."""
    return processing_utils.save_file_to_cache(EXAMPLES / name, cache_dir=processing_utils.get_upload_folder())


def gallery(picture, shown, label):
    """Add pictures that fill the input `picture` when they are clicked."""
    files = [f"{name}.jpg" for name in shown]
    gallery = gr.Dataset(
        components=[gr.Image(render=False)],
        samples=[[str(EXAMPLES / file)] for file in files],
        type="index",
        label=label,
        samples_per_page=len(files),
    )
    gallery.click(
        lambda index: example_path(files[index]),
        gallery,
        picture,
        js=f"(index) => {{ hw2.example = {list(shown)}[index]; return index; }}",
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def read_upload(path):
    """Return the Picture in an uploaded file. Raises gr.Error, a message on the page, for a file without one."""
    if not path:
        raise gr.Error("Choose an image first.", print_exception=False, title="No image")
    if path.startswith("data:"):
        raise gr.Error("Upload the image as a file.", **NOT_READABLE)
    try:
        return store.picture(path)
    except ImageError as error:
        raise gr.Error(str(error), **NOT_READABLE) from error


def find_model(models, key):
    """Return the model with a key. Raises gr.Error, a message on the page."""
    if key not in models:
        raise gr.Error(
            f"There is no model {_shown(key)}. Available models: {', '.join(models)}.", print_exception=False
        )
    return models[key]


def model_error(error):
    """Return a ModelError as a message on the page."""
    return gr.Error(str(error), print_exception=False, title="The model cannot be used")


def connect(
    tab, picture, button, changes, run, inputs, outputs, api_name, description, *, state=(), correct="", first=None
):
    """Call `run` at a press of the button, at a call of the endpoint, and unasked while there is a picture: when the
    tab is opened, when one of the `changes` happens, and when the picture changes while the tab is open.

    inputs: `picture` and the list of models first. state: further inputs of `run` that only calls of the page pass.
    correct: JavaScript that corrects the other inputs, an array `rest`, before a call of the page. first: {component:
    value}, the values of components that another picture resets.

    Whatever asks for an answer changes one hidden text, and the page answers its change: one call at a time, the last
    one with the inputs of then. Of calls of several listeners, an early one could end last, and would then replace the
    answer for the picture on show. (Gradio's page also repeats a whole event, with all that listens to it, when one
    listener in the mode "always_last" has been called meanwhile: two of them call each other for ever.)
    """
    common = {"outputs": outputs, "concurrency_id": "models", "concurrency_limit": 2}
    blank = [None] * len(outputs)
    hidden = {"api_visibility": "private", "show_progress": "hidden"}

    def answer(asked, *values):
        # without a picture, nothing is blanked: its removal has done so
        if not asked:
            return [gr.skip()] * len(outputs)
        try:
            return run(*values)
        except gr.Error as error:
            # a warning: after an error, Gradio's page forgets the event that waits for the end of this one
            gr.Warning(error.message, title=error.title)
            return blank

    # by the page itself: an answer of the server could arrive after the answer for the next picture, and blank that
    blanked = json.dumps(blank)
    picture.clear(None, None, outputs, js=f"() => {blanked}", **AT_ONCE)
    question = gr.Textbox("", visible="hidden")  # empty without a picture and while the tab is closed
    first = first or {}
    # the page sends this event twice for each upload
    picture.change(
        None,
        picture,
        [question, *first],
        js=f"(picture) => hw2.isAbout('{tab.id}', picture) ? undefined : [hw2.ask('{tab.id}', picture), "
        f"...{json.dumps(list(first.values()))}]",
        **AT_ONCE,
    )
    gr.on([tab.select, *changes], None, picture, question, js=f"(picture) => hw2.ask('{tab.id}', picture)", **AT_ONCE)
    button.click(None, picture, question, js=f"(picture) => hw2.press('{tab.id}', picture)", **AT_ONCE)
    event = question.change(
        answer,
        [question, *inputs, *state],
        js=f"(question, picture, ...rest) => {{ {correct} return [question, picture, ...rest]; }}",
        trigger_mode="always_last",
        show_progress="minimal",
        api_visibility="private",
        **common,
    )
    # the picture may have been removed while this was computed
    event.success(None, question, outputs, js=f"(question) => question ? undefined : {blanked}", **AT_ONCE)
    if len(inputs) > 1:
        event.success(None, inputs[1], js=f"(model) => hw2.link('{tab.id}', model)", **hidden)
    event.success(None, js=TO_THE_ANSWER, **hidden)
    event.failure(None, None, outputs, js=f"() => {blanked}", **AT_ONCE)
    # the endpoint belongs to an event of the page, although none calls it there
    gr.Button(visible=False).click(run, inputs, **common, api_name=api_name, api_description=description)


def rehearsal_note(model):
    """Return a list with the warning that belongs to a model trained on synthetic data, else an empty list."""
    if model.metrics["data"]["source"] != "synthetic":
        return []
    return ["<strong>This model was trained on synthetic data as a rehearsal. Its answers are meaningless.</strong>"]


def reasons(figures_only):
    """Return an HTML list of the reasons why models cannot be used, each with its runs."""
    runs_of = {}
    for name, why in figures_only.items():
        runs_of.setdefault(why, []).append(f"<code>{html.escape(name)}</code>")
    items = (f"<li>{html.escape(why[:1].upper() + why[1:])}: {', '.join(found)}</li>" for why, found in runs_of.items())
    return f"<ul>{''.join(items)}</ul>"


def words(name):
    return name.replace("_", " ")


def milliseconds(seconds):
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


def superclass(number):
    return words(labels.CIFAR100_SUPERCLASSES[labels.CIFAR100_SUPERCLASS_OF[number]])
