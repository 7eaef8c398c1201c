"""However many read the page, every event that is posted beside them is taken."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from tests.ledger.client import Address, Client
from tests.ledger.stack import Stack, wait_for

pytestmark = pytest.mark.engine

READERS = 64
WRITERS = 4
EVENTS = 25


def event(run: str, writer: int, number: int) -> dict[str, str]:
    return {
        "component": f"{run}/{writer}",
        "version": f"1.0.{number}",
        "environment": "develop",
        "responsible": "Jane Doe <jane@example.com>",
        "stage": "deploy",
        "status": "succeeded",
    }


def read(address: Address, stop: threading.Event, reading: threading.Barrier) -> set[int]:
    """Ask for the page again and again; return the statuses."""
    seen = set()
    connection = HTTPConnection(*address, timeout=60)
    begun = False
    try:
        while not stop.is_set():
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            seen.add(response.status)
            if not begun:
                begun = True
                reading.wait(60)
    finally:
        connection.close()
    return seen


def record(address: Address, run: str, writer: int) -> list[int | None]:
    """Post events, every other one with an Idempotency-Key; return the statuses."""
    client = Client()
    try:
        return [
            client.record(
                address,
                event(run, writer, number),
                f"{run}-{writer}-{number}" if number % 2 else None,
            ).status
            for number in range(EVENTS)
        ]
    finally:
        client.close()


def test_readers_do_not_hold_up_recording(stack: Stack, run: str) -> None:
    address, stop = stack.address("api-rest"), threading.Event()
    reading = threading.Barrier(READERS + 1)
    with ThreadPoolExecutor(READERS + WRITERS) as pool:
        try:
            readers = [pool.submit(read, address, stop, reading) for _ in range(READERS)]
            reading.wait(60)
            writers = [pool.submit(record, address, run, writer) for writer in range(WRITERS)]
            answers = [status for writer in writers for status in writer.result()]
        finally:
            stop.set()
        assert set().union(*(reader.result() for reader in readers)) == {200}
    assert answers == [202] * (WRITERS * EVENTS)
    wait_for("every event to be stored", lambda: stack.count(run) == WRITERS * EVENTS)
