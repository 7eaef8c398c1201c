"""The settings for logs and traces."""

from dataclasses import dataclass

from .config import OPTIONAL_URL, TEXT, choice, setting

__all__ = ["AppSettings"]


@dataclass(frozen=True)
class AppSettings:
    """The settings for logs and traces of both apps."""

    environment: str = setting(TEXT, "where this runs, for the log lines", default="local")
    log_level: str = setting(
        choice("DEBUG", "INFO", "WARNING", "ERROR"),
        "the least serious log lines to write",
        default="INFO",
    )
    otel_exporter_otlp_endpoint: str = setting(
        OPTIONAL_URL,
        "where traces go, by OTLP over HTTP; the SDK reads its other OTEL_* variables itself",
        default="",
    )
