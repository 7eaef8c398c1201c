"""Talking to the ledger: over real HTTP, with answers as told."""

import json

import pytest

from delivery.core.errors import PlatformError
from delivery.tools.ledger import Ledger
from tests.registries import Answer, serving

EVENT = {"component": "api-rest"}


def test_posts_an_event_and_reads_it_back_once_it_is_stored() -> None:
    answers = [(202, b'{"id": "e1"}'), (404, b"{}"), (200, b'{"id": "e1", "component": "api-rest"}')]

    def answer(_method: str, _path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        status, body = answers.pop(0)
        return status, {}, body

    with serving(answer) as (address, seen):
        ledger = Ledger(f"http://{address}")
        identifier = ledger.post(EVENT)
        stored, seconds = ledger.wait_for(identifier, seconds=5)
    assert stored == {"id": "e1", "component": "api-rest"}
    assert seconds > 0
    assert seen == ["POST /deployments", "GET /deployments/e1", "GET /deployments/e1"]


def test_sends_the_event_as_json() -> None:
    bodies: list[bytes] = []

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        bodies.append(body)
        return 202, {}, b'{"id": "e1"}'

    with serving(answer) as (address, _):
        Ledger(f"http://{address}").post(EVENT)
    assert json.loads(bodies[0]) == EVENT


def test_a_refused_event_is_an_error() -> None:
    with (
        serving(lambda *_: (422, {}, b"stage: unknown")) as (address, _),
        pytest.raises(PlatformError, match="it answered 422: stage: unknown"),
    ):
        Ledger(f"http://{address}").post(EVENT)


def test_an_event_that_is_never_stored_is_an_error() -> None:
    with (
        serving(lambda *_: (404, {}, b"")) as (address, _),
        pytest.raises(PlatformError, match="the worker has not stored it in 0 s"),
    ):
        Ledger(f"http://{address}").wait_for("e1", seconds=0)


def test_a_ledger_that_is_not_there_is_an_error() -> None:
    with pytest.raises(PlatformError, match="does not answer"):
        Ledger("http://localhost:1").post(EVENT)
