"""The page's server, asked over loopback as programs and many people at once would ask it."""

# ruff: noqa: E402  what is imported in the middle needs what comes before it

import concurrent.futures
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
from PIL import Image
from scipy.ndimage import binary_erosion
from test_images import encoded, hostile

pytest.importorskip("gradio")
pytest.importorskip("tensorflow")
FOLDER = tempfile.TemporaryDirectory(prefix="hw2-test-demo-")
os.environ["GRADIO_TEMP_DIR"] = FOLDER.name  # before Gradio is imported
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "demo"))

import board
import classify
import gradio as gr
import httpx
import page
import paint
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file

from hw2 import images, labels, predict

APP = ROOT / "demo" / "app.py"
CAT = str(ROOT / "demo" / "examples" / "cat.jpg")
PLANE, PLANE_MASK, SAILS = (
    str(ROOT / "demo" / "examples" / name) for name in ("aeroplane.jpg", "aeroplane_mask.png", "sails.jpg")
)


def serve(folder):
    """Start the page on a free port; return it and its address."""
    blocks = page.build(folder)
    _, address, _ = blocks.launch(**page.LAUNCH, prevent_thread_lock=True, max_file_size=2_000_000)
    return blocks, address


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tiny_runs.write_all(tmp_path_factory.mktemp("results"))
    (folder / "damaged").mkdir()
    (folder / "damaged" / "metrics.json").write_text("{")
    (folder / "damaged" / "final.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    blocks, address = serve(folder)
    yield address
    blocks.close(verbose=False)


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


def pixels(path):
    return np.asarray(Image.open(path))


def test_every_endpoint_is_named_and_described(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {
        *("/classify", "/segment", "/compare_classifiers", "/compare_segmenters"),
        *("/training_curves", "/leaderboard", "/models"),
    }
    config = client.config
    for dependency in config["dependencies"]:
        if dependency["api_visibility"] == "public":
            assert len(dependency["api_description"] or "") > 40, dependency["api_name"]
    assert [parameter["parameter_name"] for parameter in endpoints["/classify"]["parameters"]] == [
        *("image", "model", "explain_class")
    ]


def test_models(client):
    listed = client.predict(api_name="/models")
    keys = [model["key"] for model in listed if model["task"] == "classification"]
    assert set(keys) == {"plain", "best", "best+mirror", "best+mirror_shift", "both", "few", "rehearsal"}
    assert keys[-1] == "rehearsal"  # synthetic data comes last, whatever its figures
    best = next(model for model in listed if model["key"] == "best")
    assert "CIFAR-100" in best["description"] and "%" in best["description"]
    few = next(model for model in listed if model["key"] == "few")
    assert "5 classes" in few["description"]


@pytest.mark.parametrize("key", ["plain", "best+mirror", "few", "both"])
def test_classify(client, folder, key):
    text, overlay, seen, data = client.predict(handle_file(CAT), key, api_name="/classify")
    model = next(model for model in predict.catalogue(folder)[0] if model.key == key)
    small = images.classifier_input(images.read_image(CAT))
    answer = predict.classify(model, small)
    assert [row["class"] for row in data["top"]] == [labels.CIFAR100_CLASSES[number] for number in answer.classes[:5]]
    np.testing.assert_allclose([row["probability"] for row in data["top"]], answer.probabilities[:5], atol=1e-5)
    assert all(row["class"] in labels.CIFAR100[row["superclass"]] for row in data["top"])
    assert data["model"] == key and data["temperature"] > 0 and data["milliseconds"]["network"] > 0
    assert data["top"][0]["class"].replace("_", " ") in text and "%" in text
    assert pixels(overlay).shape == (384, 384, 3)
    np.testing.assert_array_equal(pixels(seen)[6::12, 6::12], small)


def test_by_default_one_network_answers(client):
    *_, data = client.predict(handle_file(CAT), api_name="/classify")
    assert data["model"] == "best"


def test_explain_another_class(client):
    *_, data = client.predict(handle_file(CAT), "plain", "tiger", api_name="/classify")
    assert data["explained"] == "tiger"
    with pytest.raises(Exception, match="was not trained on tiger"):
        client.predict(handle_file(CAT), "few", "tiger", api_name="/classify")


def test_segment_without_and_with_the_truth(client, folder):
    text, overlay, mask, probability, cut_out, errors, data = client.predict(
        handle_file(PLANE), "seg_book_bilinear", 0.8, "#ff0000", 1.0, None, api_name="/segment"
    )
    model = next(model for model in predict.catalogue(folder)[0] if model.key == "seg_book_bilinear")
    image = images.read_image(PLANE)
    expected = predict.segment(model, image).foreground >= 0.8
    assert 0.1 < expected.mean() < 0.9 and data["foreground_share"] == pytest.approx(expected.mean(), abs=1e-4)
    np.testing.assert_array_equal(pixels(mask), expected * 255)
    painted = np.where(expected[..., None], (255, 0, 0), image)  # the overlay is a JPEG
    assert np.abs(pixels(overlay).astype(float) - painted).mean() < 4
    assert pixels(probability).shape == image.shape
    opacity = pixels(cut_out)[..., 3]
    assert not pixels(cut_out)[opacity == 0].any()  # nothing of the background lies hidden in it
    inside = binary_erosion(expected, iterations=6)
    assert inside.any() and (opacity[inside] == 255).all() and (opacity[~expected] == 0).all()
    assert "dice" not in data and (errors is None or errors["value"] is None)
    text, *_, errors, data = client.predict(
        handle_file(PLANE), "seg_book_bilinear", 0.8, "#ff0000", 0.5, handle_file(PLANE_MASK), api_name="/segment"
    )
    truth = images.read_mask(PLANE_MASK, image.shape[:2])
    assert data["dice"] == pytest.approx(predict.agreement(expected, truth)["dice"], abs=1e-4)
    assert "IoU" in text and "Dice" in text
    errors = errors["value"] if isinstance(errors, dict) else errors
    assert pixels(errors).shape == image.shape


def test_segment_into_classes(client):
    *_, data = client.predict(
        handle_file(PLANE), "seg_classes", 0.5, "rgba(9, 200, 3, 1)", 0.5, None, api_name="/segment"
    )
    assert data["classes"] and "background" not in data["classes"]
    with pytest.raises(Exception, match="not a colour"):
        client.predict(handle_file(PLANE), "seg_classes", 0.5, "greenish", 0.5, None, api_name="/segment")
    with pytest.raises(Exception, match="do not belong together"):
        client.predict(handle_file(PLANE), "seg_classes", 0.5, "#000", 0.5, handle_file(SAILS), api_name="/segment")


def test_compare_classifiers(client, folder):
    text, table = client.predict(handle_file(CAT), api_name="/compare_classifiers")
    keys = [model.key for model in predict.catalogue(folder)[0] if model.task != "segmentation"]
    assert [row[0] for row in table["data"]] == keys
    assert f"{len(keys)} of {len(keys)} models" in text
    *_, data = client.predict(handle_file(CAT), keys[0], api_name="/classify")
    name, sure, *_, superclass = table["data"][0][1:]
    assert name == data["top"][0]["class"].replace("_", " ")
    assert superclass == data["top"][0]["superclass"].replace("_", " ")
    assert sure == pytest.approx(100 * data["top"][0]["probability"], abs=0.06)


def test_compare_segmenters(client):
    text, pair = client.predict(handle_file(PLANE), api_name="/compare_segmenters")  # by default the two decoders
    assert text.index("seg_book_transpose") < text.index("seg_book_bilinear")
    left, right = (pixels(path) for path in pair)
    assert left.shape == right.shape and not np.array_equal(left, right)


def test_results(client, folder):
    board = client.predict(api_name="/leaderboard")
    runs = predict.read_runs(folder)[0]
    rows = {row["Run"]: row for row in board["classification"]}
    assert rows["plain"]["Accuracy, %"] == pytest.approx(100 * runs["plain"]["test"]["accuracy"], abs=0.01)
    assert "best+mirror" in rows and "both" in rows
    easier = [", 5 classes" in row["Data"] for row in board["classification"]]
    assert any(easier) and easier == sorted(easier)  # a run on fewer classes stands below those on all
    accuracies = [row["Accuracy, %"] for row in board["classification"] if ", 5 classes" not in row["Data"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert [row["Run"] for row in board["segmentation"]] == ["seg_book_bilinear", "seg_book_transpose", "seg_classes"]
    plot = client.predict(["plain", "best"], "validation loss", api_name="/training_curves")
    assert json.dumps(plot).count("plain") >= 1
    with pytest.raises(Exception, match="not in the list of choices"):
        client.predict(["../../etc"], "validation loss", api_name="/training_curves")


def test_figures_of_a_damaged_run_are_missed_and_said_so(address, folder):
    config = httpx.get(f"{address}config").text
    assert "damaged/metrics.json is damaged" in config and str(folder) not in config


def test_unknown_models_and_no_image_are_refused_in_words(client):
    with pytest.raises(Exception, match=r"not in the list of choices|There is no model"):
        client.predict(handle_file(CAT), "../../etc/passwd", api_name="/classify")
    with pytest.raises(Exception, match="Choose an image first"):
        client.predict(None, "plain", api_name="/classify")


def test_hostile_files_are_refused_in_words_and_the_server_goes_on(client, tmp_path):
    halves = Image.new("RGB", (60, 40), (200, 30, 20))
    for name, content in hostile(halves).items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(Exception) as caught:
            client.predict(handle_file(str(path)), "plain", api_name="/classify")
        message = str(caught.value)
        assert message.endswith(".") and FOLDER.name not in message, (name, message)
        assert any(words in message for words in ("empty", "not an image", "too large", "decoded", "no pixels")), (
            message
        )
    assert len(client.predict(handle_file(CAT), "plain", api_name="/classify")[3]["top"]) == 5


def test_only_what_was_sent_in_is_read(address, tmp_path):
    """Neither a path on this machine, however it is written, nor its absence shows in the answer."""
    Image.new("RGB", (60, 40), (200, 30, 20)).save(secret := tmp_path / "secret.png")
    said = set()
    for path in (str(secret), str(tmp_path / "absent.png")):
        for sent in ({"path": path}, {"url": path}, {"path": None, "url": path, "meta": {"_type": "gradio.FileData"}}):
            url = f"{address}gradio_api/call/classify"
            event = httpx.post(url, json={"data": [sent, "plain", classify.TOP]}).json()["event_id"]
            said.add(httpx.get(f"{url}/{event}", timeout=30).text)
    assert len(said) == 1 and "Upload the image as a file." in said.pop()


def test_odd_files_are_read(client, tmp_path):
    halves = Image.new("RGB", (60, 40), (200, 30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "wrong_suffix.svg": encoded(halves, "PNG"),
        "cmyk.jpg": encoded(halves.convert("CMYK"), "JPEG"),
        "deep.png": encoded(Image.fromarray(np.full((30, 30), 40_000, np.uint16)), "PNG"),
        "animated.gif": encoded(halves, "GIF", save_all=True, append_images=[halves.rotate(90)]),
        "animated.webp": encoded(halves, "WEBP", save_all=True, append_images=[halves.rotate(90)]),
        "turned.jpg": encoded(halves, "JPEG", exif=exif.tobytes()),
        "point.png": encoded(Image.new("RGB", (1, 1)), "PNG"),
        "line.png": encoded(Image.new("RGB", (20_000, 1)), "PNG"),
        "no_suffix": encoded(halves, "PNG"),
    }
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        *_, data = client.predict(handle_file(str(path)), "plain", api_name="/classify")
        assert len(data["top"]) == 5, name
        *_, data = client.predict(
            handle_file(str(path)), "seg_book_bilinear", 0.5, "#fff", 0.5, None, api_name="/segment"
        )
        assert 0 <= data["foreground_share"] <= 1, name


def test_files_of_the_server_cannot_be_asked_for(address):
    for path in ("/etc/passwd", str(ROOT / "pyproject.toml")):
        assert httpx.get(f"{address}gradio_api/file={path}").status_code in (403, 404)
        body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "plain", classify.TOP]}
        event = httpx.post(f"{address}gradio_api/call/classify", json=body)
        if event.status_code == 200:
            answer = httpx.get(f"{address}gradio_api/call/classify/{event.json()['event_id']}", timeout=60).text
            assert "event: error" in answer and "root:" not in answer


def test_no_address_is_fetched(address, monkeypatch):
    """Gradio itself would fetch what is behind it, however large, before anybody looks at it."""
    fetched = []

    async def fetch(url, cache_dir):
        fetched.append(url)
        return shutil.copy(CAT, cache_dir)

    monkeypatch.setattr(gr.processing_utils, "async_ssrf_protected_download", fetch)
    for scheme in ("http", "HTTPS"):
        link = f"{scheme}://example.org/image.png"
        body = {"data": [{"path": link, "meta": {"_type": "gradio.FileData"}}, "plain", classify.TOP]}
        event = httpx.post(f"{address}gradio_api/call/classify", json=body).json()["event_id"]
        assert "event: error" in httpx.get(f"{address}gradio_api/call/classify/{event}", timeout=60).text
    assert not fetched


def test_too_large_an_upload_is_refused(address, tmp_path):
    response = httpx.post(f"{address}gradio_api/upload", files={"files": ("big.png", bytes(3_000_000))}, timeout=60)
    assert response.status_code == 413


def test_fifty_at_once(address, folder):
    """Fifty people with an image each: everybody waits, and gets the answer to the image that was theirs."""
    rng = np.random.default_rng(0)
    model = next(model for model in predict.catalogue(folder)[0] if model.key == "best")
    sent = [rng.integers(0, 256, (32, 32, 3)).astype(np.uint8) for _ in range(50)]
    expected = [predict.classify(model, image) for image in sent]
    barrier = threading.Barrier(50)

    def ask(image):
        with httpx.Client(timeout=300) as http:
            upload = {"files": ("image.png", encoded(Image.fromarray(image), "PNG"))}
            (path,) = http.post(f"{address}gradio_api/upload", files=upload).raise_for_status().json()
            barrier.wait(60)
            body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "best", classify.TOP]}
            event = http.post(f"{address}gradio_api/call/classify", json=body).raise_for_status().json()["event_id"]
            stream = http.get(f"{address}gradio_api/call/classify/{event}").text
            assert "event: complete" in stream, stream[-500:]
            return json.loads(stream.rpartition("data: ")[2])[3]

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, sent))
    for answer, wanted in zip(answers, expected, strict=True):
        assert [row["class"] for row in answer["top"]] == [labels.CIFAR100_CLASSES[n] for n in wanted.classes[:5]]
        np.testing.assert_allclose([row["probability"] for row in answer["top"]], wanted.probabilities[:5], atol=1e-4)


