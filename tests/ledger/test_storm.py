"""The storm: what it kills is decided before, and its clients keep to the rules that the checker relies on."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger import storm as module
from tests.ledger.client import Address, Client
from tests.ledger.history import Answer, read, recording
from tests.ledger.stack import wait_for
from tests.ledger.storm import (
    FROZEN,
    TARGETS,
    Load,
    Weather,
    strikes,
)
from tests.load.checker import check

ONE, TWO = ("127.0.0.1", 1), ("127.0.0.1", 2)


def weather(**changes: Any) -> Weather:  # noqa: ANN401
    return Weather(
        **{
            "events": 60,
            "kills": 4,
            "seed": 1,
            "keyless": 0.25,
            "rate": 10_000.0,
            "clients": 4,
            **changes,
        }
    )


@settings(deadline=None)
@given(seed=st.integers(), kills=st.integers(0, 60), events=st.integers(100, 100_000))
def test_every_target_is_struck_its_share_in_order_and_before_the_end(
    seed: int, kills: int, events: int
) -> None:
    planned = strikes(weather(seed=seed, kills=kills, events=events))
    assert len(planned) == kills
    for services in TARGETS.values():
        struck = sum(1 for strike in planned if strike.services[0] in services)
        assert struck >= kills // len(TARGETS)
    assert [strike.after for strike in planned] == sorted(strike.after for strike in planned)
    assert all(0 <= strike.after <= events * 0.9 and strike.down >= 0 for strike in planned)
    assert all(len(set(strike.services)) == len(strike.services) <= 2 for strike in planned)


@settings(deadline=None)
@given(seed=st.integers(), kills=st.integers(0, 60), events=st.integers(100, 100_000))
def test_what_is_frozen_is_frozen_once_beside_the_kills(seed: int, kills: int, events: int) -> None:
    planned = strikes(weather(seed=seed, kills=kills, events=events, pause=20.0))
    freezes = [strike for strike in planned if strike.frozen]
    assert sorted(strike.services for strike in freezes) == sorted((service,) for service in FROZEN)
    assert {strike.down for strike in freezes} == {20.0}
    assert [strike.after for strike in planned] == sorted(strike.after for strike in planned)
    assert all(0 <= strike.after <= events * 0.9 for strike in freezes)
    kept = [strike for strike in planned if not strike.frozen]
    alone = strikes(weather(seed=seed, kills=kills, events=events))
    assert kept == alone, "the kills of a seed have changed"


class Fickle:
    """An API of two instances that stores what it accepts, by key; every third answer gets lost, now and then one is down."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, Answer] = {}
        self.calls: Counter[Address] = Counter()
        self.lock = threading.Lock()

    def record(self, address: Address, payload: dict[str, Any], key: str | None) -> Answer:
        with self.lock:
            self.calls[address] += 1
            turn = self.calls.total()
            if turn % 5 == 0:
                return Answer("refused", reason="not connected")
            answer = self.by_key.get(key or "") or Answer(
                "accepted", 202, f"id-{turn}", f"{turn:09}"
            )
            if key:
                self.by_key[key] = answer
            self.rows[str(answer.id)] = {
                **payload,
                "id": answer.id,
                "received_at": answer.received_at,
            }
            return Answer("unknown", 503) if turn % 3 == 0 else answer


@pytest.fixture
def fickle(monkeypatch: pytest.MonkeyPatch) -> Fickle:
    api = Fickle()
    monkeypatch.setattr(Client, "record", api.record)
    monkeypatch.setattr(module, "RETRY_AFTER", (0.001, 0.001))
    monkeypatch.setattr(module, "PAUSE_AFTER_FAILURE", 0.001)
    monkeypatch.setattr(module, "REPEATS", 0.3)
    return api


def blow(path: Path, weather: Weather) -> Load:
    with recording(path) as history:
        load = Load("run-1", weather, [ONE, TWO], history)
        load.calm()
        with load.blowing() as clients:
            for client in clients:
                client.result(30)
    return load


def test_keyed_events_are_tried_until_accepted_and_unkeyed_ones_once(
    fickle: Fickle, tmp_path: Path
) -> None:
    load = blow(tmp_path / "history", weather())
    attempts = read(tmp_path / "history")
    verdict = check(attempts, list(fickle.rows.values()))
    assert verdict.findings == ()
    assert verdict.counts.accepted >= 60
    assert verdict.counts.uncertain > 0
    by_event: dict[int, list[str]] = {}
    for attempt in attempts:
        by_event.setdefault(attempt.number, []).append(attempt.answer.outcome)
        assert (attempt.key is None) == (attempt.payload["component"] == "run-1/client-0")
        assert attempt.key in {None, f"run-1-{attempt.number}"}
    keyed = {attempt.number for attempt in attempts if attempt.key}
    assert all("accepted" in by_event[number] for number in keyed)
    assert any(outcomes[-2:] == ["accepted", "accepted"] for outcomes in by_event.values()), (
        "nobody repeats"
    )
    assert load.outcomes.total() == len(attempts)
    assert fickle.calls[ONE]
    assert fickle.calls[TWO]


def test_a_keyed_event_that_is_refused_for_good_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = iter(
        [Answer("refused", 422)] + [Answer("accepted", 202, str(n), str(n)) for n in range(9)]
    )
    monkeypatch.setattr(Client, "record", lambda *_: next(answers))
    monkeypatch.setattr(module, "REPEATS", 0)
    blow(tmp_path / "history", weather(events=1, clients=1, keyless=0))
    assert [(one.number, one.answer.status) for one in read(tmp_path / "history")] == [
        (1, 422),
        (2, 202),
    ]


def test_the_load_goes_on_until_nothing_more_is_killed(fickle: Fickle, tmp_path: Path) -> None:
    with recording(tmp_path / "history") as history:
        load = Load("run-1", weather(events=5), [ONE, TWO], history)
        with load.blowing() as clients:
            wait_for("more than is wanted", lambda: len(fickle.rows) > 50, every=0.001)
            assert not any(client.done() for client in clients)
            load.calm()
