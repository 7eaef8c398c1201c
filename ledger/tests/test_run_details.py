from datetime import datetime

import pytest
from ledger.run_details import TEXTS, check_run_details, happened_at, parse_time, run_text

RECEIVED = datetime(2026, 1, 8, 12)  # noqa: DTZ001  the column holds UTC without a zone


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00"),
        ("2026-01-01t12:00:00z", "2026-01-01T12:00:00"),
        ("2026-01-01T12:00:00.123456789Z", "2026-01-01T12:00:00.123456"),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999"),
    ],
)
def test_rfc_3339_is_a_time(text: str, utc: str) -> None:
    assert parse_time(text) == datetime.fromisoformat(utc)
    assert check_run_details({"at": text}) is None


@pytest.mark.parametrize(
    "at",
    [
        5,
        1.5,
        True,
        [],
        {},
        "",
        "yesterday",
        "2026-01-01",
        "2026-01-01T12:00:00",
        "2026-02-30T12:00:00Z",
        "2026-01-01T12:00:00+24:00",
        "20260101T120000Z",
        "٢٠٢٦-01-01T12:00:00Z",
        "2026-01-01T12:00:00Z\n",
    ],
)
def test_anything_else_is_none_and_is_named(at: object) -> None:
    assert parse_time(at) is None
    assert (
        check_run_details({"at": at})
        == "at must be RFC 3339 with its offset, like 2026-01-31T12:00:00Z"
    )
    assert happened_at({"at": at}, RECEIVED) == RECEIVED


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-01-08T11:59:59Z", "2026-01-08T11:59:59"),
        ("2026-01-08T12:00:00Z", "2026-01-08T12:00:00"),
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00"),
        ("2026-01-08T13:59:59+02:00", "2026-01-08T11:59:59"),
        # A clock that is ahead, or late by more than an outbox may be, is not believed, and no mistake of the request.
        ("2026-01-08T12:00:00.001Z", "2026-01-08T12:00:00"),
        ("2026-01-01T11:59:59.999Z", "2026-01-08T12:00:00"),
        ("0001-01-01T00:00:00+23:59", "2026-01-08T12:00:00"),
    ],
)
def test_a_senders_time_is_believed_within_bounds(at: str, expected: str) -> None:
    assert check_run_details({"at": at}) is None
    assert happened_at({"at": at}, RECEIVED) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("details", [{}, dict.fromkeys(("at", "pipeline", "step"))])
def test_what_is_not_given_or_null_is_nothing(details: dict[str, object]) -> None:
    assert check_run_details(details) is None
    assert happened_at(details, RECEIVED) == RECEIVED
    assert [run_text(details, name) for name in TEXTS] == [None, None]


@pytest.mark.parametrize("name", TEXTS)
def test_a_run_and_a_step_are_text_which_is_cut_to_what_its_column_holds(name: str) -> None:
    text = "é" * (TEXTS[name] + 1)
    assert check_run_details({name: text}) is None
    assert run_text({name: text}, name) == text[:-1]
    assert run_text({name: ""}, name) is None


@pytest.mark.parametrize("value", [7, [1], {"a": 1}, True])
@pytest.mark.parametrize("name", TEXTS)
def test_a_run_or_a_step_that_is_no_text_is_named(name: str, value: object) -> None:
    assert check_run_details({name: value}) == f"{name} must be a string"
    assert run_text({name: value}, name) is None
