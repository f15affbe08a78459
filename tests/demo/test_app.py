"""The page's server: requests over loopback as programs and many simultaneous visitors send them."""

import concurrent.futures
import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hostile_files import encoded, hostile
from PIL import Image
from scipy.ndimage import binary_erosion

pytest.importorskip("gradio")
pytest.importorskip("tensorflow")

import gradio as gr
import httpx
import page
import store
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file
from tabs import classify

from hw2 import labels, runs
from hw2.inference import predict, uploads
from hw2.inference.catalogue import catalogue

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "demo" / "examples"
CAT = str(EXAMPLES / "cat.jpg")
PLANE, PLANE_MASK, SAILS = (str(EXAMPLES / name) for name in ("aeroplane.jpg", "aeroplane_mask.png", "sails.jpg"))
UNSURE = (100, 100, 102)  # foreground with a probability of 0.45, by the tiny segmenters, whose threshold is 0.4


@pytest.fixture(scope="module")
def client(address, tmp_path_factory):
    return Client(address, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


def pixels(path):
    return np.asarray(Image.open(path))


def test_every_endpoint_is_named_and_described(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {
        *("/classify", "/segment", "/compare_classifiers", "/compare_segmenters"),
        *("/training_curves", "/leaderboard", "/models", "/cut_out"),
    }
    config = client.config
    for dependency in config["dependencies"]:
        if dependency["api_visibility"] == "public":
            assert len(dependency["api_description"] or "") > 40, dependency["api_name"]
    assert [parameter["parameter_name"] for parameter in endpoints["/classify"]["parameters"]] == [
        *("image", "model", "explain_class", "region")
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
    named = {model["key"]: model["name"] for model in listed}
    assert named["best"] == "Best single network here" and named["both"] == "Both"
    assert "shifted and mirrored" in named["best+mirror_shift"] and len(set(named.values())) == len(named)
    assert [model["key"] for model in listed if model["default"]] == ["best", "seg_book_bilinear"]


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
    with pytest.raises(Exception, match="not in the list of choices"):
        client.predict(handle_file(CAT), "plain", "unicorn", api_name="/classify")
    with pytest.raises(Exception, match="was not trained on tiger"):
        client.predict(handle_file(CAT), "few", "tiger", api_name="/classify")


def test_segment_without_and_with_the_truth(client, folder):
    text, (before, overlay), mask, probability, cut_out, errors, data = client.predict(
        handle_file(PLANE), "seg_book_bilinear", 0.8, "#ff0000", 1.0, None, api_name="/segment"
    )
    names = [Path(path).name for path in (before, overlay, mask, probability, cut_out)]
    assert names == [
        "aeroplane.jpg",
        *(f"aeroplane-{part}" for part in (*("foreground.jpg", "mask.png", "confidence.jpg", "cut-out.png"),)),
    ]
    model = next(model for model in catalogue(folder).models if model.key == "seg_book_bilinear")
    image = uploads.read_image(PLANE)
    expected = predict.segment(model, image).foreground >= 0.8
    assert 0.1 < expected.mean() < 0.9 and data["foreground_share"] == pytest.approx(expected.mean(), abs=1e-4)
    np.testing.assert_array_equal(pixels(mask), expected * 255)
    painted = np.where(expected[..., None], (255, 0, 0), image)  # the overlay is a JPEG
    assert np.abs(pixels(overlay).astype(float) - painted).mean() < 6  # besides, the outline is white
    assert np.abs(pixels(before).astype(float) - image).mean() < 4
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


def test_a_mask_of_another_shape_loses_only_the_comparison(client):
    text, pair, *_, data = client.predict(
        handle_file(PLANE), "seg_classes", 0.5, "#000", 0.5, handle_file(SAILS), api_name="/segment"
    )
    assert "do not belong together" in data["mask_error"] and "dice" not in data
    assert "The mask is not compared." in text and len(pair) == 2 and data["foreground_share"] > 0


def test_backgrounds_and_full_size(client, tmp_path):
    """The foreground is what is red; the background becomes what is asked for, at the size of the file if it is."""
    large = np.zeros((1500, 2000, 3), np.uint8)
    large[:, :1000], large[:, 1000:] = (200, 30, 20), (20, 30, 200)
    Image.fromarray(large).save(tmp_path / "My large picture!.png", compress_level=1)
    sent = handle_file(str(tmp_path / "My large picture!.png"))
    for background, right in (("white", (255, 255, 255)), ("black", (0, 0, 0))):
        *_, cut, _, _ = client.predict(
            sent, "seg_book_bilinear", 0.5, "#fff", 0.5, None, background, api_name="/segment"
        )
        assert np.abs(pixels(cut)[300, 1000].astype(int) - right).max() < 8
        assert np.abs(pixels(cut)[300, 20].astype(int) - (200, 30, 20)).max() < 8
    path = client.predict(sent, "seg_book_bilinear", 0.5, "transparent", None, api_name="/cut_out")
    path = path["value"] if isinstance(path, dict) else path
    assert Path(path).name == "My-large-picture-full-size-cut-out.png"
    assert pixels(path).shape == (1500, 2000, 4)
    assert pixels(path)[700, 100].tolist() == [200, 30, 20, 255] and not pixels(path)[700, 1900].any()
    with pytest.raises(Exception, match="Choose the picture for the background"):
        client.predict(sent, "seg_book_bilinear", 0.5, "another picture", None, api_name="/cut_out")


def test_classify_the_object(client, tmp_path):
    """Of a picture with a red square at its edge, the network sees the square, or the square before grey."""
    image = np.full((200, 400, 3), (20, 30, 200), np.uint8)
    image[60:140, 300:380] = (200, 30, 20)
    Image.fromarray(image).save(tmp_path / "object.png")
    sent = handle_file(str(tmp_path / "object.png"))
    red = {}
    for region in (classify.CENTRE, classify.AROUND, classify.CUT_OUT):
        _, _, seen, data = client.predict(sent, "plain", classify.TOP, region, api_name="/classify")
        assert data["region"] == region
        red[region] = (pixels(seen)[..., 0] > 150).mean()
        grey = (np.ptp(pixels(seen).astype(int), axis=-1) < 10).mean()
        assert (grey > 0.1) == (region == classify.CUT_OUT)
    assert red[classify.CENTRE] < 0.15 and red[classify.AROUND] > 0.3 and red[classify.CUT_OUT] > 0.3
    with pytest.raises(Exception, match="finds no object"):
        Image.new("RGB", (40, 40), (20, 30, 200)).save(tmp_path / "blue.png")
        client.predict(
            handle_file(str(tmp_path / "blue.png")), "plain", classify.TOP, classify.AROUND, api_name="/classify"
        )


def test_the_object_is_what_exceeds_the_threshold_of_the_segmenter(client, tmp_path):
    """It is the right half of the picture."""
    image = np.full((200, 400, 3), (20, 30, 200), np.uint8)
    image[:, 200:] = UNSURE
    Image.fromarray(image).save(tmp_path / "unsure.png")
    sent = handle_file(str(tmp_path / "unsure.png"))
    _, _, seen, _ = client.predict(sent, "plain", classify.TOP, classify.AROUND, api_name="/classify")
    assert (pixels(seen)[..., 2] < 150).mean() > 0.9


def test_the_object_is_the_largest_region():
    mask = np.zeros((100, 120), bool)
    mask[2:5, 2:5], mask[50:80, 60:90] = True, True
    image = np.where(mask[..., None], (200, 0, 0), (0, 0, 200)).astype(np.uint8)
    found = classify.object_in(image, mask, cut_out=True)
    assert found.shape == (36, 36, 3) and (found[3:-3, 3:-3] == (200, 0, 0)).all()


def send(address, endpoint, data):
    """Call an endpoint with values that need not be what its components hold; return the stream of the answer."""
    url = f"{address}gradio_api/call/{endpoint}"
    body = json.dumps({"data": data}).encode()  # writes NaN, which JSON does not have
    event = httpx.post(url, content=body, headers={"content-type": "application/json"})
    if event.status_code != 200:
        return event.text
    return httpx.get(f"{url}/{event.json()['event_id']}", timeout=60).text


def uploaded(address, path):
    with open(path, "rb") as file:
        (found,) = httpx.post(f"{address}gradio_api/upload", files={"files": (Path(path).name, file)}).json()
    return {"path": found, "meta": {"_type": "gradio.FileData"}}


def test_colours_and_numbers_that_are_none_are_refused_in_words(address):
    plane = uploaded(address, PLANE)
    for threshold, colour, opacity, message in (
        (0.5, "#zzzzzz", 0.5, "is not a colour. Write it as #rrggbb"),
        (0.5, "rgba(a, b, c)", 0.5, "is not a colour. Write it as #rrggbb"),
        (0.5, "rgb(nan, 1, 1)", 0.5, "is not a colour. Write it as #rrggbb"),
        (0.5, None, 0.5, "is not a colour. Write it as #rrggbb"),
        (0.5, ["#fff"], 0.5, "is not a colour. Write it as #rrggbb"),
        (float("nan"), "#fff", 0.5, "Threshold is a number from 0 to 1, not"),
        (None, "#fff", 0.5, "Threshold is a number from 0 to 1, not None"),
        ("0.5", "#fff", 0.5, "Threshold is a number from 0 to 1, not"),
        (7, "#fff", 0.5, "Threshold is a number from 0 to 1, not 7"),
        (0.5, "#fff", float("inf"), "Opacity is a number from 0 to 1, not"),
        (0.5, "#fff", {}, "Opacity is a number from 0 to 1, not"),
    ):
        said = send(address, "segment", [plane, "seg_classes", threshold, colour, opacity, None, "white", None])
        assert "event: error" in said and message in said, (threshold, colour, opacity, said)


def test_colour_and_opacity_do_not_run_the_network_again(client, monkeypatch):
    computed, segment = [], predict.segment
    monkeypatch.setattr(predict, "segment", lambda *values: computed.append(values) or segment(*values))
    shares = []
    for threshold, colour, opacity in ((0.5, "#00f", 0.5), (0.5, "#f00", 0.5), (0.5, "#f00", 0.9), (0.9, "#f00", 0.9)):
        *_, data = client.predict(
            handle_file(SAILS), "seg_book_transpose", threshold, colour, opacity, None, api_name="/segment"
        )
        shares.append(data["foreground_share"])
    assert len(computed) == 1 and shares[0] == shares[2] > shares[3]
    kept = store.Recent(entries=2, seconds=0.2)
    assert [kept.get(key, lambda key=key: key) for key in "aabca"] == list("aabca") and len(kept) == 2
    time.sleep(0.25)
    kept.expire()
    assert len(kept) == 0


def test_an_equal_answer_replaces_the_file_in_one_step(address, uploads_folder):
    """A reader of the first file is not disturbed: the second answer is another file under the same name."""
    body = [uploaded(address, CAT), "plain", classify.TOP, classify.CENTRE]
    opened = []
    for _ in range(2):
        seen = json.loads(send(address, "classify", body).rpartition("data: ")[2])[2]["path"]
        assert Path(seen).is_relative_to(uploads_folder.resolve())
        opened.append(open(seen, "rb"))  # noqa: SIM115  an open file keeps its number
    first, second = (os.fstat(file.fileno()).st_ino for file in opened)
    assert first != second and opened[0].read() == opened[1].read() != b""
    for file in opened:
        file.close()


def test_the_api_page_gives_an_example_that_is_accepted(address):
    endpoints = httpx.get(f"{address}gradio_api/info").json()["named_endpoints"]
    for name in ("/classify", "/segment", "/compare_classifiers", "/compare_segmenters", "/cut_out"):
        image = endpoints[name]["parameters"][0]
        assert image["parameter_name"] == "image" and "http" not in json.dumps(image["example_input"]), name


def test_compare_classifiers(client, folder):
    text, rows = client.predict(handle_file(CAT), api_name="/compare_classifiers")
    models = {model.key: model for model in catalogue(folder).models if model.task != "segmentation"}
    keys = [row["model"] for row in rows]
    assert sorted(keys) == sorted(models) and keys[-2:] == ["few", "rehearsal"]  # fewer classes, synthetic data
    accuracies = [row["test_accuracy"] for row in rows[:-2]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert f"{len(keys)} of {len(keys)} models" in text
    *_, data = client.predict(handle_file(CAT), keys[0], api_name="/classify")
    assert {name: rows[0][name] for name in ("class", "superclass")} == {
        name: data["top"][0][name] for name in ("class", "superclass")
    }
    assert rows[0]["confidence"] == pytest.approx(data["top"][0]["probability"], abs=1e-3)


def test_compare_segmenters(client):
    text, pair = client.predict(handle_file(PLANE), api_name="/compare_segmenters")  # by default the two decoders
    assert text.index("net, transposed") < text.index("Best segmentation network here")
    left, right = (pixels(path) for path in pair)
    assert left.shape == right.shape and not np.array_equal(left, right)


def test_segmenters_are_compared_at_their_own_thresholds(client, tmp_path):
    Image.new("RGB", (64, 64), UNSURE).save(tmp_path / "unsure.png")
    text, _ = client.predict(handle_file(str(tmp_path / "unsure.png")), api_name="/compare_segmenters")
    assert text.count("100.0% <small>foreground") == 2


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
    assert [row["Run"] for row in board["segmentation"]] == [
        *("seg_book_bilinear", "seg_book_transpose", "seg_classes", "seg_classes+mirror", "seg_classes+mirror_scales")
    ]
    plot, caption = client.predict(["plain", "best"], "validation loss", api_name="/training_curves")
    assert {row[plot["columns"].index("run")] for row in plot["data"]} == {"plain", "best"}
    assert "Validation loss after each epoch, 2 runs" in caption
    with pytest.raises(Exception, match="not in the list of choices"):
        client.predict(["../../etc"], "validation loss", api_name="/training_curves")


def test_a_damaged_run_is_listed_with_the_reason(address, folder):
    config = httpx.get(f"{address}config").text
    assert "damaged/metrics.json is damaged" in config and str(folder) not in config


def test_unknown_models_and_missing_images_are_refused(client):
    with pytest.raises(Exception, match="not in the list of choices"):
        client.predict(handle_file(CAT), "../../etc/passwd", api_name="/classify")
    with pytest.raises(Exception, match="Choose an image first"):
        client.predict(None, "plain", api_name="/classify")


class Visitor:
    """A browser's session: it calls what the page's events call, by the number of the event."""

    def __init__(self, address, session="visitor"):
        self.address, self.session = address, session
        self.config = httpx.get(f"{address}config").json()

    def call(self, number, data):
        """Return the message that ends the event."""
        body = {"fn_index": number, "data": data, "session_hash": self.session, "event_data": None}
        httpx.post(f"{self.address}gradio_api/queue/join", json=body).raise_for_status()
        with httpx.stream(
            "GET", f"{self.address}gradio_api/queue/data", params={"session_hash": self.session}
        ) as lines:
            for line in lines.iter_lines():
                if line.startswith("data:") and (said := json.loads(line[5:]))["msg"] == "process_completed":
                    return said
        return None

    def named(self, name, data):
        return self.call(self.event(lambda found: found["api_name"] == name)[0], data)

    def event(self, wanted):
        return [found["id"] for found in self.config["dependencies"] if wanted(found)]

    def click_every_example(self):
        galleries = {found["id"] for found in self.config["components"] if found["type"] == "dataset"}
        clicks = self.event(lambda found: any(place in galleries for place, _ in found["targets"]))
        for number in clicks:
            assert self.call(number, [0])["success"]
        return clicks


@pytest.fixture(scope="module")
def visitor(address):
    visitor = Visitor(address)
    assert visitor.click_every_example()
    return visitor


def values(endpoint, image):
    """Return the inputs of /classify or /segment with an image."""
    if endpoint == "classify":
        return [image, "plain", classify.TOP, classify.CENTRE]
    return [image, "seg_book_bilinear", 0.5, "#fff", 0.5, None, "white", None]


def test_after_an_example_only_uploads_are_read(visitor, tmp_path):
    """Gradio builds a component anew where an event updates it: the checks must not be lost."""
    Image.new("RGB", (60, 40), (200, 30, 20)).save(secret := tmp_path / "secret.png")
    for endpoint in ("classify", "segment"):
        said = set()
        for path in (str(secret), str(tmp_path / "absent.png"), "https://example.org/image.png"):
            for sent in (
                {"path": path},
                {"url": path, "path": ""},
                {"path": None, "url": path, "meta": {"_type": "gradio.FileData"}},
            ):
                ended = visitor.named(endpoint, values(endpoint, sent))
                assert not ended["success"], (endpoint, sent, ended)
                said.add(str(ended["output"].get("error")).replace("; addresses are not fetched", ""))
        assert said == {"Upload the image as a file."}, said


def test_after_an_example_hostile_files_are_refused_and_the_server_goes_on(visitor, tmp_path, uploads_folder):
    halves = Image.new("RGB", (60, 40), (200, 30, 20))
    began = time.perf_counter()
    for name, content in hostile(halves).items():
        path = tmp_path / name
        path.write_bytes(content)
        ended = visitor.named("classify", values("classify", uploaded(visitor.address, path)))
        message = str(ended["output"].get("error"))
        assert not ended["success"] and message.endswith(".") and uploads_folder.name not in message, (name, message)
        words = ("empty", "not an image", "too large", "decoded", "no pixels", "too long to decode")
        assert any(word in message for word in words), (name, message)
    assert time.perf_counter() - began < 30
    ended = visitor.named("classify", values("classify", uploaded(visitor.address, CAT)))
    assert len(ended["output"]["data"][3]["top"]) == 5


def test_a_component_that_is_built_anew_keeps_its_checks(served):
    blocks, _ = served
    found = [block for block in blocks.blocks.values() if type(block).__module__ == "components"]
    assert {type(block).__name__ for block in found} == {"Picture", "Slider", "Choice"}
    for block in found:
        anew = block.__class__(**block.recover_kwargs(block.get_config()), render=False)
        assert anew.get_block_name() in ("image", "slider", "dropdown")
        bad = {"Picture": "/etc/passwd", "Slider": float("nan"), "Choice": "../../etc"}[type(block).__name__]
        bad = anew.data_model(path=bad) if hasattr(anew, "data_model") and anew.get_block_name() == "image" else bad
        with pytest.raises(gr.Error):
            anew.preprocess(bad)


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
        body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "plain", classify.TOP, classify.CENTRE]}
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
        body = {"data": [{"path": link, "meta": {"_type": "gradio.FileData"}}, "plain", classify.TOP, classify.CENTRE]}
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
            body = {
                "data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "best", classify.TOP, classify.CENTRE]
            }
            event = http.post(f"{address}gradio_api/call/classify", json=body).raise_for_status().json()["event_id"]
            stream = http.get(f"{address}gradio_api/call/classify/{event}").text
            assert "event: complete" in stream, stream[-500:]
            return json.loads(stream.rpartition("data: ")[2])[3]

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, sent))
    for answer, wanted in zip(answers, expected, strict=True):
        assert [row["class"] for row in answer["top"]] == [labels.CIFAR100_CLASSES[n] for n in wanted.classes[:5]]
        np.testing.assert_allclose([row["probability"] for row in answer["top"]], wanted.probabilities[:5], atol=1e-4)


