"""The endpoints as tools of the Model Context Protocol, called by a client of its own package."""

import ast
import asyncio
import base64
from pathlib import Path

import pytest
from hostile_files import many_scans
from PIL import Image

mcp = pytest.importorskip("mcp", reason="MCP is not installed: pip install -e '.[mcp]'")
transport = pytest.importorskip("mcp.client.streamable_http")
httpx = pytest.importorskip("httpx")
pytest.importorskip("gradio")
pytest.importorskip("tensorflow")

CAT = Path(__file__).parents[2] / "demo" / "examples" / "cat.jpg"


def tools(address, work):
    """Open a session with the server and return the result of `work(session)`."""

    async def run():
        async with (
            transport.streamable_http_client(f"{address}gradio_api/mcp/") as (read, write, _),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await work(session)

    return asyncio.run(run())


def inline(content):
    return "data:image/png;base64," + base64.b64encode(content).decode()


def test_the_tools_are_listed_and_answer(address):
    async def work(session):
        listed = (await session.list_tools()).tools
        image = {"image": inline(CAT.read_bytes())}
        models = await session.call_tool("models", {})
        return listed, models, await session.call_tool("classify", {**image, "model": "plain"})

    listed, models, answer = tools(address, work)
    assert {tool.name for tool in listed} == {
        *("models", "leaderboard", "classify", "segment", "cut_out", "compare_classifiers", "compare_segmenters"),
        *("training_curves",),
    }
    assert all(len(tool.description) > 40 for tool in listed)
    assert not models.isError and "best+mirror_shift" in models.content[0].text
    assert not answer.isError, answer
    texts = [part.text for part in answer.content if part.type == "text"]
    _, overlay, _, data = ast.literal_eval(texts[0])
    assert data["model"] == "plain" and len(data["top"]) == 5
    assert httpx.get(overlay["url"]).content[:2] == b"\xff\xd8" and overlay["orig_name"].endswith("-grad-cam.jpg")


def test_the_guards_are_the_same(address, tmp_path):
    Image.new("RGB", (60, 40), (200, 30, 20)).save(secret := tmp_path / "secret.png")
    scans = inline(many_scans(300))
    cases = {
        "https://example.org/image.png": "Upload the image as a file",
        str(secret): "Invalid file data format",
        inline(b"no image"): "not an image",
        scans: "takes too long to decode",
    }

    async def work(session):
        return {sent: await session.call_tool("classify", {"image": sent, "model": "plain"}) for sent in cases}

    for sent, answer in tools(address, work).items():
        assert answer.isError and cases[sent] in answer.content[0].text, (sent[:60], answer)


def test_it_is_off_by_default(serve, tmp_path):
    blocks, address = serve(tmp_path)
    try:
        assert httpx.post(f"{address}gradio_api/mcp/", json={}).status_code in (404, 405)
    finally:
        blocks.close(verbose=False)


def test_the_package_is_named_where_it_is_missing(monkeypatch, capsys):
    import app

    find = app.importlib.util.find_spec
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None if name == "mcp" else find(name))
    with pytest.raises(SystemExit):
        app.parse_arguments(["--mcp"])
    assert "pip install -e '.[mcp]'" in capsys.readouterr().err
    assert not app.parse_arguments([]).mcp
