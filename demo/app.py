"""A web page for the trained models: `python demo/app.py`, then open the address that it prints.

It serves the finished runs of one budget and needs no network. --help lists the options.
"""

import argparse
import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from hw2 import backend

ROOT = Path(__file__).resolve().parent.parent
UPLOADS = "hw2-demo-"  # begins the names of the folders that hold uploads


def main():
    arguments = parse_arguments()
    refuse_address(arguments.host, arguments.port or 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that `finally` is executed
    # without a GPU, TensorFlow reports the missing driver as an error
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel("ERROR")  # else it warns of every model that is compiled
    with uploads_folder() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        print("Loading ...", flush=True)
        import page  # late, so that wrong arguments are answered at once: TensorFlow and Gradio take seconds to import
        import store

        from hw2.hardware import choose_precision
        from hw2.inference.catalogue import catalogue
        from hw2.runs import results_folder

        results_dir = arguments.results or results_folder(ROOT / "results")
        if not results_dir.is_dir():
            print(f"There is no folder {results_dir}; the page names the command that trains models.", flush=True)
        found = catalogue(results_dir)
        report = page.REPORT if (page.REPORT / "index.html").exists() and not arguments.auth else None
        options = {"max_upload_mb": arguments.max_upload_mb, "share": arguments.share}
        blocks = page.build(found, results_dir, report=report is not None, **options)
        choose_precision()  # TensorFlow looks for a GPU now and reports it above the address, not below
        threading.Thread(target=page.warm_up, args=(found.models,), daemon=True).start()
        try:
            serve(page, blocks, arguments, report)
            print(f"{len(found.models)} models from {results_dir}. Press Ctrl-C to stop.", flush=True)
            while True:  # many short waits: on Windows Ctrl-C cannot interrupt one endless wait
                time.sleep(1)
                store.recent.expire()
        except KeyboardInterrupt:
            print("\nStopped.")
        except OSError as error:
            sys.exit(f"The server cannot start on {arguments.host}: {error}. Choose another --host or --port.")
        finally:
            blocks.close(verbose=False)
            store.decoder.close()


def serve(page, blocks, arguments, report=None):
    """Start the server in threads of its own and print its address. report: folder to serve as /report, or None."""
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    application, local, public = blocks.launch(
        **page.launch_options(arguments.max_upload_mb),
        server_name=arguments.host,
        server_port=arguments.port,
        share=arguments.share,
        auth=arguments.auth,
        mcp_server=arguments.mcp,
        prevent_thread_lock=True,
    )
    if report:
        application.router.routes.insert(0, Mount("/report", StaticFiles(directory=report, html=True)))
    print(f"The page is at {local}", flush=True)
    if arguments.host in ("0.0.0.0", "::"):
        print("and at this machine's address for everybody who can reach it.", flush=True)
    if public:
        print(f"Anybody can open it at {public} for a week, as long as this command runs.", flush=True)
    elif arguments.share:
        print("There is no public link, which needs a network. The page is served on this machine.", flush=True)
    if (public or arguments.host != "127.0.0.1") and not arguments.auth:
        print("It is not protected by a password; --auth USER:PASSWORD sets one.", flush=True)


def refuse_address(host, port):
    """Exit with a message if this address cannot be listened on, before seconds of loading. port: 0 for any."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        if port:
            sys.exit(f"The server cannot listen on {host}, port {port} ({error.strerror}): choose another --port.")
        sys.exit(
            f"The server cannot listen on {host} ({error.strerror}): choose another --host, such as 127.0.0.1 for this "
            "machine alone or 0.0.0.0 for all its addresses."
        )


@contextlib.contextmanager
def uploads_folder():
    """Yield the path of a new folder for uploads, and delete it in the end; first delete those of killed servers.

    A server holds a lock in its folder for as long as it lives, however it ends. A folder without the file of a lock
    is not a server's, or its server is just making it, and stays.
    """
    from filelock import FileLock, Timeout

    for left in Path(tempfile.gettempdir()).glob(f"{UPLOADS}*"):
        with contextlib.suppress(Timeout, OSError):
            # taking a lock that is not there would create it; one that was created just now may not be held yet
            lock = left / ".lock"
            if left.is_symlink() or not lock.is_file() or time.time() - left.stat().st_mtime < 10:
                continue
            with FileLock(lock, timeout=0):
                pass
            shutil.rmtree(left)
    with (
        tempfile.TemporaryDirectory(prefix=UPLOADS, ignore_cleanup_errors=True) as folder,
        FileLock(Path(folder) / ".lock"),
    ):
        yield folder


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--results",
        type=folder_of_runs,
        metavar="DIR",
        help="folder of runs; default: results/cpu or results/gpu, whichever has more finished runs",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all; default: 127.0.0.1")
    parser.add_argument("--port", type=port, help="default: the first free port from 7860 on")
    parser.add_argument("--share", action="store_true", help="request a public link from gradio.live")
    parser.add_argument("--auth", type=user_and_password, metavar="USER:PASSWORD", help="require this login")
    parser.add_argument(
        "--max-upload-mb", type=megabytes, default=20, metavar="N", help="largest upload accepted; default: 20"
    )
    parser.add_argument(
        "--mcp", action="store_true", help="serve the endpoints as tools for language models too (MCP); default: off"
    )
    found = parser.parse_args(arguments)
    if found.mcp and not importlib.util.find_spec("mcp"):
        parser.error("--mcp needs a package: python -m pip install -e '.[mcp]'")
    if refused := backend.refusal():
        parser.error(refused)
    return found


def folder_of_runs(text):
    folder = Path(text)
    try:
        found = folder.is_dir()
    except OSError as error:  # a folder of another user, or a name too long
        raise argparse.ArgumentTypeError(f"{error.strerror}: {text}") from None
    if not found:
        raise argparse.ArgumentTypeError(
            f"there is no folder {text} (looked for {folder.absolute()}); name a folder of runs, such as results/cpu"
        )
    budgets = sorted({path.parent.parent.name for path in folder.glob("*/*/final.json")})
    if budgets and not any(folder.glob("*/final.json")):
        choices = " or ".join(str(folder / budget) for budget in budgets)
        raise argparse.ArgumentTypeError(f"{text} holds no runs but folders of runs: choose {choices}")
    return folder


def port(text):
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text}")
    return number


def user_and_password(text):
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError("write user:password")
    return user, password


def megabytes(text):
    number = float(text)
    if not 0.001 <= number <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.001 and 10,000")
    return number


if __name__ == "__main__":
    main()
