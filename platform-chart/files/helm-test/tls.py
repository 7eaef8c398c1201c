"""A helm test: every name of the Service is served by a certificate that the CA vouches for, and what is not safe is refused.

Run as `python3 tls.py HOST…`; CA_FILE names the CA's certificate, none: one that everybody knows.
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


def main(hosts: list[str]) -> int:
    """Make every check, print what came of each, and return how many failed."""
    failures = 0
    for what, check in checks(hosts):
        try:
            seen = check()
        except (OSError, http.client.HTTPException, AssertionError) as error:
            failures += 1
            print(f"FAILED  {what}: {error}")
        else:
            print(f"passed  {what}: {seen}")
    return failures


def checks(hosts: list[str]) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield what is checked, and how."""
    for host in hosts:
        yield f"https://{host}/health", partial(answers, host)
    first = hosts[0]
    for version in OLD_VERSIONS:
        yield f"{version.name} is refused", partial(refuses_version, first, version)
    yield "a name that is not in the certificate", partial(refuses_name, first)
    if "CA_FILE" in os.environ:
        yield "a client without the CA", partial(refuses_authority, first)


def trusting() -> ssl.SSLContext:
    """Return what a careful client verifies with."""
    return ssl.create_default_context(cafile=os.environ.get("CA_FILE"))


def handshake(context: ssl.SSLContext, host: str, name: str) -> str:
    """Connect to a host as if it had a name; return the version of TLS."""
    with (
        socket.create_connection((host, 443), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        return str(secured.version())


def answers(host: str) -> str:
    """Ask over verified TLS."""
    connection = http.client.HTTPSConnection(host, timeout=TIMEOUT, context=trusting())
    try:
        connection.request("GET", "/health")
        assert isinstance(connection.sock, ssl.SSLSocket)  # noqa: S101  for the type
        version = connection.sock.version()
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.client.OK:
        message = f"HTTP {status}"
        raise AssertionError(message)
    return f"{version}, verified, HTTP {status}"


def refuses_version(host: str, version: ssl.TLSVersion) -> str:
    """Offer one old version alone; it has to be the server that refuses it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if authority := os.environ.get("CA_FILE"):
        context.load_verify_locations(authority)
    # OpenSSL itself offers so little only at the lowest security level.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    try:
        spoken = handshake(context, host, host)
    except ssl.SSLError as error:
        if "ALERT_PROTOCOL_VERSION" not in str(error.reason):
            raise
        return "the server said so"
    message = f"the server speaks {spoken}"
    raise AssertionError(message)


def refuses_name(host: str) -> str:
    """Ask the same server by another name."""
    return unverified(trusting(), host, "elsewhere.example")


def refuses_authority(host: str) -> str:
    """Ask with the CAs that everybody knows, of which the one in question is none."""
    return unverified(ssl.create_default_context(), host, host)


def unverified(context: ssl.SSLContext, host: str, name: str) -> str:
    """Connect; the client has to find the certificate wrong."""
    try:
        handshake(context, host, name)
    except ssl.SSLCertVerificationError as error:
        return f"refused, {error.verify_message}"
    message = "the client took the certificate"
    raise AssertionError(message)


if __name__ == "__main__":
    # That the old versions should not be used is what is tested.
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.exit(min(main(sys.argv[1:]), 1))
