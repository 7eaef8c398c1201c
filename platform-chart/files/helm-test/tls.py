"""Test for `helm test`: TLS works by every name of the Service, and insecure clients are refused.

Run as `python3 tls.py HOST…`. CA_FILE is the path of the CA's certificate; without it the CA is a
public one.
"""
# ruff: noqa: INP001, T201  a script, whose output is its report

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial

TIMEOUT = 10.0
OLD_VERSIONS = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)


class CheckError(Exception):
    """A check failed."""


def main(hosts: list[str]) -> int:
    """Run every check, print its result and return the number of failures."""
    failures = 0
    for name, check in checks(hosts):
        try:
            result = check()
        except (OSError, http.client.HTTPException, CheckError) as error:
            failures += 1
            print(f"FAILED  {name}: {error}")
        else:
            print(f"passed  {name}: {result}")
    return failures


def checks(hosts: list[str]) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield each check with its name."""
    for host in hosts:
        yield f"https://{host}/health", partial(get_health, host)
    first = hosts[0]
    for version in OLD_VERSIONS:
        yield f"{version.name} is refused", partial(refuses_version, first, version)
    yield "a name that is not in the certificate", partial(refuses_name, first)
    if "CA_FILE" in os.environ:
        yield "a client without the CA", partial(refuses_authority, first)


def verified() -> ssl.SSLContext:
    """Return the context of a client that trusts the CA."""
    return ssl.create_default_context(cafile=os.environ.get("CA_FILE"))


def handshake(context: ssl.SSLContext, host: str, name: str) -> str:
    """Connect to a host as if it had a name; return the version of TLS."""
    with (
        socket.create_connection((host, 443), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        return str(secured.version())


def get_health(host: str) -> str:
    """Send a request by verified TLS."""
    connection = http.client.HTTPSConnection(host, timeout=TIMEOUT, context=verified())
    try:
        connection.request("GET", "/health")
        assert isinstance(connection.sock, ssl.SSLSocket)  # noqa: S101  for the type
        version = connection.sock.version()
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.client.OK:
        raise CheckError(f"HTTP {status}")
    return f"{version}, verified, HTTP {status}"


def refuses_version(host: str, version: ssl.TLSVersion) -> str:
    """Offer only an old version, which the server must refuse."""
    context = verified()
    # OpenSSL offers old versions only at the lowest security level.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    try:
        actual = handshake(context, host, host)
    except ssl.SSLError as error:
        if "ALERT_PROTOCOL_VERSION" not in str(error.reason):
            raise
        return "refused by the server"
    raise CheckError(f"the server accepts {actual}")


def refuses_name(host: str) -> str:
    """Connect by a name that the certificate does not have."""
    return unverified(verified(), host, "elsewhere.example")


def refuses_authority(host: str) -> str:
    """Connect with the public CAs only."""
    return unverified(ssl.create_default_context(), host, host)


def unverified(context: ssl.SSLContext, host: str, name: str) -> str:
    """Connect; the client must reject the certificate."""
    try:
        handshake(context, host, name)
    except ssl.SSLCertVerificationError as error:
        return f"refused, {error.verify_message}"
    raise CheckError("the client accepted the certificate")


if __name__ == "__main__":
    # The old versions are deprecated; this is a test that the server refuses them.
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.exit(min(main(sys.argv[1:]), 1))
