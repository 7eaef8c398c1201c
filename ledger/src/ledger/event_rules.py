"""What a deployment event may hold; api-rest and async-worker have the same file.

The table's own limits hold for both apps. The others (patterns, the size of details) hold for
requests only: the worker stores what another producer sends if the table can hold it.
"""

import json
import re
from collections.abc import Callable
from typing import Any

__all__ = [
    "DETAILS_BYTES",
    "DETAILS_LEVELS",
    "LENGTHS",
    "NAME",
    "PRINTABLE",
    "STAGES",
    "STATUSES",
    "check_details",
    "check_storable_text",
    "check_text",
    "details_json",
    "json_reader",
    "write_json",
]

STAGES = ("prepare", "test", "plan", "build", "scan", "push", "deploy", "verify", "record")
STATUSES = ("started", "succeeded", "failed", "rolled-back", "removed")
# The widths of the table's columns.
LENGTHS = {"component": 128, "version": 128, "environment": 64, "responsible": 256}

# Each is a pattern and its meaning in words.
_SEGMENT = r"\.*[A-Za-z0-9_-][A-Za-z0-9._-]*"
NAME = (
    rf"^[A-Za-z0-9][A-Za-z0-9._-]*(/{_SEGMENT})*$",
    "letters, digits and ._/- only, a letter or digit first, no part between / empty or only dots",
)
# Control characters, spaces other than U+0020, and characters that are invisible or turn the
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

DETAILS_BYTES = 32_768
# `details` itself is the first. MariaDB takes 31 levels of JSON, MySQL 100.
DETAILS_LEVELS = 30

_PairsHook = Callable[[list[tuple[str, Any]]], Any]
# JSON spells half of a surrogate pair with an escape; UTF-8 has no bytes for it.
_HALF_PAIR = "must be without half of a surrogate pair"
_CONTAINERS = frozenset({dict, list})
# A double holds every integer of so many digits.
_DOUBLE_DIGITS = 308

# Made once: json.dumps makes a new encoder at every call that has options.
write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def json_reader(pairs_hook: _PairsHook | None = None) -> Callable[[str], Any]:
    """Return a function that reads strict JSON, or raises ValueError.

    It raises RecursionError for what is nested too deeply to be read. A number beyond a double
    becomes infinite, whether it has a fraction or not.
    """
    return json.JSONDecoder(
        parse_int=_integer,
        parse_constant=_no_constant,
        object_pairs_hook=pairs_hook,
    ).decode


def _integer(digits: str) -> float:
    if len(digits) <= _DOUBLE_DIGITS:
        return int(digits)
    number = float(digits)
    return number if number in {float("inf"), float("-inf")} else int(digits)


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def check_storable_text(value: object, limit: int) -> str | None:
    """Return why a column of that width cannot hold the value, or None."""
    if not isinstance(value, str):
        return "must be a string"
    if not 0 < len(value) <= limit:
        return f"must have at most {limit} characters" if value else "must not be empty"
    return None if _is_encodable(value) else _HALF_PAIR


def check_text(limit: int, pattern: str, form: str) -> Callable[[object], str | None]:
    """Return the check of a text in a request: it returns what is wrong, or None."""
    matches = re.compile(pattern).fullmatch

    def check(value: object) -> str | None:
        if reason := check_storable_text(value, limit):
            return reason
        return None if matches(str(value)) else f"must be {form}"

    return check


def details_json(details: object) -> str:
    """Return details as the table holds them, or raise ValueError with the reason why it cannot."""
    if not isinstance(details, dict):
        raise ValueError("must be an object")  # noqa: TRY004  as for all that is wrong
    try:
        text = write_json(details)
        # A Python loop over everything is slow: few brackets cannot be many levels.
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
    """Return what is wrong with the details of a request, or None."""
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
    """Tell whether objects and arrays are nested beyond DETAILS_LEVELS."""
    # By exact types, which is all that comes out of JSON: isinstance() takes a third longer.
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
