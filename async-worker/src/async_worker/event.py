"""Messages of the topic: what they carry, and when they can never be processed."""

import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ledger.event_rules import (
    LENGTHS,
    STAGES,
    STATUSES,
    check_storable_text,
    details_json,
    json_reader,
)
from ledger.run_details import happened_at, run_text

from .errors import Undecodable

__all__ = [
    "KIND",
    "KIND_HEARTBEAT",
    "Deployment",
    "Heartbeat",
    "Message",
    "decode",
    "decode_heartbeat",
    "encode_heartbeat",
]

KIND = "kind"
KIND_HEARTBEAT = b"heartbeat"


class Message(NamedTuple):
    """One message as it came from Kafka."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def is_heartbeat(self) -> bool:
        """Tell whether a worker sent it to itself."""
        return (KIND, KIND_HEARTBEAT) in self.headers

    def text(self, header: str) -> str | None:
        """Return a header as text, or None when it is not there."""
        for name, value in self.headers:
            if name == header and value is not None:
                return value.decode("utf-8", "replace")
        return None


class Deployment(NamedTuple):
    """One row of the table, each value as the database reads it: time as UTC in SQL's own form, details as JSON."""

    id: str
    component: str
    version: str
    environment: str
    responsible: str
    stage: str
    status: str
    received_at: str
    details: str | None
    # What the details say of the run, as columns of their own.
    at: str
    pipeline: str | None = None
    step: str | None = None


@dataclass(frozen=True)
class Heartbeat:
    """A worker's sign of life through the topic: which worker, and when it was sent (Unix time)."""

    instance: str
    sent_at: float


_read_json = json_reader()
_is_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
# What api-rest writes; any other RFC 3339 form is taken too, at a higher price.
_is_usual_time = re.compile(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z").fullmatch


def decode(value: bytes | None) -> Deployment:
    """Return the table row of a deployment event, or raise Undecodable with the reason.

    Fields of a later version are ignored; of a name that is given twice the last value counts.
    """
    payload = _object(value)
    get = payload.get
    for name, limit in LENGTHS.items():
        if reason := check_storable_text(get(name), limit):
            raise Undecodable(f"{name} {reason}")
    stage, status, details = get("stage"), get("status"), get("details")
    if stage not in STAGES:
        raise Undecodable(f"stage must be one of {', '.join(STAGES)}")
    if status not in STATUSES:
        raise Undecodable(f"status must be one of {', '.join(STATUSES)}")
    row = Deployment(
        _uuid(get("id")),
        payload["component"],
        payload["version"],
        payload["environment"],
        payload["responsible"],
        stage,
        status,
        received_at := _instant(get("received_at")),
        None if details is None else _details(details),
        received_at,
    )
    return row if details is None else _with_run_columns(row, details)


def _with_run_columns(row: Deployment, details: Mapping[str, Any]) -> Deployment:
    """Return the row with what its details say of the run; what is wrong counts for nothing."""
    at, pipeline, step = row.at, run_text(details, "pipeline"), run_text(details, "step")
    if details.get("at") is not None:
        happened = happened_at(details, datetime.fromisoformat(row.received_at))
        at = happened.isoformat(sep=" ", timespec="microseconds")
    return row._replace(at=at, pipeline=pipeline, step=step)


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """Return the heartbeat as it travels on Kafka."""
    return json.dumps({"instance": heartbeat.instance, "sent_at": heartbeat.sent_at}).encode(
        "utf-8"
    )


def decode_heartbeat(value: bytes | None) -> Heartbeat:
    """Read a heartbeat, or raise Undecodable with the reason."""
    payload = _object(value)
    instance, sent_at = payload.get("instance"), payload.get("sent_at")
    if (
        not isinstance(instance, str)
        or not isinstance(sent_at, int | float)
        or isinstance(sent_at, bool)
        or not math.isfinite(sent_at)
    ):
        raise Undecodable("a heartbeat needs instance, a text, and sent_at, a number")
    return Heartbeat(instance, float(sent_at))


def _object(value: bytes | None) -> Mapping[str, Any]:
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


def _uuid(value: object) -> str:
    if isinstance(value, str):
        if _is_uuid(value):
            return value
        try:
            return str(uuid.UUID(value))
        except ValueError:
            pass
    raise Undecodable("id must be a UUID")


def _instant(value: object) -> str:
    """Return RFC 3339 time as UTC without a zone, which is what the column holds."""
    try:
        instant = datetime.fromisoformat(value if isinstance(value, str) else "")
        if isinstance(value, str) and _is_usual_time(value):
            return f"{value[:10]} {value[11:26]}"
        utc = instant.astimezone(UTC).replace(tzinfo=None) if instant.tzinfo else None
    except (ValueError, OverflowError):
        utc = None
    if utc is None:
        raise Undecodable("received_at must be an RFC 3339 time with its offset")
    return utc.isoformat(sep=" ", timespec="microseconds")


def _details(details: object) -> str:
    try:
        return details_json(details)
    except ValueError as error:
        raise Undecodable(f"details {error}") from None
