"""Kill and freeze under load: every accepted event is stored once, as it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.ledger.chaos import FROZEN, TARGETS, Report, Settings, inject
from tests.ledger.conftest import Bring, Say, option
from tests.ledger.stack import APIS, SERVICES, WORKERS, Stack
from tests.ledger.usage import MIB, Sample, describe, highest, sampling
from tests.load import generator
from tests.load.checker import Verdict, check
from tests.load.generator import Load, Target
from tests.load.recording import Recording, parse

pytestmark = [pytest.mark.engine, pytest.mark.chaos]

# A short run; `nox -s chaos` asks for more.
EVENTS = 3_000
KILLS = 4
RATE = 200.0
KEYLESS = 0.25
CONCURRENCY = 16
REPEAT_EVERY = 25
# Of the 256 MB that each app may use.
MAX_MEMORY = 200 * MIB


@dataclass(frozen=True)
class Chaos:
    """A finished run; its platform still runs."""

    stack: Stack
    run: str
    report: Report
    memory: list[Sample]
    folder: Path

    @cached_property
    def recording(self) -> Recording:
        """What the load's requests got."""
        return parse((self.folder / "requests.jsonl").read_text(encoding="utf-8"))

    def check(self) -> Verdict:
        """Compare the requests with the table."""
        return check(self.recording.posts, self.stack.rows(self.run))


@pytest.fixture(scope="module")
def chaos(
    bring: Bring, run: str, seed: int, run_folder: Path, say: Say, pytestconfig: pytest.Config
) -> Iterator[Chaos]:
    settings = Settings(
        events=int(option(pytestconfig, "events", EVENTS)),
        kills=int(option(pytestconfig, "kills", KILLS)),
        seed=seed,
    )
    load = Load(
        run,
        option(pytestconfig, "rate", RATE),
        slow_every=0,
        insist=True,
        only_posts=True,
        keyless=KEYLESS,
        repeat_every=REPEAT_EVERY,
        concurrency=CONCURRENCY,
    )
    report = Report(settings)
    with bring({}, SERVICES) as stack:
        targets = [stack.target(api) for api in APIS]

        async def pick(attempt: int) -> Target:
            return targets[attempt % len(targets)]

        say(f"{settings}, {load}, requests in {run_folder}")
        try:
            # The memory is sampled until the last event is stored, longer than the load lasts.
            with sampling((*APIS, *WORKERS), stack.memory) as memory:
                with generator.running(load, pick, run_folder / "requests.jsonl") as sending:
                    inject(stack, sending, report, say)
                report.settled = stack.settle(run)
        finally:
            say(f"logs in {stack.save_logs(run_folder)}")
        chaos = Chaos(stack, run, report, memory, run_folder)
        say("\n".join([report.describe(chaos.recording), *describe(chaos.memory)]))
        yield chaos


def test_every_target_was_killed(chaos: Chaos) -> None:
    killed = chaos.report.killed
    untouched = [name for name, group in TARGETS.items() if not any(map(killed.get, group))]
    assert untouched == []


def test_kafka_and_the_database_were_frozen(chaos: Chaos) -> None:
    assert chaos.report.frozen == dict.fromkeys(FROZEN, 1)


def test_no_app_grew(chaos: Chaos) -> None:
    memory = highest(chaos.memory)
    assert set(memory) == {*APIS, *WORKERS}
    assert {app: size for app, size in memory.items() if size >= MAX_MEMORY} == {}


def test_no_container_ended_by_itself(chaos: Chaos) -> None:
    assert chaos.report.died == []
    assert chaos.stack.ended() == {}


def test_every_accepted_event_is_stored_once_and_as_it_was_sent(chaos: Chaos, say: Say) -> None:
    verdict = chaos.check()
    say(verdict.describe())
    assert verdict.findings == (), f"{verdict.describe()}\nrequests and logs are in {chaos.folder}"
    assert verdict.counts.accepted >= chaos.report.settings.events


def test_no_valid_event_is_a_dead_letter(chaos: Chaos) -> None:
    assert chaos.stack.dead_letters() == 0
