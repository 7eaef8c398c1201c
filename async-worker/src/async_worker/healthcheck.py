"""Exits 0 when GET /ready on this machine answers 200: the image's HEALTHCHECK.

Run as a script with -I -S and a raw socket: it starts every few seconds in every container, and an HTTP client
library would take five times as long to import as the question takes to answer.
"""

import os
import socket
import sys

TIMEOUT = 3


def ready(port: int) -> bool:
    """Ask the worker itself."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
            return connection.recv(64).split(b" ", 2)[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if ready(int(os.environ.get("HEALTH_PORT", "8001"))) else 1)
