import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from api_rest.event import accept, encode, parse_json
from ledger.event_rules import validate


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