def test_sessions_are_forgotten(served):
    """Gradio keeps the components of every session, and of every call of an endpoint, until there are too many."""
    running, _ = served
    kept = running.state_holder
    assert kept.capacity == page.SESSIONS <= 200
    for number in range(3 + page.SESSIONS - len(kept.session_data)):  # the calls of the tests above are sessions too
        assert kept[f"visitor {number}"]
    assert len(kept.session_data) == page.SESSIONS


def test_old_uploads_and_answers_are_deleted(client, served, uploads_folder):
    """Gradio's own deletion, which runs every minute with KEEP_SECONDS, finds every file that this page stores."""
    client.predict(handle_file(CAT), "plain", api_name="/classify")
    running, _ = served
    assert running.delete_cache == (60, store.KEEP_SECONDS) and store.KEEP_SECONDS <= 3600
    delete_files_created_by_app(running, None)
    kept = {
        Path(file).name for component in running.blocks.values() for file in getattr(component, "keep_in_cache", ())
    }
    left = {path.name for path in uploads_folder.rglob("*") if path.is_file()}
    assert left <= kept | {path.name for path in (ROOT / "demo").rglob("*")}


def test_too_large_a_body_is_refused(address):
    """Gradio limits the files of its form only; a file may come in base64 as well."""
    response = httpx.post(f"{address}gradio_api/call/classify", content=b"x" * 5_000_000, timeout=60)
    assert response.status_code == 413
