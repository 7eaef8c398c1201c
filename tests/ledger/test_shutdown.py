"""Stop instances under load, one after the other: no request fails, no event is lost."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.ledger.balancer import Balancer
from tests.ledger.conftest import Bring, Say, option
from tests.ledger.stack import APIS, SERVICES, WORKERS, Stack, wait_for
from tests.load import generator
from tests.load.checker import check
from tests.load.generator import Generator, Load
from tests.load.recording import Recording, failures, parse

pytestmark = [pytest.mark.engine, pytest.mark.chaos]

# `nox -s shutdown` runs 200.
ROUNDS = 6
RATE = 100.0
CONCURRENCY = 8
# How long an API instance still serves after SIGTERM; the balancer checks ten times as often.
DELAY = 1
# App and worker alternate, and so do their instances.
ORDER = [instance for pair in zip(APIS, WORKERS, strict=True) for instance in pair]


@dataclass(frozen=True)
class Stop:
    """One instance that was stopped."""

    instance: str
    exit_code: int
    seconds: float
    # Events that were accepted meanwhile.
    accepted: int


@dataclass
class Shutdowns:
    """All stops, and the load during them."""

    stack: Stack
    run: str
    folder: Path
    stops: list[Stop] = field(default_factory=list)
    longest_wait: float = 0.0

    @property
    def recording(self) -> Recording:
        """What the load's requests got."""
        return parse((self.folder / "requests.jsonl").read_text(encoding="utf-8"))

    def describe(self) -> str:
        """The figures, for people."""
        events = sum(stop.accepted for stop in self.stops)
        lines = [f"{len(self.stops)} instances stopped, {events} events meanwhile"]
        for app in ("api-rest", "async-worker"):
            times = [stop.seconds for stop in self.stops if stop.instance.startswith(app)]
            if times:
                lines.append(
                    f"{app}: SIGTERM to exit {min(times):.2f} to {max(times):.2f} s,"
                    f" median {statistics.median(times):.2f} s"
                )
        lines.append(f"longest wait for a ready instance {self.longest_wait:.2f} s")
        return "\n".join(lines)


def stop(stack: Stack, balancer: Balancer, load: Generator, instance: str) -> Stop:
    """Stop an instance, start it again, and wait until it gets requests again."""
    before, started = load.accepted, time.monotonic()
    code = stack.signal(instance, "TERM")
    stopped = Stop(instance, code, time.monotonic() - started, load.accepted - before)
    stack.start(instance)
    stack.wait_ready(instance)
    if instance in APIS:
        target = stack.target(instance)
        wait_for(f"the balancer to send to {instance}", lambda: balancer.sends_to(target))
    return stopped


@pytest.fixture(scope="module")
def shutdowns(
    bring: Bring, run: str, run_folder: Path, say: Say, pytestconfig: pytest.Config
) -> Iterator[Shutdowns]:
    rounds = int(option(pytestconfig, "rounds", ROUNDS))
    load = Load(run, RATE, slow_every=0, only_posts=True, keyless=1, concurrency=CONCURRENCY)
    with bring({"SHUTDOWN_DELAY": str(DELAY)}, SERVICES) as stack:
        shutdowns = Shutdowns(stack, run, run_folder)
        targets = [stack.target(api) for api in APIS]
        try:
            with Balancer(targets).checking() as balancer:
                wait_for("both instances to be ready", lambda: all(map(balancer.sends_to, targets)))
                path = run_folder / "requests.jsonl"
                with generator.running(load, balancer.pick, path) as sending:
                    for instance in itertools.islice(itertools.cycle(ORDER), rounds):
                        shutdowns.stops.append(stop(stack, balancer, sending, instance))
                        say(f"{len(shutdowns.stops)} of {rounds}: {shutdowns.stops[-1]}")
            shutdowns.longest_wait = balancer.longest_wait
            stack.settle(run)
        finally:
            say(f"requests and logs in {stack.save_logs(run_folder)}")
        say(shutdowns.describe())
        yield shutdowns


def test_every_instance_ends_with_0(shutdowns: Shutdowns) -> None:
    assert [stop for stop in shutdowns.stops if stop.exit_code != 0] == []


def test_there_is_load_during_every_stop(shutdowns: Shutdowns) -> None:
    assert min(stop.accepted for stop in shutdowns.stops) > 0


def test_no_request_fails(shutdowns: Shutdowns) -> None:
    failed = [str(failure) for failure in failures(shutdowns.recording)]
    assert failed == [], f"logs are in {shutdowns.folder}"


def test_no_event_is_lost(shutdowns: Shutdowns, say: Say) -> None:
    verdict = check(shutdowns.recording.posts, shutdowns.stack.rows(shutdowns.run))
    say(verdict.describe())
    assert verdict.findings == (), verdict.describe()
    assert shutdowns.stack.dead_letters() == 0
