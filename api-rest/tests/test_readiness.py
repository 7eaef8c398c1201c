import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from api_rest import readiness
from api_rest.readiness import Readiness, Reason, State

KAFKA = Reason("Kafka is away", "Kafka is away: kafka:9092")


class Backends:
    """Has the given problems."""

    def __init__(self) -> None:
        self.checks = 0
        self.found: list[Reason] = []
        self.late = ""
        self.hangs = threading.Event()
        self.hangs.set()
        self.error: Exception | None = None

    def problems(self) -> list[Reason]:
        self.hangs.wait(10)
        self.checks += 1
        if self.error:
            raise self.error
        return self.found


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


@pytest.fixture
def backends() -> Backends:
    return Backends()


@pytest.fixture
def known(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> Iterator[Readiness]:
    monkeypatch.setattr(readiness, "INTERVAL", 0.005)
    monkeypatch.setattr(readiness, "INTERVAL_WITH_PROBLEMS", 0.005)
    known = Readiness(backends.problems, lambda: backends.late)
    yield known
    known.close()
    backends.hangs.set()
    if known._thread.ident:
        known._thread.join(10)
        assert not known._thread.is_alive()


def test_it_is_not_ready_before_the_first_check(known: Readiness, backends: Backends) -> None:
    backends.hangs.clear()
    known.start()
    assert known.state().missing == ["nothing was checked yet"]
    backends.hangs.set()
    eventually(lambda: known.state().missing == [])


def test_it_is_ready_once_the_check_passes(known: Readiness, backends: Backends) -> None:
    known.start()
    eventually(lambda: known.state().missing == [])
    backends.found = [KAFKA]
    eventually(lambda: known.state().missing == ["Kafka is away"])
    backends.found = []
    eventually(lambda: known.state().missing == [])


def test_it_stays_ready_and_reports_later_problems(known: Readiness, backends: Backends) -> None:
    backends.found = [KAFKA]
    known.start()
    eventually(lambda: backends.checks > 2)
    assert known.state() == State(ready=False, missing=["Kafka is away"])
    backends.found = []
    eventually(lambda: known.state() == State(ready=True))
    backends.found = [KAFKA, Reason("the database is away", "the database is away: 10.0.0.1")]
    eventually(
        lambda: (
            known.state() == State(ready=True, missing=["Kafka is away", "the database is away"])
        )
    )


def test_it_checks_more_often_with_problems(
    known: Readiness, backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "INTERVAL", 60)
    backends.found = [KAFKA]
    known.start()
    eventually(lambda: backends.checks > 2)
    backends.found = []
    eventually(lambda: known.state().missing == [])


def test_a_bug_in_the_check_is_a_problem_and_checks_go_on(
    known: Readiness, backends: Backends
) -> None:
    backends.error = KeyError("leader")
    known.start()
    eventually(
        lambda: any("KeyError('leader')" in problem for problem in known.state(full=True).missing)
    )
    backends.error = None
    eventually(lambda: known.state().missing == [])


def test_an_old_check_is_a_problem(
    known: Readiness, backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.start()
    eventually(lambda: known.state().missing == [])
    monkeypatch.setattr(readiness, "CHECK_VALID_SECONDS", 0.05)
    backends.hangs.clear()
    eventually(
        lambda: any("the last check has not ended" in problem for problem in known.state().missing)
    )
    backends.hangs.set()
    monkeypatch.setattr(readiness, "CHECK_VALID_SECONDS", 10.0)
    eventually(lambda: known.state().missing == [])


def test_changes_are_logged_once(
    known: Readiness,
    backends: Backends,
    caplog: pytest.LogCaptureFixture,
    structured: Callable[[pytest.LogCaptureFixture], list[dict[str, Any]]],
) -> None:
    caplog.set_level("INFO")
    backends.found = [KAFKA]
    known.start()
    eventually(lambda: backends.checks > 3)
    backends.found = []
    eventually(lambda: known.state().missing == [])
    backends.found = [KAFKA]
    eventually(lambda: known.state().missing == ["Kafka is away"])
    assert [line["event"] for line in structured(caplog)] == ["not ready", "ready", "degraded"]
    assert structured(caplog)[0]["reasons"] == ["Kafka is away: kafka:9092"]


def test_hosts_and_driver_errors_are_in_the_full_text_only(
    known: Readiness, backends: Backends
) -> None:
    backends.found = [KAFKA]
    known.start()
    eventually(lambda: known.state().missing == ["Kafka is away"])
    assert known.state(full=True).missing == ["Kafka is away: kafka:9092"]
    backends.error = KeyError("leader")
    eventually(lambda: known.state().missing == ["the check of the backends failed"])


def test_a_lag_is_reported_and_the_instance_stays_ready(
    known: Readiness,
    backends: Backends,
    caplog: pytest.LogCaptureFixture,
    structured: Callable[[pytest.LogCaptureFixture], list[dict[str, Any]]],
) -> None:
    caplog.set_level("INFO")
    backends.late = "7 accepted events wait"
    known.start()
    eventually(lambda: known.state() == State(ready=True, missing=["7 accepted events wait"]))
    backends.late = "9 accepted events wait"
    checks = backends.checks
    eventually(lambda: backends.checks > checks + 2)
    backends.late = ""
    eventually(lambda: known.state() == State(ready=True))
    checks = backends.checks
    eventually(lambda: backends.checks > checks + 2)
    events = [line["event"] for line in structured(caplog)]
    assert events == ["ready", "storing is behind", "storing is no longer behind"]
