"""Windows open by rules of RFC 5545 in a time zone, also where clocks change."""

from datetime import UTC, datetime, timedelta

import pytest

from delivery.project.windows import check_rule, next_opening, parse_duration

WEEKDAYS = {"FREQ=WEEKLY;BYDAY=MO,TU,WE,TH;BYHOUR=9": "8h", "FREQ=WEEKLY;BYDAY=FR;BYHOUR=9": "3h"}
ZONE = "America/Sao_Paulo"  # -03:00


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "opening"),
    [
        ("2026-11-30T12:00", None),  # a Monday, 09:00 there
        ("2026-11-30T19:59", None),
        ("2026-11-30T20:00", "2026-12-01T12:00"),
        ("2026-11-30T11:59", "2026-11-30T12:00"),
        ("2026-12-04T14:59", None),  # the Friday, whose window is shorter
        ("2026-12-04T15:00", "2026-12-07T12:00"),
    ],
)
def test_a_window_is_open_from_its_rule_on_for_its_duration(now: str, opening: str | None) -> None:
    assert next_opening(WEEKDAYS, ZONE, utc(now)) == utc(opening or now)


@pytest.mark.parametrize(
    ("minutes", "is_open"), [(-1, False), (0, True), (119, True), (120, False)]
)
@pytest.mark.parametrize("day", ["2026-03-29T01:00", "2026-10-25T01:00"])
def test_a_window_is_as_long_where_clocks_change(day: str, minutes: int, *, is_open: bool) -> None:
    """In Berlin clocks change at 01:00 UTC: one hour is missing in spring, and twice in autumn."""
    rules = {"FREQ=DAILY;BYHOUR=1;BYMINUTE=30": "2h"}
    # 01:30 there is 00:30 UTC in spring (+01:00) and 23:30 UTC in autumn (+02:00).
    begins = utc(day) - timedelta(minutes=30 if "-03-" in day else 90)
    now = begins + timedelta(minutes=minutes)
    assert (next_opening(rules, "Europe/Berlin", now) == now) is is_open


def test_a_window_that_began_days_ago_is_open() -> None:
    now = utc("2026-12-05T00:00")
    assert next_opening({"FREQ=MONTHLY;BYMONTHDAY=1": "5d"}, "UTC", now) == now


def test_rules_that_have_ended_open_no_window() -> None:
    rules = {"FREQ=DAILY;UNTIL=20200101T000000": "1h"}
    assert next_opening(rules, "UTC", utc("2026-12-01T00:00")) is None


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "FREQ=HOURLY",
        "MO 9:00",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=DAILY;BYHOUR=25;X=1",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    ],
)
def test_another_text_is_no_rule(rule: str) -> None:
    with pytest.raises(ValueError, match="is not a rule"):
        check_rule(rule)


def test_a_rule_has_an_end_but_no_number_of_days() -> None:
    assert check_rule("FREQ=DAILY;UNTIL=20300101T000000")
    with pytest.raises(ValueError, match="write UNTIL"):
        check_rule("FREQ=DAILY;COUNT=3")


def test_a_duration_has_a_unit() -> None:
    assert parse_duration("90m") == timedelta(minutes=90)
    for text in ("8", "0h", "1 h", "2w"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)
