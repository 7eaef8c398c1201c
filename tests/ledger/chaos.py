"""Kill and freeze the ledger's containers under load: a schedule of faults, and its execution."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.ledger.stack import APIS, WORKERS, Stack
from tests.load.generator import Generator
from tests.load.recording import Recording

__all__ = [
    "FROZEN",
    "TARGETS",
    "Fault",
    "Report",
    "Settings",
    "inject",
]

# What is killed: one instance of an app, sometimes for so long that the other one is alone.
TARGETS: dict[str, tuple[str, ...]] = {
    "api-rest": APIS,
    "async-worker": WORKERS,
    "kafka": ("kafka",),
    "database": ("database",),
}
# What is frozen, once each: it keeps its connections and does not answer, as behind a cut network.
FROZEN = ("kafka", "database")
# One kill in this many hits two services; one in this many lasts longer.
PAIRS = 4
LONG = 5
DOWN_SECONDS = (0.0, 2.0)
LONG_SECONDS = (4.0, 8.0)
# Longer than Kafka's restart, its clients' reconnects and the group's session timeout together.
TIMEOUT = 120.0
POLL = 0.02


@dataclass(frozen=True)
class Settings:
    """How many events and faults, and the seed that decides the rest."""

    events: int
    kills: int
    seed: int

    @property
    def freeze(self) -> float:
        """For how many seconds Kafka and the database are frozen, each.

        A minute for 100,000 events, less for fewer, but longer than the worker once survived.
        """
        return max(20.0, 60.0 * self.events / 100_000)


@dataclass(frozen=True)
class Fault:
    """Services that are killed or frozen."""

    # How many events are accepted before it.
    after: int
    services: tuple[str, ...]
    # How long it lasts.
    seconds: float
    frozen: bool = False

    def __str__(self) -> str:
        """What happens, for people."""
        return f"{' and '.join(self.services)} {'frozen' if self.frozen else 'killed'}"


def schedule(settings: Settings) -> list[Fault]:
    """The faults in order, the same for the same seed.

    Each target is killed equally often, give or take one; each of FROZEN is frozen once.
    """
    rng = random.Random(settings.seed)  # noqa: S311  a repeatable order, no secret
    targets = list(itertools.islice(itertools.cycle(TARGETS), settings.kills))
    rng.shuffle(targets)
    pairs = set(rng.sample(range(settings.kills), settings.kills // PAIRS))
    long = set(rng.sample(range(settings.kills), settings.kills // LONG))

    def after(number: int, count: int) -> int:
        # Spread over the run, but not evenly; none so late that no load is left.
        return int(settings.events * 0.9 / count * (number + rng.random()))

    kills = [
        Fault(
            after(number, settings.kills),
            _services(target, rng, pair=number in pairs),
            rng.uniform(*(LONG_SECONDS if number in long else DOWN_SECONDS)),
        )
        for number, target in enumerate(targets)
    ]
    freezes = [
        Fault(after(number, len(FROZEN)), (service,), settings.freeze, frozen=True)
        for number, service in enumerate(rng.sample(FROZEN, len(FROZEN)))
    ]
    return sorted([*kills, *freezes], key=lambda fault: fault.after)


def _services(target: str, rng: random.Random, *, pair: bool) -> tuple[str, ...]:
    first = rng.choice(TARGETS[target])
    others = [service for services in TARGETS.values() for service in services if service != first]
    return (first, rng.choice(others)) if pair else (first,)


@dataclass
class Report:
    """What a run did."""

    settings: Settings
    killed: Counter[str] = field(default_factory=Counter)
    frozen: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    pairs: int = 0
    # Containers that ended by themselves.
    died: list[str] = field(default_factory=list)
    seconds: float = 0.0
    recovered: float = 0.0
    settled: float = 0.0

    def describe(self, recording: Recording) -> str:
        """The figures, for people."""
        kills, freezes = (
            ", ".join(f"{service} {count}" for service, count in sorted(counts.items()))
            for counts in (self.killed, self.frozen)
        )
        outcomes = Counter(f"{post.outcome} {post.status or ''}" for post in recording.posts)
        counts = ", ".join(f"{count} {name}".rstrip() for name, count in sorted(outcomes.items()))
        rate = len(recording.accepted) / self.seconds
        lines = [
            f"seed {self.settings.seed}: {self.faults} faults ({self.pairs} on two services)",
            f"{self.killed.total()} kills: {kills}",
            f"{self.frozen.total()} freezes of {self.settings.freeze:.0f} s: {freezes}",
            f"attempts: {counts}",
            f"{rate:.0f} events/s accepted over {self.seconds:.0f} s",
            f"longest time without an accepted event {outage(recording):.1f} s",
            f"all ready {self.recovered:.1f} s after the last event",
            f"all consumed {self.settled:.1f} s after that",
            *(f"ended by itself, and was started again: {output}" for output in self.died),
        ]
        return "\n".join(lines)


def outage(recording: Recording) -> float:
    """The longest time between two accepted events, in seconds."""
    times = sorted(post.ended for post in recording.posts if post.outcome == "accepted")
    return max((after - before for before, after in itertools.pairwise(times)), default=0.0)


def inject(stack: Stack, generator: Generator, report: Report, say: Callable[[str], None]) -> None:
    """Inject every fault under load, until enough events are accepted and all apps are ready."""
    started = time.monotonic()
    for fault in schedule(report.settings):
        _wait_for_events(generator, fault.after)
        _inject(stack, fault, report)
        passed = time.monotonic() - started
        say(f"{passed:5.0f} s  {generator.accepted:6} accepted  {fault} for {fault.seconds:.1f} s")
    # At least one more, so that the last fault was under load, too.
    _wait_for_events(generator, max(report.settings.events, generator.accepted + 1))
    report.seconds = time.monotonic() - started
    report.recovered = sum(stack.wait_ready(service) for service in (*APIS, *WORKERS))


def _wait_for_events(generator: Generator, accepted: int) -> None:
    """Wait until this many events are accepted; fail if none is for too long."""
    last, since = generator.accepted, time.monotonic()
    while generator.accepted < accepted:
        if generator.accepted > last:
            last, since = generator.accepted, time.monotonic()
        if time.monotonic() - since > TIMEOUT:
            raise AssertionError(f"no event was accepted for {TIMEOUT:.0f} s")
        time.sleep(POLL)


def _inject(stack: Stack, fault: Fault, report: Report) -> None:
    for service, output in stack.ended().items():
        report.died.append(f"{service}: {output}")
        stack.start(service)
    if fault.frozen:
        with ExitStack() as frozen:
            for service in fault.services:
                frozen.enter_context(stack.frozen(service))
            time.sleep(fault.seconds)
        report.frozen.update(fault.services)
    else:
        _kill(stack, fault)
        report.killed.update(fault.services)
    report.faults += 1
    report.pairs += len(fault.services) > 1


def _kill(stack: Stack, fault: Fault) -> None:
    for service in fault.services:
        stack.container(service).kill(signal="KILL")
    for service in fault.services:
        stack.container(service).wait(timeout=TIMEOUT)
    time.sleep(fault.seconds)
    for service in fault.services:
        stack.start(service)
