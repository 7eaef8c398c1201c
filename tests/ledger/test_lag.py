"""/ready and the page report accepted events that no worker has stored."""

from __future__ import annotations

import pytest
import requests

from tests.ledger.stack import Stack, wait_for
from tests.load.generator import event

pytestmark = pytest.mark.engine

EVENTS = 50
BANNER = "The ledger is behind"


def get(stack: Stack, path: str) -> requests.Response:
    host, port = stack.address("api-rest")
    return requests.get(f"http://{host}:{port}{path}", timeout=10)


def reasons(stack: Stack) -> list[str]:
    """What /ready reports as missing."""
    answer = get(stack, "/ready")
    assert answer.status_code == 200, answer.text
    return list(answer.json().get("reasons", []))


def figure(stack: Stack, name: str) -> float:
    """A metric of api-rest."""
    (line,) = [
        line for line in get(stack, "/metrics").text.splitlines() if line.startswith(f"{name} ")
    ]
    return float(line.split()[1])


def test_unstored_events_are_reported_until_they_are_stored(stack: Stack, run: str) -> None:
    assert BANNER not in get(stack, "/").text
    stack.signal("async-worker", "TERM")
    try:
        statuses = [stack.post(event(run, number)).status_code for number in range(EVENTS)]
        assert set(statuses) == {202}
        wait_for("/ready to report unstored events", lambda: reasons(stack) != [])
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
