"""Exits 0 when GET /ready on this machine returns 200: the HEALTHCHECK of both images.

Docker starts this every few seconds in every container. So it runs as a script with -I -S and uses
a raw socket: to import an HTTP client takes five times as long as the request.
"""

import os
import socket
import sys

TIMEOUT = 3


def is_ready(port: int) -> bool:
    """Return whether the app at this port is ready."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
            return connection.recv(64).split(b" ", 2)[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_ready(int(os.environ.get("MANAGEMENT_PORT", "8001"))) else 1)
