"""Load on the ledger while its containers are killed and frozen: decided, then carried out."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.ledger.client import Address, Client
from tests.ledger.history import Answer, Attempt, History
from tests.ledger.stack import APIS, WORKERS, Stack

__all__ = [
    "FROZEN",
    "TARGETS",
    "Load",
    "Report",
    "Strike",
    "Struck",
    "Weather",
    "pause_for",
    "rage",
    "strikes",
]

# What is killed: of an app one of its instances, sometimes for so long that the other is alone.
TARGETS: dict[str, tuple[str, ...]] = {
    "api-rest": APIS,
    "async-worker": WORKERS,
    "kafka": ("kafka",),
    "database": ("database",),
}
# What is frozen, once each: it keeps its connections and answers nothing, as behind a cut network.
FROZEN = ("kafka", "database")

# A minute for 100,000 events, less for fewer, but longer than the worker once survived.
PAUSE, PAUSE_EVENTS, SHORTEST_PAUSE = 60.0, 100_000, 20.0
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
    pause: for how many seconds Kafka is frozen, and the database; 0: never.
    """

    events: int
    kills: int
    seed: int
    keyless: float
    rate: float
    clients: int = 16
    pause: float = 0.0


@dataclass(frozen=True)
class Strike:
    """Kill or freeze these when so many events are accepted; they run again some seconds later."""

    after: int
    services: tuple[str, ...]
    down: float
    frozen: bool = False

    def __str__(self) -> str:
        return f"{' and '.join(self.services)} {'frozen' if self.frozen else 'killed'}"


def pause_for(events: int) -> float:
    """For how many seconds a storm of so many events freezes what it freezes."""
    return max(SHORTEST_PAUSE, PAUSE * events / PAUSE_EVENTS)


