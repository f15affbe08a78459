"""The page's server: requests over loopback as programs and many simultaneous visitors send them."""

import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import factories
import numpy as np
import pytest
import tiny_runs
from hostile_files import encoded, hostile
from PIL import Image
from scipy.ndimage import binary_erosion

pytest.importorskip("gradio")
pytest.importorskip("tensorflow")

import app
import gradio as gr
import httpx
import page
import render
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file
from tabs import classify, results

from hw2 import files, labels, runs
from hw2.inference import predict, uploads
from hw2.inference.catalogue import catalogue

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "demo" / "examples"
CAT = str(EXAMPLES / "cat.jpg")
PLANE, PLANE_MASK, SAILS = (str(EXAMPLES / name) for name in ("aeroplane.jpg", "aeroplane_mask.png", "sails.jpg"))


@pytest.fixture(scope="module")
def client(address, tmp_path_factory):
    return Client(address, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


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
    model = next(model for model in catalogue(folder).models if model.key == key)
    small = uploads.classifier_input(uploads.read_image(CAT))
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
    model = next(model for model in catalogue(folder).models if model.key == "seg_book_bilinear")
    image = uploads.read_image(PLANE)
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
    truth = uploads.read_mask(PLANE_MASK, image.shape[:2])
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
    keys = [model.key for model in catalogue(folder).models if model.task != "segmentation"]
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
    metrics = runs.read_metrics(folder / "plain")
    rows = {row["Run"]: row for row in board["classification"]}
    assert rows["plain"]["Accuracy, %"] == pytest.approx(100 * metrics["test"]["accuracy"], abs=0.01)
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


def test_a_damaged_run_is_listed_with_the_reason(address, folder):
    config = httpx.get(f"{address}config").text
    assert "damaged/metrics.json is damaged" in config and str(folder) not in config


def test_unknown_models_and_missing_images_are_refused(client):
    with pytest.raises(Exception, match=r"not in the list of choices|There is no model"):
        client.predict(handle_file(CAT), "../../etc/passwd", api_name="/classify")
    with pytest.raises(Exception, match="Choose an image first"):
        client.predict(None, "plain", api_name="/classify")


def test_hostile_files_are_refused_and_the_server_goes_on(client, tmp_path, uploads_folder):
    halves = Image.new("RGB", (60, 40), (200, 30, 20))
    for name, content in hostile(halves).items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(Exception) as caught:
            client.predict(handle_file(str(path)), "plain", api_name="/classify")
        message = str(caught.value)
        assert message.endswith(".") and uploads_folder.name not in message, (name, message)
        assert any(words in message for words in ("empty", "not an image", "too large", "decoded", "no pixels")), (
            message
        )
    assert len(client.predict(handle_file(CAT), "plain", api_name="/classify")[3]["top"]) == 5


def test_only_uploads_are_read(address, tmp_path):
    """The answer to a path on this machine, however it is written, does not depend on whether it exists."""
    Image.new("RGB", (60, 40), (200, 30, 20)).save(secret := tmp_path / "secret.png")
    said = set()
    for path in (str(secret), str(tmp_path / "absent.png")):
        for sent in ({"path": path}, {"url": path}, {"path": None, "url": path, "meta": {"_type": "gradio.FileData"}}):
            url = f"{address}gradio_api/call/classify"
            event = httpx.post(url, json={"data": [sent, "plain", classify.TOP]}).json()["event_id"]
            said.add(httpx.get(f"{url}/{event}", timeout=30).text)
    assert len(said) == 1 and "Upload the image as a file." in said.pop()


def test_unusual_files_are_read(client, tmp_path):
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
    for name in ("point.png", "line.png", "turned.jpg"):
        path = tmp_path / name
        *_, data = client.predict(
            handle_file(str(path)), "seg_book_bilinear", 0.5, "#fff", 0.5, None, api_name="/segment"
        )
        assert 0 <= data["foreground_share"] <= 1, name


def test_files_of_the_server_cannot_be_requested(address):
    for path in ("/etc/passwd", str(ROOT / "pyproject.toml")):
        assert httpx.get(f"{address}gradio_api/file={path}").status_code in (403, 404)
        body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "plain", classify.TOP]}
        event = httpx.post(f"{address}gradio_api/call/classify", json=body)
        if event.status_code == 200:
            answer = httpx.get(f"{address}gradio_api/call/classify/{event.json()['event_id']}", timeout=60).text
            assert "event: error" in answer and "root:" not in answer


