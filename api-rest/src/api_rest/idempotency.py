"""Idempotency keys: a request that is sent again gets the event of the first one."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "HEADER",
    "KEY_LIMIT",
    "KEY_PATTERN",
    "VARIABLE",
    "Reservation",
    "fingerprint",
    "key_hash",
    "parse_key",
]

HEADER = "Idempotency-Key"
# The header's name in WSGI. Bottle's get_header() raises on bytes that are not UTF-8.
VARIABLE = "HTTP_IDEMPOTENCY_KEY"
KEY_LIMIT = 255
KEY_PATTERN = "^[!-~]([ -~]*[!-~])?$"
_is_key = re.compile(KEY_PATTERN).fullmatch


@dataclass(frozen=True)
class Reservation:
    """What the database stores for a key."""

    # The hash of the request's body.
    fingerprint: str
    event_id: str
    # UTC without a zone.
    received_at: datetime


def parse_key(header: str | None) -> str | None:
    """Return a request's key, None without the header; raise a Problem for an invalid one."""
    if header is None:
        return None
    if len(header) > KEY_LIMIT or not _is_key(header):
        message = f"{HEADER} must be 1 to {KEY_LIMIT} printable ASCII characters"
        raise Problem(400, "invalid-idempotency-key", message)
    return header


def key_hash(actor: str, key: str) -> str:
    """Return the hash under which an actor's key is stored. Actors do not share keys."""
    return hashlib.sha256(f"{actor}\n{key}".encode()).hexdigest()


def fingerprint(payload: Mapping[str, object]) -> str:
    """Return a hash of a body that does not depend on the order of its names."""
    canonical = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
