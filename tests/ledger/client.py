"""A client of the ledger that says exactly what became of each request; it never tries again by itself."""

from __future__ import annotations

import json
import select
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

from tests.ledger.history import Answer

__all__ = ["Address", "Client", "get_status", "says_ready"]

Address = tuple[str, int]

OK = 200
ACCEPTED = 202
# Longer than the API may wait for Kafka and the database together.
TIMEOUT = 15.0


class Client:
    """Keeps one connection to each instance alive. For one thread."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._connections: dict[Address, HTTPConnection] = {}

    def record(self, address: Address, payload: Mapping[str, Any], key: str | None) -> Answer:
        """Post an event and tell what came of it."""
        body = json.dumps(payload, ensure_ascii=False).encode("utf-8")
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        try:
            connection = self._connected(address)
        except OSError as error:
            return Answer("refused", reason=f"not connected: {error!r}")
        try:
            connection.request("POST", "/deployments", body, headers)
            response = connection.getresponse()
            return classify(response.status, response.read())
        except (OSError, HTTPException) as error:
            connection.close()
            return Answer("unknown", reason=repr(error))

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections.values():
            connection.close()

    def _connected(self, address: Address) -> HTTPConnection:
        connection = self._connections.setdefault(
            address, HTTPConnection(*address, timeout=self._timeout)
        )
        # What the server has closed while it rested is no failed request, if it is seen before the next one is sent.
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        if connection.sock is None:
            connection.connect()
        return connection


def classify(status: int, body: bytes) -> Answer:
    """What a whole HTTP answer means."""
    if status != ACCEPTED:
        certain = 400 <= status < 500
        return Answer(
            "refused" if certain else "unknown",
            status,
            reason=body.decode("utf-8", "replace")[:200],
        )
    try:
        answer = json.loads(body)
        return Answer("accepted", status, str(answer["id"]), str(answer["received_at"]))
    except (ValueError, TypeError, KeyError) as error:
        return Answer("unknown", status, reason=f"an answer without id and time: {error!r}")


def get_status(address: Address, path: str, timeout: float) -> int | None:
    """The status that a path is answered with, or None without an answer."""
    answer = _get(address, path, timeout)
    return answer and answer[0]


def says_ready(address: Address, timeout: float) -> bool:
    """Whether /ready says that nothing is missing; api-rest answers 200 while it is degraded, too."""
    answer = _get(address, "/ready", timeout)
    if answer is None or answer[0] != OK:
        return False
    return bool(json.loads(answer[1])["status"] == "ready")


def _get(address: Address, path: str, timeout: float) -> tuple[int, bytes] | None:
    connection = HTTPConnection(*address, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
