"""The database: its schema, the stored events, and the notifications for the webhook."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog
from ledger.database import open_engine
from ledger.tables import deployments, idempotency_keys, notifications
from pymysql.constants import CLIENT  # type: ignore[import-untyped]
from sqlalchemy import (
    Table,
    delete,
    event,
    exc,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, sqlite

from . import migrations, sequence
from .errors import Unavailable
from .event import Deployment
from .retention import purgeable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Dialect, Engine, Insert

    from .settings import Settings

__all__ = [
    "Notification",
    "Store",
    "Stored",
    "database_engine",
]

log = structlog.stdlib.get_logger(__name__)

QUERY_TIMEOUT = 10
# To create an index on a large table takes long.
MIGRATION_TIMEOUT = 3_600
# One attempt to wait for another worker's migration; the next follows immediately.
MIGRATION_LOCK_WAIT = 5
# How long a migration waits for transactions that use the table; MySQL's default is a day.
TABLE_LOCK_WAIT = 60
# How long a transaction may wait for its worker; between two statements are milliseconds. Less than
# QUERY_TIMEOUT: those who wait for it should not give up first.
IDLE_TIMEOUT = 5
# For the consuming thread, /ready and the notifier.
CONNECTIONS = 3
NO_SUCH_TABLE = 1146
# Errors of a single row that the driver reports as errors of the server: a packet that is too
# large, a failed CHECK (MariaDB, MySQL), and JSON that is invalid or nested too deeply.
ROW_ERRORS = {1153, 4025, 3819, 3140, 3157}
PURGE_STEP = 1_000
# Finding an event that is needed no longer takes up to a few milliseconds.
PURGE_EVENTS_STEP = 200
# The webhook is not notified of deployments that ended earlier than this.
NOTIFY_WITHIN = timedelta(hours=24)

COLUMNS = (*Deployment._fields, "sequence")
NOTIFICATION_COLUMNS = ("deployment_id", "created_at", "attempts", "next_attempt_at")


@dataclass(frozen=True)
class Stored:
    """The result of storing a batch."""

    # The rows that can never be stored, each with the database's error.
    rejected: list[tuple[Deployment, Exception]] = field(default_factory=list)
    # How many rows have an id that is stored already.
    duplicates: int = 0
    # How many notifications are new.
    notifications: int = 0


@dataclass(frozen=True)
class Notification:
    """A deployment that ended, for the webhook."""

    deployment_id: str
    component: str
    version: str
    environment: str
    responsible: str
    stage: str
    status: str
    # How often it was sent without success.
    attempts: int
    created_at: datetime
    next_attempt_at: datetime


def database_engine(settings: Settings, timeout: int = QUERY_TIMEOUT) -> Engine:
    """Return an engine for the configured database; it connects at its first use."""
    engine = open_engine(
        settings,
        timeout=timeout,
        # Without strict mode a server truncates long values instead of rejecting the row. MariaDB
        # ends the transaction of a worker that stands still, since others wait for it.
        init_command="SET SESSION sql_mode = 'TRADITIONAL', "
        f"lock_wait_timeout = {TABLE_LOCK_WAIT}"
        f" /*M!100302 , idle_transaction_timeout = {IDLE_TIMEOUT} */",
        paramstyle="format",  # for `_insert`, whose rows are tuples
        # Two workers that insert the same ids must not block each other by gap locks.
        isolation_level="READ COMMITTED",
        pool_size=CONNECTIONS,
        pool_pre_ping=True,
    )

    @event.listens_for(engine, "do_connect")
    def count_changed_rows(
        _dialect: object, _record: object, _arguments: object, options: dict[str, Any]
    ) -> None:
        # SQLAlchemy makes the server count matched rows. Only the count of changed rows
        # distinguishes new rows from known ones.
        options["client_flag"] = options.get("client_flag", 0) & ~CLIENT.FOUND_ROWS

    return engine


class Store:
    """The tables of the ledger."""

    def __init__(
        self, engine: Engine, *, migrating: Engine | None = None, notify: bool = False
    ) -> None:
        """Use the engine's database; with `notify`, add a notification when a deployment ends.

        migrating: an engine that waits long enough for a migration
        """
        self._engine = engine
        self._migrating = migrating or engine
        self._notify = notify

    def prepare(self) -> None:
        """Migrate the schema. Several workers may do so at once, and may be killed meanwhile."""
        with _database_errors():
            with self._engine.connect() as connection:
                revision = _revision(connection)
            if revision == migrations.HEAD:
                return
            if revision is not None and revision > migrations.HEAD:
                # A rollback: a newer worker has migrated. Steps only add, so this one can go on.
                log.warning(
                    "the database is newer than this worker",
                    database=revision,
                    worker=migrations.HEAD,
                )
                return
            self._migrate()

    def _migrate(self) -> None:
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                migrations.upgrade(connection)
            return
        try:
            with self._migrating.connect() as connection:
                _lock(connection)
                # The lock ends with the connection. Each step has its own transaction.
                connection.commit()
                migrations.upgrade(connection)
        finally:
            self._migrating.dispose()

    def add(self, rows: Sequence[Deployment]) -> Stored:
        """Store rows in one transaction, except rejected rows and those whose ids are known.

        A row is rejected when the database cannot hold its values.
        """
        if not rows:
            return Stored()
        with _database_errors():
            try:
                return self._add(rows)
            except (exc.DataError, exc.IntegrityError, exc.OperationalError) as error:
                if not _is_row_error(error):
                    raise
                return self._add_one_by_one(rows)

    def _add(self, rows: Sequence[Deployment]) -> Stored:
        ended = _notification_rows(rows) if self._notify else []
        with self._engine.begin() as connection:
            first = sequence.reserve(connection, len(rows)) + 1
            numbered = [(*row, number) for number, row in enumerate(rows, first)]
            new = _insert(connection, deployments, COLUMNS, numbered)
            notified = _insert(connection, notifications, NOTIFICATION_COLUMNS, ended)
        return Stored(duplicates=len(rows) - new, notifications=notified)

    def _add_one_by_one(self, rows: Sequence[Deployment]) -> Stored:
        rejected: list[tuple[Deployment, Exception]] = []
        duplicates = notified = 0
        for row in rows:
            try:
                stored = self._add([row])
            except (exc.DataError, exc.IntegrityError, exc.OperationalError) as error:
                if not _is_row_error(error):
                    raise
                rejected.append((row, _driver_error(error)))
            else:
                duplicates += stored.duplicates
                notified += stored.notifications
        return Stored(rejected, duplicates, notified)

    def number(self) -> None:
        """Number the rows that a worker of an earlier version has stored."""
        more = True
        while more:
            with _database_errors(), self._engine.begin() as connection:
                more = sequence.number_rows(connection)

    def check(self) -> None:
        """Raise Unavailable unless the table can be read."""
        with _database_errors(), self._engine.connect() as connection:
            connection.execute(select(deployments.c.id).limit(1)).first()

    def due(self, now: datetime, limit: int) -> list[Notification]:
        """Return the notifications to send, the oldest first."""
        names = ("component", "version", "environment", "responsible", "stage", "status")
        query = (
            select(
                notifications.c.deployment_id,
                *(deployments.c[name] for name in names),
                notifications.c.attempts,
                notifications.c.created_at,
                notifications.c.next_attempt_at,
            )
            .join_from(
                notifications, deployments, notifications.c.deployment_id == deployments.c.id
            )
            .where(notifications.c.next_attempt_at <= now)
            .order_by(notifications.c.next_attempt_at)
            .limit(limit)
        )
        with _database_errors(), self._engine.connect() as connection:
            return [Notification(**row) for row in connection.execute(query).mappings()]

    def claim(self, notification: Notification, until: datetime) -> bool:
        """Reserve a notification for this worker; return False when another worker has it."""
        # Compare and set: nothing is locked while the webhook is called.
        statement = (
            update(notifications)
            .where(
                notifications.c.deployment_id == notification.deployment_id,
                notifications.c.next_attempt_at == notification.next_attempt_at,
            )
            .values(next_attempt_at=until, attempts=notifications.c.attempts + 1)
        )
        with _database_errors(), self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def record_attempt(
        self,
        notification: Notification,
        *,
        sent_at: datetime | None,
        retry_at: datetime | None,
        error: str | None,
    ) -> None:
        """Record the result of an attempt; without `retry_at` it is the last one."""
        statement = (
            update(notifications)
            .where(notifications.c.deployment_id == notification.deployment_id)
            .values(next_attempt_at=retry_at, sent_at=sent_at, last_error=error and error[:255])
        )
        with _database_errors(), self._engine.begin() as connection:
            connection.execute(statement)

    def purge(self, before: datetime) -> int:
        """Delete idempotency keys and finished notifications from before; return how many."""
        with _database_errors():
            return self._purge(
                idempotency_keys, idempotency_keys.c.received_at < before
            ) + self._purge(
                notifications,
                (notifications.c.created_at < before) & notifications.c.next_attempt_at.is_(None),
            )

    def purge_events(self, before: datetime) -> int:
        """Delete some events from before that are needed no longer; return how many.

        Their notifications go too. Call it again until it returns 0.
        """
        with _database_errors(), self._engine.begin() as connection:
            ids = connection.execute(purgeable(before, PURGE_EVENTS_STEP)).scalars().all()
            if ids:
                connection.execute(
                    delete(notifications).where(notifications.c.deployment_id.in_(ids))
                )
                connection.execute(delete(deployments).where(deployments.c.id.in_(ids)))
            return len(ids)

    def _purge(self, table: Table, condition: Any) -> int:  # noqa: ANN401  SQLAlchemy's own type
        # In steps: one large transaction would block other workers.
        (key,) = table.primary_key.columns
        purged = 0
        while True:
            with self._engine.begin() as connection:
                keys = (
                    connection.execute(select(key).where(condition).limit(PURGE_STEP))
                    .scalars()
                    .all()
                )
                if keys:
                    connection.execute(delete(table).where(key.in_(keys)))
            purged += len(keys)
            if len(keys) < PURGE_STEP:
                return purged

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def ends_deployment(row: Deployment) -> bool:
    """Return whether a deployment ends with this event: with success, failure or rollback."""
    if row.stage == "deploy":
        return row.status != "started"
    return row.stage == "verify" and row.status in {"failed", "rolled-back"}


def _notification_rows(rows: Iterable[Deployment]) -> list[tuple[str, str, str, str]]:
    """Return the rows of notifications for deployments that ended lately."""
    now = datetime.now(UTC).replace(tzinfo=None)
    oldest, at = _to_sql(now - NOTIFY_WITHIN), _to_sql(now)
    # Text of a fixed width sorts like the times. Older events come when a group reads all again.
    return [
        (row.id, at, "0", at) for row in rows if ends_deployment(row) and row.received_at >= oldest
    ]


def _to_sql(time: datetime) -> str:
    return time.isoformat(sep=" ", timespec="microseconds")


def _insert(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> int:
    """Insert the rows whose ids are not stored yet; return how many."""
    if not rows:
        return 0
    # As text: to process the values of each row, SQLAlchemy takes longer than the driver.
    statement = _insert_text(connection.dialect, table, columns)
    return connection.exec_driver_sql(statement, list(rows)).rowcount


# Compiling takes a millisecond, as long as storing some dozen rows.
@lru_cache(maxsize=8)
def _insert_text(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> str:
    (key,) = table.primary_key.columns
    insert: Insert
    if dialect.name == "sqlite":
        insert = sqlite.insert(table).on_conflict_do_nothing(index_elements=[key])
    else:
        # It changes nothing for a known id. INSERT IGNORE would hide errors.
        insert = mysql.insert(table).on_duplicate_key_update({key.name: key})
    return str(insert.compile(dialect=dialect, column_keys=list(columns)))


def _revision(connection: Connection) -> str | None:
    """Return the last migration of the database, or None."""
    try:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except exc.ProgrammingError as error:  # MySQL
        if not _is_no_such_table(error):
            raise
    except exc.OperationalError as error:  # SQLite
        if "no such table" not in str(error.orig):
            raise
    return None


def _lock(connection: Connection) -> None:
    # One lock for each database of a server. A name has at most 64 characters.
    query = text("SELECT GET_LOCK(LEFT(CONCAT('migrations of ', DATABASE()), 64), :wait)")
    if connection.execute(query, {"wait": MIGRATION_LOCK_WAIT}).scalar() != 1:
        raise Unavailable(
            "another worker is changing the database's schema; this one waits until that is done"
        )


@contextmanager
def _database_errors() -> Iterator[None]:
    """Raise Unavailable for errors after which a retry may succeed; any other error is a bug."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        raise Unavailable(f"the database does not answer: {_driver_message(error)}") from error
    except exc.ProgrammingError as error:
        if not _is_no_such_table(error):
            raise
        # No worker has migrated yet, or somebody restores a backup.
        raise Unavailable(f"the database is not ready: {_driver_message(error)}") from error


def _is_no_such_table(error: exc.ProgrammingError) -> bool:
    return error.orig is not None and error.orig.args[:1] == (NO_SUCH_TABLE,)


def _is_row_error(error: exc.DBAPIError) -> bool:
    """Return whether the database rejects the values of a row."""
    if isinstance(error, exc.DataError | exc.IntegrityError):
        return True
    return error.orig is not None and bool(error.orig.args) and error.orig.args[0] in ROW_ERRORS


def _driver_error(error: exc.DBAPIError) -> Exception:
    """Return the driver's error; SQLAlchemy's has the statement and a link in its message."""
    return error.orig if isinstance(error.orig, Exception) else error


def _driver_message(error: exc.SQLAlchemyError) -> str:
    return str(_driver_error(error)) if isinstance(error, exc.DBAPIError) else str(error)
