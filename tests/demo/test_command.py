"""The command `demo/app.py`: its arguments, its messages, its start and its end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("gradio")
pytest.importorskip("tensorflow")

import app
from gradio_client import Client, handle_file

from hw2 import files, runs

ROOT = Path(__file__).parents[2]
CAT = str(ROOT / "demo" / "examples" / "cat.jpg")


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
        (["--results", "not/there"], f"there is no folder not/there (looked for {Path('not/there').absolute()})"),
        (["--results", 300 * "x"], "File name too long: xxx"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        app.parse_arguments(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_a_backend_on_which_nothing_runs_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(SystemExit):
        app.parse_arguments([])
    assert "KERAS_BACKEND is torch; this runs on tensorflow or jax" in capsys.readouterr().err


def test_arguments_are_checked_before_tensorflow_is_imported():
    process = run_app("--results", "not/there", PYTHONPROFILEIMPORTTIME="1")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "there is no folder not/there" in output and "argparse" in output
    assert not re.search(r"\| +(tensorflow|keras|gradio)$", output, re.MULTILINE)


@pytest.mark.parametrize("chosen", [None, "0", "1"])
def test_tensorflow_chooses_its_kernels_unless_the_user_did(chosen):
    environment = {key: value for key, value in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"}
    environment |= {"PYTHONPATH": str(ROOT / "demo")} | ({"TF_ENABLE_ONEDNN_OPTS": chosen} if chosen else {})
    script = """
import app, os, sys
app.uploads_folder = lambda: sys.exit(os.environ.get("TF_ENABLE_ONEDNN_OPTS", "none"))
sys.argv[1:] = []
app.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr.strip() == (chosen or "none"), done.stderr


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
    while not lines or "Press Ctrl-C" not in lines[-1]:
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
    assert "pass through the servers of that service" in json.dumps(client.config)  # what About says with --share
    client.predict(handle_file(CAT), api_name="/classify")
    assert list(tmp_path.glob("hw2-demo-*"))
    process.send_signal(signal.SIGTERM)
    after, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert after == ""  # nothing follows the line on Ctrl-C
    assert f"models from {folder}" in output
    assert not list(tmp_path.glob("hw2-demo-*"))  # no upload is left
    opened = (tmp_path / "opened.txt").read_text().splitlines()
    assert sorted(opened) == sorted(map(str, folder.glob(f"*/{runs.METRICS}")))


def test_an_address_that_is_not_this_machines_is_refused_at_once():
    for host in ("203.0.113.7", "no-such-host.invalid"):
        with pytest.raises(SystemExit, match=f"cannot listen on {host} .*choose another --host"):
            app.refuse_address(host, 0)
    app.refuse_address("127.0.0.1", 0)


def test_uploads_of_a_killed_server_are_deleted_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "import os, pathlib, signal, sys; sys.path.insert(0, sys.argv[1]); import app\n"
        "with app.uploads_folder() as folder:\n"
        "    pathlib.Path(folder, 'upload.png').write_bytes(b'x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script, str(ROOT / "demo")], env=environment)
    (left,) = tmp_path.glob("hw2-demo-*")
    assert (left / "upload.png").exists()
    old = time.time() - 100
    os.utime(left, (old, old))
    (tmp_path / "hw2-demo-other.txt").touch()
    with app.uploads_folder() as running:
        assert not left.exists()
        os.utime(running, (old, old))
        with app.uploads_folder() as another:  # a second server leaves the first one's folder alone
            assert Path(running).is_dir() and Path(another).is_dir()
        assert Path(running).is_dir() and not Path(another).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["hw2-demo-other.txt"]


def test_a_folder_that_no_server_made_is_left_alone(tmp_path, monkeypatch):
    """Its name begins like that of a folder for uploads, but no server ever locked it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    foreign = tmp_path / "hw2-demo-results"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("three years")
    os.utime(foreign, (time.time() - 100,) * 2)
    with app.uploads_folder():
        pass
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(SystemExit, match="choose another --port"):
        app.refuse_address("127.0.0.1", listening.getsockname()[1])
