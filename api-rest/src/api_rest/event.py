"""The deployment event: its fields, their checks, and its form on Kafka."""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from ledger.event_rules import (
    ACTOR_LENGTH,
    LENGTHS,
    NAME,
    PRINTABLE,
    STAGE,
    STATUSES,
    check_details,
    check_text,
    json_reader,
    write_json,
)
from ledger.run_details import check_run_details

__all__ = [
    "FIELDS",
    "FILTERS",
    "OPTIONAL",
    "accept",
    "check_actor",
    "encode",
    "parse_json",
    "rfc3339",
    "validate",
]

KIND_HEADER = ("kind", b"deployment")


Check = Callable[[object], str | None]


def _check_status(value: object) -> str | None:
    if isinstance(value, str) and value in STATUSES:
        return None
    return f"must be one of {', '.join(STATUSES)}"


def _check_details(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    return check_details(value) or check_run_details(value)


# What is wrong with the value of a field, or None.
FIELDS: Mapping[str, Check] = {
    "component": check_text(LENGTHS["component"], *NAME),
    "version": check_text(LENGTHS["version"], *PRINTABLE),
    "environment": check_text(LENGTHS["environment"], *NAME),
    "responsible": check_text(LENGTHS["responsible"], *PRINTABLE),
    "stage": check_text(LENGTHS["stage"], *STAGE),
    "status": _check_status,
    "details": _check_details,
}
OPTIONAL = frozenset({"details"})
check_actor = check_text(ACTOR_LENGTH, *PRINTABLE)
FILTERS: Mapping[str, Check] = {
    **{name: check for name, check in FIELDS.items() if name != "details"},
    "actor": check_actor,
}
_SET_BY_SERVER = frozenset({"id", "received_at", "actor"})


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


def validate(payload: object) -> dict[str, str]:
    """Return what is wrong with each wrong field; nothing for a valid event."""
    if not isinstance(payload, dict):
        return {"body": "must be a JSON object"}
    missing = (name for name in FIELDS if name not in payload and name not in OPTIONAL)
    wrong = dict.fromkeys(missing, "is required")
    for name, value in payload.items():
        if name in _SET_BY_SERVER:
            wrong[name] = "is set by the server"
        elif name not in FIELDS:
            # An unknown name may hold half a surrogate pair, which the answer cannot encode.
            wrong[name if name.isprintable() else ascii(name)] = (
                "is not a field of a deployment event"
            )
        elif reason := FIELDS[name](value):
            wrong[name] = reason
    return wrong


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


def encode(event: dict[str, object]) -> bytes:
    """Return the event as Kafka gets it."""
    return write_json(event).encode("utf-8")
