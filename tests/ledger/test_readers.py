"""Many readers of the page do not prevent recording."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from tests.ledger.stack import Address, Stack, wait_for
from tests.load.generator import event

pytestmark = pytest.mark.engine

READERS = 64
WRITERS = 4
EVENTS = 25


def read(address: Address, stop: threading.Event, reading: threading.Barrier) -> set[int]:
    """Read the page again and again; return the statuses."""
    statuses = set()
    connection = HTTPConnection(*address, timeout=60)
    begun = False
    try:
        while not stop.is_set():
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            statuses.add(response.status)
            if not begun:
                begun = True
                reading.wait(60)
    finally:
        connection.close()
    return statuses


def record(stack: Stack, run: str, writer: int) -> list[int]:
    """Post events, every other one with an Idempotency-Key; return the statuses."""
    statuses = []
    for number in range(writer * EVENTS, (writer + 1) * EVENTS):
        key = {"Idempotency-Key": f"{run}-{number}"} if number % 2 else {}
        statuses.append(stack.post(event(run, number), **key).status_code)
    return statuses


def test_readers_do_not_prevent_recording(stack: Stack, run: str) -> None:
    address, stop = stack.address("api-rest"), threading.Event()
    reading = threading.Barrier(READERS + 1)
    with ThreadPoolExecutor(READERS + WRITERS) as pool:
        try:
            readers = [pool.submit(read, address, stop, reading) for _ in range(READERS)]
            reading.wait(60)
            writers = [pool.submit(record, stack, run, writer) for writer in range(WRITERS)]
            answers = [status for writer in writers for status in writer.result()]
        finally:
            stop.set()
        assert set().union(*(reader.result() for reader in readers)) == {200}
    assert answers == [202] * (WRITERS * EVENTS)
    wait_for("every event to be stored", lambda: stack.count(run) == WRITERS * EVENTS)