def strikes(weather: Weather) -> list[Strike]:
    """When what is struck, the same for the same seed.

    Each target is killed equally often, give or take one, and what is FROZEN is frozen once.
    """
    rng = random.Random(weather.seed)  # noqa: S311  a repeatable order guards nothing
    targets = list(itertools.islice(itertools.cycle(TARGETS), weather.kills))
    rng.shuffle(targets)
    pairs = set(rng.sample(range(weather.kills), weather.kills // PAIRS))
    alone = set(rng.sample(range(weather.kills), weather.kills // ALONE))
    # Spread over the run, but not on a beat; none so late that no load is left to suffer from it.
    step = weather.events * 0.9 / max(1, weather.kills)
    kills = [
        Strike(
            int(step * (number + rng.random())),
            _services(target, rng, pair=number in pairs),
            rng.uniform(*(ALONE_SECONDS if number in alone else DOWN_SECONDS)),
        )
        for number, target in enumerate(targets)
    ]
    return sorted([*kills, *_freezes(weather, rng)], key=lambda strike: strike.after)


def _freezes(weather: Weather, rng: random.Random) -> list[Strike]:
    if not weather.pause:
        return []
    services = rng.sample(FROZEN, len(FROZEN))
    step = weather.events * 0.9 / len(services)
    return [
        Strike(int(step * (number + rng.random())), (service,), weather.pause, frozen=True)
        for number, service in enumerate(services)
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


class Struck:
    """What is struck right now, and what has been since somebody last looked."""

    def __init__(self) -> None:
        self._now = ""
        self._since = ""

    @contextmanager
    def by(self, strike: Strike) -> Iterator[None]:
        """Say so while the body runs."""
        self._now = self._since = str(strike)
        try:
            yield
        finally:
            self._now = ""

    def look(self) -> str:
        """Return what is struck, or was since the last look, or nothing."""
        words, self._since = self._now or self._since, ""
        return words


@dataclass
class Report:
    """What a storm did; for people."""

    weather: Weather
    accepted: int = 0
    seconds: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)
    frozen: Counter[str] = field(default_factory=Counter)
    struck: Struck = field(default_factory=Struck)
    strikes: int = 0
    pairs: int = 0
    died: list[str] = field(default_factory=list)
    outage: float = 0.0
    recovered: float = 0.0
    settled: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)

    def describe(self) -> str:
        """The figures."""
        kills, freezes = (
            ", ".join(f"{service} {count}" for service, count in sorted(counts.items()))
            for counts in (self.killed, self.frozen)
        )
        outcomes = ", ".join(
            f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items())
        )
        lines = [
            f"seed {self.weather.seed}: {self.strikes} strikes ({self.pairs} on two at once)",
            f"{self.killed.total()} kills: {kills}",
            f"{self.frozen.total()} freezes of {self.weather.pause:.0f} s: {freezes}",
            f"attempts: {outcomes}; {self.accepted / self.seconds:.0f} events/s accepted over {self.seconds:.0f} s",
            f"longest time without an accepted event {self.outage:.1f} s",
            f"all ready {self.recovered:.1f} s after the last event, all consumed {self.settled:.1f} s after that",
            *(f"ended by itself, and was started again: {words}" for words in self.died),
        ]
        return "\n".join(lines)


class Load:
    """Clients that record events, each of its own component and one after the other."""

    def __init__(
        self, run: str, weather: Weather, addresses: Sequence[Address], history: History
    ) -> None:
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
    def weather(self) -> Weather:
        """How hard it blows."""
        return self._weather

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

    def _until_accepted(
        self, client: Client, number: int, payload: dict[str, Any], index: int
    ) -> None:
        """Try again with the same key, at the next instance, as long as trying again may help."""
        pause, longest = RETRY_AFTER
        for turn in itertools.count(index):
            answer = self._attempt(client, number, payload, f"{self._run}-{number}", turn)
            if (
                answer.outcome == "accepted"
                or (answer.outcome == "refused" and answer.status)
                or self._stop.is_set()
            ):
                return
            self._stop.wait(pause)
            pause = min(pause * 2, longest)

    def _attempt(
        self, client: Client, number: int, payload: dict[str, Any], key: str | None, turn: int
    ) -> Answer:
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


def rage(
    stack: Stack, load: Load, report: Report, history: History, say: Callable[[str], None]
) -> None:
    """Blow until enough events are accepted and every strike has come down; everything runs and is ready afterwards."""
    weather = report.weather
    started = time.monotonic()
    with load.blowing() as clients:
        for strike in strikes(weather):
            _await(strike.after, load, clients, history)
            with report.struck.by(strike):
                _strike(stack, strike, report)
            passed = time.monotonic() - started
            say(f"{passed:5.0f} s  {history.accepted:6} accepted  {strike} for {strike.down:.1f} s")
        load.calm()
        _await(weather.events, load, clients, history)
        for client in clients:
            client.result(PATIENCE)
    report.seconds = time.monotonic() - started
    report.accepted = history.accepted
    report.outage = load.outage
    report.outcomes = load.outcomes
    report.recovered = sum(stack.wait_ready(service) for service in (*APIS, *WORKERS))


def _await(accepted: int, load: Load, clients: Sequence[Future[None]], history: History) -> None:
    # A freeze is over by now, but the silence has lasted since before it.
    patience = PATIENCE + load.weather.pause
    while history.accepted < accepted:
        for client in clients:
            if client.done():
                client.result()
        if load.silence > patience:
            outcomes = dict(load.outcomes)
            raise AssertionError(f"nothing was accepted for {patience:.0f} s: {outcomes}")
        time.sleep(LOOK)


def _strike(stack: Stack, strike: Strike, report: Report) -> None:
    for service, words in stack.ended().items():
        report.died.append(f"{service}: {words}")
        stack.start(service)
    if strike.frozen:
        with ExitStack() as frozen:
            for service in strike.services:
                frozen.enter_context(stack.frozen(service))
            time.sleep(strike.down)
        report.frozen.update(strike.services)
    else:
        _kill(stack, strike)
        report.killed.update(strike.services)
    report.strikes += 1
    report.pairs += len(strike.services) > 1


def _kill(stack: Stack, strike: Strike) -> None:
    for service in strike.services:
        stack.container(service).kill(signal="KILL")
    for service in strike.services:
        stack.container(service).wait(timeout=PATIENCE)
    time.sleep(strike.down)
    for service in strike.services:
        stack.start(service)
