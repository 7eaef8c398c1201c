"""The database: reads the table that async-worker keeps; writes nothing but what idempotency keys stand for."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pymysql  # type: ignore[import-untyped]
from ledger.tables import deployments, idempotency_keys
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Row,
    ScalarSelect,
    Select,
    String,
    and_,
    bindparam,
    case,
    create_engine,
    event,
    exc,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import mysql, sqlite

from .errors import Busy, Unavailable
from .event import rfc3339
from .idempotency import Reservation
from .listing import Batch, Position
from .runs import Run, Running, running, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    from .listing import Listing
    from .settings import Settings

__all__ = ["Store", "database_engine", "deployments", "idempotency_keys"]

ResultT = TypeVar("ResultT")
_Columns: TypeAlias = "ReadOnlyColumnCollection[str, Any]"
CONNECT_TIMEOUT = 3
# More threads than these wait for Kafka, not for the database, which has connections for several replicas.
CONNECTIONS = 8
QUERY_TIMEOUT = 5
# The server ends a statement before that, so that one slow statement is told from a dead server.
STATEMENT_TIMEOUT = 4
# For both servers: MariaDB reads /*M! */ and skips /*!50708 */, MySQL does the opposite. MySQL's limit
# is for SELECT alone, so waiting for a lock has its own. Sent once, when a connection is made.
_LIMIT_STATEMENTS = (
    f"SET innodb_lock_wait_timeout = {STATEMENT_TIMEOUT}, lock_wait_timeout = {STATEMENT_TIMEOUT}"
    f" /*M!100101 , max_statement_time = {STATEMENT_TIMEOUT} */"
    f" /*!50708 , max_execution_time = {STATEMENT_TIMEOUT * 1000} */"
)
# Shorter than the idle timeouts of usual databases and of what stands between.
RECYCLE_AFTER = 600
# A connection that rested for longer is asked whether it still lives; asking each time would double every read's round trips.
PING_AFTER = 5.0
# MySQL's and MariaDB's "no such table" and "unknown column": async-worker has not made it yet.
NO_SUCH_TABLE = 1146
UNKNOWN_COLUMN = 1054
# They give way to another statement by refusing one, which may simply be sent again.
DEADLOCK = 1213
# MariaDB's and MySQL's "over its time", and both one's "waited too long for a lock".
TOOK_TOO_LONG = frozenset({1969, 3024, 1205})

# How far a run reaches to either side of its deploy: it bounds what is read of a place's past.
RUN_REACH = timedelta(days=1)
RUN_EVENTS = 100
# A run has some 25 events where a pipeline reports every stage and step: enough for the runs that the page shows.
RECENT_EVENTS = 1000
# Among how many of a place's newest events the newest run is looked for, and what runs where the
# version that was deployed last was taken back.
PLACE_EVENTS = 1000
# Larger details are read one at a time: those of a whole page could be megabytes.
LISTED_DETAILS = 4096
# As many places as are asked for in one statement, and as are known at all.
PLACES_AT_ONCE = 32
PLACES_MAX = 2000


def database_engine(settings: Settings, connections: int = CONNECTIONS) -> Engine:
    """Return an engine for the configured database, of so many connections, made when first used."""
    url = URL.create(
        "mysql+pymysql",
        username=settings.db_username,
        password=settings.db_password,
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_database,
        query={"charset": "utf8mb4"},
    )
    engine = create_engine(
        url,
        # Single statements need no transaction; without one and its ROLLBACK each costs two round trips less.
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT,
        pool_recycle=RECYCLE_AFTER,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": QUERY_TIMEOUT,
            "write_timeout": QUERY_TIMEOUT,
            "init_command": _LIMIT_STATEMENTS,
        },
    )
    event.listen(engine, "checkin", _note_rest)
    event.listen(engine, "checkin", _forget_result)
    event.listen(engine, "checkout", _ping_if_rested)
    return engine


def _note_rest(_: object, record: Any) -> None:  # noqa: ANN401  SQLAlchemy's own signature
    record.info["rests_since"] = time.monotonic()


def _forget_result(connection: Any, _: object) -> None:  # noqa: ANN401
    """Drop the rows of a connection that rests: PyMySQL keeps its last result."""
    if connection is not None:
        connection._result = None  # noqa: SLF001  there is no public way


def _ping_if_rested(connection: Any, record: Any, _: object) -> None:  # noqa: ANN401
    """Have the pool replace a connection that died while it rested."""
    if time.monotonic() - record.info.get("rests_since", float("inf")) < PING_AFTER:
        return
    try:
        connection.ping(reconnect=False)
    except (pymysql.Error, OSError) as error:
        raise exc.DisconnectionError from error


_NEWEST_FIRST = (deployments.c.received_at.desc(), deployments.c.id.desc())
_EVENT = tuple(column for column in deployments.c if column.name not in {"at", "pipeline", "step"})
_FIND = select(*_EVENT).where(deployments.c.id == bindparam("event_id"))
# A column of the last migration: until it is there, this is not of much use.
_CHECK = select(func.count()).select_from(select(deployments.c.at).limit(1).subquery())
# What runs are made of.
_NOT_OF_RUNS = {"received_at", "details"}
_OF_RUNS = tuple(column for column in deployments.c if column.name not in _NOT_OF_RUNS)
_RECENT_EVENTS = select(*_OF_RUNS).order_by(*_NEWEST_FIRST).limit(RECENT_EVENTS)
_RESERVED = select(
    idempotency_keys.c.fingerprint, idempotency_keys.c.event_id, idempotency_keys.c.received_at
).where(idempotency_keys.c.key_hash == bindparam("reserved"))
# Setting the key to itself is MySQL's way to do nothing for a known key; INSERT IGNORE would hide other errors too.
_RESERVE = {
    "sqlite": sqlite.insert(idempotency_keys).on_conflict_do_nothing(index_elements=["key_hash"]),
    "mysql": mysql.insert(idempotency_keys).on_duplicate_key_update(
        key_hash=idempotency_keys.c.key_hash
    ),
}


# Details that are small; of large ones only that they are there.
_LISTED_DETAILS = func.length(deployments.c.details) <= LISTED_DETAILS
_LISTED = (
    *(column for column in _EVENT if column.name != "details"),
    case((_LISTED_DETAILS, deployments.c.details)),
    ~_LISTED_DETAILS,
)
_DETAILS = select(deployments.c.details).where(deployments.c.id == bindparam("event_id"))


@lru_cache(maxsize=512)
def _listing(
    filters: tuple[str, ...],
    *,
    since: bool,
    until: bool,
    after: bool,
    last: bool,
) -> Select[Any]:
    """Return the statement of a listing that has these conditions; the values are bound later."""
    column = deployments.c
    conditions = [column[name] == bindparam(name) for name in filters]
    if since:
        conditions.append(column.received_at >= bindparam("since"))
    if until:
        conditions.append(column.received_at < bindparam("until"))
    if after:
        # Not `(received_at, id) < (…)`: MySQL would read the index from its end.
        conditions.append(column.received_at <= bindparam("after"))
        conditions.append(
            or_(column.received_at < bindparam("after"), column.id < bindparam("after_id"))
        )
    if last:
        conditions.append(column.received_at >= bindparam("last"))
        within = or_(column.received_at > bindparam("last"), column.id >= bindparam("last_id"))
        conditions.append(within)
    return select(*_LISTED).where(*conditions).order_by(*_NEWEST_FIRST).limit(bindparam("at_most"))


def _listed(listing: Listing) -> tuple[Select[Any], dict[str, Any]]:
    """Return the statement of a listing, which finds one event more than wanted, and its values."""
    values: dict[str, Any] = {**listing.filters, "at_most": listing.limit + 1}
    if listing.since is not None:
        values["since"] = listing.since
    if listing.until is not None:
        values["until"] = listing.until
    if listing.after is not None:
        values.update(after=listing.after.received_at, after_id=listing.after.id)
    if listing.last is not None:
        values.update(last=listing.last.received_at, last_id=listing.last.id)
    statement = _listing(
        tuple(listing.filters),
        since=listing.since is not None,
        until=listing.until is not None,
        after=listing.after is not None,
        last=listing.last is not None,
    )
    return statement, values


def _newest(place: _Columns, *, certain: bool) -> ScalarSelect[str]:
    """Return the statement that finds the id of the newest deploy of a place that succeeded.

    None where the place was removed at that time or later.
    With `certain`, the newest of those whose version nobody took back at that time or later: it
    runs, or what was deployed after it. Which run a rollback undoes, only `running` knows.
    """
    deploy = deployments.alias("deploy")
    column = deploy.c
    taken_back = [_taken_back(stage, column) for stage in ("deploy", "verify")]
    return (
        select(column.id)
        .where(
            column.stage == "deploy",
            column.status == "succeeded",
            column.environment == place.environment,
            column.component == place.component,
            ~_removed(column),
            # Two questions, not one with IN: each then has its own few rows of the index.
            *([~question for question in taken_back] if certain else ()),
        )
        .order_by(column.at.desc(), column.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _taken_back(stage: str, deploy: _Columns) -> ColumnElement[bool]:
    """Tell whether a stage's event took the version of a deploy back, at that time or after it."""
    column = deployments.alias(f"{stage}_undone").c
    return (
        select(column.id)
        .where(*_since(deploy, column, stage, "rolled-back"), column.version == deploy.version)
        .exists()
    )


