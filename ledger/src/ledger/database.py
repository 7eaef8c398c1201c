"""The settings for the database, and its engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .config import TEXT, integer, setting
from .tls import CA_FILE, client_context

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["CONNECT_TIMEOUT", "DatabaseSettings", "open_engine"]

CONNECT_TIMEOUT = 3
# Shorter than the usual idle timeouts of databases, proxies and firewalls.
RECYCLE_AFTER = 600


@dataclass(frozen=True)
class DatabaseSettings:
    """The settings for the database of both apps."""

    db_host: str = setting(TEXT, "where the MySQL-compatible database is")
    db_port: int = setting(integer(1, 65535), "its port", default="3306")
    db_database: str = setting(TEXT, "the database's name")
    db_username: str = setting(TEXT, "who logs in to it")
    db_password: str = setting(TEXT, "that user's password", secret=True)
    db_tls_ca: str = setting(
        CA_FILE,
        "the CAs that sign the database's certificate, which then has to be there and valid for "
        "DB_HOST; none: TLS if the database offers it, unverified",
        default="",
    )


def open_engine(
    settings: DatabaseSettings,
    *,
    timeout: int,
    init_command: str,
    **options: Any,  # noqa: ANN401  SQLAlchemy's own
) -> Engine:
    """Return an engine, which connects at its first use. The CA file is read now.

    timeout: the seconds that the server may take for one statement
    init_command: what each connection executes first
    options: SQLAlchemy's own
    """
    from sqlalchemy import URL, create_engine  # noqa: PLC0415  slow, and --help needs none

    url = URL.create(
        "mysql+pymysql",
        username=settings.db_username,
        password=settings.db_password,
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_database,
        query={"charset": "utf8mb4"},
    )
    arguments: dict[str, object] = {
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": timeout,
        "write_timeout": timeout,
        "init_command": init_command,
    }
    if settings.db_tls_ca:
        # With a context PyMySQL sends no login to a server without TLS. Without one it falls back.
        arguments["ssl"] = client_context(settings.db_tls_ca)
    return create_engine(
        url,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT,
        pool_recycle=RECYCLE_AFTER,
        connect_args=arguments,
        **options,
    )
