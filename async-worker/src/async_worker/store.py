"""The database: brings its schema up to date, stores events, each id once, and keeps what a webhook is to be told."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from ledger.tables import deployments, idempotency_keys, notifications
from pymysql.constants import CLIENT  # type: ignore[import-untyped]
from pymysql.converters import escape_string  # type: ignore[import-untyped]
from sqlalchemy import (
    URL,
    Table,
    create_engine,
    delete,
    event,
    exc,
    select,
    text,
    update,
)

from . import migrations
from .errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from .event import Deployment
    from .settings import Settings

__all__ = [
    "Notification",
    "Rejected",
    "Store",
    "Stored",
    "database_engine",
]

log = structlog.stdlib.get_logger(__name__)

CONNECT_TIMEOUT = 3
QUERY_TIMEOUT = 10
# An index on a large table takes its time.
MIGRATION_TIMEOUT = 3_600
# How long one attempt waits for another worker's migration; the next attempt follows at once.
MIGRATION_LOCK_WAIT = 5
# How long a change of a table waits for transactions that use it; MySQL's own default is a day.
TABLE_LOCK_WAIT = 60
# Shorter than the idle timeouts of usual databases and of what stands between.
RECYCLE_AFTER = 600
# One for the consuming thread, one for /ready, one for what happens in the background.
CONNECTIONS = 3
NO_SUCH_TABLE = 1146
# What drivers take for the server's trouble and is the row's: too large a packet, a CHECK that fails (MariaDB, MySQL), and
# JSON that the server does not take, nested too deeply for one.
ROWS_OWN = {1153, 4025, 3819, 3140, 3157}
# Well below the least max_allowed_packet that servers have by default (16 MiB).
STATEMENT_LIMIT = 1_000_000
PURGE_STEP = 1_000
# After this an ended deployment is no news any more.
NEWS_FOR = timedelta(hours=24)

INSERT = f"INSERT INTO deployments ({', '.join(deployments.c.keys())}) VALUES "  # noqa: S608  no value in it
INSERT_NEWS = (
    "INSERT INTO notifications (deployment_id, created_at, attempts, next_attempt_at) VALUES "
)
# Setting the id to itself is MySQL's way to do nothing for a known id; INSERT IGNORE would hide other errors too.
MYSQL_ONCE = {
    INSERT: " ON DUPLICATE KEY UPDATE id = id",
    INSERT_NEWS: " ON DUPLICATE KEY UPDATE attempts = attempts",
}
SQLITE_ONCE = {
    INSERT: " ON CONFLICT (id) DO NOTHING",
    INSERT_NEWS: " ON CONFLICT (deployment_id) DO NOTHING",
}

Rejected = list[tuple["Deployment", Exception]]


@dataclass(frozen=True)
class Stored:
    """What came of a batch: the rows that can never be stored, each with the database's error, and the known ones."""

    rejected: Rejected = field(default_factory=list)
    duplicates: int = 0
    news: int = 0


@dataclass(frozen=True)
class Notification:
    """A deployment that ended, and how often its webhook was tried before."""

    deployment_id: str
    component: str
    version: str
    environment: str
    responsible: str
    stage: str
    status: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime


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
    return _mysql_engine(url, QUERY_TIMEOUT)


def _mysql_engine(url: URL, timeout: int) -> Engine:
    engine = create_engine(
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
            "read_timeout": timeout,
            "write_timeout": timeout,
            # A server without strict mode would cut what is too long instead of refusing it. It also settles how text is
            # escaped: with a backslash.
            "init_command": f"SET SESSION sql_mode = 'TRADITIONAL', lock_wait_timeout = {TABLE_LOCK_WAIT}",
        },
    )

    @event.listens_for(engine, "do_connect")
    def count_changes(
        _dialect: object, _record: object, _arguments: object, options: dict[str, Any]
    ) -> None:
        # SQLAlchemy has rows counted that were found; what tells a new row from a known one is whether it changed.
        options["client_flag"] = options.get("client_flag", 0) & ~CLIENT.FOUND_ROWS

    return engine


