"""Messages of the topic: what they carry, and when they can never be processed."""

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .errors import Undecodable

__all__ = ["KIND", "KIND_HEARTBEAT", "Heartbeat", "Message", "decode", "decode_heartbeat", "encode_heartbeat"]

KIND = "kind"
KIND_HEARTBEAT = b"heartbeat"

STAGES = ("build", "test", "push", "deploy", "verify")
STATUSES = ("started", "succeeded", "failed", "rolled-back")
# The widths of the table's columns: what is longer could not be stored as it is.
LENGTHS = {"component": 128, "version": 128, "environment": 64, "responsible": 256}


@dataclass(frozen=True)
class Message:
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


@dataclass(frozen=True)
class Heartbeat:
    """A worker's sign of life through the topic: which worker, and when it was sent (Unix time)."""

    instance: str
    sent_at: float


def decode(value: bytes | None) -> dict[str, Any]:
    """Return the table row of a deployment event, or raise Undecodable with the reason."""
    payload = _object(value)
    for name, limit in LENGTHS.items():
        text = payload.get(name)
        if not isinstance(text, str) or not text or len(text) > limit or not _encodable(text):
            raise Undecodable(f"{name} must be 1 to {limit} characters of text")
    for name, words in (("stage", STAGES), ("status", STATUSES)):
        if payload.get(name) not in words:
            raise Undecodable(f"{name} must be one of {', '.join(words)}")
    details = payload.get("details")
    if details is not None and not (isinstance(details, dict) and _storable(details)):
        raise Undecodable("details must be an object of plain JSON")
    return {
        "id": _uuid(payload.get("id")),
        **{name: payload[name] for name in (*LENGTHS, "stage", "status")},
        "received_at": _instant(payload.get("received_at")),
        "details": details,
    }


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """Return the heartbeat as it travels on Kafka."""
    return json.dumps({"instance": heartbeat.instance, "sent_at": heartbeat.sent_at}).encode("utf-8")


def decode_heartbeat(value: bytes | None) -> Heartbeat:
    """Read a heartbeat, or raise Undecodable with the reason."""
    payload = _object(value)
    instance, sent_at = payload.get("instance"), payload.get("sent_at")
    if not isinstance(instance, str) or not isinstance(sent_at, int | float) or not math.isfinite(sent_at):
        raise Undecodable("a heartbeat needs instance, a text, and sent_at, a number")
    return Heartbeat(instance, float(sent_at))


def _object(value: bytes | None) -> Mapping[str, Any]:
    if value is None:
        raise Undecodable("the message is empty")
    try:
        payload = json.loads(value.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise Undecodable("not a JSON object")
    return payload


def _uuid(value: object) -> str:
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise Undecodable("id must be a UUID") from None


def _instant(value: object) -> datetime:
    """Return RFC 3339 time as UTC without a zone, which is what the column holds."""
    wrong = Undecodable("received_at must be an RFC 3339 time with its offset")
    try:
        instant = datetime.fromisoformat(value if isinstance(value, str) else "")
        utc = instant.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise wrong from None
    if instant.tzinfo is None:
        raise wrong
    return utc


def _encodable(text: str) -> bool:
    """Tell whether text has no lone surrogates, which JSON can spell but no database stores."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _storable(details: dict[str, Any]) -> bool:
    try:
        return _encodable(json.dumps(details, allow_nan=False, ensure_ascii=False))
    except (ValueError, RecursionError):
        return False
