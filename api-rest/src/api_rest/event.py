"""The deployment event: which fields it has, what they may hold, how it travels on Kafka."""

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["FIELDS", "FILTERS", "STAGES", "STATUSES", "Field", "accept", "encode", "parse_json", "validate"]

STAGES = ("build", "test", "push", "deploy", "verify")
STATUSES = ("started", "succeeded", "failed", "rolled-back")
DETAILS_LIMIT = 32_768
KIND_HEADER = ("kind", b"deployment")


@dataclass(frozen=True)
class Field:
    """One field of the request body: what it is for, and the check that returns what is wrong, or None."""

    name: str
    help: str
    check: Callable[[object], str | None]
    required: bool = True


def _text(limit: int, pattern: str | None = None, form: str = "") -> Callable[[object], str | None]:
    compiled = re.compile(pattern) if pattern else None

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return "must be a string"
        if not value:
            return "must not be empty"
        if len(value) > limit:
            return f"must have at most {limit} characters"
        if not value.isprintable() or value != value.strip():
            return "must be printable, with no space at either end"
        if compiled and not compiled.fullmatch(value):
            return f"must be {form}"
        return None

    return check


def _choice(words: tuple[str, ...]) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        return None if isinstance(value, str) and value in words else f"must be one of {', '.join(words)}"

    return check


def _details(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    try:
        size = len(_dump(value))
    except (ValueError, RecursionError):
        return "must be plain JSON: no number beyond a double, no half of a surrogate pair, no deep nesting"
    return None if size <= DETAILS_LIMIT else f"must be at most {DETAILS_LIMIT} bytes of JSON"


_NAME = r"[A-Za-z0-9][A-Za-z0-9._/-]*"
_NAME_FORM = "letters, digits and ._/- only, a letter or digit first"

FIELDS = (
    Field("component", "what was deployed", _text(128, _NAME, _NAME_FORM)),
    Field("version", "which version of it", _text(128)),
    Field("environment", "where to", _text(64, _NAME, _NAME_FORM)),
    Field("responsible", "who did it", _text(256)),
    Field("stage", "which stage of the pipeline", _choice(STAGES)),
    Field("status", "how that stage stands", _choice(STATUSES)),
    Field("details", "anything else worth keeping", _details, required=False),
)
FILTERS = ("component", "environment", "version", "status", "stage")
_BY_NAME = {field.name: field for field in FIELDS}
_SET_BY_SERVER = ("id", "received_at")


def parse_json(body: bytes) -> object:
    """Read strict JSON in UTF-8, or raise ValueError with what is wrong."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name is given twice in one object")
    return result


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def validate(payload: object) -> dict[str, str]:
    """Return every wrong field and why; an empty answer means the payload is a good event."""
    if not isinstance(payload, dict):
        return {"body": "must be a JSON object"}
    wrong = {field.name: "is required" for field in FIELDS if field.required and field.name not in payload}
    for name, value in payload.items():
        if name in _SET_BY_SERVER:
            wrong[name] = "is set by the server"
        elif name not in _BY_NAME:
            # An unknown name may hold what cannot be encoded in the answer, half a surrogate pair for one.
            wrong[name if name.isprintable() else ascii(name)] = "is not a field of a deployment event"
        elif reason := _BY_NAME[name].check(value):
            wrong[name] = reason
    return wrong


def accept(payload: dict[str, object], *, now: datetime | None = None) -> dict[str, object]:
    """Return the event of a validated payload, with the id and the time that the server sets."""
    received = (now or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
    return {
        "id": str(uuid.uuid4()),
        **payload,
        "received_at": received.isoformat(timespec="microseconds") + "Z",
    }


def encode(event: dict[str, object]) -> bytes:
    """Return the event as it travels on Kafka."""
    return _dump(event)


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
