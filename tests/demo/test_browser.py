"""The page in a real browser: each tab is used as a visitor would, without a request to any other server.

Skipped, with the reason, where Playwright or a Chromium is missing. HW2_SCREENSHOTS=DIR saves a picture of every tab.
"""

import os
import re
import shutil
import threading
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
pytest.importorskip("gradio")
pytest.importorskip("tensorflow")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
# the browser's background services would contact their own servers
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
WAIT = 30_000  # milliseconds
CALL = re.compile("/queue/join|/run/")
EXAMPLES = Path(__file__).parents[2] / "demo" / "examples"
CAT, PLANE, PLANE_MASK = (str(EXAMPLES / name) for name in ("cat.jpg", "aeroplane.jpg", "aeroplane_mask.png"))


ABOUT_AT_ONCE = """new MutationObserver(() => {
    const found = [...document.querySelectorAll("#tabs button[role=tab]")].find(
        (button) => button.offsetParent && button.textContent.trim() === "About");
    if (found && !window.pressed) { window.pressed = true; found.click(); }
}).observe(document, { childList: true, subtree: true });"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


BOTH = pytest.mark.parametrize("view", ["desktop", "phone"], indirect=True)


@pytest.fixture
def visit(browser, address):
    """Return a function that opens the page, wide or narrow. The test fails if it sends a request to another server.

    The page has the attributes `kind` and `calls`, the list of the addresses of calls of the server.
    """
    contexts, asked, errors = [], [], []

    def start(kind="desktop", query="", script=""):
        context = browser.new_context(viewport=DESKTOP if kind == "desktop" else PHONE)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.kind, page.calls = kind, []
        page.on("request", lambda sent: asked.append(sent.url))
        page.on("request", lambda sent: page.calls.append(sent.url) if CALL.search(sent.url) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script(script)
        page.goto(address + query)
        page.get_by_role("heading", name="Image classification and segmentation").wait_for()
        return page

    yield start
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert errors == []


@pytest.fixture
def view(request, visit):
    return visit(getattr(request, "param", "desktop"))


def open_tab(view, name):
    view.locator("#tabs .tab-container button").first.wait_for()
    if not view.get_by_role("tab", name=name, exact=True).count():  # on a phone, the last tabs stand in a menu
        view.locator("#tabs .overflow-menu > button").click()
        view.locator("#tabs .overflow-dropdown button").filter(has_text=name).click()
        return
    view.get_by_role("tab", name=name, exact=True).click()


def finish(view, name):
    """Check that nothing is wider than the page, and save a picture if HW2_SCREENSHOTS is set."""
    assert view.evaluate("document.documentElement.scrollWidth") <= view.viewport_size["width"]
    if "HW2_SCREENSHOTS" in os.environ:
        folder = Path(os.environ["HW2_SCREENSHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        view.wait_for_timeout(1000)
        view.screenshot(path=folder / f"{view.kind}-{name}.png", full_page=True)


def choose(view, label, text, within="body"):
    """Choose the first entry of a list that contains a text."""
    view.locator(within).get_by_label(label, exact=True).click()
    view.get_by_role("option").filter(has_text=text).first.click()


def upload(view, place, path):
    view.set_input_files(f"{place} input[type=file]", path)


def answer(view):
    return view.get_by_role("list", name="Most probable classes").get_by_role("listitem")


def share(view):
    """Return the share of the foreground on the page."""
    return view.locator(".figures:visible dd").first.inner_text()


def explained(view):
    return view.locator("#classify-explain input").input_value()


def wait_for_another(view, selector, before):
    """Wait until the first visible element of a selector has another text than `before`."""
    view.wait_for_function(
        "([selector, before]) => { const found = [...document.querySelectorAll(selector)].find(x => x.offsetParent); "
        "return found && found.innerText !== before; }",
        arg=[selector, before],
    )


def hidden_choices(view):
    """Return the texts of visible lists that are cut off or run under the arrow."""
    return view.evaluate(
        """() => [...document.querySelectorAll('.secondary-wrap')].filter(list => {
            const input = list.querySelector('input'), arrow = list.querySelector('.icon-wrap');
            if (!input || !arrow || !input.offsetParent) return false;
            const pen = document.createElement('canvas').getContext('2d');
            pen.font = getComputedStyle(input).font;
            const end = input.getBoundingClientRect().left + pen.measureText(input.value).width;
            return end > arrow.getBoundingClientRect().left;
        }).map(list => list.querySelector('input').value)"""
    )


@BOTH
def test_classify(view, tmp_path):
    """An example is answered when the page opens; a click on a class shows its heat map."""
    answer(view).first.wait_for()
    assert answer(view).count() == 5 and "%" in answer(view).first.inner_text()
    assert "example=raccoon" in view.url and "model=best" in view.url
    assert hidden_choices(view) == []
    before = answer(view).first.inner_text()
    view.get_by_role("button", name="Example: rocket").first.click()
    wait_for_another(view, ".answer li", before)
    assert "example=rocket" in view.url
    before = answer(view).first.inner_text()
    view.calls.clear()
    upload(view, "#picture", CAT)
    wait_for_another(view, ".answer li", before)
    view.wait_for_timeout(1000)
    assert len(view.calls) == 1  # once, although Gradio reports the change twice, and other tabs wait until they open
    before = answer(view).first.inner_text()
    choose(view, "Model", "Plain")
    wait_for_another(view, ".answer li", before)
    assert "example=" not in view.url and "model=plain" in view.url  # an upload has no link
    second = answer(view).nth(1)
    name = second.locator(".name").inner_text()
    second.get_by_role("button").click()
    view.locator(".answer li.explained .name").filter(has_text=name).wait_for()
    view.get_by_alt_text("The picture, in warm colours where it supports the class").wait_for()
    view.get_by_alt_text("The picture as the network receives it, 32 x 32 pixels").wait_for()
    view.get_by_role("button", name="As data").locator("visible=true").first.click()
    view.get_by_text("superclass").locator("visible=true").first.wait_for()
    finish(view, "classify")

    path = tmp_path / "drawing.png"
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>document.title='hacked'</script></svg>")
    view.calls.clear()
    upload(view, "#picture", str(path))
    view.get_by_text("This is not an image that can be read here").first.wait_for()
    assert "hacked" not in view.title()
    answer(view).first.wait_for(state="detached")
    # the page removes the old answer by itself: the server could do so after the next picture has been answered
    assert view.calls and not [url for url in view.calls if "/run/" in url]
    upload(view, "#picture", CAT)
    answer(view).first.wait_for()
    assert explained(view) == "the most probable class"  # of another picture
    view.get_by_role("button", name="Remove Image").first.click()
    answer(view).first.wait_for(state="detached")


def test_a_link_opens_the_model_and_the_example(visit):
    view = visit(query="?tab=segment&model=seg_classes&example=aeroplane")
    view.locator(".figures:visible .run").filter(has_text="seg_classes").wait_for()
    assert view.locator("#segment-threshold input[type=number]").input_value() == "0.5"  # its own, not the best model's
    assert view.locator("#picture img").first.get_attribute("src").endswith("/aeroplane.jpg")
    view = visit(query="?tab=nothing&model=../../etc&example=%3Cscript%3E")
    answer(view).first.wait_for()


def test_a_tab_that_is_opened_before_the_link_is_followed_stays_open(visit):
    view = visit(query="?tab=segment", script=ABOUT_AT_ONCE)
    view.locator("#picture").wait_for(state="hidden")
    view.locator("#picture img").first.wait_for(state="attached")  # the answer to the link has arrived
    view.wait_for_timeout(500)
    assert view.locator(".about").is_visible() and not view.locator("#picture").is_visible()


@pytest.fixture
def held(monkeypatch):
    """Return a function that holds the next call of a function of a module until the event that it returns is set."""

    def hold(module, name):
        release, function, held = threading.Event(), getattr(module, name), []

        def called(*values):
            if not held:
                held.append(values)
                assert release.wait(WAIT / 1000)
            return function(*values)

        monkeypatch.setattr(module, name, called)
        return release

    return hold


def test_the_picture_shows_while_its_answer_is_computed(view, held):
    from hw2.inference import predict

    release = held(predict, "segment")
    answer(view).first.wait_for()
    view.get_by_role("button", name="Example: coins").first.click()
    open_tab(view, "About")
    view.locator("#picture").wait_for(state="hidden")
    open_tab(view, "Segment")
    view.locator("#picture").wait_for()
    assert view.locator(".figures:visible dd").count() == 0
    release.set()
    view.locator(".figures:visible dd").first.wait_for()


def test_a_file_of_an_example_that_is_uploaded_has_no_link(visit):
    view = visit(query="?tab=segment&example=aeroplane")
    view.locator(".figures:visible dd").first.wait_for()
    assert "example=aeroplane" in view.url
    upload(view, "#picture", PLANE)  # the server keeps it under the example's own path, so nothing is answered anew
    view.wait_for_function("() => !location.search.includes('example=')")
    view.locator(".figures:visible dd").first.wait_for()


def test_the_answer_for_an_earlier_picture_does_not_replace_a_later_one(view, held):
    from hw2.inference import predict

    seen = view.get_by_alt_text("The picture as the network receives it, 32 x 32 pixels")
    answer(view).first.wait_for()
    release = held(predict, "classify")
    choose(view, "Model", "Plain")
    view.wait_for_timeout(200)  # the call that is held has begun
    upload(view, "#picture", CAT)
    view.wait_for_timeout(1500)
    release.set()
    view.wait_for_function("() => document.querySelector('img[alt$=\"32 x 32 pixels\"]')?.src.includes('/cat-')")
    view.wait_for_timeout(1500)
    assert "/cat-" in seen.get_attribute("src") and "model=plain" in view.url


def test_the_answer_for_a_picture_that_was_removed_meanwhile_is_not_shown(view, held):
    from hw2.inference import predict

    answer(view).first.wait_for()
    release = held(predict, "classify")
    choose(view, "Model", "Plain")
    view.wait_for_timeout(200)
    view.get_by_role("button", name="Remove Image").first.click()
    answer(view).first.wait_for(state="detached")
    release.set()
    view.wait_for_function("() => location.search.includes('model=plain')")  # the answer has arrived
    view.wait_for_timeout(1000)
    assert answer(view).count() == 0


def test_the_table_of_all_models_belongs_to_the_picture_on_show(view, held):
    from hw2.inference import predict

    answer(view).first.wait_for()
    open_tab(view, "Compare")
    view.get_by_text("Agreement of the two masks").wait_for()
    release = held(predict, "classify")
    view.get_by_role("button", name="Classify with all models").click()
    view.wait_for_timeout(500)
    view.get_by_role("button", name="Example: sea").first.click()
    view.wait_for_function("() => location.search.includes('example=sea')")
    release.set()
    view.wait_for_timeout(1500)
    assert view.get_by_role("table", name="Answers").count() == 0


def test_the_full_size_cut_out_belongs_to_the_picture_on_show(view, held):
    import store

    answer(view).first.wait_for()
    open_tab(view, "Segment")
    view.locator(".figures:visible dd").first.wait_for()
    release = held(store.decoder, "read_image")
    view.get_by_role("button", name="Cut out at full size").click()
    view.wait_for_timeout(500)
    view.get_by_role("button", name="Example: coins").first.click()
    view.wait_for_function("() => location.search.includes('example=coins')")
    release.set()
    view.wait_for_timeout(1500)
    assert view.get_by_text("full-size-cut-out").count() == 0


def test_a_press_without_a_picture_says_what_is_missing(view):
    answer(view).first.wait_for()
    view.get_by_role("button", name="Remove Image").first.click()
    answer(view).first.wait_for(state="detached")
    view.get_by_role("button", name="Classify", exact=True).click()
    view.get_by_text("Choose an image first.").wait_for()
    view.get_by_role("button", name="Example: sea").first.click()
    answer(view).first.wait_for()


# A server whose stream the test feeds, and the page's script on top of it.
FAKE_SERVER = """() => {
    window.streams = [];
    window.fetch = async (input) => {
        if (String(input.url || input).includes("queue/join")) return Response.json({ event_id: "second" });
        return new Response(new ReadableStream({ start: (controller) => window.streams.push(controller) }));
    };
}"""
ASK = """() => {
    window.read = [];
    (async () => {
        const reader = (await fetch(new Request("/queue/data?session_hash=x"))).body.getReader();
        for (let part; !(part = await reader.read()).done; ) window.read.push(new TextDecoder().decode(part.value));
        window.read.push("end");
    })();
    window.replied = null;
    fetch("/queue/join", { method: "POST" }).then(async (reply) => {
        window.replied = [(await reply.json()).event_id, ...window.read];
    });
}"""
FEED = "text => window.streams[0].enqueue(new TextEncoder().encode(text))"


@pytest.mark.parametrize("ending", ["end", "event"])
def test_the_reply_to_a_call_does_not_overtake_the_end_of_the_stream(browser, address, ending):
    """Otherwise Gradio's page would wait for the answer on a stream that is about to end, for ever."""
    view = browser.new_page()
    view.goto(f"{address}theme.css")  # a page without scripts of its own
    view.evaluate(FAKE_SERVER)
    view.add_script_tag(path=EXAMPLES.parent / "stream.js")
    view.evaluate(ASK)
    view.evaluate(FEED, "the first event is completed")
    view.wait_for_timeout(100)
    assert view.evaluate("window.replied") is None
    if ending == "end":
        view.evaluate("() => window.streams[0].close()")
    else:
        view.evaluate(FEED, "second starts")
    last = "end" if ending == "end" else "second starts"
    view.wait_for_function("() => window.replied")
    assert view.evaluate("window.replied") == ["second", "the first event is completed", last]
    view.close()