def _removed(deploy: _Columns) -> ColumnElement[bool]:
    """Tell whether the place of a deploy was removed, at that time or after it."""
    column = deployments.alias("removal").c
    return select(column.id).where(*_since(deploy, column, "deploy", "removed")).exists()


def _since(
    deploy: _Columns, column: _Columns, stage: str, status: str
) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions on an event of a deploy's place, at that time or after it."""
    return (
        column.stage == stage,
        column.status == status,
        column.environment == deploy.environment,
        column.component == deploy.component,
        column.at >= deploy.at,
    )


def _deploys(places: Select[str, str]) -> Select[Any]:
    """Return the statement that finds the newest certain deploy of places, and their newest's id."""
    place = places.subquery("places").c
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
        *(deploy.c[name] for name in ("id", "version", "at", "responsible")),
    ).outerjoin_from(newest, deploy, deploy.c.id == newest.c.certain)


def _places() -> Select[str, str]:
    """Return the statement that finds every place, whatever happened there.

    Without a condition the database goes from place to place in an index; with one it would read
    all deploys that there ever were.
    """
    environment, component = deployments.c.environment, deployments.c.component
    return (
        select(environment, component)
        .group_by(environment, component)
        .order_by(environment, component)
        .limit(PLACES_MAX)
    )


