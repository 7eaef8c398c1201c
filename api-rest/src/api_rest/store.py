"""The database: reads the table of async-worker, and writes what only api-rest knows."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ledger.database import CONNECT_TIMEOUT, open_engine
from ledger.tables import deployments, drift, freezes, idempotency_keys
from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    Row,
    ScalarSelect,
    Select,
    String,
    Subquery,
    and_,
    bindparam,
    case,
    event,
    exc,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, sqlite

from .drift import Drift
from .drift_reports import MAX_AGE, Drifted, Report
from .errors import Busy, Unavailable
from .event import rfc3339
from .freezes import Freeze
from .idempotency import Reservation
from .listing import FILTERS, Batch, Position
from .runs import SCANS, Run, Running, running, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    from .listing import Listing
    from .settings import Settings

__all__ = ["Store", "database_engine", "deployments", "idempotency_keys"]

ResultT = TypeVar("ResultT")
_Columns: TypeAlias = "ReadOnlyColumnCollection[str, Any]"
# Enough: more threads wait for Kafka, and the database has connections for several replicas.
CONNECTIONS = 8
QUERY_TIMEOUT = 5
# The server ends a statement earlier, so a slow statement differs from a dead server.
STATEMENT_TIMEOUT = 4
# For both servers: MariaDB reads /*M! */ and skips /*!50708 */, MySQL does the opposite. MySQL's
# limit is for SELECT alone, so locks have their own. Sent once for each connection.
_LIMIT_STATEMENTS = (
    f"SET innodb_lock_wait_timeout = {STATEMENT_TIMEOUT}, lock_wait_timeout = {STATEMENT_TIMEOUT}"
    f" /*M!100101 , max_statement_time = {STATEMENT_TIMEOUT} */"
    f" /*!50708 , max_execution_time = {STATEMENT_TIMEOUT * 1000} */"
)
# Error numbers of MySQL and MariaDB, before async-worker has created the tables.
NO_SUCH_TABLE = 1146
UNKNOWN_COLUMN = 1054
# The account may not use a table: nobody has granted it yet.
NO_RIGHT = 1142
# The server refused one of two statements that wait for each other; a retry may succeed.
DEADLOCK = 1213
# A statement's time limit in MariaDB and in MySQL, and the lock timeout of both.
TOOK_TOO_LONG = frozenset({1969, 3024, 1205})

# How far the events of a run may be from its deploy, which bounds what is read.
RUN_REACH = timedelta(days=1)
RUN_EVENTS = 100
# A run has about 25 events, so these are enough for the runs on the page.
RECENT_EVENTS = 1000
# How many of a place's newest events are read for its newest run, and for what it runs after a
# rollback.
PLACE_EVENTS = 1000
# In bytes. Larger details are read one at a time: together they could be megabytes.
LISTED_DETAILS = 4096
# How many places one statement reads, and how many are read at all.
PLACES_AT_ONCE = 32
PLACES_MAX = 2000


def database_engine(settings: Settings, connections: int = CONNECTIONS) -> Engine:
    """Return an engine of at most so many connections, which open when first used."""
    engine = open_engine(
        settings,
        timeout=QUERY_TIMEOUT,
        init_command=_LIMIT_STATEMENTS,
        # Single statements need no transaction, which would cost two more round trips.
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        pool_size=connections,
    )
    event.listen(engine, "checkin", _drop_result)
    return engine


def _drop_result(connection: Any, _: object) -> None:  # noqa: ANN401  SQLAlchemy's own signature
    """Drop a connection's last result, which PyMySQL would keep in memory."""
    if connection is not None:
        connection._result = None  # noqa: SLF001  PyMySQL has no public way


_NEWEST_FIRST = (deployments.c.received_at.desc(), deployments.c.id.desc())
_HIDDEN = {"at", "pipeline", "step"}
# `recent` replaces the details, which come last.
_EVENT = (
    *(column for column in deployments.c if column.name not in {*_HIDDEN, "details"}),
    deployments.c.details,
)
_FIND = select(*_EVENT).where(deployments.c.id == bindparam("event_id"))
# Reads a column of the last migration: without it, the app cannot serve.
_CHECK = select(func.count()).select_from(select(deployments.c.sequence).limit(1).subquery())
# The columns that `runs` needs.
_RUN_COLUMNS = tuple(
    column for column in deployments.c if column.name not in {"received_at", "details", "sequence"}
)
_RESERVED = select(
    idempotency_keys.c.fingerprint, idempotency_keys.c.event_id, idempotency_keys.c.received_at
).where(idempotency_keys.c.key_hash == bindparam("reserved"))
# In MySQL, setting the key to itself changes nothing; INSERT IGNORE would hide other errors too.
_RESERVE = {
    "sqlite": sqlite.insert(idempotency_keys).on_conflict_do_nothing(index_elements=["key_hash"]),
    "mysql": mysql.insert(idempotency_keys).on_duplicate_key_update(
        key_hash=idempotency_keys.c.key_hash
    ),
}


