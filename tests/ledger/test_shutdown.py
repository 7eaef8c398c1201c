"""Stop instances under load, one after the other: no request fails, no event is lost, every process ends with 0."""

from __future__ import annotations

import itertools
import random
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.ledger.balancer import Balancer
from tests.ledger.client import Client
from tests.ledger.conftest import Bring, Say, option
from tests.ledger.history import Answer, Attempt, History, read, recording
from tests.ledger.stack import APIS, WORKERS, Stack, wait_for
from tests.ledger.storm import Clock, Pace, event
from tests.load.checker import check

pytestmark = [pytest.mark.engine, pytest.mark.storm]

# `nox -s shutdown` says 200.
ROUNDS = 6
RATE = 100.0
CLIENTS = 8
# An API instance goes on serving for so long once told to stop; the balancer looks ten times as often.
DELAY = 1
# App and worker by turns, so that each instance has its turn too.
ORDER = [instance for pair in zip(APIS, WORKERS, strict=True) for instance in pair]


@dataclass
class Rounds:
    """What came of stopping instances: (which, exit code, seconds until it had ended)."""

    ended: list[tuple[str, int, float]] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    longest_wait: float = 0.0
    settled: float = 0.0

    def describe(self, seconds: float) -> str:
        lines = [
            f"{len(self.ended)} instances told to stop within {seconds:.0f} s, {sum(self.served)} events meanwhile"
        ]
        for app in ("api-rest", "async-worker"):
            took = [took for instance, _, took in self.ended if instance.startswith(app)]
            if took:
                lines.append(
                    f"{app}: SIGTERM to exit {min(took):.2f} to {max(took):.2f} s, median {statistics.median(took):.2f} s"
                )
        lines.append(f"longest wait for an instance that is ready {self.longest_wait:.2f} s")
        return "\n".join(lines)


@dataclass(frozen=True)
class Shutdowns:
    rounds: Rounds
    attempts: list[Attempt]
    stack: Stack
    run: str
    folder: Path


@contextmanager
def load(run: str, balancer: Balancer, history: History) -> Iterator[None]:
    """Constant load for as long as the body runs; a request that fails is noted, and not tried again."""
    numbers, pace, clock, stop = itertools.count(1), Pace(RATE), Clock(), threading.Event()

    def client(index: int) -> None:
        rng = random.Random(index)  # noqa: S311  guards nothing
        http = Client()
        while not stop.is_set():
            pace.wait()
            number = next(numbers)
            payload = event(run, number, index, rng)
            invoked = clock()
            address = balancer.pick()
            answer = (
                http.record(address, payload, None)
                if address
                else Answer("refused", reason="nobody was ready")
            )
            history.add(Attempt(number, None, payload, invoked, clock(), answer))
        http.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, index) for index in range(CLIENTS)]
        try:
            yield
        finally:
            stop.set()
        for done in clients:
            done.result()


def round_of(
    stack: Stack, balancer: Balancer, history: History, instance: str, rounds: Rounds
) -> None:
    """Tell one instance to stop, wait for its end, start it again, and wait until it takes part again."""
    before, started = history.accepted, time.monotonic()
    code = stack.signal(instance, "TERM")
    rounds.ended.append((instance, code, time.monotonic() - started))
    rounds.served.append(history.accepted - before)
    stack.start(instance)
    stack.wait_ready(instance)
    if instance in APIS:
        wait_for(
            f"the balancer to send to {instance}",
            lambda: balancer.sends_to(stack.address(instance)),
        )


@pytest.fixture(scope="module")
def shutdowns(
    bring: Bring, run: str, run_folder: Path, say: Say, pytestconfig: pytest.Config
) -> Iterator[Shutdowns]:
    wanted = int(option(pytestconfig, "rounds", ROUNDS))
    history_file = run_folder / "history.jsonl"
    rounds = Rounds()
    with bring({"SHUTDOWN_DELAY": str(DELAY)}) as stack:
        started = time.monotonic()
        addresses = [stack.address(api) for api in APIS]
        try:
            with recording(history_file) as history, Balancer(addresses).looking() as balancer:
                wait_for(
                    "both instances to be ready", lambda: all(map(balancer.sends_to, addresses))
                )
                with load(run, balancer, history):
                    for number, instance in zip(
                        range(1, wanted + 1), itertools.cycle(ORDER), strict=False
                    ):
                        round_of(stack, balancer, history, instance, rounds)
                        _, code, took = rounds.ended[-1]
                        say(
                            f"{number:3} of {wanted}: {instance} ended with {code} after {took:.2f} s"
                        )
            rounds.longest_wait = balancer.longest_wait
            rounds.settled = stack.settle(run)
        finally:
            say(f"history and logs in {stack.save_logs(run_folder)}")
        say(rounds.describe(time.monotonic() - started))
        yield Shutdowns(rounds, read(history_file), stack, run, run_folder)


def test_every_instance_ended_with_0(shutdowns: Shutdowns) -> None:
    assert [(instance, code) for instance, code, _ in shutdowns.rounds.ended if code != 0] == []


def test_there_was_load_during_every_stop(shutdowns: Shutdowns) -> None:
    assert min(shutdowns.rounds.served) > 0


def test_no_request_failed(shutdowns: Shutdowns) -> None:
    failed = [attempt for attempt in shutdowns.attempts if attempt.answer.outcome != "accepted"]
    assert [(attempt.number, attempt.answer) for attempt in failed] == [], (
        f"logs are in {shutdowns.folder}"
    )


def test_no_event_is_lost(shutdowns: Shutdowns, say: Say) -> None:
    verdict = check(shutdowns.attempts, shutdowns.stack.rows(shutdowns.run))
    say(verdict.describe())
    assert verdict.findings == (), verdict.describe()
    assert shutdowns.stack.dead_letters() == 0