def _place() -> Select[str, str]:
    """Return the statement that finds one place, whatever happened there."""
    return select(
        bindparam("environment", type_=String).label("environment"),
        bindparam("component", type_=String).label("component"),
    )


def _events_of_place() -> Select[Any]:
    """Return the statement that reads the newest events of a place."""
    column = deployments.c
    return (
        select(*_OF_RUNS)
        .where(
            column.environment == bindparam("environment"),
            column.component == bindparam("component"),
        )
        .order_by(column.at.desc(), column.id.desc())
        .limit(PLACE_EVENTS)
    )


def _events_around() -> Select[Any]:
    """Return the statement that reads the events around the deploys of PLACES_AT_ONCE places."""
    column = deployments.c
    places = [
        and_(
            column.environment == bindparam(f"environment_{number}"),
            column.component == bindparam(f"component_{number}"),
            column.at.between(bindparam(f"since_{number}"), bindparam(f"until_{number}")),
            column.version == bindparam(f"version_{number}"),
        )
        for number in range(PLACES_AT_ONCE)
    ]
    place = func.row_number().over(
        partition_by=(column.component, column.environment, column.version),
        order_by=(column.at.desc(), column.id.desc()),
    )
    events = select(*_OF_RUNS, place.label("place")).where(or_(*places)).subquery()
    return select(events).where(events.c.place <= RUN_EVENTS)