# Small details, or whether there are large ones.
_LISTED_DETAILS = func.length(deployments.c.details) <= LISTED_DETAILS
# What a scan has found; only the page shows it.
_SCANNED = (
    case(
        (and_(deployments.c.stage.in_(SCANS), _LISTED_DETAILS), deployments.c.details[name])
    ).label(name)
    for name in ("vulnerabilities", "unscanned")
)
_RECENT_EVENTS = select(*_RUN_COLUMNS, *_SCANNED).order_by(*_NEWEST_FIRST).limit(RECENT_EVENTS)
_LISTED = (
    *_EVENT[:-1],
    case((_LISTED_DETAILS, deployments.c.details)),
    ~_LISTED_DETAILS,
)
_DETAILS = select(deployments.c.details).where(deployments.c.id == bindparam("event_id"))


def _listed(listing: Listing) -> tuple[Select[Any], dict[str, Any]]:
    """Return the statement of a listing, which reads an event beyond the limit, and its values."""
    cursor, last = listing.cursor, listing.last
    values = {
        **listing.filters,
        "since": listing.since,
        "until": listing.until,
        "after": listing.after,
        "cursor": cursor and cursor.received_at,
        "cursor_id": cursor and cursor.id,
        "last": last and last.received_at,
        "last_id": last and last.id,
    }
    given = {name: value for name, value in values.items() if value is not None}
    return _listing(tuple(given)), {**given, "at_most": listing.limit + 1}


# Building a statement for each request would cost about as much as reading a page.
@lru_cache(maxsize=512)
def _listing(names: tuple[str, ...]) -> Select[Any]:
    """Return the statement of a listing with these values."""
    column = deployments.c
    value: dict[str, Any] = {name: bindparam(name) for name in names}
    conditions = [column[name] == value[name] for name in names if name in FILTERS]
    if "since" in value:
        conditions.append(column.received_at >= value["since"])
    if "until" in value:
        conditions.append(column.received_at < value["until"])
    if "after" in value:
        conditions.append(column.sequence > value["after"])
    if "cursor" in value:
        # Not `(received_at, id) < (…)`: MySQL would read the index from its end.
        conditions.append(column.received_at <= value["cursor"])
        conditions.append(or_(column.received_at < value["cursor"], column.id < value["cursor_id"]))
    if "last" in value:
        conditions.append(column.received_at >= value["last"])
        conditions.append(or_(column.received_at > value["last"], column.id >= value["last_id"]))
    order = (column.sequence,) if "after" in value else _NEWEST_FIRST
    return select(*_LISTED).where(*conditions).order_by(*order).limit(bindparam("at_most"))


