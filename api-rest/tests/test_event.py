import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from api_rest.event import FIELDS, OPTIONAL, accept, encode, parse_json, validate
from ledger.event_rules import DETAILS_BYTES


def test_a_valid_event_has_no_wrong_field(deployment: dict[str, Any]) -> None:
    assert validate(deployment) == {}


def test_every_missing_field_is_named() -> None:
    assert list(validate({})) == [name for name in FIELDS if name not in OPTIONAL]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("component", ""),
        ("component", 1),
        ("component", None),
        ("component", "a b"),
        ("component", "a" * 129),
        ("environment", "a/"),
        ("version", "a" * 129),
        ("version", "1\n"),
        ("version", "\ud800"),
        ("environment", "a" * 65),
        ("responsible", "a" * 257),
        ("responsible", ["me"]),
        ("stage", "Deploy"),
        ("stage", "smoke test"),
        ("stage", "a" * 17),
        ("stage", []),
        ("status", "SUCCEEDED"),
        ("details", []),
        ("details", None),
        ("details", {"text": "x" * DETAILS_BYTES}),
        ("details", {"at": "yesterday"}),
        ("details", {"pipeline": 7}),
        ("id", str(uuid.uuid4())),
        ("received_at", "2026-01-01T00:00:00Z"),
        ("actor", "jenkins"),
        ("colour", "red"),
    ],
)
def test_only_the_wrong_field_is_named(
    deployment: dict[str, Any], name: str, value: object
) -> None:
    assert list(validate({**deployment, name: value})) == [name]


@pytest.mark.parametrize("payload", [[], "text", 1, None, True])
def test_a_payload_that_is_not_an_object_is_wrong(payload: object) -> None:
    assert validate(payload) == {"body": "must be a JSON object"}


def test_an_unprintable_name_is_escaped(deployment: dict[str, Any]) -> None:
    (name,) = validate({**deployment, "\ud800": 1})
    assert name.encode("utf-8") == b"'\\ud800'"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b'{"a":1,"a":2}', b"1" * 5000 + b","],
)
def test_invalid_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(body)


def test_json_nested_too_deeply_is_a_recursion_error() -> None:
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


def test_a_given_id_is_kept(deployment: dict[str, Any]) -> None:
    assert accept(deployment, event_id="a")["id"] == "a"


@pytest.mark.parametrize(("actor", "stored"), [("jenkins", "jenkins"), ("", None)])
def test_the_event_has_its_actor(
    deployment: dict[str, Any], actor: str, stored: str | None
) -> None:
    assert accept(deployment, actor=actor)["actor"] == stored


def test_the_event_is_encoded_as_utf_8_json(deployment: dict[str, Any]) -> None:
    event = accept(deployment)
    encoded = encode(event)
    assert "Zoë".encode() in encoded
    assert json.loads(encoded) == event
