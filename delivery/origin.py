"""The origin of a URL: credentials are sent to no other origin."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

import requests

__all__ = ["IDENTITY_USER", "Origin", "origin"]

# The user name of a login by identity token, by the convention of Docker's credential helpers.
IDENTITY_USER = "<token>"

_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """The origin as a URL: without path, query and login, which may hold secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def origin(url: str) -> Origin:
    """The origin that a request for this URL goes to; raises RequestException for a bad URL."""
    # Parsed by requests, which sends the request: another parser may see another host in the URL.
    parts = urlsplit(requests.Request("GET", url).prepare().url or "")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise requests.exceptions.InvalidURL(f"{url!r} is no HTTP or HTTPS URL")
    return Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])
