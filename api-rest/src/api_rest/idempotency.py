"""A request sent again: which key it has, and what the first one with that key became."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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
    "Reserver",
    "fingerprint",
    "key_hash",
    "parse_key",
]

HEADER = "Idempotency-Key"
# As WSGI has it: Bottle's get_header() raises on bytes that are not UTF-8.
VARIABLE = "HTTP_IDEMPOTENCY_KEY"
KEY_LIMIT = 255
KEY_PATTERN = "^[!-~]([ -~]*[!-~])?$"
_is_key = re.compile(KEY_PATTERN).fullmatch


@dataclass(frozen=True)
class Reservation:
    """What stands behind a key: a hash of the body, and the id and the time (UTC without a zone) of its event."""

    fingerprint: str
    event_id: str
    received_at: datetime


class Reserver(Protocol):
    """Keeps reservations."""

    def reserve(self, key_hash: str, wanted: Reservation) -> Reservation:
        """Keep this reservation unless the key has one; return the one it has, or raise Unavailable."""


def parse_key(header: str | None) -> str | None:
    """Return the key that a request came with, or raise a Problem."""
    if header is None:
        return None
    if len(header) > KEY_LIMIT or not _is_key(header):
        message = f"{HEADER} must be 1 to {KEY_LIMIT} printable ASCII characters"
        raise Problem(400, "invalid-idempotency-key", message)
    return header


def key_hash(client: str, key: str) -> str:
    """Return what a client's key is kept as; two clients never meet."""
    return hashlib.sha256(f"{client}\n{key}".encode()).hexdigest()


def fingerprint(payload: Mapping[str, object]) -> str:
    """Return what tells two bodies apart, whatever the order of their names."""
    canonical = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
