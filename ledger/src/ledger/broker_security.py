"""The settings for Kafka: the brokers, encryption and login."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .config import BROKERS, OPTIONAL_TEXT, choice, setting
from .tls import CA_FILE, client_context

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BrokerSettings", "client_options"]

ENCRYPTED = ("SSL", "SASL_SSL")
WITH_LOGIN = ("SASL_PLAINTEXT", "SASL_SSL")


@dataclass(frozen=True)
class BrokerSettings:
    """The settings for Kafka of both apps."""

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
        CA_FILE,
        "the CAs that sign Kafka's certificates; none: the system's",
        default="",
    )

    @staticmethod
    def conflicts(values: Mapping[str, Any]) -> list[str]:
        """Return the problems between settings; `values` has only those that are valid alone."""
        protocol = values.get("broker_security_protocol")
        if protocol is None:
            return []
        return [
            *_login_problems(protocol, values),
            *_ca_problems(protocol, values.get("broker_ca_file", "")),
        ]


def client_options(settings: BrokerSettings) -> dict[str, object]:
    """Return the options of a kafka-python client. Each call reads the CA file again."""
    protocol = settings.broker_security_protocol
    options: dict[str, object] = {"security_protocol": protocol}
    if protocol in ENCRYPTED:
        options["ssl_context"] = client_context(settings.broker_ca_file)
    if protocol in WITH_LOGIN:
        mechanism, name = settings.broker_sasl_mechanism, settings.broker_username
        options["sasl_mechanism"] = mechanism
        options["sasl_plain_username"] = name if mechanism == "PLAIN" else _escape_saslname(name)
        options["sasl_plain_password"] = settings.broker_password
    return options


def _login_problems(protocol: str, values: Mapping[str, Any]) -> list[str]:
    names = [name for name in ("broker_username", "broker_password") if name in values]
    prefix = f"BROKER_SECURITY_PROTOCOL={protocol}"
    if protocol in WITH_LOGIN:
        return [f"{name.upper()}: {prefix} needs it" for name in names if not values[name]]
    other = "SASL_SSL" if protocol in ENCRYPTED else "SASL_SSL or SASL_PLAINTEXT"
    return [
        f"{name.upper()}: {prefix} logs nobody in; unset it, or set {other}"
        for name in names
        if values[name]
    ]


def _ca_problems(protocol: str, path: str) -> list[str]:
    if not path or protocol in ENCRYPTED:
        return []
    other = "SASL_SSL" if protocol in WITH_LOGIN else "SSL or SASL_SSL"
    prefix = f"BROKER_SECURITY_PROTOCOL={protocol}"
    return [f"BROKER_CA_FILE: {prefix} does not encrypt; unset it, or set {other}"]


def _escape_saslname(name: str) -> str:
    """Return a name in the format of SCRAM (RFC 5802), since kafka-python does not escape it."""
    return name.replace("=", "=3D").replace(",", "=2C")