@BOTH
def test_segment(view, tmp_path):
    """The picture serves this tab too; the answer follows the keyboard, and a number while it is typed."""
    answer(view).first.wait_for()
    view.get_by_role("button", name="Example: aeroplane").first.click()
    open_tab(view, "Segment")
    view.locator(".figures:visible dd").first.wait_for()
    before = share(view)
    assert before.endswith("%")
    slider = view.locator("#segment-threshold input[type=range]")
    slider.focus()
    for _ in range(30):
        slider.press("ArrowRight")
    wait_for_another(view, ".figures dd", before)
    before = share(view)
    number = view.locator("#segment-threshold input[type=number]")
    number.click()
    number.fill("")
    number.press_sequentially("0.99")  # the field keeps the focus
    wait_for_another(view, ".figures dd", before)
    assert view.locator(".toast-body").count() == 0
    view.get_by_alt_text("The foreground on the chosen background").wait_for()
    view.get_by_role("button", name="Cut out at full size").click()
    view.get_by_text("aeroplane-full-size-cut-out").first.wait_for()
    finish(view, "segment")

    choose(view, "Model", "Seg classes", within="#segment-model")
    # a legend; the threshold is its own
    view.locator(".figures:visible .swatch").filter(has_text="tv/monitor").wait_for()
    assert number.input_value() != "0.99"
    finish(view, "segment-classes")

    photograph = tmp_path / "photograph.jpg"
    shutil.copy(PLANE, photograph)
    upload(view, "#picture", str(photograph))
    # the answer is that to the upload, and what came with the picture before it is gone
    view.locator("img[alt='The foreground on the chosen background'][src*='/photograph-']").wait_for()
    assert "example=" not in view.url
    view.get_by_role("button", name="Compare with a mask of your own").click()
    upload(view, "#segment-truth", PLANE_MASK)
    dice = view.locator(".figures:visible").get_by_text("Dice")
    dice.wait_for()
    view.get_by_alt_text("Agreement with the true mask, by colour").wait_for()
    view.get_by_role("button", name="Example: sea").first.click()  # of the same size
    dice.wait_for(state="detached")
    view.locator("#segment-truth img").wait_for(state="detached")
    view.locator(".figures:visible dd").first.wait_for()
    view.get_by_role("button", name="Try it: the aeroplane and its mask").click()
    dice.wait_for()
    view.wait_for_timeout(500)
    assert dice.count() == 1  # the change of the picture has not removed the mask that came with it


