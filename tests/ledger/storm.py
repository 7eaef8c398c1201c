"""Load on the ledger while its containers are killed: first decided what is killed when, then carried out."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.ledger.client import Address, Client
from tests.ledger.history import Answer, Attempt, History
from tests.ledger.stack import APIS, WORKERS, Stack

__all__ = ["TARGETS", "Load", "Report", "Strike", "Weather", "rage", "strikes"]

# What is killed: of an app one of its instances, sometimes for so long that the other is alone.
TARGETS: dict[str, tuple[str, ...]] = {
    "api-rest": APIS,
    "async-worker": WORKERS,
    "kafka": ("kafka",),
    "database": ("database",),
}

# One strike in so many hits two at once; one in so many lasts long, and an app's other instance is alone.
PAIRS = 4
ALONE = 5
DOWN_SECONDS = (0.0, 2.0)
ALONE_SECONDS = (4.0, 8.0)
# Nothing may take longer: Kafka's restart after kill -9, its clients' reconnects and the group's session timeout together.
PATIENCE = 120.0
RETRY_AFTER = (0.1, 1.0)
# An unkeyed event is never tried again: without a pause an outage would burn thousands.
PAUSE_AFTER_FAILURE = 0.5
REPEATS = 0.02
LOOK = 0.02
# As the apps have them.
STAGES = ("prepare", "test", "plan", "build", "scan", "push", "deploy", "verify", "record")


@dataclass(frozen=True)
class Weather:
    """How much, how hard, and the seed that decides the rest.

    keyless: the share of clients that send no Idempotency-Key and never try again. rate: events a second at most.
    """

    events: int
    kills: int
    seed: int
    keyless: float
    rate: float
    clients: int = 16


@dataclass(frozen=True)
class Strike:
    """Kill these at once when so many events are accepted; start them again after so many seconds."""

    after: int
    services: tuple[str, ...]
    down: float


def strikes(weather: Weather) -> list[Strike]:
    """When what is killed: each target equally often, give or take one; the same for the same seed."""
    rng = random.Random(weather.seed)  # noqa: S311  a repeatable order guards nothing
    targets = list(itertools.islice(itertools.cycle(TARGETS), weather.kills))
    rng.shuffle(targets)
    pairs = set(rng.sample(range(weather.kills), weather.kills // PAIRS))
    alone = set(rng.sample(range(weather.kills), weather.kills // ALONE))
    # Spread over the run, but not on a beat; none so late that no load is left to suffer from it.
    step = weather.events * 0.9 / max(1, weather.kills)
    return [
        Strike(
            int(step * (number + rng.random())),
            _services(target, rng, pair=number in pairs),
            rng.uniform(*(ALONE_SECONDS if number in alone else DOWN_SECONDS)),
        )
        for number, target in enumerate(targets)
    ]


def _services(target: str, rng: random.Random, *, pair: bool) -> tuple[str, ...]:
    first = rng.choice(TARGETS[target])
    others = [service for services in TARGETS.values() for service in services if service != first]
    return (first, rng.choice(others)) if pair else (first,)


class Pace:
    """Lets so many through a second, and does not make up for a time when nothing went through."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when it is one's turn."""
        with self._lock:
            turn = self._next = max(self._next + self._interval, time.monotonic())
        time.sleep(max(0.0, turn - time.monotonic()))


class Clock:
    """Unix time that never jumps."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Now."""
        return self._offset + time.monotonic()


@dataclass
class Report:
    """What a storm did; for people."""

    weather: Weather
    accepted: int = 0
    seconds: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)
    strikes: int = 0
    pairs: int = 0
    died: list[str] = field(default_factory=list)
    outage: float = 0.0
    recovered: float = 0.0
    settled: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)

    def describe(self) -> str:
        """The figures."""
        kills = ", ".join(f"{service} {count}" for service, count in sorted(self.killed.items()))
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        lines = [
            f"seed {self.weather.seed}: {self.strikes} strikes ({self.pairs} on two at once)",
            f"{self.killed.total()} kills: {kills}",
            f"attempts: {outcomes}; {self.accepted / self.seconds:.0f} events/s accepted over {self.seconds:.0f} s",
            f"longest time without an accepted event {self.outage:.1f} s",
            f"all ready {self.recovered:.1f} s after the last event, all consumed {self.settled:.1f} s after that",
            *(f"ended by itself, and was started again: {words}" for words in self.died),
        ]
        return "\n".join(lines)


