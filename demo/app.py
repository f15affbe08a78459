"""A web page for the trained models: `python demo/app.py`, then open the address that it prints.

It serves the finished runs in results/ and needs no network. Options are listed by --help.
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what follows `finally` is done then too
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # what is uploaded lies here, for minutes (see `page.KEEP_SECONDS`), and nothing of it is left when the server ends
    with tempfile.TemporaryDirectory(prefix="hw2-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        print("Loading ...", flush=True)
        import page  # here, after --help is answered: TensorFlow and Gradio take seconds to import

        blocks = page.build(arguments.results)
        try:
            serve(page, blocks, arguments)
            threading.Thread(target=page.warm_up, args=(arguments.results,)).start()
            while True:  # and not without end in one wait, which on Windows Ctrl-C cannot end
                time.sleep(1)
        except KeyboardInterrupt:
            print("\nStopped.")
        except OSError as error:
            sys.exit(f"The server does not start on {arguments.host}: {error}")
        finally:
            blocks.close(verbose=False)


def serve(page, blocks, arguments):
    """Start the server in threads of its own and print where it is."""
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
        print("and at this machine's address for everybody who reaches it.", flush=True)
    if public:
        print(f"Anybody can open it at {public} for a week, while this goes on.", flush=True)
    elif arguments.share:
        print("There is no public link: that needs a network. The page goes on here.", flush=True)
    if (public or arguments.host != "127.0.0.1") and not arguments.auth:
        print("No password protects it; --auth USER:PASSWORD sets one.", flush=True)
    print("Ctrl-C ends it.", flush=True)


def refuse_port_in_use(host, port):
    """End with a message if nothing can listen there: better now than after seconds of loading."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        sys.exit(f"The server cannot listen on {host}, port {port} ({error.strerror}): choose another --port.")


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results", metavar="DIR", help="default: results")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all; default: 127.0.0.1")
    parser.add_argument("--port", type=port, help="default: the first free one from 7860 on")
    parser.add_argument("--share", action="store_true", help="ask gradio.live for a public link")
    parser.add_argument("--auth", type=user_and_password, metavar="USER:PASSWORD", help="let in only who knows them")
    parser.add_argument(
        "--max-upload-mb", type=megabytes, default=20, metavar="N", help="the largest file accepted; default: 20"
    )
    return parser.parse_args(arguments)


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
        raise argparse.ArgumentTypeError(f"not a sensible size: {text}")
    return number


if __name__ == "__main__":
    main()