def _newest(place: _Columns, *, certain: bool) -> ScalarSelect[str]:
    """Return the statement that finds the id of a place's newest successful deploy.

    It finds none if the place was removed at that time or later.
    With `certain`, it skips versions that were rolled back then or later: the place runs the deploy
    that it finds, or a later one. Only `running` knows which run a rollback undoes.
    """
    deploy = deployments.alias("deploy")
    column = deploy.c
    # One statement for each stage instead of one with IN: each reads few rows of the index.
    undone = [_followed(column, stage, "rolled-back") for stage in ("deploy", "verify")]
    return (
        select(column.id)
        .where(
            column.stage == "deploy",
            column.status == "succeeded",
            column.environment == place.environment,
            column.component == place.component,
            ~_followed(column, "deploy", "removed").exists(),
            *(~statement.exists() for statement in undone if certain),
        )
        .order_by(column.at.desc(), column.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _followed(deploy: _Columns, stage: str, status: str) -> Select[str]:
    """Return the statement that finds an event of a deploy's place, then or later.

    A rollback is of a version, a removal of whatever runs there.
    """
    column = deployments.alias().c
    return select(column.id).where(
        column.stage == stage,
        column.status == status,
        column.environment == deploy.environment,
        column.component == deploy.component,
        column.at >= deploy.at,
        *([column.version == deploy.version] if status == "rolled-back" else ()),
    )


def _deploys(places: Subquery) -> Select[Any]:
    """Return the statement that finds the newest certain deploy, and the newest one's id."""
    place = places.c
    newest = select(
        place.environment,
        place.component,
        _newest(place, certain=False).label("newest"),
        _newest(place, certain=True).label("certain"),
    ).subquery("newest")
    deploy = deployments.alias("found")
    return select(
        newest.c.environment,
        newest.c.component,
        newest.c.newest,
        *(deploy.c[name] for name in ("id", "version", "at", "responsible", "actor")),
    ).outerjoin_from(newest, deploy, deploy.c.id == newest.c.certain)


_PLACE = {name: bindparam(name, type_=String) for name in ("environment", "component")}
_PLACE_COLUMNS = [deployments.c[name] for name in _PLACE]
# Without a condition, the database skips through an index instead of reading all deploys.
_PLACES = select(*_PLACE_COLUMNS).group_by(*_PLACE_COLUMNS).order_by(*_PLACE_COLUMNS)
_DEPLOYS = _deploys(_PLACES.limit(PLACES_MAX).subquery())
_DEPLOYS_OF_PLACE = _deploys(
    select(*(value.label(name) for name, value in _PLACE.items())).subquery()
)
_EVENTS_OF_PLACE = (
    select(*_RUN_COLUMNS)
    .where(*(deployments.c[name] == value for name, value in _PLACE.items()))
    .order_by(deployments.c.at.desc(), deployments.c.id.desc())
    .limit(PLACE_EVENTS)
)


_FREEZE = tuple(freezes.c[name] for name in Freeze.__dataclass_fields__)
_IN_FORCE = (freezes.c.ended_at.is_(None), freezes.c.until > bindparam("now"))
_FREEZES = select(*_FREEZE).where(*_IN_FORCE).order_by(freezes.c.until.desc(), freezes.c.id)
_END_FREEZE = (
    update(freezes)
    .where(freezes.c.id == bindparam("freeze_id"), *_IN_FORCE)
    .values(ended_at=bindparam("now"))
)


_DRIFT = select(drift).where(drift.c.checked_at > bindparam("since")).order_by(drift.c.environment)
_OF_REPORT: dict[str, Any] = {column.name: bindparam(column.name) for column in drift.c}
_NEW = {name: value for name, value in _OF_REPORT.items() if name != "environment"}
_REPORT = {
    "sqlite": sqlite.insert(drift)
    .values(_OF_REPORT)
    .on_conflict_do_update(index_elements=["environment"], set_=_NEW),
    "mysql": mysql.insert(drift).values(_OF_REPORT).on_duplicate_key_update(_NEW),
}


def _events_around(deploys: Sequence[Row[Any]]) -> Select[Any]:
    """Return the statement that reads the events of deploys' versions, around their times."""
    column = deployments.c
    places = [
        and_(
            column.environment == deploy.environment,
            column.component == deploy.component,
            column.at.between(deploy.at - RUN_REACH, deploy.at + RUN_REACH),
            column.version == deploy.version,
        )
        for deploy in deploys
    ]
    place = func.row_number().over(
        partition_by=(column.component, column.environment, column.version),
        order_by=(column.at.desc(), column.id.desc()),
    )
    events = select(*_RUN_COLUMNS, place.label("place")).where(or_(*places)).subquery()
    return select(events).where(events.c.place <= RUN_EVENTS)


class Store:
    """The stored events and idempotency keys.

    recording: an engine for the keys, so that they do not wait for readers
    drifted: what each check reads, for the metrics
    """

    def __init__(
        self, engine: Engine, recording: Engine | None = None, drifted: Drifted | None = None
    ) -> None:
        self._engine = engine
        self._recording = recording or engine
        self._drifted = drifted or Drifted()
        self._dialect = "sqlite" if engine.dialect.name == "sqlite" else "mysql"

    def recent(
        self,
        listing: Listing,
        encode: Callable[[dict[str, Any]], bytes],
        max_bytes: int,
    ) -> Batch:
        """Return encoded events of a listing: at least one, and at most `max_bytes` otherwise."""
        statement, values = _listed(listing)

        def read(connection: Connection) -> Batch:
            lines: list[bytes] = []
            last, left = None, max_bytes
            with connection.execute(statement, values) as rows:
                # One at a time: a decoded event may be 30 times as large.
                for *columns, has_large_details in rows:
                    if len(lines) == listing.limit:
                        return Batch(lines, last, more=True)
                    position = Position(columns[_RECEIVED_AT], columns[_ID])
                    if has_large_details:
                        details = connection.execute(_DETAILS, {"event_id": position.id})
                        columns[-1] = details.scalar_one_or_none()
                    line = encode(_event(columns))
                    if lines and len(line) > left:
                        return Batch(lines, last, more=True)
                    lines.append(line)
                    last, left = position, left - len(line)
            return Batch(lines, last, more=False)

        return self._use(read, self._engine)

    def end(self, listing: Listing) -> Position | None:
        """Return where a listing ends, or None if nothing follows."""
        columns = (deployments.c.received_at, deployments.c.id)
        statement, values = _listed(listing)
        ending = statement.with_only_columns(*columns).limit(2).offset(listing.limit - 1)
        rows = self._read(ending, values)
        return Position(rows[0].received_at, rows[0].id) if len(rows) > 1 else None

    def find(self, event_id: str) -> dict[str, Any] | None:
        """Return one event, or None if it is not stored (yet)."""
        rows = self._read(_FIND, {"event_id": event_id})
        return _event(rows[0]) if rows else None

    def running(self) -> list[Running]:
        """Return the running version of each place with its run, sorted by place."""
        return self._running(self._read(_DEPLOYS))

    def status(self, environment: str, component: str) -> tuple[Running | None, Run | None]:
        """Return what an environment runs of a component, and the newest run for it."""
        place = {"environment": environment, "component": component}
        current = self._running(self._read(_DEPLOYS_OF_PLACE, place))
        newest = runs(self._events_of_place(environment, component))
        return current[0] if current else None, newest[0] if newest else None

    def recent_runs(self, limit: int) -> list[Run]:
        """Return the newest runs of the newest events."""
        return runs(_mappings(self._read(_RECENT_EVENTS)))[:limit]

    def reserve(self, key_hash: str, reservation: Reservation) -> Reservation:
        """Return the key's reservation, after storing this one if the key has none."""
        row = {"key_hash": key_hash, **asdict(reservation)}

        def reserve(connection: Connection) -> Reservation:
            connection.execute(_RESERVE[self._dialect], row)
            stored = connection.execute(_RESERVED, {"reserved": key_hash}).one()
            connection.commit()
            return Reservation(*stored)

        return self._use(reserve, self._recording)

    def freezes(self, now: datetime) -> list[Freeze] | None:
        """Return the freezes in force, the longest first; None without the table or the right."""
        rows = self._use(lambda connection: _optional(connection, _FREEZES, now=now), self._engine)
        return None if rows is None else [Freeze(*tuple(row)) for row in rows]

    def drift(self, now: datetime) -> list[Report] | None:
        """Return the newest report of each environment; None without the table or the right."""
        return self._use(lambda connection: _reports(connection, now), self._engine)

    def report_drift(self, report: Report) -> None:
        """Store a report instead of the environment's last one."""
        self._write(_REPORT[self._dialect], {**vars(report), "found": report.rows()})

    def add_freeze(self, freeze: Freeze) -> None:
        """Store a freeze."""
        self._write(insert(freezes), asdict(freeze))

    def end_freeze(self, freeze_id: str, now: datetime) -> None:
        """End a freeze that is in force."""
        self._write(_END_FREEZE, {"freeze_id": freeze_id, "now": now})

    def check(self) -> None:
        """Raise Unavailable if the table cannot be read, or Busy if there is no time to check."""

        def check(connection: Connection) -> list[Report] | None:
            connection.execute(_CHECK).all()
            return _reports(connection, datetime.now(UTC).replace(tzinfo=None))

        reports = self._use(check, self._recording) or ()
        self._drifted.by_environment = {each.environment: len(each.found) for each in reports}

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        self._recording.dispose()

    def _running(self, deploys: Sequence[Row[Any]]) -> list[Running]:
        """Return what the places of these deploys run, sorted by place."""
        result: list[Running] = []
        certain: list[Row[Any]] = []
        for row in deploys:
            # If they differ, the version of the newest deploy was rolled back later.
            of_place = (
                running(self._events_of_place(row.environment, row.component))
                if row.newest != row.id
                else []
            )
            if of_place:
                result += of_place
            elif row.id:
                certain.append(row)
        around = running(
            event
            for start in range(0, len(certain), PLACES_AT_ONCE)
            for event in _mappings(
                self._read(_events_around(certain[start : start + PLACES_AT_ONCE]))
            )
        )
        run_of = {(place.environment, place.component): place.run for place in around}
        result += [
            Running(
                *(row.environment, row.component, row.version, row.at, row.responsible),
                run_of.get((row.environment, row.component)),
                row.actor,
            )
            for row in certain
        ]
        return sorted(result, key=lambda place: (place.environment, place.component))

    def _events_of_place(self, environment: str, component: str) -> list[dict[str, Any]]:
        place = {"environment": environment, "component": component}
        return _mappings(self._read(_EVENTS_OF_PLACE, place))

    def _read(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> Sequence[Row[Any]]:
        return self._use(
            lambda connection: connection.execute(statement, values).all(), self._engine
        )

    def _write(self, statement: Executable, values: Mapping[str, Any]) -> None:
        def write(connection: Connection) -> None:
            connection.execute(statement, values)
            connection.commit()

        self._use(write, self._recording)

    def _use(self, action: Callable[[Connection], ResultT], engine: Engine) -> ResultT:
        """Return the result of an action on a connection; it may run again once, on a new one."""
        with _translated():
            try:
                with engine.connect() as connection:
                    return action(connection)
            except exc.DBAPIError as error:
                if not _is_retryable(error):
                    raise
            with engine.connect() as connection:
                return action(connection)


def _optional(
    connection: Connection, statement: Executable, **values: object
) -> Sequence[Row[Any]] | None:
    """Return rows of a table that may be missing, or not granted yet; then None."""
    try:
        return connection.execute(statement, values).all()
    except exc.DBAPIError as error:
        if _number(error) not in {NO_SUCH_TABLE, NO_RIGHT}:
            raise
        return None


def _reports(connection: Connection, now: datetime) -> list[Report] | None:
    rows = _optional(connection, _DRIFT, since=now - MAX_AGE)
    if rows is None:
        return None
    return [
        Report(row.environment, row.checked_at, tuple(Drift(**each) for each in row.found))
        for row in rows
    ]


def _is_retryable(error: exc.DBAPIError) -> bool:
    """Return whether a retry may succeed at once; not after a timeout, which would repeat."""
    if error.orig is None:
        return False
    if error.connection_invalidated:
        return not isinstance(error.orig.__context__, TimeoutError)
    return _number(error) == DEADLOCK


def _mappings(rows: Iterable[Row[Any]]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in rows]  # noqa: SLF001  SQLAlchemy's public name for it


@contextmanager
def _translated() -> Iterator[None]:
    """Turn temporary errors into Busy or Unavailable; any other error is a bug."""
    try:
        yield
    except exc.TimeoutError as error:
        raise Busy(
            "busy", f"no connection to the database was free within {CONNECT_TIMEOUT} s"
        ) from error
    except (
        exc.OperationalError,
        exc.InterfaceError,
        exc.InternalError,
        exc.ProgrammingError,
    ) as error:
        number = _number(error)
        if number in (NO_SUCH_TABLE, UNKNOWN_COLUMN):
            missing = "a table or a column of the ledger does not exist yet; async-worker makes it"
            raise Unavailable(missing, plain=missing) from error
        if isinstance(error, exc.ProgrammingError):
            raise
        if number in TOOK_TOO_LONG:
            plain = f"the database did not finish a query within {STATEMENT_TIMEOUT} s"
            reason = f"the database ended a statement: {error.orig}"
            raise Busy("took-too-long", reason, plain=plain) from error
        if number == DEADLOCK:
            raise Busy(
                "busy", f"the database gave way to another statement twice: {error.orig}"
            ) from error
        raise Unavailable(f"the database does not answer: {error.orig}") from error


def _number(error: exc.DBAPIError) -> object:
    """Return the error number of MySQL or MariaDB, or None."""
    return error.orig.args[0] if error.orig is not None and error.orig.args else None


_COLUMNS = tuple(column.name for column in _EVENT)
_ID, _RECEIVED_AT = _COLUMNS.index("id"), _COLUMNS.index("received_at")


def _event(row: Sequence[Any]) -> dict[str, Any]:
    result = dict(zip(_COLUMNS, row, strict=True))
    result["received_at"] = rfc3339(result["received_at"])
    if result["details"] is None:
        del result["details"]
    return result
