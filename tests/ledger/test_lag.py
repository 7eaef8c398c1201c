"""Accepted events that no worker stores: /ready and the page say so, until they are stored."""

from __future__ import annotations

from contextlib import closing

import pytest
import requests

from tests.ledger.client import Client
from tests.ledger.stack import Stack, wait_for

pytestmark = pytest.mark.engine

EVENTS = 50
BANNER = "The ledger is behind"


def get(stack: Stack, path: str) -> requests.Response:
    host, port = stack.address("api-rest")
    return requests.get(f"http://{host}:{port}{path}", timeout=10)


def reasons(stack: Stack) -> list[str]:
    """What /ready says is missing."""
    answer = get(stack, "/ready")
    assert answer.status_code == 200, answer.text
    return list(answer.json().get("reasons", []))


def figure(stack: Stack, name: str) -> float:
    """A metric of api-rest."""
    (line,) = [
        line for line in get(stack, "/metrics").text.splitlines() if line.startswith(f"{name} ")
    ]
    return float(line.split()[1])


def post(stack: Stack, run: str) -> None:
    with closing(Client()) as client:
        for number in range(EVENTS):
            payload = {
                "component": f"{run}/lag",
                "version": f"1.0.{number}",
                "environment": "develop",
                "responsible": "me",
                "stage": "build",
                "status": "succeeded",
            }
            answer = client.record(stack.address("api-rest"), payload, None)
            assert answer.outcome == "accepted", answer


def test_events_that_nobody_stores_are_told_until_somebody_does(stack: Stack, run: str) -> None:
    assert BANNER not in get(stack, "/").text
    stack.signal("async-worker", "TERM")
    try:
        post(stack, run)
        wait_for("/ready to say that storing is behind", lambda: reasons(stack) != [])
        (reason,) = reasons(stack)
        assert BANNER in get(stack, "/").text
        assert figure(stack, "api_rest_store_waiting_events") >= EVENTS
        assert figure(stack, "api_rest_store_delay_seconds") > 15
        assert stack.count(run) == 0
    finally:
        stack.start("async-worker")
    assert "accepted events wait to be stored" in reason
    assert int(reason.split()[0]) >= EVENTS
    stack.wait_ready("api-rest")
    assert stack.count(run) == EVENTS
    assert BANNER not in get(stack, "/").text
    stack.wait_ready("async-worker")


def test_a_kafka_that_is_frozen_is_told_and_holds_no_check_up(stack: Stack) -> None:
    kafka = stack.container("kafka")
    kafka.pause()
    try:
        wait_for(
            "/ready to say that Kafka is away", lambda: "Kafka does not answer" in reasons(stack)
        )
        assert reasons(stack) == ["Kafka does not answer"]
    finally:
        kafka.unpause()
    for app in ("api-rest", "async-worker"):
        stack.wait_ready(app)