def lines(view):
    """Return `{run: values}` of the points in the plot of training curves."""
    found = {}
    for label in view.locator("#curves svg [aria-label^='epoch:']").evaluate_all(
        "marks => marks.map(mark => mark.getAttribute('aria-label'))"
    ):
        parts = dict(part.split(": ", 1) for part in label.split("; "))
        found.setdefault(parts["run"], set()).add(round(float(parts["value"]), 3))
    return found


@BOTH
def test_compare_results_and_about(view):
    answer(view).first.wait_for()
    open_tab(view, "Compare")
    view.get_by_text("Agreement of the two masks").wait_for()
    view.get_by_role("button", name="Classify with all models").click()
    view.get_by_text("7 of 7 models").wait_for()
    table = view.get_by_role("table", name="Answers")
    assert table.get_by_role("rowheader").count() == 7
    assert table.get_by_text("Best single network here").count() == 1
    finish(view, "compare")

    open_tab(view, "Results")
    view.locator("#picture").wait_for(state="hidden")
    board = view.get_by_role("grid", name="Classification")
    cells = board.get_by_role("gridcell")
    cells.filter(has_text=re.compile(r"^\s*Both\s*$")).first.wait_for()

    def accuracies():
        rows = [row for row in board.get_by_role("row").all() if row.get_by_role("gridcell").count()]
        return [float(row.get_by_role("gridcell").nth(1).inner_text()) for row in rows]

    shown = accuracies()
    *on_all, _ = shown  # the last one is the run on five classes
    assert len(shown) == 7 and on_all == sorted(on_all, reverse=True)
    header = board.get_by_role("columnheader", name="Accuracy, %")
    header.get_by_role("button", name="Open cell menu").click()
    view.get_by_role("menuitem", name="Sort ascending").click()
    lowest = board.get_by_role("row").nth(1).get_by_role("gridcell").nth(1)
    sync_api.expect(lowest).to_have_text(f"{min(shown):.2f}", timeout=WAIT)
    assert accuracies() == sorted(shown)
    finish(view, "results")
    view.locator("#curves svg [aria-label^='epoch:']").first.wait_for()
    assert "plain" in lines(view) and all(values == {0.1, 0.2, 0.3} for values in lines(view).values())
    choose(view, "Quantity", "validation loss")
    view.locator("#curves svg [aria-label*='value: 4;']").first.wait_for()
    assert all(values == {4, 2, 1.333} for values in lines(view).values())
    view.get_by_text("Validation loss after each epoch").wait_for()
    view.locator("#curve-runs .token").filter(has_text="plain").get_by_role("button").click()
    view.wait_for_function("() => !document.querySelector('#curves').innerHTML.includes('run: plain')")
    assert "best" in lines(view) and "plain" not in view.locator("#curves svg").first.text_content()

    open_tab(view, "About")
    view.get_by_text("it cannot say that it does not know").wait_for()
    assert "sweet pepper" in view.locator(".about").inner_text()
    finish(view, "about")
