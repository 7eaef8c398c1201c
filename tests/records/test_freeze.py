"""Whether an environment may be deployed to, and what a user reads if not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.project.declaration import Windows
from delivery.records.freeze import Freeze, obstacle, read_freeze

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)  # a Tuesday
LONG = Freeze("1", "production", NOW + timedelta(days=2), "the busiest week", "Zoë", "ops")
SHORT = replace(LONG, until=NOW + timedelta(hours=1), reason="a move", actor="")
WINDOWS = Windows(zone="UTC", rules={"FREQ=WEEKLY;BYDAY=MO;BYHOUR=9": "2h"})
OPEN = Windows(zone="UTC", rules={"FREQ=DAILY;BYHOUR=12": "2h"})
OVER = Windows(zone="UTC", rules={"FREQ=DAILY;UNTIL=20200101T000000": "1h"})


def test_a_freeze_says_until_when_who_and_why() -> None:
    reason = obstacle({"production"}, OPEN, [SHORT, LONG], NOW)
    assert reason.startswith("it is frozen until 2026-12-0")
    assert reason.endswith(" by Zoë via ops: the busiest week")
    assert " by Zoë: a move" in obstacle({"production"}, WINDOWS, [SHORT], NOW)


@pytest.mark.parametrize("windows", [None, OPEN])
def test_freezes_of_others_and_of_the_past_are_in_nobodys_way(windows: Windows | None) -> None:
    past, other = replace(LONG, until=NOW), replace(LONG, environment="staging")
    assert obstacle({"production"}, windows, [past, other], NOW) == ""


def test_closed_windows_say_when_they_open() -> None:
    assert (
        obstacle({"production"}, WINDOWS, [], NOW)
        == "its windows are closed until 2026-12-07 09:00 +0000 (UTC)"
    )
    assert obstacle({"production"}, OVER, [], NOW) == "none of its windows opens again"


def test_a_freeze_is_read_from_the_ledgers_document() -> None:
    document = {"id": "1", "environment": "production", "until": "2026-12-03T12:00:00.000000Z"}
    document |= {"reason": "the busiest week", "responsible": "Zoë", "actor": "ops"}
    assert read_freeze(document) == LONG
    assert read_freeze({**document, "actor": None}).actor == ""
