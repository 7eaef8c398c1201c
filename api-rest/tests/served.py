"""A process that serves a small app, for tests that stop it: python served.py PORT."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from api_rest.server import Server
from api_rest.settings import Settings

from ledger import config

NEEDED = ("BROKER_URL", "DB_HOST", "DB_DATABASE", "DB_USERNAME", "DB_PASSWORD")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    time.sleep(0.005)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def main(port: str) -> None:
    unused = dict.fromkeys(NEEDED, "unused")
    own = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": port, "HTTP_THREADS": "4", "SHUTDOWN_DELAY": "1"}
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    Server(app, config.load(Settings, {**unused, **own}), stopping).run()


if __name__ == "__main__":
    main(sys.argv[1])