class Load:
    """Clients that record events, each of its own component and one after the other."""

    def __init__(self, run: str, weather: Weather, addresses: Sequence[Address], history: History) -> None:
        self._run = run
        self._weather = weather
        self._addresses = addresses
        self._history = history
        self._numbers = itertools.count(1)
        self._pace = Pace(weather.rate)
        self._clock = Clock()
        self._stop = threading.Event()
        self._calm = threading.Event()
        self._outcomes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._last = self._clock()
        self._outage = 0.0

    @property
    def outcomes(self) -> Counter[str]:
        """How many attempts ended how."""
        return self._outcomes

    @property
    def outage(self) -> float:
        """The longest time without an accepted event, the present one included."""
        return max(self._outage, self.silence)

    @property
    def silence(self) -> float:
        """Seconds since the last accepted event."""
        return self._clock() - self._last

    @property
    def done(self) -> bool:
        """Whether enough is accepted and nothing more will be killed."""
        return self._calm.is_set() and self._history.accepted >= self._weather.events

    def calm(self) -> None:
        """Say that nothing more will be killed: who is struck last has to be struck under load too."""
        self._calm.set()

    @contextmanager
    def blowing(self) -> Iterator[list[Future[None]]]:
        """Run the clients; they end by themselves when the load is done, and at once when the body fails."""
        with ThreadPoolExecutor(self._weather.clients, thread_name_prefix="client") as pool:
            try:
                yield [pool.submit(self._client, number) for number in range(self._weather.clients)]
            except BaseException:
                self._stop.set()
                raise

    def _client(self, index: int) -> None:
        rng = random.Random(f"{self._weather.seed}-{index}")  # noqa: S311
        keyed = index >= round(self._weather.clients * self._weather.keyless)
        client = Client()
        try:
            while not self._stop.is_set() and not self.done:
                self._pace.wait()
                number = next(self._numbers)
                payload = event(self._run, number, index, rng)
                if keyed:
                    self._until_accepted(client, number, payload, index)
                    if rng.random() < REPEATS:
                        # As somebody does who never saw the answer; the other instance has to give the same one.
                        self._attempt(client, number, payload, f"{self._run}-{number}", index + 1)
                elif self._attempt(client, number, payload, None, index).outcome != "accepted":
                    self._stop.wait(PAUSE_AFTER_FAILURE)
        finally:
            client.close()

    def _until_accepted(self, client: Client, number: int, payload: dict[str, Any], index: int) -> None:
        """Try again with the same key, at the next instance, as long as trying again may help."""
        pause, longest = RETRY_AFTER
        for turn in itertools.count(index):
            answer = self._attempt(client, number, payload, f"{self._run}-{number}", turn)
            if answer.outcome == "accepted" or (answer.outcome == "refused" and answer.status) or self._stop.is_set():
                return
            self._stop.wait(pause)
            pause = min(pause * 2, longest)

    def _attempt(self, client: Client, number: int, payload: dict[str, Any], key: str | None, turn: int) -> Answer:
        invoked = self._clock()
        answer = client.record(self._addresses[turn % len(self._addresses)], payload, key)
        completed = self._clock()
        self._history.add(Attempt(number, key, payload, invoked, completed, answer))
        with self._lock:
            self._outcomes[f"{answer.outcome} {answer.status or 'without a status'}"] += 1
            if answer.outcome == "accepted":
                self._outage = max(self._outage, completed - self._last)
                self._last = max(self._last, completed)
        return answer


def event(run: str, number: int, client: int, rng: random.Random) -> dict[str, Any]:
    """An event that is like no other, and tells which it is."""
    return {
        "component": f"{run}/client-{client}",
        "version": f"1.{client}.{number}",
        "environment": rng.choice(("develop", "staging", "production")),
        "responsible": rng.choice(("Zoë", "李雷", "ops@example.com", 'O\'Neil \\ "Sons"')),
        "stage": rng.choice(STAGES),
        "status": rng.choice(("started", "succeeded", "failed", "rolled-back")),
        "details": {
            "run": run,
            "number": number,
            "note": rng.choice(("", "🚀", "a\nb\u0000c", None)),
            "x": rng.random(),
        },
    }


def rage(stack: Stack, load: Load, weather: Weather, history: History, say: Callable[[str], None]) -> Report:
    """Blow until enough events are accepted and every strike has come down; everything runs and is ready afterwards."""
    report = Report(weather)
    started = time.monotonic()
    with load.blowing() as clients:
        for strike in strikes(weather):
            _await(strike.after, load, clients, history)
            _strike(stack, strike, report)
            say(
                f"{time.monotonic() - started:5.0f} s  {history.accepted:6} accepted  "
                f"killed {' and '.join(strike.services)}, down for {strike.down:.1f} s"
            )
        load.calm()
        _await(weather.events, load, clients, history)
        for client in clients:
            client.result(PATIENCE)
    report.seconds = time.monotonic() - started
    report.accepted = history.accepted
    report.outage = load.outage
    report.outcomes = load.outcomes
    report.recovered = sum(stack.wait_ready(service) for service in (*APIS, *WORKERS))
    return report


def _await(accepted: int, load: Load, clients: Sequence[Future[None]], history: History) -> None:
    while history.accepted < accepted:
        for client in clients:
            if client.done():
                client.result()
        if load.silence > PATIENCE:
            raise AssertionError(f"nothing was accepted for {PATIENCE:.0f} s: {dict(load.outcomes)}")
        time.sleep(LOOK)


def _strike(stack: Stack, strike: Strike, report: Report) -> None:
    for service, words in stack.ended().items():
        report.died.append(f"{service}: {words}")
        stack.start(service)
    for service in strike.services:
        stack.container(service).kill(signal="KILL")
    for service in strike.services:
        stack.container(service).wait(timeout=PATIENCE)
    time.sleep(strike.down)
    for service in strike.services:
        stack.start(service)
    report.killed.update(strike.services)
    report.strikes += 1
    report.pairs += len(strike.services) > 1