def test_no_address_is_fetched(address, monkeypatch):
    """Gradio itself would download a URL, whatever its size, before the page is asked."""
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
    """Fifty visitors with an image each: everyone receives the answer for their own image."""
    rng = np.random.default_rng(0)
    model = next(model for model in catalogue(folder).models if model.key == "best")
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


def test_without_models_the_page_names_the_command_that_trains_one(serve, tmp_path):
    tiny_runs.write_classifier(tmp_path / "figures", 0)
    (tmp_path / "figures" / "model.keras").unlink()
    for folder in (tmp_path, tmp_path / "nothing"):
        blocks, address = serve(folder)
        try:
            config = httpx.get(f"{address}config").text
            assert config.count("python scripts/train_all.py --only") >= 3 and "--results PATH/TO" in config
            assert ("its model is not stored here" in config) == (folder == tmp_path)
        finally:
            blocks.close(verbose=False)


def test_old_uploads_and_answers_are_deleted(client, served, uploads_folder):
    """Gradio's own deletion, which runs every minute with KEEP_SECONDS, finds every file that this page stores."""
    client.predict(handle_file(CAT), "plain", api_name="/classify")
    running, _ = served
    assert running.delete_cache == (60, page.KEEP_SECONDS) and page.KEEP_SECONDS <= 3600
    delete_files_created_by_app(running, None)
    kept = {
        Path(file).name for component in running.blocks.values() for file in getattr(component, "keep_in_cache", ())
    }
    left = {path.name for path in uploads_folder.rglob("*") if path.is_file()}
    assert left <= kept | {path.name for path in (ROOT / "demo").rglob("*")}


