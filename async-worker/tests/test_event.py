import json
import uuid
from typing import Any

import pytest
from async_worker.errors import Undecodable
from async_worker.event import Heartbeat, Message, decode, decode_heartbeat, encode_heartbeat
from ledger.event_rules import DETAILS_BYTES


def encoded(event: object) -> bytes:
    return json.dumps(event).encode("utf-8")


def test_an_event_becomes_a_row(deployment: dict[str, Any]) -> None:
    deployment["details"] = {"seconds": 1.5, "who": "Zoë"}
    assert decode(encoded(deployment))._asdict() == {
        **deployment,
        "received_at": "2026-01-02 03:04:05.000678",
        "details": '{"seconds":1.5,"who":"Zoë"}',
        "at": "2026-01-02 03:04:05.000678",
        "pipeline": None,
        "step": None,
        "actor": None,
    }


def test_an_actor_has_a_column(deployment: dict[str, Any]) -> None:
    assert decode(encoded({**deployment, "actor": "jenkins"})).actor == "jenkins"
    assert decode(encoded({**deployment, "actor": None})).actor is None


@pytest.mark.parametrize("actor", ["", "x" * 257, ["jenkins"], "\ud800"])
def test_an_actor_that_has_no_column_is_undecodable(
    deployment: dict[str, Any], actor: object
) -> None:
    with pytest.raises(Undecodable, match=r"^actor must"):
        decode(encoded({**deployment, "actor": actor}))


@pytest.mark.parametrize("size", [0, 32_000])
def test_the_run_of_the_details_has_columns(deployment: dict[str, Any], size: int) -> None:
    details = {
        "log": "x" * size,
        "at": "2026-01-02T04:00:00+01:00",
        "pipeline": "https://ci/1",
        "step": "é" * 101,
    }
    row = decode(encoded({**deployment, "details": details}))
    assert (row.at, row.pipeline, row.step) == (
        "2026-01-02 03:00:00.000000",
        "https://ci/1",
        "é" * 100,
    )


@pytest.mark.parametrize(
    "details",
    [
        {"at": "2026-01-02T03:04:06Z"},
        {"at": "yesterday"},
        {"at": 5, "pipeline": [1], "step": {"a": 1}},
    ],
)
def test_a_wrong_run_in_the_details_is_ignored(
    deployment: dict[str, Any], details: dict[str, Any]
) -> None:
    row = decode(encoded({**deployment, "details": details}))
    assert (row.at, row.pipeline, row.step) == (row.received_at, None, None)


def test_an_event_without_details_has_a_null(deployment: dict[str, Any]) -> None:
    assert decode(encoded(deployment)).details is None


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2026-01-01T00:30:00+01:00", "2025-12-31 23:30:00.000000"),
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05.000000"),
        ("20260102T030405.000678+0000", "2026-01-02 03:04:05.000678"),
        ("2026-01-02 03:04:05.000678Z", "2026-01-02 03:04:05.000678"),
    ],
)
def test_time_is_stored_in_utc(deployment: dict[str, Any], text: str, stored: str) -> None:
    assert decode(encoded({**deployment, "received_at": text})).received_at == stored


def test_an_id_is_stored_in_lower_case(deployment: dict[str, Any]) -> None:
    event_id = deployment["id"]
    deployment["id"] = event_id.upper()
    assert decode(encoded(deployment)).id == event_id


def test_fields_of_a_later_version_are_ignored(deployment: dict[str, Any]) -> None:
    assert decode(encoded({**deployment, "colour": {"red": [1]}})) == decode(encoded(deployment))


def test_the_last_of_two_equal_names_counts(deployment: dict[str, Any]) -> None:
    value = encoded(deployment).replace(b"{", b'{"version": "0", ', 1)
    assert decode(value).version == deployment["version"]


@pytest.mark.parametrize(
    "value",
    [None, b"", b"{", b"\xff\xfe", b"[]", b"1", b"[" * 100_000, b'{"x": NaN}', b"\xef\xbb\xbf{}"],
    ids=lambda value: repr(value)[:10],
)
def test_only_json_objects_are_decodable(value: bytes | None) -> None:
    with pytest.raises(Undecodable):
        decode(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "1"),
        ("id", 1),
        ("stage", []),
        ("status", 1),
        ("id", "0b1e1a5c-6f0d-4f6e-9f57-3f6d1f2f7a1g"),
        ("received_at", "2026-02-30T03:04:05.000678Z"),
        ("received_at", "yesterday"),
        ("received_at", "2026-01-02T03:04:05"),
        ("received_at", "0001-01-01T00:00:00+14:00"),
        ("received_at", 1),
    ],
)
def test_the_error_names_the_wrong_field(
    deployment: dict[str, Any], name: str, value: object
) -> None:
    with pytest.raises(Undecodable, match=name):
        decode(encoded({**deployment, name: value}))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_constants_beyond_json_are_rejected(deployment: dict[str, Any], word: str) -> None:
    value = encoded({**deployment, "colour": 0}).replace(
        b'"colour": 0', f'"colour": {word}'.encode()
    )
    with pytest.raises(Undecodable, match=f"not JSON: {word} is not JSON"):
        decode(value)


def test_details_may_be_larger_than_those_of_a_request(deployment: dict[str, Any]) -> None:
    details = {"text": "x" * 2 * DETAILS_BYTES}
    assert json.loads(decode(encoded({**deployment, "details": details})).details or "") == details


def test_an_unknown_field_may_hold_a_number_beyond_a_double(deployment: dict[str, Any]) -> None:
    value = encoded({**deployment, "colour": "N"}).replace(b'"N"', b"9" * 5000)
    assert decode(value) == decode(encoded(deployment))


def test_the_error_names_the_missing_field(deployment: dict[str, Any]) -> None:
    for name in deployment:
        event = {key: value for key, value in deployment.items() if key != name}
        with pytest.raises(Undecodable, match=name):
            decode(encoded(event))


def test_a_heartbeat_is_decoded_as_it_was_encoded() -> None:
    heartbeat = Heartbeat(str(uuid.uuid4()), 1234.5)
    assert decode_heartbeat(encode_heartbeat(heartbeat)) == heartbeat


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"instance": 1, "sent_at": 1},
        {"instance": "a", "sent_at": "now"},
        {"instance": "a", "sent_at": True},
    ],
)
def test_a_wrong_heartbeat_is_undecodable(payload: dict[str, Any]) -> None:
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
def test_a_header_marks_heartbeats(
    headers: tuple[tuple[str, bytes], ...],
    expected: bool,
) -> None:
    assert Message("t", 0, 0, None, b"{}", headers).is_heartbeat is expected


def test_a_header_is_read_as_text() -> None:
    message = Message("t", 0, 0, None, b"", (("request-id", b"a\xff"), ("other", b"1")))
    assert message.text("request-id") == "a\ufffd"
    assert message.text("nothing") is None
