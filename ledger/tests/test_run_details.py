from datetime import datetime

import pytest
from ledger.run_details import TEXT_LENGTHS, check_run_details, happened_at, parse_time, run_text

RECEIVED = datetime(2026, 1, 8, 12)  # noqa: DTZ001  UTC


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
def test_rfc_3339_times_are_parsed(text: str, utc: str) -> None:
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
def test_any_other_time_is_a_problem(at: object) -> None:
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
        # A time in the future or before MAX_DELAY is ignored, and no problem of the request.
        ("2026-01-08T12:00:00.001Z", "2026-01-08T12:00:00"),
        ("2026-01-01T11:59:59.999Z", "2026-01-08T12:00:00"),
        ("0001-01-01T00:00:00+23:59", "2026-01-08T12:00:00"),
    ],
)
def test_a_plausible_time_of_the_sender_is_used(at: str, expected: str) -> None:
    assert check_run_details({"at": at}) is None
    assert happened_at({"at": at}, RECEIVED) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("details", [{}, dict.fromkeys(("at", "pipeline", "step"))])
def test_fields_may_be_missing_or_null(details: dict[str, object]) -> None:
    assert check_run_details(details) is None
    assert happened_at(details, RECEIVED) == RECEIVED
    assert [run_text(details, name) for name in TEXT_LENGTHS] == [None, None]


@pytest.mark.parametrize("name", TEXT_LENGTHS)
def test_texts_are_truncated_to_their_columns(name: str) -> None:
    text = "é" * (TEXT_LENGTHS[name] + 1)
    assert check_run_details({name: text}) is None
    assert run_text({name: text}, name) == text[:-1]
    assert run_text({name: ""}, name) is None


@pytest.mark.parametrize("value", [7, [1], {"a": 1}, True])
@pytest.mark.parametrize("name", TEXT_LENGTHS)
def test_anything_but_text_is_a_problem(name: str, value: object) -> None:
    assert check_run_details({name: value}) == f"{name} must be a string"
    assert run_text({name: value}, name) is None