def test_without_models_the_page_says_which_command_makes_one(tmp_path):
    tiny_runs.write_classifier(tmp_path / "figures", 0)
    (tmp_path / "figures" / "model.keras").unlink()
    for folder in (tmp_path, tmp_path / "nothing"):
        blocks, address = serve(folder)
        try:
            config = httpx.get(f"{address}config").text
            assert config.count("python scripts/train_all.py --only") >= 3
            assert ("its model is not stored here" in config) == (folder == tmp_path)
        finally:
            blocks.close(verbose=False)


def test_old_uploads_and_answers_are_deleted(client):
    """Gradio's own deletion, which runs each minute with KEEP_SECONDS, finds all that this page stores."""
    client.predict(handle_file(CAT), "plain", api_name="/classify")
    (running,) = [thing for thing in gc.get_objects() if isinstance(thing, gr.Blocks) and thing.is_running]
    assert running.delete_cache == (60, page.KEEP_SECONDS) and page.KEEP_SECONDS <= 3600
    delete_files_created_by_app(running, None)
    kept = {
        Path(file).name for component in running.blocks.values() for file in getattr(component, "keep_in_cache", ())
    }
    left = {path.name for path in Path(FOLDER.name).rglob("*") if path.is_file()}
    assert left <= kept | {path.name for path in (ROOT / "demo").rglob("*")}


