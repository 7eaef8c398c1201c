"""Every fault of a schedule is injected, and the report counts what was done."""

from collections import Counter
from contextlib import contextmanager
from typing import Any, cast

import pytest

from tests.ledger.chaos import FROZEN, Report, Settings, inject
from tests.load.recording import Recording
from tests.load.test_recording import request


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
    fake, report = cast("Any", Fake()), Report(Settings(40, 4, 1))
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
    described = report.describe(Recording((request(2),), 1.0))
    assert "2 freezes of 20 s: database 1, kafka 1" in described