class Store:
    """The tables of the ledger."""

    def __init__(self, engine: Engine, *, notify: bool = False) -> None:
        """Use the engine's database; with `notify`, note for the webhook each deployment that ends."""
        self._engine = engine
        self._notify = notify

    def prepare(self) -> None:
        """Bring the schema up to date; safe when several workers do so together, or one was killed while it did."""
        with _translated():
            with self._engine.connect() as connection:
                revision = _revision(connection)
            if revision == migrations.HEAD:
                return
            if revision is not None and revision > migrations.HEAD:
                # A newer worker was here and this one is what was rolled back to: steps only add, so it can go on.
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
        engine = _mysql_engine(self._engine.url, MIGRATION_TIMEOUT)
        try:
            with engine.connect() as connection:
                _lock(connection)
                # The lock goes with the connection, however that ends. A step has its own transaction.
                connection.commit()
                migrations.upgrade(connection)
        finally:
            engine.dispose()

    def add(self, rows: Sequence[Deployment]) -> Stored:
        """Store rows in one transaction; ids that are there already change nothing.

        Return the rows the database refuses for what they hold, each with the reason. All others are stored.
        """
        if not rows:
            return Stored()
        with _translated():
            try:
                return self._add(rows)
            except (exc.DataError, exc.IntegrityError, exc.OperationalError) as error:
                if not _is_the_rows_own(error):
                    raise
                return self._add_one_by_one(rows)

    def _add(self, rows: Sequence[Deployment]) -> Stored:
        news = _news(rows) if self._notify else []
        with self._engine.begin() as connection:
            new = _insert(connection, INSERT, rows)
            told = _insert(connection, INSERT_NEWS, news)
        return Stored(duplicates=len(rows) - new, news=told)

    def _add_one_by_one(self, rows: Sequence[Deployment]) -> Stored:
        rejected: Rejected = []
        duplicates = news = 0
        for row in rows:
            try:
                stored = self._add([row])
            except (exc.DataError, exc.IntegrityError, exc.OperationalError) as error:
                if not _is_the_rows_own(error):
                    raise
                rejected.append((row, _driver_error(error)))
            else:
                duplicates += stored.duplicates
                news += stored.news
        return Stored(rejected, duplicates, news)

    def check(self) -> None:
        """Raise Unavailable unless the table can be read."""
        with _translated(), self._engine.connect() as connection:
            connection.execute(select(deployments.c.id).limit(1)).first()

    def due(self, now: datetime, limit: int) -> list[Notification]:
        """Return what the webhook is to be told by now, the oldest first."""
        query = (
            select(
                notifications.c.deployment_id,
                *(
                    deployments.c[name]
                    for name in (
                        "component",
                        "version",
                        "environment",
                        "responsible",
                        "stage",
                        "status",
                    )
                ),
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
        with _translated(), self._engine.connect() as connection:
            return [Notification(**row) for row in connection.execute(query).mappings()]

    def claim(self, notification: Notification, until: datetime) -> bool:
        """Take a notification for this worker until then; False when another one has it."""
        # Compare and set: no lock is held while the webhook is waited for, and every MySQL can do it.
        statement = (
            update(notifications)
            .where(
                notifications.c.deployment_id == notification.deployment_id,
                notifications.c.next_attempt_at == notification.next_attempt_at,
            )
            .values(next_attempt_at=until, attempts=notifications.c.attempts + 1)
        )
        with _translated(), self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def settle(
        self,
        notification: Notification,
        *,
        sent_at: datetime | None,
        retry_at: datetime | None,
        error: str | None,
    ) -> None:
        """Note what came of an attempt."""
        statement = (
            update(notifications)
            .where(notifications.c.deployment_id == notification.deployment_id)
            .values(next_attempt_at=retry_at, sent_at=sent_at, last_error=error and error[:255])
        )
        with _translated(), self._engine.begin() as connection:
            connection.execute(statement)

    def purge(self, before: datetime) -> int:
        """Delete idempotency keys, and notifications with nothing left to do, from before then; return how many."""
        with _translated():
            return self._purge(
                idempotency_keys, idempotency_keys.c.received_at < before
            ) + self._purge(
                notifications,
                (notifications.c.created_at < before) & notifications.c.next_attempt_at.is_(None),
            )

    def _purge(self, table: Table, condition: Any) -> int:  # noqa: ANN401  SQLAlchemy's generic expression
        # In steps: one large transaction would keep others waiting.
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
        """Let go of all connections."""
        self._engine.dispose()


def ended(row: Deployment) -> bool:
    """Tell whether this event ends a deployment: it is out, or it failed, or it was taken back."""
    if row.stage == "deploy":
        return row.status != "started"
    return row.stage == "verify" and row.status in {"failed", "rolled-back"}


def _news(rows: Iterable[Deployment]) -> list[tuple[str, str, str, str]]:
    """Return the rows of notifications for deployments that ended lately."""
    now = datetime.now(UTC).replace(tzinfo=None)
    oldest, at = _sql(now - NEWS_FOR), _sql(now)
    # Fixed-width text compares like the time it spells. What is older comes from a group that reads all again.
    return [(row.id, at, "0", at) for row in rows if ended(row) and row.received_at >= oldest]


def _sql(instant: datetime) -> str:
    return instant.isoformat(sep=" ", timespec="microseconds")


def _insert(connection: Connection, insert: str, rows: Sequence[tuple[str | None, ...]]) -> int:
    """Insert rows unless they are there; return how many were not."""
    if not rows:
        return 0
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(rows[0]))
        return connection.exec_driver_sql(
            f"{insert}({places}){SQLITE_ONCE[insert]}", list(rows)
        ).rowcount
    # By hand: SQLAlchemy's and PyMySQL's own way to many rows takes four times as long, for every value.
    connection = connection.execution_options(no_parameters=True)
    return sum(
        connection.exec_driver_sql(f"{insert}{values}{MYSQL_ONCE[insert]}").rowcount
        for values in _chunks(_literal(row) for row in rows)
    )


def _literal(row: Iterable[str | None]) -> str:
    """Return a row as SQL, its values quoted by the driver."""
    values = ["NULL" if value is None else "'" + escape_string(value) + "'" for value in row]
    return f"({','.join(values)})"


def _chunks(literals: Iterable[str]) -> Iterator[str]:
    """Join rows to lists that fit into one statement."""
    chunk: list[str] = []
    size = 0
    for literal in literals:
        if chunk and size + len(literal) > STATEMENT_LIMIT:
            yield ",".join(chunk)
            chunk, size = [], 0
        chunk.append(literal)
        size += len(literal)
    if chunk:
        yield ",".join(chunk)


def _revision(connection: Connection) -> str | None:
    """Return the last migration that the database has, or None when it has none."""
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
    # Each database of a server has its own; a name has 64 characters at most.
    query = text("SELECT GET_LOCK(LEFT(CONCAT('migrations of ', DATABASE()), 64), :wait)")
    if connection.execute(query, {"wait": MIGRATION_LOCK_WAIT}).scalar() != 1:
        raise Unavailable(
            "another worker is changing the database's schema; this one waits until that is done"
        )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what may pass by itself into Unavailable; anything else is a bug and stays what it is."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        raise Unavailable(f"the database does not answer: {_cause(error)}") from error
    except exc.ProgrammingError as error:
        if not _is_no_such_table(error):
            raise
        # Not made yet, or a backup is being restored.
        raise Unavailable(f"the database is not ready: {_cause(error)}") from error


def _is_no_such_table(error: exc.ProgrammingError) -> bool:
    return error.orig is not None and error.orig.args[:1] == (NO_SUCH_TABLE,)


def _is_the_rows_own(error: exc.DBAPIError) -> bool:
    """Tell whether the database refuses what a row holds, whatever the driver calls that."""
    if isinstance(error, exc.DataError | exc.IntegrityError):
        return True
    return error.orig is not None and bool(error.orig.args) and error.orig.args[0] in ROWS_OWN


def _driver_error(error: exc.DBAPIError) -> Exception:
    """Return the driver's own error; SQLAlchemy's adds the statement and a link."""
    return error.orig if isinstance(error.orig, Exception) else error


def _cause(error: exc.SQLAlchemyError) -> str:
    """Return the driver's own words."""
    return str(_driver_error(error)) if isinstance(error, exc.DBAPIError) else str(error)
