"""TLS to Kafka and to the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .config import Kind

if TYPE_CHECKING:
    import ssl

__all__ = ["CA_FILE", "client_context"]


def _parse_ca_file(path: str) -> str:
    if not path:
        return path
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path} ({error.strerror})") from None
    try:
        certificates = client_context(path).cert_store_stats()["x509"]
    except OSError:  # OpenSSL's errors are OSErrors without a useful message
        certificates = 0
    if not certificates:
        raise ValueError(f"{path} holds no certificate in PEM, or a broken one")
    return path


# The path of a file of CA certificates; may be empty.
CA_FILE = Kind("PEM file", _parse_ca_file)


def client_context(ca_file: str) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer that trusts only these CAs and checks the host name.

    Without a file it trusts the system's CAs.
    """
    import ssl  # noqa: PLC0415  slow to import, and most clients do not encrypt

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs()
    return context