def run_app(*arguments, **environment):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment
    command = [sys.executable, str(APP), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT.parent
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--auth", "nobody"], "user:password"),
        (["--port", "70000"], "a port is a number"),
        (["--max-upload-mb", "0"], "not a sensible size"),
        (["--help"], "--max-upload-mb"),
    ],
)
def test_arguments_are_checked_at_once(arguments, message):
    began = time.monotonic()
    output, _ = run_app(*arguments).communicate(timeout=60)
    assert message in output
    assert time.monotonic() - began < 10  # before TensorFlow is imported


def test_the_command_with_a_password_and_a_share_that_fails(folder, tmp_path):
    """Proxies that do not answer stand in for a missing network, so that no test ever opens a public link."""
    proxies = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
    proxies |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", "TMPDIR": str(tmp_path)}
    process = run_app("--results", folder, "--auth", "ada:secret", "--share", **proxies)
    lines = []
    while not lines or not lines[-1].startswith("Ctrl-C"):
        line = process.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
    output = "".join(lines)
    assert "There is no public link" in output and "No password" not in output
    address = next(line.split()[-1] for line in lines if line.startswith("The page is at"))
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{address}config")
    client = Client(address, auth=("ada", "secret"), verbose=False)
    assert client.predict(api_name="/models")
    client.predict(handle_file(CAT), api_name="/classify")
    assert list(tmp_path.glob("hw2-demo-*"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert not list(tmp_path.glob("hw2-demo-*"))  # nothing of what was sent is left


def test_a_port_in_use_is_said_in_words(address, folder):
    port = address.rstrip("/").rpartition(":")[2]
    output, _ = (process := run_app("--results", folder, "--port", port)).communicate(timeout=60)
    assert process.returncode != 0 and "choose another --port" in output and "Traceback" not in output


def test_baselines_and_classes_are_on_the_board():
    data = {"source": "voc2012", "classes": 21}
    runs = {
        "seg_classes": {
            "task": "segmentation",
            "data": data,
            "test": {"iou": 0.4, "accuracy": 0.8, "foreground": {"dice": 0.7}},
        },
        "seg_baselines": {
            "task": "baselines",
            "data": data | {"classes": 2},
            "test": {"iou": 0.5},
            "baselines": {"grabcut": {"iou": 0.5, "accuracy": 0.9, "dataset": {"dice": 0.6}}},
        },
    }
    classification, segmentation = board.leaderboard(runs)
    assert classification == []
    assert [row[:4] for row in segmentation] == [
        ["seg_baselines: grabcut", 0.5, 0.6, 90.0],
        ["seg_classes", 0.4, 0.7, 80.0],
    ]


def test_curves_of_a_file_that_was_cut_off(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.csv").write_text("epoch,loss,val_loss\n1,0.5,0.6\n2,0.4")
    curves = board.curves(tmp_path, ["run", "not there"], "validation loss")
    assert curves.to_dict("list") == {"epoch": [1], "value": [0.6], "run": ["run"]}


def test_colours_and_maps_by_hand():
    assert paint.parse_colour("#1d6f72") == (29, 111, 114) and paint.parse_colour("#fff") == (255, 255, 255)
    assert paint.parse_colour("rgba(12.6, 300, -4, 0.5)") == (13, 255, 0)
    for text in ("red", "#12345", "rgb(1, 2)", "#gggggg", ""):
        with pytest.raises(ValueError):
            paint.parse_colour(text)
    assert paint.scale(np.array([0.0, 1.0])).tolist() == [list(paint.HEAT[0]), list(paint.HEAT[-1])]
    image = np.full((4, 6, 3), 100, np.uint8)
    mask = np.zeros((4, 6), bool)
    mask[:, :3] = True
    truth = np.zeros((4, 6), np.uint8)
    truth[:2], truth[0, 0] = 1, labels.VOID
    errors = np.asarray(paint.errors(image, mask, truth))
    assert errors[0, 0].tolist() == [245] * 3
    for place, colour in (((1, 1), paint.RIGHT), ((1, 5), paint.MISSED), ((3, 1), paint.EXTRA)):
        assert np.abs(errors[place] - (0.3 * 140 + 0.7 * np.array(colour))).max() <= 1
    assert np.ptp(errors[3, 5]) == 0
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    over = np.asarray(paint.heat_over(np.full((50, 80, 3), 100, np.uint8), heat)).astype(int)
    assert (
        over.shape == (384, 384, 3) and over[20, 20, 0] - over[20, 20, 2] > 30 + over[300, 300, 0] - over[300, 300, 2]
    )
