"""The messages of the topic, decoded; and which of them can never be processed."""

import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ledger.event_rules import check_storable, details_json, json_reader
from ledger.run_details import happened_at, run_text

from .errors import Undecodable

__all__ = [
    "KIND",
    "KIND_HEARTBEAT",
    "Deployment",
    "Heartbeat",
    "Message",
    "Progress",
    "decode",
    "decode_heartbeat",
    "encode_heartbeat",
]

KIND = "kind"
KIND_HEARTBEAT = b"heartbeat"


class Message(NamedTuple):
    """One message from Kafka."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def is_heartbeat(self) -> bool:
        """Whether a worker sent it to itself."""
        return (KIND, KIND_HEARTBEAT) in self.headers

    def text(self, header: str) -> str | None:
        """Return a header as text, or None when it is missing."""
        for name, value in self.headers:
            if name == header and value is not None:
                return value.decode("utf-8", "replace")
        return None


class Progress(NamedTuple):
    """How far a worker has read the partitions that are assigned to it."""

    # By partition: the offset of the next message, and how many messages are not read yet.
    positions: dict[int, int]
    lags: dict[int, int]
    # How many partitions are assigned.
    assigned: int


class Deployment(NamedTuple):
    """One row of the table, in the format of SQL: times in UTC, details as JSON."""

    id: str
    component: str
    version: str
    environment: str
    responsible: str
    stage: str
    status: str
    received_at: str
    details: str | None
    # Copied from the details, so that they have columns and indexes.
    at: str
    pipeline: str | None = None
    step: str | None = None
    actor: str | None = None


@dataclass(frozen=True)
class Heartbeat:
    """What a worker sends to itself through the topic."""

    # The worker's name.
    instance: str
    # Unix time.
    sent_at: float


_read_json = json_reader()
_is_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
# The format of api-rest. Any other RFC 3339 format is accepted too, and takes longer to parse.
_is_usual_time = re.compile(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z").fullmatch


def decode(value: bytes | None) -> Deployment:
    """Return the table row of a deployment event, or raise Undecodable with the reason.

    Unknown fields are ignored: a later version may have them. The last of two equal names counts.
    """
    payload = _parse_object(value)
    get = payload.get
    if reason := check_storable(payload):
        raise Undecodable(reason)
    details = get("details")
    row = Deployment(
        _parse_uuid(get("id")),
        payload["component"],
        payload["version"],
        payload["environment"],
        payload["responsible"],
        payload["stage"],
        payload["status"],
        received_at := _parse_time(get("received_at")),
        None if details is None else _encode_details(details),
        received_at,
        actor=get("actor"),
    )
    return row if details is None else _with_run_columns(row, details)


def _with_run_columns(row: Deployment, details: Mapping[str, Any]) -> Deployment:
    """Return the row with the columns that are copied from details; wrong values are ignored."""
    at, pipeline, step = row.at, run_text(details, "pipeline"), run_text(details, "step")
    if details.get("at") is not None:
        happened = happened_at(details, datetime.fromisoformat(row.received_at))
        at = happened.isoformat(sep=" ", timespec="microseconds")
    return row._replace(at=at, pipeline=pipeline, step=step)


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """Return the value of a heartbeat's message."""
    return json.dumps({"instance": heartbeat.instance, "sent_at": heartbeat.sent_at}).encode(
        "utf-8"
    )


def decode_heartbeat(value: bytes | None) -> Heartbeat:
    """Return the heartbeat, or raise Undecodable with the reason."""
    payload = _parse_object(value)
    instance, sent_at = payload.get("instance"), payload.get("sent_at")
    if (
        not isinstance(instance, str)
        or not isinstance(sent_at, int | float)
        or isinstance(sent_at, bool)
        or not math.isfinite(sent_at)
    ):
        raise Undecodable("a heartbeat needs instance, a text, and sent_at, a number")
    return Heartbeat(instance, float(sent_at))


def _parse_object(value: bytes | None) -> Mapping[str, Any]:
    if value is None:
        raise Undecodable("the message is empty")
    try:
        payload = _read_json(value.decode("utf-8"))
    except ValueError as error:
        raise Undecodable(f"not JSON: {error}") from None
    except RecursionError:
        raise Undecodable("nested too deeply to be read") from None
    if not isinstance(payload, dict):
        raise Undecodable("not a JSON object")
    return payload


def _parse_uuid(value: object) -> str:
    if isinstance(value, str):
        if _is_uuid(value):
            return value
        try:
            return str(uuid.UUID(value))
        except ValueError:
            pass
    raise Undecodable("id must be a UUID")


def _parse_time(value: object) -> str:
    """Return an RFC 3339 time in UTC and SQL's format."""
    try:
        time = datetime.fromisoformat(value if isinstance(value, str) else "")
        if isinstance(value, str) and _is_usual_time(value):
            return f"{value[:10]} {value[11:26]}"
        utc = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else None
    except (ValueError, OverflowError):
        utc = None
    if utc is None:
        raise Undecodable("received_at must be an RFC 3339 time with its offset")
    return utc.isoformat(sep=" ", timespec="microseconds")


def _encode_details(details: object) -> str:
    try:
        return details_json(details)
    except ValueError as error:
        raise Undecodable(f"details {error}") from None