_DEPLOYS = _deploys(_places())
_DEPLOYS_OF_PLACE = _deploys(_place())
_EVENTS_OF_PLACE = _events_of_place()
_AROUND = _events_around()


class Store:
    """What the ledger holds. Recording has an engine of its own where one is given."""

    def __init__(self, engine: Engine, recording: Engine | None = None) -> None:
        self._engine = engine
        self._recording = recording or engine

    def recent(
        self,
        listing: Listing,
        encode: Callable[[dict[str, Any]], bytes],
        max_bytes: int,
    ) -> Batch:
        """Return what is listed, encoded: up to so many bytes, but one event at least."""
        statement, values = _listed(listing)

        def read(connection: Connection) -> Batch:
            lines: list[bytes] = []
            last, left = None, max_bytes
            with connection.execute(statement, values) as rows:
                # One after the other: decoded, an event may be thirty times as large.
                for *columns, apart in rows:
                    if len(lines) == listing.limit:
                        return Batch(lines, last, more=True)
                    position = Position(columns[_RECEIVED_AT], columns[_ID])
                    if apart:
                        found = connection.execute(_DETAILS, {"event_id": position.id})
                        columns[-1] = found.scalar_one_or_none()
                    line = encode(_event(columns))
                    if lines and len(line) > left:
                        return Batch(lines, last, more=True)
                    lines.append(line)
                    last, left = position, left - len(line)
            return Batch(lines, last, more=False)

        return self._use(read, self._engine)

    def end(self, listing: Listing) -> Position | None:
        """Return where what is listed ends, or None if nothing follows there."""
        statement, values = _listed(listing)
        columns = (deployments.c.received_at, deployments.c.id)
        ending = statement.with_only_columns(*columns).limit(2).offset(listing.limit - 1)
        found = self._read(ending, values)
        return Position(found[0].received_at, found[0].id) if len(found) > 1 else None

    def find(self, event_id: str) -> dict[str, Any] | None:
        """Return one deployment, or None when it is not stored (yet)."""
        found = self._read(_FIND, {"event_id": event_id})
        return _event(found[0]) if found else None

    def running(self) -> list[Running]:
        """Return what each environment has of each component, sorted, and what deployed it."""
        return self._running(self._read(_DEPLOYS, {}))

    def standing(self, environment: str, component: str) -> tuple[Running | None, Run | None]:
        """Return what an environment has of a component, and the newest run towards it."""
        place = {"environment": environment, "component": component}
        found = self._running(self._read(_DEPLOYS_OF_PLACE, place))
        newest = runs(self._events_of_place(environment, component))
        return found[0] if found else None, newest[0] if newest else None

    def recent_runs(self, limit: int) -> list[Run]:
        """Return the newest runs, of those that the newest events tell of."""
        return runs(_mappings(self._read(_RECENT_EVENTS, {})))[:limit]

    def reserve(self, key_hash: str, wanted: Reservation) -> Reservation:
        """Keep what a key stands for, unless it stands for something already; return what it stands for."""
        row = {
            "key_hash": key_hash,
            "fingerprint": wanted.fingerprint,
            "event_id": wanted.event_id,
            "received_at": wanted.received_at,
        }
        dialect = "sqlite" if self._engine.dialect.name == "sqlite" else "mysql"

        def reserve(connection: Connection) -> Reservation:
            connection.execute(_RESERVE[dialect], row)
            found = connection.execute(_RESERVED, {"reserved": key_hash}).one()
            connection.commit()
            return Reservation(*found)

        return self._use(reserve, self._recording)

    def check(self) -> None:
        """Raise Unavailable unless the table can be read, or Busy when that cannot be told now."""
        self._use(lambda connection: connection.execute(_CHECK).all(), self._recording)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()
        self._recording.dispose()

    def _running(self, deploys: Sequence[Row[Any]]) -> list[Running]:
        """Return what runs, for what _DEPLOYS found."""
        found: list[Running] = []
        certain: list[Row[Any]] = []
        for row in deploys:
            if row.newest == row.id:
                certain += [row] if row.id else []
                continue
            # The version that was deployed last was taken back since, by one of its runs or by all.
            of_place = running(self._events_of_place(row.environment, row.component))
            if of_place:
                found += of_place
            elif row.id:
                certain.append(row)
        around = running(_mappings(self._read_of(certain, _AROUND, _around)))
        deployed_by = {(one.environment, one.component): one.run for one in around}
        found += [
            Running(
                *(row.environment, row.component, row.version, row.at, row.responsible),
                deployed_by.get((row.environment, row.component)),
            )
            for row in certain
        ]
        return sorted(found, key=lambda one: (one.environment, one.component))

    def _events_of_place(self, environment: str, component: str) -> list[dict[str, Any]]:
        place = {"environment": environment, "component": component}
        return _mappings(self._read(_EVENTS_OF_PLACE, place))

    def _read_of(
        self,
        places: Sequence[Row[Any]],
        statement: Executable,
        values: Callable[[Row[Any]], dict[str, Any]],
    ) -> Iterator[Row[Any]]:
        """Read what a statement about PLACES_AT_ONCE places finds, with these values of each, for any number of them."""
        for start in range(0, len(places), PLACES_AT_ONCE):
            some = places[start : start + PLACES_AT_ONCE]
            # The last one repeated: always the same statement, and a place asked for twice is found once.
            padded = [*some, *([some[-1]] * (PLACES_AT_ONCE - len(some)))]
            bound = {
                f"{name}_{number}": value
                for number, place in enumerate(padded)
                for name, value in values(place).items()
            }
            yield from self._read(statement, bound)

    def _read(self, statement: Executable, values: dict[str, Any]) -> Sequence[Row[Any]]:
        return self._use(
            lambda connection: connection.execute(statement, values).all(), self._engine
        )

    def _use(self, action: Callable[[Connection], ResultT], engine: Engine) -> ResultT:
        """Return what the action, which may be repeated, makes of a connection; a dead one is replaced once."""
        with _translated():
            try:
                with engine.connect() as connection:
                    return action(connection)
            except exc.DBAPIError as error:
                if not _worth_repeating(error):
                    raise
            with engine.connect() as connection:
                return action(connection)


