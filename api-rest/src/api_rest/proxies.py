"""Believes what trusted proxies say about a client, and nobody else."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from ledger.config import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["NETWORKS", "Network", "ProxyHeaders", "is_trusted"]

Network = IPv4Network | IPv6Network

EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))
# Anybody can send these.
HEADERS = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_BY",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PROTO",
)
_TRUSTED = "api_rest.trusted_proxy"


def _parse(text: str) -> tuple[Network, ...]:
    if text.strip() == "*":
        return EVERYBODY
    return tuple(ip_network(part) for part in text.replace(",", " ").split())


NETWORKS = Kind("networks", _parse)


class ProxyHeaders:
    """The WSGI middleware that reads X-Forwarded-*, or removes it."""

    def __init__(self, app: Callable[..., Iterable[bytes]], networks: tuple[Network, ...]) -> None:
        self._app = app
        self._networks = networks

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Have the app answer."""
        if self._trusts(environ["REMOTE_ADDR"]):
            environ[_TRUSTED] = True
            environ["REMOTE_ADDR"] = self._client(environ)
        else:
            for name in HEADERS:
                environ.pop(name, None)
        return self._app(environ, start_response)

    def _client(self, environ: dict[str, Any]) -> str:
        """Return the last address of X-Forwarded-For that is no trusted proxy's."""
        client: str = environ["REMOTE_ADDR"]
        for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            try:
                client = str(ip_address(hop.strip().strip("[]")))
            except ValueError:
                break
            if not self._trusts(client):
                break
        return client

    def _trusts(self, text: str) -> bool:
        address = ip_address(text)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def is_trusted(environ: dict[str, Any]) -> bool:
    """Return whether a request came from a trusted proxy."""
    return bool(environ.get(_TRUSTED))
