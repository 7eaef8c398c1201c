"""Every setting of this app, declared once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.app_settings import AppSettings
from ledger.broker_security import BrokerSettings
from ledger.config import FLAG, OPTIONAL_TEXT, TEXT, Kind, integer, setting
from ledger.database import DatabaseSettings

from .proxies import NETWORKS, Network

__all__ = ["Settings"]


def _header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]*", text):
        raise ValueError("it must be letters, digits and -")
    return text


@dataclass(frozen=True)
class Settings(AppSettings, DatabaseSettings, BrokerSettings):
    """The settings, from environment variables with the upper-case names of the fields."""

    db_username: str = setting(TEXT, "who reads it, and writes idempotency_keys, freezes and drift")
    topic: str = setting(TEXT, "the Kafka topic of the events", default="deployments")
    worker_group: str = setting(
        TEXT,
        "async-worker's GROUP_ID: how far it has stored the topic is told",
        default="async-worker",
    )
    http_host: str = setting(
        TEXT,
        "the address to listen on",
        default="0.0.0.0",  # noqa: S104  a container's network
    )
    http_port: int = setting(integer(1, 65535), "the port to listen on", default="8000")
    management_port: int = setting(
        integer(1, 65535), "the port of /health, /ready and /metrics for probes", default="8001"
    )
    http_threads: int = setting(integer(2, 64), "POSTs worked on at the same time", default="16")
    read_threads: int = setting(
        integer(2, 64), "other requests worked on at the same time", default="8"
    )
    connection_limit: int = setting(
        integer(16, 100_000), "open connections; more wait", default="2000"
    )
    request_timeout: int = setting(
        integer(1, 300),
        "seconds that a connection may rest, or its client not read the answer",
        default="30",
    )
    max_header_bytes: int = setting(
        integer(1024, 262_144), "the largest request line and headers taken", default="16384"
    )
    max_body_bytes: int = setting(
        integer(1024, 900_000), "the largest request body taken", default="65536"
    )
    delivery_timeout: int = setting(
        integer(1, 60), "seconds until a POST that Kafka has not acknowledged gets 503", default="5"
    )
    shutdown_delay: int = setting(
        integer(0, 60), "seconds to go on serving, but not ready, once told to stop", default="0"
    )
    shutdown_timeout: int = setting(
        integer(0, 300), "seconds that requests under way then have to finish", default="20"
    )
    tokens_file: str = setting(
        OPTIONAL_TEXT,
        "the file of bearer tokens, read again when it changes; none: everybody may post",
        default="",
    )
    protect_reads: bool = setting(FLAG, "whether reading needs a token too", default="false")
    trusted_proxies: tuple[Network, ...] = setting(
        NETWORKS,
        "CIDR list of proxies whose X-Forwarded-* headers are believed, or * for all",
        default="",
    )
    user_header: str = setting(
        Kind("header", _header),
        "the header in which TRUSTED_PROXIES name the user who logged in, such as X-Forwarded-User",
        default="",
    )

    @staticmethod
    def conflicts(values: Mapping[str, Any]) -> list[str]:
        """Return the problems between settings; `values` has only those that are valid alone."""
        problems = BrokerSettings.conflicts(values)
        if values.get("protect_reads") and not values["tokens_file"]:
            problems.append("PROTECT_READS: it needs a TOKENS_FILE")
        networks = values.get("trusted_proxies")
        trusts_everybody = any(network.prefixlen == 0 for network in networks or ())
        if values.get("user_header") and (networks == () or trusts_everybody):
            problems.append(
                "USER_HEADER: it needs TRUSTED_PROXIES, and not all networks: anybody could send it"
            )
        return problems
