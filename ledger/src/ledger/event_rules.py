"""The rules for a deployment event and its fields.

api-rest checks a request by `validate`, with patterns and the size of details. async-worker checks
an event by `check_storable`: it stores those of other producers if the table can hold them.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from .run_details import check_run_details

__all__ = [
    "ACTOR_LENGTH",
    "DETAILS_BYTES",
    "DETAILS_LEVELS",
    "FIELDS",
    "LENGTHS",
    "NAME",
    "OPTIONAL",
    "PRINTABLE",
    "REASON_LENGTH",
    "STAGE",
    "STAGES",
    "STATUSES",
    "check_actor",
    "check_details",
    "check_storable",
    "check_storable_text",
    "check_text",
    "details_json",
    "json_reader",
    "stage_order",
    "validate",
    "write_json",
]

# The stages of this project's pipeline. An event may have any other.
STAGES = ("prepare", "test", "plan", "build", "scan", "push", "deploy", "verify", "record")
STATUSES = ("started", "succeeded", "failed", "rolled-back", "removed")
# The widths of the table's columns.
LENGTHS = {"component": 128, "version": 128, "environment": 64, "responsible": 256, "stage": 16}
# Of the name of who sent the event, which api-rest sets.
ACTOR_LENGTH = 256
# Of why an environment is frozen.
REASON_LENGTH = 500

# Each has a pattern and its description.
_SEGMENT = r"\.*[A-Za-z0-9_-][A-Za-z0-9._-]*"
NAME = (
    rf"^[A-Za-z0-9][A-Za-z0-9._-]*(/{_SEGMENT})*$",
    "letters, digits and ._/- only, a letter or digit first, no part between / empty or only dots",
)
# Control characters, spaces other than U+0020, and characters that are invisible or change the
# direction of text.
_UNSEEN = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    r"\u3000\ufeff\ufff0-\uffff"
    "\U000e0000-\U000e007f"
)
PRINTABLE = (
    rf"^[^ {_UNSEEN}]([^{_UNSEEN}]*[^ {_UNSEEN}])?$",
    "printable, with no space at either end",
)

STAGE = (r"^[a-z][a-z0-9-]*$", "lower-case letters, digits and - only, a letter first")

DETAILS_BYTES = 32_768
# `details` itself is the first. MariaDB accepts 31 levels of JSON, MySQL 100.
DETAILS_LEVELS = 30

Check = Callable[[object], str | None]
_PairsHook = Callable[[list[tuple[str, Any]]], Any]
# JSON can escape half of a surrogate pair, but UTF-8 cannot encode it.
_HALF_PAIR = "must be without half of a surrogate pair"
_CONTAINERS = frozenset({dict, list})
# A double can hold every integer with this many digits.
_DOUBLE_DIGITS = 308

# json.dumps with options makes a new encoder at each call.
write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def stage_order(stage: str) -> tuple[int, str]:
    """Return the sort key of a stage: known ones in their order, then others by name."""
    return (STAGES.index(stage) if stage in STAGES else len(STAGES)), stage


def json_reader(pairs_hook: _PairsHook | None = None) -> Callable[[str], Any]:
    """Return a function that parses strict JSON, or raises ValueError.

    It raises RecursionError when the text is nested too deeply. A number beyond a double becomes
    infinite, with or without a fraction.
    """
    return json.JSONDecoder(
        parse_int=_parse_integer,
        parse_constant=_reject_constant,
        object_pairs_hook=pairs_hook,
    ).decode


def _parse_integer(digits: str) -> float:
    if len(digits) <= _DOUBLE_DIGITS:
        return int(digits)
    number = float(digits)
    return number if number in {float("inf"), float("-inf")} else int(digits)


def _reject_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def check_storable_text(value: object, limit: int) -> str | None:
    """Return why a column of this width cannot hold the value, or None."""
    if not isinstance(value, str):
        return "must be a string"
    if not 0 < len(value) <= limit:
        return f"must have at most {limit} characters" if value else "must not be empty"
    return None if _is_encodable(value) else _HALF_PAIR


def check_text(limit: int, pattern: str, form: str) -> Check:
    """Return a function that checks a text of a request: it returns the problem, or None."""
    matches = re.compile(pattern).fullmatch

    def check(value: object) -> str | None:
        if reason := check_storable_text(value, limit):
            return reason
        return None if matches(str(value)) else f"must be {form}"

    return check


def details_json(details: object) -> str:
    """Return details as JSON for the table, or raise ValueError with the reason."""
    if not isinstance(details, dict):
        raise ValueError("must be an object")  # noqa: TRY004  as for all problems
    try:
        text = write_json(details)
        # The loop of _is_deep is slow, and a few brackets cannot make many levels.
        is_deep = text.count("{") + text.count("[") > DETAILS_LEVELS and _is_deep(details)
    except RecursionError:
        is_deep = True
    except ValueError:
        raise ValueError("must be without a number beyond a double") from None
    if is_deep:
        raise ValueError(f"must be at most {DETAILS_LEVELS} levels deep, itself the first")
    if not _is_encodable(text):
        raise ValueError(_HALF_PAIR)
    return text


def check_details(details: object) -> str | None:
    """Return the problem of the details of a request, or None."""
    try:
        size = len(details_json(details).encode("utf-8"))
    except ValueError as error:
        return str(error)
    return None if size <= DETAILS_BYTES else f"must be at most {DETAILS_BYTES} bytes of JSON"


def _is_encodable(text: str) -> bool:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return False
    return True


def _is_deep(details: object) -> bool:
    """Return whether objects and arrays are nested beyond DETAILS_LEVELS."""
    # Exact types suffice for parsed JSON, and isinstance() takes a third longer.
    level: list[Any] = [details]
    for _ in range(DETAILS_LEVELS):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return False
    return True


def _check_status(value: object) -> str | None:
    if isinstance(value, str) and value in STATUSES:
        return None
    return f"must be one of {', '.join(STATUSES)}"


def _check_request_details(value: object) -> str | None:
    return check_details(value) or check_run_details(cast("dict[str, object]", value))


# Each field of a request, with the function that returns what is wrong with a value, or None.
FIELDS: Mapping[str, Check] = {
    "component": check_text(LENGTHS["component"], *NAME),
    "version": check_text(LENGTHS["version"], *PRINTABLE),
    "environment": check_text(LENGTHS["environment"], *NAME),
    "responsible": check_text(LENGTHS["responsible"], *PRINTABLE),
    "stage": check_text(LENGTHS["stage"], *STAGE),
    "status": _check_status,
    "details": _check_request_details,
}
OPTIONAL = frozenset({"details"})
check_actor = check_text(ACTOR_LENGTH, *PRINTABLE)
_SET_BY_SERVER = frozenset({"id", "received_at", "actor"})


def validate(payload: object) -> dict[str, str]:
    """Return what is wrong with each wrong field of a request; nothing for a valid event."""
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


def check_storable(event: Mapping[str, object]) -> str | None:
    """Return which text of an event the table cannot hold, and why, or None."""
    for name, limit in LENGTHS.items():
        if reason := check_storable_text(event.get(name), limit):
            return f"{name} {reason}"
    if reason := _check_status(event.get("status")):
        return f"status {reason}"
    # Events of an earlier api-rest, and of other producers, have no actor.
    actor = event.get("actor")
    reason = None if actor is None else check_storable_text(actor, ACTOR_LENGTH)
    return reason and f"actor {reason}"
