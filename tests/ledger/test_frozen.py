"""A frozen Kafka keeps its connections and does not answer: both apps wait, and do not grow."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.ledger.conftest import Say
from tests.ledger.stack import Stack, get, wait_for
from tests.load import generator
from tests.load.generator import Load, Target
from tests.load.recording import Recording, parse

pytestmark = [pytest.mark.engine, pytest.mark.chaos]

APPS = ("api-rest", "async-worker")
# async-worker was killed for its memory, at 256 MB, after 16 s of this.
FROZEN_SECONDS = 25.0
MAX_BYTES = 160 * 1024 * 1024
# Of one processor. A loop that does not wait takes a whole one.
MAX_PROCESSOR = 0.3
# How long api-rest waits for Kafka and the database, and some more.
ANSWER_SECONDS = 10.0
RATE = 20.0
CONCURRENCY = 2


@dataclass
class Freeze:
    """What happened while Kafka was frozen."""

    # The file of the load's requests.
    path: Path
    memory: dict[str, int] = field(default_factory=lambda: dict.fromkeys(APPS, 0))
    processor: dict[str, float] = field(default_factory=dict)
    health: set[int | None] = field(default_factory=set)
    # What api-rest reported as missing.
    missing: set[str] = field(default_factory=set)

    @property
    def recording(self) -> Recording:
        """What the load's requests got."""
        return parse(self.path.read_text(encoding="utf-8"))


def watch(stack: Stack, freeze: Freeze) -> None:
    """Observe both apps while Kafka is frozen, or until one has ended."""
    began = time.monotonic()
    used = {app: stack.processor_seconds(app) for app in APPS}
    while time.monotonic() - began < FROZEN_SECONDS and not stack.ended(APPS):
        for app in APPS:
            freeze.memory[app] = max(freeze.memory[app], stack.memory(app) or 0)
        answer = get(stack.address("async-worker"), "/health")
        freeze.health.add(None if answer is None else answer.status_code)
        ready = get(stack.address("api-rest"), "/ready")
        freeze.missing.update(ready.json().get("reasons", ()) if ready else ())
        time.sleep(0.5)
    seconds = time.monotonic() - began
    freeze.processor = {app: (stack.processor_seconds(app) - used[app]) / seconds for app in APPS}


@pytest.fixture(scope="module")
def freeze(stack: Stack, run: str, run_folder: Path, say: Say) -> Freeze:
    freeze = Freeze(run_folder / "requests.jsonl")
    target = stack.target("api-rest")

    async def pick(_attempt: int) -> Target:
        return target

    load = Load(run, RATE, slow_every=0, only_posts=True, keyless=1, concurrency=CONCURRENCY)
    with generator.running(load, pick, freeze.path) as sending:
        wait_for("an accepted event", lambda: sending.accepted > 0)
        with stack.frozen("kafka"):
            watch(stack, freeze)
        before = sending.accepted
        wait_for("an event that is accepted again", lambda: sending.accepted > before)
    say(f"memory {freeze.memory}, of a processor {freeze.processor}")
    return freeze


def test_both_apps_keep_running(freeze: Freeze, stack: Stack) -> None:
    assert freeze.recording.requests
    assert stack.ended(APPS) == {}


def test_neither_app_grows(freeze: Freeze) -> None:
    assert all(0 < size < MAX_BYTES for size in freeze.memory.values()), freeze.memory


def test_neither_app_spins(freeze: Freeze) -> None:
    assert all(used < MAX_PROCESSOR for used in freeze.processor.values()), freeze.processor


def test_a_waiting_worker_is_healthy(freeze: Freeze) -> None:
    assert freeze.health == {200}


def test_api_rest_reports_what_is_missing(freeze: Freeze) -> None:
    assert "Kafka does not answer" in freeze.missing


def test_every_request_is_answered_in_time(freeze: Freeze) -> None:
    requests = freeze.recording.requests
    assert {request.status for request in requests} == {202, 503}
    assert max(request.ended - request.began for request in requests) < ANSWER_SECONDS


def test_accepted_events_are_stored(freeze: Freeze, stack: Stack, run: str) -> None:
    stack.settle(run)
    accepted = {post.id for post in freeze.recording.posts if post.outcome == "accepted"}
    assert accepted - {row["id"] for row in stack.rows(run)} == set()
