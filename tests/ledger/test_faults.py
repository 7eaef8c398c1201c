"""The schedule of faults: each target its share, in order, and before the load ends."""

from collections import Counter
from contextlib import contextmanager
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chaos import FROZEN, TARGETS, Report, Settings, inject, schedule
from tests.load.recording import Recording
from tests.load.test_recording import request

SEEDS, KILLS, EVENTS = st.integers(), st.integers(0, 60), st.integers(100, 100_000)


@settings(deadline=None)
@given(seed=SEEDS, kills=KILLS, events=EVENTS)
def test_every_target_is_killed_equally_often(seed: int, kills: int, events: int) -> None:
    faults = schedule(Settings(events, kills, seed))
    assert len(faults) == kills
    for services in TARGETS.values():
        killed = sum(1 for fault in faults if fault.services[0] in services)
        assert killed >= kills // len(TARGETS)
    assert [fault.after for fault in faults] == sorted(fault.after for fault in faults)
    assert all(0 <= fault.after <= events * 0.9 and fault.seconds >= 0 for fault in faults)
    assert all(len(set(fault.services)) == len(fault.services) <= 2 for fault in faults)


@settings(deadline=None)
@given(seed=SEEDS, kills=KILLS, events=EVENTS)
def test_freezes_come_once_each_and_leave_the_kills_unchanged(
    seed: int, kills: int, events: int
) -> None:
    faults = schedule(Settings(events, kills, seed, freeze=20.0))
    freezes = [fault for fault in faults if fault.frozen]
    assert sorted(fault.services for fault in freezes) == sorted((service,) for service in FROZEN)
    assert {fault.seconds for fault in freezes} == {20.0}
    assert [fault.after for fault in faults] == sorted(fault.after for fault in faults)
    assert all(0 <= fault.after <= events * 0.9 for fault in freezes)
    killed = [fault for fault in faults if not fault.frozen]
    assert killed == schedule(Settings(events, kills, seed))


class Fake:
    """A stack and a generator: it counts the faults, and each look at it accepts an event."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._accepted = 0

    @property
    def accepted(self) -> int:
        self._accepted += 1
        return self._accepted

    def ended(self) -> dict[str, str]:
        return {"api-rest": "exit code 1"} if self.calls.total() == 0 else {}

    def container(self, service: str) -> "Fake":
        self.calls[f"kill {service}"] += 1
        return self

    def kill(self, **_: str) -> None:
        pass

    wait = kill

    def start(self, service: str) -> None:
        self.calls[f"start {service}"] += 1

    @contextmanager
    def frozen(self, service: str) -> Any:
        self.calls[f"freeze {service}"] += 1
        yield

    def wait_ready(self, _service: str) -> float:
        return 0.5


def test_every_fault_is_injected_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.ledger.chaos.time.sleep", lambda _: None)
    fake, report = cast("Any", Fake()), Report(Settings(40, 4, 1, freeze=20.0))
    lines: list[str] = []
    inject(fake, fake, report, lines.append)
    assert report.faults == len(lines) == 6
    assert report.frozen == dict.fromkeys(FROZEN, 1)
    assert fake.calls["freeze kafka"] == fake.calls["freeze database"] == 1
    kills = {name: fake.calls[f"kill {name}"] // 2 for name in report.killed}
    assert kills == report.killed
    assert report.died == ["api-rest: exit code 1"]
    assert report.recovered == 2.0
    assert fake.accepted > 40
    described = report.describe(Recording((request(2),), (), 1.0))
    assert "2 freezes of 20 s: database 1, kafka 1" in described
