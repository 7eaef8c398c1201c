import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from api_rest.event import FIELDS, FILTERS, Field, accept, encode, parse_json, validate
from ledger.event_rules import DETAILS_BYTES


def test_a_good_event_has_no_wrong_field(deployment: dict[str, Any]) -> None:
    assert validate(deployment) == {}


def test_every_missing_field_is_named() -> None:
    assert validate({}) == {field.name: "is required" for field in FIELDS if field.required}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("component", ""),
        ("component", 1),
        ("component", None),
        ("component", "-x"),
        ("component", "a b"),
        ("component", "é"),
        ("component", "a" * 129),
        ("component", "a//b"),
        ("component", "a/../b"),
        ("environment", "a/"),
        ("version", "a" * 129),
        ("version", " 1"),
        ("version", "1\n"),
        ("version", "\x00"),
        ("version", "\ud800"),
        ("version", "a\ud800b"),
        ("version", "1 "),
        ("version", "1\u00a0"),
        ("version", "a\u202eb"),
        ("version", "a\u200db"),
        ("version", "\U000e0041"),
        ("environment", "a" * 65),
        ("responsible", "a" * 257),
        ("responsible", ["me"]),
        ("stage", "pray"),
        ("stage", []),
        ("status", "SUCCEEDED"),
        ("details", []),
        ("details", None),
        ("details", {"number": float("inf")}),
        ("details", {"text": "\udfff"}),
        ("details", {"text": "x" * DETAILS_BYTES}),
        ("details", {"at": "yesterday"}),
        ("details", {"pipeline": 7}),
        ("id", str(uuid.uuid4())),
        ("received_at", "2026-01-01T00:00:00Z"),
        ("colour", "red"),
    ],
)
def test_only_the_wrong_field_is_named(
    deployment: dict[str, Any], name: str, value: object
) -> None:
    assert list(validate({**deployment, name: value})) == [name]


@pytest.mark.parametrize("text", ["1", "1 2", "a - b", "é", "日本語", "🚀", "a\u0301", "=1+1", '"'])
def test_anything_that_can_be_seen_is_a_version(deployment: dict[str, Any], text: str) -> None:
    assert validate({**deployment, "version": text}) == {}


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_example_is_a_good_value(field: Field) -> None:
    assert field.check(field.example) is None


@pytest.mark.parametrize("payload", [[], "text", 1, None, True])
def test_what_is_no_object_is_refused(payload: object) -> None:
    assert validate(payload) == {"body": "must be a JSON object"}


def test_an_unprintable_name_can_be_answered_with(deployment: dict[str, Any]) -> None:
    (name,) = validate({**deployment, "\ud800": 1})
    assert name.encode("utf-8") == b"'\\ud800'"


def test_filters_are_fields() -> None:
    assert set(FILTERS) < {field.name for field in FIELDS}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b'{"a":1,"a":2}', b"1" * 5000 + b","],
)
def test_what_is_no_strict_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(body)


def test_what_is_nested_too_deeply_to_be_read_is_not_taken_for_no_json() -> None:
    with pytest.raises(RecursionError):
        parse_json(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize("name", ["version", "details"])
def test_a_number_of_many_digits_is_a_wrong_field(deployment: dict[str, Any], name: str) -> None:
    body = json.dumps({**deployment, name: "N"}).replace('"N"', "1" * 5000)
    assert list(validate(parse_json(body.encode()))) == [name]


def test_the_server_sets_the_id_and_the_time_in_utc(deployment: dict[str, Any]) -> None:
    local = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
    event = accept(deployment, now=local)
    assert event["received_at"] == "2026-01-02T01:04:05.000678Z"
    assert uuid.UUID(str(event["id"])).version == 4


def test_an_event_that_was_there_before_keeps_its_id(deployment: dict[str, Any]) -> None:
    assert accept(deployment, event_id="a")["id"] == "a"


def test_two_events_have_two_ids(deployment: dict[str, Any]) -> None:
    assert accept(deployment)["id"] != accept(deployment)["id"]


def test_the_time_is_now_when_not_told(deployment: dict[str, Any]) -> None:
    received = datetime.fromisoformat(str(accept(deployment)["received_at"]))
    assert abs(datetime.now(UTC) - received) < timedelta(minutes=1)


def test_the_event_travels_as_utf_8_json(deployment: dict[str, Any]) -> None:
    event = accept(deployment)
    encoded = encode(event)
    assert "Zoë".encode() in encoded
    assert json.loads(encoded) == event