def run_app(*arguments, **environment):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment
    command = [sys.executable, str(ROOT / "demo" / "app.py"), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT.parent
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--auth", "nobody"], "user:password"),
        (["--port", "70000"], "a port is a number"),
        (["--max-upload-mb", "0"], "0 is not between"),
        (["--results", "not/there"], "there is no folder not/there"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        app.parse_arguments(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_arguments_are_checked_before_tensorflow_is_imported():
    process = run_app("--results", "not/there", PYTHONPROFILEIMPORTTIME="1")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "there is no folder not/there" in output and "argparse" in output
    assert not re.search(r"\| +(tensorflow|keras|gradio)$", output, re.MULTILINE)


def test_a_folder_of_budgets_is_refused_with_the_budgets(tmp_path, capsys):
    files.write_json(tmp_path / "cpu" / "run" / runs.FINAL, {})
    with pytest.raises(SystemExit):
        app.parse_arguments(["--results", str(tmp_path)])
    assert f"choose {tmp_path / 'cpu'}" in capsys.readouterr().err
    assert app.parse_arguments(["--results", str(tmp_path / "cpu")]).results == tmp_path / "cpu"


COUNT_METRICS = """import pathlib, sys

log = open(pathlib.Path(__file__).with_name("opened.txt"), "a", buffering=1)


def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("metrics.json"):
        print(arguments[0], file=log)


sys.addaudithook(hook)
"""


def test_the_command_with_a_password_and_a_share_that_fails(folder, tmp_path):
    """Proxies that do not answer replace a missing network, so that no test ever opens a public link.

    The process also counts how often it opens each file of metrics.
    """
    (tmp_path / "sitecustomize.py").write_text(COUNT_METRICS)
    proxies = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
    proxies |= {
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(tmp_path),
    }
    process = run_app("--results", folder, "--auth", "ada:secret", "--share", **proxies)
    lines = []
    while not lines or not lines[-1].startswith("Press Ctrl-C"):
        line = process.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
    output = "".join(lines)
    assert "There is no public link" in output and "not protected" not in output
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
    assert not list(tmp_path.glob("hw2-demo-*"))  # no upload is left
    opened = (tmp_path / "opened.txt").read_text().splitlines()
    assert sorted(opened) == sorted(map(str, folder.glob(f"*/{runs.METRICS}")))


def test_a_port_in_use_is_named(address):
    port = address.rstrip("/").rpartition(":")[2]
    with pytest.raises(SystemExit, match="choose another --port"):
        app.refuse_port_in_use("127.0.0.1", int(port))


def test_baselines_and_classes_are_on_the_board():
    configurations = {
        "seg_classes": factories.configuration("seg_classes", "segmentation", classes=21),
        "seg_baselines": factories.configuration("seg_baselines", "baselines"),
    }
    finished = {
        "seg_classes": factories.segmenter(configurations["seg_classes"], iou=0.7),
        "seg_baselines": factories.baselines(configurations["seg_baselines"]),
    }
    classification, segmentation = results.leaderboard(finished)
    assert classification == []
    grabcut, ellipse, background, classes = segmentation  # the harder task comes last, whatever its figures
    assert grabcut[:2] == ["seg_baselines: grabcut", 0.39]
    assert grabcut[2] == pytest.approx(2 * 0.39 / 1.39, abs=1e-4)  # Dice from IoU
    assert ellipse[0] == "seg_baselines: centred_ellipse" and background[0] == "seg_baselines: all_background"
    # IoU 0.7 of the object and 156 / 186 of the background: 30 of 256 pixels are missed
    assert classes[:2] == ["seg_classes", pytest.approx((0.7 + 156 / 186) / 2, abs=1e-4)]
    assert classes[2:4] == [pytest.approx(1.4 / 1.7, abs=1e-4), pytest.approx(100 * 226 / 256, abs=0.01)]


def test_the_masthead_states_the_budget_and_the_best_by_validation(folder):
    finished = catalogue(folder).runs
    text = page.masthead(finished)
    assert "cpu budget" in text and f"<dd>{len(finished)} " in text
    trained = [name for name in ("plain", "best", "both")]
    best = max(trained, key=lambda name: finished[name]["validation"]["accuracy"])
    assert f"{finished[best]['test']['accuracy']:.1%}" in text and f"{best}</small>" in text
    assert "rehearsal" not in text and "0.600 <small>IoU on test images, seg_book_bilinear" in text
    assert "0</dd>" in page.masthead({})


@pytest.mark.parametrize("budget", ["cpu", "gpu"])
def test_the_notice_names_the_command_for_the_folder(budget):
    folder = ROOT / "results" / budget
    text = page.no_model("classifier", folder, {})
    assert f"train_all.py --only vgg16_block5 --budget {budget}<" in text
    assert "--force" in page.no_model("classifier", folder, {"vgg16_block5": "its model is not stored here"})


def test_curves_of_a_file_that_was_cut_off(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.csv").write_text("epoch,loss,val_loss\n1,0.5,0.6\n2,0.4")
    curves = results.curves(tmp_path, ["run", "not there"], "validation loss")
    assert curves.to_dict("list") == {"epoch": [1], "value": [0.6], "run": ["run"]}


def test_colours_and_maps_by_hand():
    assert render.parse_colour("#1d6f72") == (29, 111, 114) and render.parse_colour("#fff") == (255, 255, 255)
    assert render.parse_colour("rgba(12.6, 300, -4, 0.5)") == (13, 255, 0)
    for text in ("red", "#12345", "rgb(1, 2)", "#gggggg", ""):
        with pytest.raises(ValueError):
            render.parse_colour(text)
    assert render.scale(np.array([0.0, 1.0])).tolist() == [list(render.HEAT[0]), list(render.HEAT[-1])]
    image = np.full((4, 6, 3), 100, np.uint8)
    mask = np.zeros((4, 6), bool)
    mask[:, :3] = True
    truth = np.zeros((4, 6), np.uint8)
    truth[:2], truth[0, 0] = 1, labels.VOID
    errors = np.asarray(render.errors(image, mask, truth))
    assert errors[0, 0].tolist() == [245] * 3
    for place, colour in (((1, 1), render.RIGHT), ((1, 5), render.MISSED), ((3, 1), render.EXTRA)):
        assert np.abs(errors[place] - (0.3 * 140 + 0.7 * np.array(colour))).max() <= 1
    assert np.ptp(errors[3, 5]) == 0
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    over = np.asarray(render.heat_over(np.full((50, 80, 3), 100, np.uint8), heat)).astype(int)
    assert (
        over.shape == (384, 384, 3) and over[20, 20, 0] - over[20, 20, 2] > 30 + over[300, 300, 0] - over[300, 300, 2]
    )
