"""The database: makes the table and stores events, each id once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    Column,
    Connection,
    DateTime,
    Engine,
    Index,
    MetaData,
    String,
    Table,
    create_engine,
    exc,
    select,
)
from sqlalchemy.dialects import mysql, sqlite

from .errors import Unavailable
from .settings import Settings

__all__ = ["Rejected", "Store", "database_engine", "deployments"]

Row = Mapping[str, Any]
Rejected = list[tuple[Row, str]]

metadata = MetaData()

deployments = Table(
    "deployments",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("component", String(128), nullable=False),
    Column("version", String(128), nullable=False),
    Column("environment", String(64), nullable=False),
    Column("responsible", String(256), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    # UTC; microseconds, since the newest-first order depends on them.
    Column("received_at", DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"), nullable=False),
    Column("details", JSON(none_as_null=True)),
    Index("ix_deployments_received_at", "received_at", "id"),
    Index("ix_deployments_component", "component", "environment", "received_at"),
    # Binary, so that a filter finds exactly what was recorded, whatever the server's default collation.
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
    mariadb_charset="utf8mb4",
    mariadb_collate="utf8mb4_bin",
)

CONNECT_TIMEOUT = 3
QUERY_TIMEOUT = 10
# Shorter than the idle timeouts of usual databases and of what stands between.
RECYCLE_AFTER = 600
# One for the consuming thread, one for /ready.
CONNECTIONS = 2
TABLE_EXISTS = 1050
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
        # Two workers that insert the same ids at the same time do not lock each other's gaps.
        isolation_level="READ COMMITTED",
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_AFTER,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": QUERY_TIMEOUT,
            "write_timeout": QUERY_TIMEOUT,
            # A server without strict mode would cut what is too long instead of refusing it.
            "init_command": "SET SESSION sql_mode = 'TRADITIONAL'",
        },
    )


class Store:
    """The table of deployments."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def prepare(self) -> None:
        """Make the table when it is not there; safe when several workers do so together."""
        with _translated():
            try:
                metadata.create_all(self._engine)
            except exc.OperationalError as error:
                if error.orig is None or error.orig.args[:1] != (TABLE_EXISTS,):
                    raise

    def add(self, rows: Sequence[Row]) -> Rejected:
        """Store rows in one transaction; ids that are there already change nothing.

        Return the rows the database refuses for what they hold, each with the reason. All others are stored.
        """
        if not rows:
            return []
        with _translated():
            try:
                with self._engine.begin() as connection:
                    connection.execute(_insert(connection), rows)
            except (exc.DataError, exc.IntegrityError):
                return self._add_one_by_one(rows)
        return []

    def _add_one_by_one(self, rows: Sequence[Row]) -> Rejected:
        rejected: Rejected = []
        with self._engine.begin() as connection:
            for row in rows:
                try:
                    # Refusing a statement leaves the transaction as it was.
                    connection.execute(_insert(connection), row)
                except (exc.DataError, exc.IntegrityError) as error:
                    rejected.append((row, str(error.orig)))
        return rejected

    def check(self) -> None:
        """Raise Unavailable unless the table can be read."""
        with _translated(), self._engine.connect() as connection:
            connection.execute(select(deployments.c.id).limit(1)).first()

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


def _insert(connection: Connection) -> mysql.Insert | sqlite.Insert:
    # Setting the id to itself is MySQL's way to do nothing for a known id; INSERT IGNORE would hide other errors too.
    if connection.dialect.name == "sqlite":
        return sqlite.insert(deployments).on_conflict_do_nothing(index_elements=["id"])
    return mysql.insert(deployments).on_duplicate_key_update(id=deployments.c.id)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what may pass by itself into Unavailable; anything else is a bug and stays what it is."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        raise Unavailable(f"the database does not answer: {_cause(error)}") from error


def _cause(error: exc.SQLAlchemyError) -> str:
    """Return the driver's own words; SQLAlchemy's add the statement and a link."""
    return str(error.orig) if isinstance(error, exc.DBAPIError) else str(error)
