"""A web page for the trained models: `python demo/app.py`, then open the address that it prints.

It serves the finished runs of one budget and needs no network. --help lists the options.
"""

import argparse
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main():
    arguments = parse_arguments()
    if arguments.port is not None:
        refuse_port_in_use(arguments.host, arguments.port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that `finally` is executed
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # uploads lie here for some minutes (see `page.KEEP_SECONDS`) and are deleted when the server ends
    with tempfile.TemporaryDirectory(prefix="hw2-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        print("Loading ...", flush=True)
        import page  # late, so that wrong arguments are answered at once: TensorFlow and Gradio take seconds to import

        from hw2.inference.catalogue import catalogue
        from hw2.runs import results_folder

        results_dir = arguments.results or results_folder(ROOT / "results")
        found = catalogue(results_dir)
        blocks = page.build(found, results_dir)
        try:
            serve(page, blocks, arguments)
            threading.Thread(target=page.warm_up, args=(found.models,)).start()
            while True:  # many short waits: on Windows Ctrl-C cannot interrupt one endless wait
                time.sleep(1)
        except KeyboardInterrupt:
            print("\nStopped.")
        except OSError as error:
            sys.exit(f"The server cannot start on {arguments.host}: {error}")
        finally:
            blocks.close(verbose=False)


def serve(page, blocks, arguments):
    """Start the server in threads of its own and print its address."""
    _, local, public = blocks.launch(
        **page.LAUNCH,
        server_name=arguments.host,
        server_port=arguments.port,
        share=arguments.share,
        auth=arguments.auth,
        max_file_size=int(arguments.max_upload_mb * 1_000_000),
        prevent_thread_lock=True,
    )
    print(f"The page is at {local}", flush=True)
    if arguments.host in ("0.0.0.0", "::"):
        print("and at this machine's address for everybody who can reach it.", flush=True)
    if public:
        print(f"Anybody can open it at {public} for a week, as long as this command runs.", flush=True)
    elif arguments.share:
        print("There is no public link, which needs a network. The page is served on this machine.", flush=True)
    if (public or arguments.host != "127.0.0.1") and not arguments.auth:
        print("It is not protected by a password; --auth USER:PASSWORD sets one.", flush=True)
    print("Press Ctrl-C to stop.", flush=True)


def refuse_port_in_use(host, port):
    """Exit with a message if the port cannot be listened on, before seconds of loading."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        sys.exit(f"The server cannot listen on {host}, port {port} ({error.strerror}): choose another --port.")


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
    return parser.parse_args(arguments)


def folder_of_runs(text):
    folder = Path(text)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
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
