"""The deployment event: its JSON as a request, and its form on Kafka."""

import uuid
from datetime import UTC, datetime

from ledger.event_rules import json_reader, write_json

__all__ = ["KIND_HEADER", "accept", "encode", "parse_json", "rfc3339"]

KIND_HEADER = ("kind", b"deployment")


def parse_json(body: bytes) -> object:
    """Read strict JSON in UTF-8.

    Raises ValueError with what is wrong, or RecursionError for JSON nested too deeply.
    """
    try:
        return _read_json(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name is given twice in one object")
    return result


_read_json = json_reader(_no_repeats)


def accept(
    payload: dict[str, object],
    *,
    actor: str = "",
    event_id: str | None = None,
    now: datetime | None = None,
) -> dict[str, object]:
    """Return the event of a valid payload, with what the server sets."""
    return {
        "id": event_id or str(uuid.uuid4()),
        **payload,
        "actor": actor or None,
        "received_at": rfc3339((now or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)),
    }


def rfc3339(utc: datetime) -> str:
    """Return a UTC time without a zone, as the database has it, as RFC 3339."""
    return utc.isoformat(timespec="microseconds") + "Z"


def encode(value: object) -> bytes:
    """Return JSON in UTF-8, as Kafka and clients get events."""
    return write_json(value).encode("utf-8")
