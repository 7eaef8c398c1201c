"""The database: reads the table that async-worker keeps, and never writes it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    Column,
    DateTime,
    Engine,
    MetaData,
    RowMapping,
    String,
    Table,
    create_engine,
    exc,
    func,
    select,
)

from .errors import Unavailable
from .settings import Settings

__all__ = ["Store", "database_engine", "deployments"]

# As async-worker makes it; only what is read here. One table, two readers: a test compares them.
deployments = Table(
    "deployments",
    MetaData(),
    Column("id", String(36), primary_key=True),
    Column("component", String(128)),
    Column("version", String(128)),
    Column("environment", String(64)),
    Column("responsible", String(256)),
    Column("stage", String(16)),
    Column("status", String(16)),
    Column("received_at", DateTime),
    Column("details", JSON(none_as_null=True)),
)

CONNECT_TIMEOUT = 3
QUERY_TIMEOUT = 5
# Shorter than the idle timeouts of usual databases and of what stands between.
RECYCLE_AFTER = 600
# MySQL's and MariaDB's "no such table": async-worker has not made it yet.
NO_SUCH_TABLE = 1146


def database_engine(settings: Settings) -> Engine:
    """Return an engine for the configured database; it connects when first used."""
    url = URL.create(
        "mysql+pymysql",
        username=settings.db_username,
        password=settings.db_password,
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_database,
        query={"charset": "utf8mb4"},
    )
    return create_engine(
        url,
        # Single reads need no transaction, and without one each costs two round trips less.
        isolation_level="AUTOCOMMIT",
        pool_size=settings.http_threads,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_AFTER,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": QUERY_TIMEOUT,
            "write_timeout": QUERY_TIMEOUT,
        },
    )


class Store:
    """What the ledger holds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def recent(self, *, filters: Mapping[str, str], limit: int) -> list[dict[str, Any]]:
        """Return the newest deployments whose columns equal the filters."""
        query = (
            select(deployments)
            .where(*(deployments.c[name] == value for name, value in filters.items()))
            .order_by(deployments.c.received_at.desc(), deployments.c.id.desc())
            .limit(limit)
        )
        with _translated(), self._engine.connect() as connection:
            return [_event(row) for row in connection.execute(query).mappings()]

    def find(self, event_id: str) -> dict[str, Any] | None:
        """Return one deployment, or None when it is not stored (yet)."""
        query = select(deployments).where(deployments.c.id == event_id)
        with _translated(), self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _event(row)

    def check(self) -> None:
        """Raise Unavailable unless the table can be read."""
        with _translated(), self._engine.connect() as connection:
            connection.execute(select(func.count()).select_from(select(deployments.c.id).limit(1).subquery()))

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what may pass by itself into Unavailable; anything else is a bug and stays what it is."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        raise Unavailable(f"the database does not answer: {_cause(error)}") from error
    except exc.ProgrammingError as error:
        if error.orig is None or error.orig.args[:1] != (NO_SUCH_TABLE,):
            raise
        raise Unavailable(f"the table {deployments.name} does not exist yet; async-worker makes it") from error


def _cause(error: exc.SQLAlchemyError) -> str:
    """Return the driver's own words; SQLAlchemy's add the statement and a link."""
    return str(error.orig) if isinstance(error, exc.DBAPIError) else str(error)


def _event(row: RowMapping) -> dict[str, Any]:
    event = dict(row)
    event["received_at"] = event["received_at"].isoformat(timespec="microseconds") + "Z"
    if event["details"] is None:
        del event["details"]
    return event