def _worth_repeating(error: exc.DBAPIError) -> bool:
    """Tell whether another try may go better at once; after a timeout it would only take as long again."""
    if error.orig is None:
        return False
    if error.connection_invalidated:
        return not isinstance(error.orig.__context__, TimeoutError)
    return _number(error) == DEADLOCK


def _around(row: Row[Any]) -> dict[str, Any]:
    """Return the place and version of a deploy, and the time around it."""
    return {
        "component": row.component,
        "environment": row.environment,
        "version": row.version,
        "since": row.at - RUN_REACH,
        "until": row.at + RUN_REACH,
    }


def _mappings(rows: Iterable[Row[Any]]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in rows]  # noqa: SLF001  SQLAlchemy's public name for it


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what may pass by itself into Busy or Unavailable; anything else is a bug and stays so."""
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
            raise Busy("took-too-long", f"the database ended a statement: {error.orig}") from error
        if number == DEADLOCK:
            raise Busy(
                "busy", f"the database gave way to another statement twice: {error.orig}"
            ) from error
        raise Unavailable(f"the database does not answer: {error.orig}") from error


def _number(error: exc.DBAPIError) -> object:
    """Return the number that MySQL and MariaDB give the error, if it is one of theirs."""
    return error.orig.args[0] if error.orig is not None and error.orig.args else None


_COLUMNS = tuple(column.name for column in _EVENT)
_ID, _RECEIVED_AT = _COLUMNS.index("id"), _COLUMNS.index("received_at")


def _event(row: Sequence[Any]) -> dict[str, Any]:
    found = dict(zip(_COLUMNS, row, strict=True))
    found["received_at"] = rfc3339(found["received_at"])
    if found["details"] is None:
        del found["details"]
    return found
