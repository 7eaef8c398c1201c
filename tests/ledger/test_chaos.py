"""Kill and freeze under load: what was accepted is stored once, as it was sent; the checker tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ledger.conftest import Bring, Say, option
from tests.ledger.history import Attempt, read, recording
from tests.ledger.stack import APIS, WORKERS, Stack
from tests.ledger.storm import FROZEN, TARGETS, Load, Report, Weather, pause_for, rage
from tests.ledger.usage import MIB, Sample, describe, highest, read_samples, sampling
from tests.load.checker import Verdict, check

pytestmark = [pytest.mark.engine, pytest.mark.storm]

# A short storm, for a run by hand; `nox -s chaos` says more.
EVENTS = 3_000
KILLS = 4
RATE = 200.0
KEYLESS = 0.25
# Of the 256 MB that each app may have.
MOST_MEMORY = 200 * MIB


@dataclass(frozen=True)
class Storm:
    """One storm, gone by; its platform still runs."""

    stack: Stack
    run: str
    report: Report
    attempts: list[Attempt]
    memory: list[Sample]
    folder: Path

    def judge(self) -> Verdict:
        """Hold the history against what the table holds now."""
        return check(self.attempts, self.stack.rows(self.run))


@pytest.fixture(scope="module")
def storm(
    bring: Bring, run: str, seed: int, run_folder: Path, say: Say, pytestconfig: pytest.Config
) -> Iterator[Storm]:
    events = int(option(pytestconfig, "events", EVENTS))
    weather = Weather(
        events=events,
        kills=int(option(pytestconfig, "kills", KILLS)),
        seed=seed,
        keyless=option(pytestconfig, "keyless", KEYLESS),
        rate=option(pytestconfig, "rate", RATE),
        pause=option(pytestconfig, "pause", pause_for(events)),
    )
    history_file, memory_file = run_folder / "history.jsonl", run_folder / "memory.csv"
    report = Report(weather)
    with bring({}) as stack:
        say(f"{weather}, history in {history_file}")
        try:
            with recording(history_file) as history:

                def progress() -> tuple[int, str]:
                    return history.accepted, report.struck.look()

                load = Load(run, weather, [stack.address(api) for api in APIS], history)
                with sampling(memory_file, (*APIS, *WORKERS), stack.memory, progress):
                    rage(stack, load, report, history, say)
                    report.settled = stack.settle(run)
        finally:
            say(f"logs and memory.csv in {stack.save_logs(run_folder)}")
            memory = read_samples(memory_file)
        say("\n".join([report.describe(), *describe(memory)]))
        yield Storm(stack, run, report, read(history_file), memory, run_folder)


def test_every_target_was_killed(storm: Storm) -> None:
    for services in TARGETS.values():
        assert sum(storm.report.killed[service] for service in services) > 0, (
            storm.report.describe()
        )


def test_kafka_and_the_database_were_frozen(storm: Storm) -> None:
    if storm.report.weather.pause:
        assert storm.report.frozen == dict.fromkeys(FROZEN, 1), storm.report.describe()


def test_no_app_grew(storm: Storm) -> None:
    most = highest(storm.memory)
    assert set(most) == {*APIS, *WORKERS}
    assert {app: size for app, size in most.items() if size >= MOST_MEMORY} == {}


def test_no_container_ended_by_itself(storm: Storm) -> None:
    assert storm.report.died == []
    assert storm.stack.ended() == {}


def test_what_was_accepted_is_stored_once_and_as_it_was_sent(storm: Storm, say: Say) -> None:
    verdict = storm.judge()
    say(verdict.describe())
    assert verdict.findings == (), f"{verdict.describe()}\nhistory and logs are in {storm.folder}"
    assert verdict.counts.accepted >= storm.report.weather.events


def test_no_good_event_was_put_aside(storm: Storm) -> None:
    assert storm.stack.dead_letters() == 0


@pytest.fixture
def accepted(storm: Storm) -> Attempt:
    """An attempt in the middle that was accepted."""
    found = [attempt for attempt in storm.attempts if attempt.answer.outcome == "accepted"]
    return found[len(found) // 2]


@contextmanager
def restored(storm: Storm, identifier: str | None) -> Iterator[None]:
    """Put a row back as it was, and take away what was added to the run meanwhile."""
    before = {row["id"] for row in storm.stack.rows(storm.run)}
    storm.stack.execute("CREATE TABLE kept AS SELECT * FROM deployments WHERE id = %s", identifier)
    try:
        yield
    finally:
        storm.stack.execute("REPLACE INTO deployments SELECT * FROM kept")
        storm.stack.execute("DROP TABLE kept")
        for row in storm.stack.rows(storm.run):
            if row["id"] not in before:
                storm.stack.execute("DELETE FROM deployments WHERE id = %s", row["id"])


def test_the_checker_sees_a_row_that_is_gone(storm: Storm, accepted: Attempt) -> None:
    with restored(storm, accepted.answer.id):
        storm.stack.execute("DELETE FROM deployments WHERE id = %s", accepted.answer.id)
        (finding,) = storm.judge().findings
    assert (finding.kind, finding.number) == ("lost", accepted.number)
    assert str(accepted.answer.id) in finding.text
    assert storm.judge().findings == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("version = '6.6.6'", "version '6.6.6'"),
        ("received_at = received_at + INTERVAL 1 MICROSECOND", "received_at"),
        ("details = JSON_SET(details, '$.x', 2)", "details"),
        ("component = 'elsewhere'", "component 'elsewhere'"),
    ],
)
def test_the_checker_sees_a_row_that_is_not_as_it_was_sent(
    storm: Storm, accepted: Attempt, change: str, named: str
) -> None:
    with restored(storm, accepted.answer.id):
        storm.stack.execute(f"UPDATE deployments SET {change} WHERE id = %s", accepted.answer.id)  # noqa: S608
        (finding,) = storm.judge().findings
    assert (finding.kind, finding.number) == ("altered", accepted.number)
    assert named in finding.text
