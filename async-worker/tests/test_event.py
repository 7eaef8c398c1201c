import json
import uuid
from datetime import datetime
from typing import Any

import pytest
from async_worker.errors import Undecodable
from async_worker.event import Heartbeat, Message, decode, decode_heartbeat, encode_heartbeat


def encoded(event: object) -> bytes:
    return json.dumps(event).encode("utf-8")


def test_an_event_becomes_a_row(deployment: dict[str, Any]) -> None:
    deployment["details"] = {"seconds": 1.5}
    assert decode(encoded(deployment)) == {
        **deployment,
        "received_at": datetime(2026, 1, 2, 3, 4, 5, 678),  # noqa: DTZ001  UTC without a zone, as the column
    }


def test_an_event_without_details_has_a_null(deployment: dict[str, Any]) -> None:
    assert decode(encoded(deployment))["details"] is None


def test_time_is_stored_in_utc(deployment: dict[str, Any]) -> None:
    deployment["received_at"] = "2026-01-01T00:30:00+01:00"
    assert decode(encoded(deployment))["received_at"].isoformat() == "2025-12-31T23:30:00"


def test_an_id_has_one_spelling(deployment: dict[str, Any]) -> None:
    event_id = deployment["id"]
    deployment["id"] = event_id.upper()
    assert decode(encoded(deployment))["id"] == event_id


def test_fields_of_a_later_version_are_ignored(deployment: dict[str, Any]) -> None:
    assert "colour" not in decode(encoded({**deployment, "colour": "red"}))


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"\xff\xfe", b"[]", b"1", b"[" * 100_000], ids=lambda value: repr(value)[:10]
)
def test_what_is_no_json_object_can_never_be_processed(value: bytes | None) -> None:
    with pytest.raises(Undecodable):
        decode(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "1"),
        ("id", 1),
        ("component", ""),
        ("component", "a" * 129),
        ("version", None),
        ("version", "\ud800"),
        ("environment", "a" * 65),
        ("responsible", "a" * 257),
        ("stage", "pray"),
        ("stage", []),
        ("status", 1),
        ("received_at", "yesterday"),
        ("received_at", "2026-01-02T03:04:05"),
        ("received_at", "0001-01-01T00:00:00+14:00"),
        ("received_at", 1),
        ("details", []),
        ("details", {"text": "\udfff"}),
        ("details", {"number": float("nan")}),
    ],
)
def test_a_field_that_cannot_be_stored_is_named(deployment: dict[str, Any], name: str, value: object) -> None:
    with pytest.raises(Undecodable, match=name):
        decode(encoded({**deployment, name: value}))


@pytest.mark.parametrize(
    "name", ["id", "component", "version", "environment", "responsible", "stage", "status", "received_at"]
)
def test_a_field_that_is_missing_is_named(deployment: dict[str, Any], name: str) -> None:
    del deployment[name]
    with pytest.raises(Undecodable, match=name):
        decode(encoded(deployment))


def test_a_heartbeat_comes_back_as_it_was_sent() -> None:
    heartbeat = Heartbeat(str(uuid.uuid4()), 1234.5)
    assert decode_heartbeat(encode_heartbeat(heartbeat)) == heartbeat


@pytest.mark.parametrize("payload", [{}, {"instance": 1, "sent_at": 1}, {"instance": "a", "sent_at": "now"}])
def test_a_wrong_heartbeat_can_never_be_processed(payload: dict[str, Any]) -> None:
    with pytest.raises(Undecodable, match="heartbeat"):
        decode_heartbeat(encoded(payload))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((("kind", b"heartbeat"),), True),
        ((("trace", b"1"), ("kind", b"heartbeat")), True),
        ((("kind", b"deployment"),), False),
        ((), False),
    ],
)
def test_a_heartbeat_is_known_by_its_header(headers: tuple[tuple[str, bytes], ...], expected: bool) -> None:  # noqa: FBT001
    assert Message("t", 0, 0, None, b"{}", headers).is_heartbeat is expected
