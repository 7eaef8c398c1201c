"""A process that serves a small app, for tests that stop it: python served.py PORT."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from api_rest.server import Server
from api_rest.settings import Settings
from api_rest.state import State

from ledger import config


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    time.sleep(0.005)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def main(port: str) -> None:
    needed = dict.fromkeys(
        ("BROKER_URL", "DB_HOST", "DB_DATABASE", "DB_USERNAME", "DB_PASSWORD"), "unused"
    )
    settings = config.load(
        Settings, {**needed, "HTTP_HOST": "127.0.0.1", "HTTP_PORT": port, "HTTP_THREADS": "4"}
    )
    stopping = threading.Event()
    server = Server(lambda _: (app, lambda _: State(ready=True)), settings, stopping)

    def stop(*_: object) -> None:
        stopping.set()
        server.wake()

    signal.signal(signal.SIGTERM, stop)
    server.run()


if __name__ == "__main__":
    main(sys.argv[1])
