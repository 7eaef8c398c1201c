"""Where a request goes: credentials are for one origin, and are sent to no other."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

import requests

__all__ = ["IDENTITY", "Origin", "origin"]

IDENTITY = "<token>"  # the user of a login that is an identity token, as Docker's credential helpers have it

_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """The URL without path, query and login, of which some are secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (
            "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        )


def origin(url: str) -> Origin:
    """The origin that a request for this URL goes to; RequestException when it leads nowhere."""
    # As requests reads it: another parser may take another part of a strange URL for the host.
    parts = urlsplit(requests.Request("GET", url).prepare().url or "")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise requests.exceptions.InvalidURL(f"{url!r} is no http or https address")
    return Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])
