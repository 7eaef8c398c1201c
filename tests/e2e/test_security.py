"""What a client in the cluster sees without TLS; platform-chart's tests prove the rest.

They hold each container, account and grant; `helm test` verifies the certificate by every name.
"""

from __future__ import annotations

import pytest

from tests.e2e.platform import Client, Platform

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

# Sends plain HTTP to the HTTPS port; prints the first bytes of the answer.
PLAIN = """
import socket, sys
with socket.create_connection((sys.argv[1], 443), timeout=10) as plain:
    plain.sendall(b"GET /health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    try:
        print(plain.recv(100))
    except ConnectionResetError:
        print(b"")
"""


def test_no_plain_http_is_answered(platform: Platform, client: Client) -> None:
    assert "200" not in client.python(PLAIN, platform.host)
