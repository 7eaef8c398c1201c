"""The deployment event: its fields, their checks, and its form on Kafka."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.event_rules import (
    ACTOR_LENGTH,
    DETAILS_BYTES,
    DETAILS_LEVELS,
    LENGTHS,
    NAME,
    PRINTABLE,
    STAGE,
    STAGES,
    STATUSES,
    check_details,
    check_text,
    json_reader,
    write_json,
)
from ledger.run_details import RUN_PROPERTIES, check_run_details

__all__ = [
    "ACTOR",
    "FIELDS",
    "FILTERS",
    "STATUSES",
    "Field",
    "accept",
    "encode",
    "parse_json",
    "printable",
    "rfc3339",
    "validate",
]

KIND_HEADER = ("kind", b"deployment")


@dataclass(frozen=True)
class Field:
    """One field of the request body.

    check: returns what is wrong with a value, or None
    """

    name: str
    help: str
    schema: Mapping[str, Any]
    check: Callable[[object], str | None]
    example: object
    required: bool = True


def _text(
    limit: int, pattern: str, form: str
) -> tuple[Mapping[str, Any], Callable[[object], str | None]]:
    schema = {"type": "string", "minLength": 1, "maxLength": limit, "pattern": pattern}
    return schema, check_text(limit, pattern, form)


def _choice(words: tuple[str, ...]) -> tuple[Mapping[str, Any], Callable[[object], str | None]]:
    def check(value: object) -> str | None:
        return (
            None
            if isinstance(value, str) and value in words
            else f"must be one of {', '.join(words)}"
        )

    return {"type": "string", "enum": list(words)}, check


def _details(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    return check_details(value) or check_run_details(value)


def printable(limit: int) -> tuple[Callable[[object], str | None], Mapping[str, Any]]:
    """Return the check and the schema of a text of printable characters."""
    schema, check = _text(limit, *PRINTABLE)
    return check, schema


FIELDS = (
    Field("component", "what was deployed", *_text(LENGTHS["component"], *NAME), "api-rest"),
    Field("version", "which version of it", *_text(LENGTHS["version"], *PRINTABLE), "1.2.3"),
    Field("environment", "where to", *_text(LENGTHS["environment"], *NAME), "staging"),
    Field("responsible", "who did it", *_text(LENGTHS["responsible"], *PRINTABLE), "Zoë"),
    Field(
        "stage",
        f"which stage of the pipeline: {', '.join(STAGES)}, or any other",
        *_text(LENGTHS["stage"], *STAGE),
        "deploy",
    ),
    Field("status", "how that stage stands", *_choice(STATUSES), "succeeded"),
    Field(
        "details",
        f"anything else worth keeping, at most {DETAILS_BYTES} bytes of JSON and {DETAILS_LEVELS} "
        "levels of objects and arrays, `details` itself the first, with no number beyond a double; "
        "`pipeline`, `step` and `at` say to which run and to which step of the stage it belongs, "
        "and when it happened",
        {"type": "object", "properties": RUN_PROPERTIES},
        _details,
        {"commit": "0a1b2c3"},
        required=False,
    ),
)
ACTOR = Field(
    "actor",
    "the name of the token that it was sent with; null without one, set by the server",
    *_text(ACTOR_LENGTH, *PRINTABLE),
    "jenkins",
)
FILTERS = ("component", "environment", "version", "status", "stage", "responsible", "actor")
_BY_NAME = {field.name: field for field in FIELDS}
_SET_BY_SERVER = ("id", "received_at", ACTOR.name)


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
    wrong = {
        field.name: "is required"
        for field in FIELDS
        if field.required and field.name not in payload
    }
    for name, value in payload.items():
        if name in _SET_BY_SERVER:
            wrong[name] = "is set by the server"
        elif name not in _BY_NAME:
            # An unknown name may hold half a surrogate pair, which the answer cannot encode.
            wrong[name if name.isprintable() else ascii(name)] = (
                "is not a field of a deployment event"
            )
        elif reason := _BY_NAME[name].check(value):
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
