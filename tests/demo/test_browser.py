"""The page in a real browser: each tab is used as a visitor would, without a request to any other server.

Skipped, with the reason, where Playwright or a Chromium is missing. HW2_SCREENSHOTS=DIR saves a picture of every tab.
"""

import os
import shutil
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
EXAMPLES = Path(__file__).parents[2] / "demo" / "examples"
CAT, PLANE, PLANE_MASK = (str(EXAMPLES / name) for name in ("cat.jpg", "aeroplane.jpg", "aeroplane_mask.png"))


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


BOTH = pytest.mark.parametrize("view", ["desktop", "phone"], indirect=True)


@pytest.fixture
def view(request, browser, address):
    """An open page, wide or narrow, that fails the test if it sends a request to another server."""
    kind = getattr(request, "param", "desktop")
    context = browser.new_context(viewport=DESKTOP if kind == "desktop" else PHONE)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    asked, errors = [], []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.get_by_role("heading", name="Image classification and segmentation").wait_for()
    page.kind = kind
    yield page
    context.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert errors == []


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


def wait_for_another(view, selector, before):
    """Wait until the first visible element of a selector has another text than `before`."""
    view.wait_for_function(
        "([selector, before]) => { const found = [...document.querySelectorAll(selector)].find(x => x.offsetParent); "
        "return found && found.innerText !== before; }",
        arg=[selector, before],
    )


@BOTH
def test_classify(view):
    """An example is answered when the page opens; a click on a class shows its heat map."""
    answer(view).first.wait_for()
    assert answer(view).count() == 5 and "%" in answer(view).first.inner_text()
    assert "example=raccoon" in view.url and "model=best" in view.url
    before = answer(view).first.inner_text()
    upload(view, "#picture", CAT)
    wait_for_another(view, ".answer li", before)
    before = answer(view).first.inner_text()
    choose(view, "Model", "Convolutional net")
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


def test_an_example_is_enough(view):
    answer(view).first.wait_for()
    before = answer(view).first.inner_text()
    view.get_by_role("button", name="Example: rocket").first.click()
    wait_for_another(view, ".answer li", before)
    assert "example=rocket" in view.url
    view.get_by_role("button", name="Remove Image").first.click()
    view.locator(".answer li").first.wait_for(state="detached")


def test_a_link_opens_the_model_and_the_example(view, address):
    view.goto(f"{address}?tab=segment&model=seg_book_transpose&example=aeroplane")
    view.locator(".figures:visible .run").filter(has_text="seg_book_transpose").wait_for()
    assert view.locator("#picture img").first.get_attribute("src").endswith("/aeroplane.jpg")
    view.goto(f"{address}?tab=nothing&model=../../etc&example=%3Cscript%3E")
    answer(view).first.wait_for()


def test_an_unreadable_file_is_refused_with_a_message(view, tmp_path):
    path = tmp_path / "drawing.png"
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>document.title='hacked'</script></svg>")
    answer(view).first.wait_for()
    upload(view, "#picture", str(path))
    view.get_by_text("This is not an image that can be read here").first.wait_for()
    assert "hacked" not in view.title()
    answer(view).first.wait_for(state="detached")
    upload(view, "#picture", CAT)
    answer(view).first.wait_for()


@BOTH
def test_segment(view):
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
    view.get_by_role("button", name="Cut out in full size").click()
    view.get_by_text("aeroplane-full-size-cut-out").first.wait_for()
    finish(view, "segment")


def test_a_mask_does_not_outlive_its_picture(view):
    answer(view).first.wait_for()
    open_tab(view, "Segment")
    upload(view, "#picture", PLANE)
    view.locator(".figures:visible dd").first.wait_for()
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


@BOTH
def test_compare(view):
    answer(view).first.wait_for()
    open_tab(view, "Compare")
    view.get_by_text("Agreement of the two masks").wait_for()
    view.get_by_role("button", name="Classify with all models").click()
    view.get_by_text("7 of 7 models").wait_for()
    table = view.get_by_role("table", name="Answers")
    assert table.get_by_role("rowheader").count() == 7
    assert table.get_by_text("Our best single network").count() == 1
    finish(view, "compare")


@BOTH
def test_results(view):
    open_tab(view, "Results")
    assert not view.locator("#picture").is_visible()
    board = view.get_by_role("grid", name="Classification")
    cells = board.get_by_role("gridcell")
    cells.filter(has_text="Ensemble of 2 networks").first.wait_for()

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


def lines(view):
    """Return `{run: values}` of the points in the plot of training curves."""
    found = {}
    for label in view.locator("#curves svg [aria-label^='epoch:']").evaluate_all(
        "marks => marks.map(mark => mark.getAttribute('aria-label'))"
    ):
        parts = dict(part.split(": ", 1) for part in label.split("; "))
        found.setdefault(parts["run"], set()).add(round(float(parts["value"]), 3))
    return found


def test_the_curves_are_those_of_the_chosen_runs_and_quantity(view):
    open_tab(view, "Results")
    view.locator("#curves svg [aria-label^='epoch:']").first.wait_for()
    assert "plain" in lines(view) and all(values == {0.1, 0.2, 0.3} for values in lines(view).values())
    choose(view, "Quantity", "validation loss")
    view.locator("#curves svg [aria-label*='value: 4;']").first.wait_for()
    assert all(values == {4, 2, 1.333} for values in lines(view).values())
    view.get_by_text("Validation loss after each epoch").wait_for()
    view.locator("#curve-runs .token").filter(has_text="plain").get_by_role("button").click()
    view.wait_for_function("() => !document.querySelector('#curves').innerHTML.includes('run: plain')")
    assert "best" in lines(view) and "plain" not in view.locator("#curves svg").first.text_content()


def test_about(view):
    open_tab(view, "About")
    view.get_by_text("it cannot say that it does not know").wait_for()
    assert "sweet pepper" in view.locator(".about").inner_text() and not view.locator("#picture").is_visible()
    finish(view, "about")
