"""How the Kafka brokers are spoken to: which ones, encrypted or not, as whom. Imports ssl only where it is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import BROKERS, OPTIONAL_TEXT, choice, setting

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["BrokerSettings", "client_options"]

ENCRYPTED = ("SSL", "SASL_SSL")
WITH_LOGIN = ("SASL_PLAINTEXT", "SASL_SSL")


@dataclass(frozen=True)
class BrokerSettings:
    """The settings of both apps that lead to Kafka."""

    broker_url: tuple[str, ...] = setting(
        BROKERS, "Kafka: kafka://host, host:port, or a comma list; the port is 9092"
    )
    broker_security_protocol: str = setting(
        choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        "how to speak to Kafka: with SSL encrypted, with SASL logged in",
        default="PLAINTEXT",
    )
    broker_sasl_mechanism: str = setting(
        choice("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"),
        "how to log in to Kafka",
        default="SCRAM-SHA-512",
    )
    broker_username: str = setting(
        OPTIONAL_TEXT, "who logs in to Kafka; needed with SASL, and only there", default=""
    )
    broker_password: str = setting(OPTIONAL_TEXT, "that user's password", default="", secret=True)
    broker_ca_file: str = setting(
        OPTIONAL_TEXT,
        "the PEM file of the CAs that sign Kafka's certificates; none: the system's",
        default="",
    )

    @staticmethod
    def contradictions(values: Mapping[str, Any]) -> list[str]:
        """Return what is wrong between settings; a value that is wrong by itself is not among them."""
        protocol = values.get("broker_security_protocol")
        if protocol is None:
            return []
        return [
            *_login_problems(protocol, values),
            *_ca_problems(protocol, values.get("broker_ca_file", "")),
        ]


def client_options(settings: BrokerSettings) -> dict[str, object]:
    """Return kafka-python's options for every client. The CA file is read each time."""
    protocol = settings.broker_security_protocol
    options: dict[str, object] = {"security_protocol": protocol}
    if protocol in ENCRYPTED:
        options["ssl_context"] = _context(settings.broker_ca_file)
    if protocol in WITH_LOGIN:
        mechanism, name = settings.broker_sasl_mechanism, settings.broker_username
        options["sasl_mechanism"] = mechanism
        options["sasl_plain_username"] = name if mechanism == "PLAIN" else _saslname(name)
        options["sasl_plain_password"] = settings.broker_password
    return options


def _login_problems(protocol: str, values: Mapping[str, Any]) -> list[str]:
    given = {
        name.upper(): values[name]
        for name in ("broker_username", "broker_password")
        if name in values
    }
    if protocol in WITH_LOGIN:
        return [
            f"{name}: BROKER_SECURITY_PROTOCOL={protocol} needs it"
            for name, value in given.items()
            if not value
        ]
    other = "SASL_SSL" if protocol in ENCRYPTED else "SASL_SSL or SASL_PLAINTEXT"
    return [
        f"{name}: BROKER_SECURITY_PROTOCOL={protocol} logs nobody in; unset it, or set {other}"
        for name, value in given.items()
        if value
    ]


def _ca_problems(protocol: str, path: str) -> list[str]:
    if not path:
        return []
    if protocol not in ENCRYPTED:
        other = "SASL_SSL" if protocol in WITH_LOGIN else "SSL or SASL_SSL"
        return [
            f"BROKER_CA_FILE: BROKER_SECURITY_PROTOCOL={protocol} does not encrypt; unset it, or set {other}"
        ]
    try:
        Path(path).read_bytes()
    except OSError as error:
        return [f"BROKER_CA_FILE: cannot read {path} ({error.strerror})"]
    try:
        certificates = _context(path).cert_store_stats()["x509"]
    except OSError:  # OpenSSL's errors are of this kind, and their texts of no use
        certificates = 0
    return (
        []
        if certificates
        else [f"BROKER_CA_FILE: {path} holds no certificate in PEM, or a broken one"]
    )


def _context(ca_file: str) -> ssl.SSLContext:
    """Return what encrypts by TLS 1.2 or newer, to a broker that proves its name by a certificate of these CAs alone."""
    import ssl  # noqa: PLC0415  it takes longer to import than all the rest

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs()
    return context


def _saslname(name: str) -> str:
    """Write a name as SCRAM wants it (RFC 5802); kafka-python does not."""
    return name.replace("=", "=3D").replace(",", "=2C")
