"""A frozen Kafka keeps its connections and answers nothing: both apps wait, and do not grow."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.ledger.client import Client, get_status
from tests.ledger.conftest import Say
from tests.ledger.history import Answer
from tests.ledger.stack import Stack, wait_for
from tests.ledger.storm import PAUSE_AFTER_FAILURE, event

pytestmark = [pytest.mark.engine, pytest.mark.storm]

APPS = ("api-rest", "async-worker")
# async-worker was killed for its memory, at 256 MB, after 16 s of this.
FROZEN_SECONDS = 25.0
MOST_BYTES = 160 * 1024 * 1024
# Of one processor. A loop that does not wait takes all that it gets.
MOST_PROCESSOR = 0.3
# What api-rest waits for Kafka and the database, with some to spare.
ANSWERED_SECONDS = 10.0
CLIENTS = 2
PROBE_TIMEOUT = 5.0


@dataclass
class Freeze:
    """What came of freezing Kafka under a few requests."""

    answers: list[tuple[float, Answer]] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=lambda: dict.fromkeys(APPS, 0))
    processor: dict[str, float] = field(default_factory=dict)
    health: set[int | None] = field(default_factory=set)

    def accepted(self) -> list[str]:
        """The ids of the events that were accepted."""
        return [str(answer.id) for _, answer in self.answers if answer.outcome == "accepted"]


@contextmanager
def posting(stack: Stack, run: str, freeze: Freeze) -> Iterator[None]:
    """Record events, each once, while the body runs."""
    stop = threading.Event()

    def post(index: int) -> None:
        rng, client = random.Random(index), Client()  # noqa: S311  guards nothing
        for number in itertools.count(1):
            if stop.is_set():
                break
            started = time.monotonic()
            answer = client.record(stack.address("api-rest"), event(run, number, index, rng), None)
            freeze.answers.append((time.monotonic() - started, answer))
            if answer.outcome != "accepted":
                stop.wait(PAUSE_AFTER_FAILURE)
        client.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        posts = [pool.submit(post, index) for index in range(CLIENTS)]
        try:
            yield
        finally:
            stop.set()
        for done in posts:
            done.result()


def watch(stack: Stack, freeze: Freeze) -> None:
    """Look at both apps as long as Kafka is frozen, or until one has ended."""
    began = time.monotonic()
    used = {app: stack.processor_seconds(app) for app in APPS}
    while time.monotonic() - began < FROZEN_SECONDS and not stack.ended(APPS):
        for app in APPS:
            freeze.most[app] = max(freeze.most[app], stack.memory(app) or 0)
        freeze.health.add(get_status(stack.address("async-worker"), "/health", PROBE_TIMEOUT))
        time.sleep(0.5)
    seconds = time.monotonic() - began
    freeze.processor = {app: (stack.processor_seconds(app) - used[app]) / seconds for app in APPS}


@pytest.fixture(scope="module")
def freeze(stack: Stack, run: str, say: Say) -> Freeze:
    freeze = Freeze()
    with posting(stack, run, freeze):
        wait_for("an accepted event", lambda: bool(freeze.accepted()))
        with stack.frozen("kafka"):
            watch(stack, freeze)
        before = len(freeze.accepted())
        wait_for("an event that is accepted again", lambda: len(freeze.accepted()) > before)
    say(f"memory {freeze.most}, of a processor {freeze.processor}")
    return freeze


def test_both_apps_keep_running(freeze: Freeze, stack: Stack) -> None:
    assert freeze.answers
    assert stack.ended(APPS) == {}


def test_neither_app_grows(freeze: Freeze) -> None:
    assert all(0 < most < MOST_BYTES for most in freeze.most.values()), freeze.most


def test_neither_app_spins(freeze: Freeze) -> None:
    assert all(used < MOST_PROCESSOR for used in freeze.processor.values()), freeze.processor


def test_a_worker_that_waits_is_not_called_stuck(freeze: Freeze) -> None:
    assert freeze.health == {200}


def test_every_request_is_answered_in_time(freeze: Freeze) -> None:
    assert {answer.status for _, answer in freeze.answers} == {202, 503}
    assert max(seconds for seconds, _ in freeze.answers) < ANSWERED_SECONDS


def test_what_was_accepted_is_stored(freeze: Freeze, stack: Stack, run: str) -> None:
    stack.settle(run)
    assert set(freeze.accepted()) - {row["id"] for row in stack.rows(run)} == set()
