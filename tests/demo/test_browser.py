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


@BOTH
def test_classify(view):
    upload(view, "#classify-image", CAT)
    answers = view.get_by_role("list", name="Most probable classes").get_by_role("listitem")
    answers.first.wait_for()
    assert answers.count() == 5 and "%" in answers.first.inner_text()
    before = answers.first.inner_text()
    choose(view, "Model", "plain")
    view.wait_for_function(
        "before => document.querySelector('.answer li') && document.querySelector('.answer li').innerText !== before",
        arg=before,
    )
    choose(view, "Explain", "tiger")
    view.get_by_alt_text("The image, in warm colours where it supports the class").wait_for()
    view.get_by_alt_text("The image as the network receives it, 32 x 32 pixels").wait_for()
    view.get_by_role("button", name="As data").click()
    view.get_by_text("superclass").first.wait_for()
    finish(view, "classify")


def test_an_example_is_enough(view):
    view.get_by_role("button", name="Example: rocket").first.click()
    view.locator(".answer li").first.wait_for()
    view.get_by_role("button", name="Remove Image").first.click()
    view.locator(".answer li").first.wait_for(state="detached")


def test_an_unreadable_file_is_refused_with_a_message(view, tmp_path):
    path = tmp_path / "drawing.png"
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>document.title='hacked'</script></svg>")
    upload(view, "#classify-image", str(path))
    view.get_by_text("This is not an image that can be read here").first.wait_for()
    assert "hacked" not in view.title()
    upload_again = view.locator("#classify-image").get_by_role("button", name="Remove Image")
    if upload_again.count():
        upload_again.click()
    upload(view, "#classify-image", CAT)
    view.locator(".answer li").first.wait_for()


@BOTH
def test_segment(view):
    open_tab(view, "Segment")
    upload(view, "#segment-image", PLANE)
    share = view.locator(".figures:visible dd").first
    share.wait_for()
    before = share.inner_text()
    assert before.endswith("%")
    threshold = view.get_by_role("spinbutton", name="Threshold")
    threshold.fill("0.9")
    threshold.press("Enter")
    threshold.press("Tab")
    view.get_by_role("button", name="Segment", exact=True).click()
    view.wait_for_function(
        "before => [...document.querySelectorAll('.figures dd')].some(x => x.offsetParent && x.innerText.endsWith('%') "
        "&& x.innerText !== before)",
        arg=before,
    )
    for text in ("The image with the foreground coloured", "The foreground on a transparent background"):
        view.get_by_alt_text(text).wait_for()
    view.get_by_role("button", name="Compare with a mask of your own").click()
    upload(view, "#segment-truth", PLANE_MASK)
    view.locator(".figures:visible").get_by_text("Dice").wait_for()
    view.get_by_alt_text("Agreement with the true mask, by colour").wait_for()
    finish(view, "segment")


@BOTH
def test_compare(view):
    open_tab(view, "Compare")
    upload(view, "#compare-image", CAT)
    view.locator("#compare-image img").first.wait_for()
    view.get_by_role("button", name="Classify with all models").click()
    view.get_by_text("7 of 7 models").wait_for()
    view.get_by_role("grid", name="Answers").get_by_role("gridcell", name="best+mirror_shift").wait_for()
    upload(view, "#pair-image", PLANE)
    view.get_by_text("IoU of the two masks").wait_for()
    finish(view, "compare")


@BOTH
def test_results(view):
    open_tab(view, "Results")
    board = view.get_by_role("grid", name="Classification")
    cells = board.get_by_role("gridcell")
    cells.filter(has_text="best+mirror_shift").first.wait_for()

    def accuracies():
        rows = [row for row in board.get_by_role("row").all() if row.get_by_role("gridcell").count()]
        return [float(row.get_by_role("gridcell").nth(1).inner_text()) for row in rows]

    shown = accuracies()
    *on_all, _ = shown  # the last one is the run on five classes
    assert len(shown) == 7 and on_all == sorted(on_all, reverse=True)
    header = board.get_by_role("columnheader", name="Accuracy, %")
    header.get_by_role("button", name="Open cell menu").click()
    view.get_by_role("menuitem", name="Sort ascending").click()
    board.get_by_role("row").nth(1).get_by_role(
        "gridcell", name=str(min(shown)).removesuffix(".0"), exact=True
    ).wait_for()
    assert accuracies() == sorted(shown)
    choose(view, "Quantity", "validation loss")
    view.get_by_role("img").filter(has_text="validation loss").first.wait_for()
    finish(view, "results")
