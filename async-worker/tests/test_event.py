import json
import uuid
from typing import Any

import pytest
from async_worker.errors import Undecodable
from async_worker.event import Heartbeat, Message, decode, decode_heartbeat, encode_heartbeat
from ledger.event_rules import DETAILS_BYTES, DETAILS_LEVELS


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
    }


@pytest.mark.parametrize("size", [0, 32_000])
def test_what_details_say_of_the_run_are_columns_however_large_the_details_are(
    deployment: dict[str, Any], size: int
) -> None:
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
def test_what_is_wrong_of_the_run_counts_for_nothing_and_puts_no_event_aside(
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


def test_an_id_has_one_spelling(deployment: dict[str, Any]) -> None:
    event_id = deployment["id"]
    deployment["id"] = event_id.upper()
    assert decode(encoded(deployment)).id == event_id


def test_fields_of_a_later_version_are_ignored(deployment: dict[str, Any]) -> None:
    assert decode(encoded({**deployment, "colour": {"red": [1]}})) == decode(encoded(deployment))


def test_of_a_name_that_is_given_twice_the_last_value_counts(deployment: dict[str, Any]) -> None:
    value = encoded(deployment).replace(b"{", b'{"version": "0", ', 1)
    assert decode(value).version == deployment["version"]


def test_an_escaped_pair_of_surrogates_is_one_character(deployment: dict[str, Any]) -> None:
    value = encoded({**deployment, "responsible": "😀"})
    assert b"\\ud83d" in value
    assert decode(value).responsible == "😀"


@pytest.mark.parametrize(
    "value",
    [None, b"", b"{", b"\xff\xfe", b"[]", b"1", b"[" * 100_000, b'{"x": NaN}', b"\xef\xbb\xbf{}"],
    ids=lambda value: repr(value)[:10],
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
        ("id", "0b1e1a5c-6f0d-4f6e-9f57-3f6d1f2f7a1g"),
        ("received_at", "2026-02-30T03:04:05.000678Z"),
        ("received_at", "yesterday"),
        ("received_at", "2026-01-02T03:04:05"),
        ("received_at", "0001-01-01T00:00:00+14:00"),
        ("received_at", 1),
        ("details", []),
        ("details", {"text": "\udfff"}),
        ("details", "text"),
    ],
)
def test_a_field_that_cannot_be_stored_is_named(
    deployment: dict[str, Any], name: str, value: object
) -> None:
    with pytest.raises(Undecodable, match=name):
        decode(encoded({**deployment, name: value}))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_constant_that_json_has_not_makes_it_no_json(
    deployment: dict[str, Any], word: str
) -> None:
    value = encoded({**deployment, "colour": 0}).replace(
        b'"colour": 0', f'"colour": {word}'.encode()
    )
    with pytest.raises(Undecodable, match=f"not JSON: {word} is not JSON"):
        decode(value)


@pytest.mark.parametrize("number", ["1e400", "9" * 309, "9" * 5000])
def test_a_number_beyond_a_double_is_wrong(deployment: dict[str, Any], number: str) -> None:
    value = encoded({**deployment, "details": {"number": "N"}}).replace(b'"N"', number.encode())
    with pytest.raises(Undecodable, match="details must be without a number beyond a double"):
        decode(value)


def test_details_may_be_larger_than_those_of_a_request(deployment: dict[str, Any]) -> None:
    details = {"text": "x" * 2 * DETAILS_BYTES}
    assert json.loads(decode(encoded({**deployment, "details": details})).details or "") == details


def test_details_too_deep_for_the_database_are_wrong(deployment: dict[str, Any]) -> None:
    deepest: dict[str, Any] = {}
    for _ in range(DETAILS_LEVELS - 1):
        deepest = {"a": deepest}
    assert decode(encoded({**deployment, "details": deepest})).details
    with pytest.raises(Undecodable, match=r"details .*levels"):
        decode(encoded({**deployment, "details": {"a": deepest}}))


def test_an_unknown_field_may_hold_a_number_beyond_a_double(deployment: dict[str, Any]) -> None:
    value = encoded({**deployment, "colour": "N"}).replace(b'"N"', b"9" * 5000)
    assert decode(value) == decode(encoded(deployment))


@pytest.mark.parametrize(
    "name",
    ["id", "component", "version", "environment", "responsible", "stage", "status", "received_at"],
)
def test_a_field_that_is_missing_is_named(deployment: dict[str, Any], name: str) -> None:
    del deployment[name]
    with pytest.raises(Undecodable, match=name):
        decode(encoded(deployment))


def test_a_heartbeat_comes_back_as_it_was_sent() -> None:
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
def test_a_heartbeat_is_known_by_its_header(
    headers: tuple[tuple[str, bytes], ...],
    expected: bool,  # noqa: FBT001
) -> None:
    assert Message("t", 0, 0, None, b"{}", headers).is_heartbeat is expected


def test_a_header_is_read_as_text() -> None:
    message = Message("t", 0, 0, None, b"", (("request-id", b"a\xff"), ("other", b"1")))
    assert message.text("request-id") == "a\ufffd"
    assert message.text("nothing") is None
