"""The database: reads the table that async-worker keeps; writes nothing but what idempotency keys stand for."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pymysql  # type: ignore[import-untyped]
from sqlalchemy import (
    JSON,
    URL,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Executable,
    MetaData,
    Row,
    Select,
    String,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    create_engine,
    event,
    exc,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import mysql, sqlite

from .errors import Unavailable
from .event import rfc3339
from .idempotency import Reservation
from .runs import Run, Running, happened_at, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    from .listing import Position
    from .settings import Settings

__all__ = ["Store", "database_engine", "deployments", "idempotency_keys"]

ResultT = TypeVar("ResultT")
_Columns: TypeAlias = "ReadOnlyColumnCollection[str, Column[Any]]"
metadata = MetaData()
INSTANT = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

# As async-worker makes them; only what is used here. One table, two readers: a test compares them.
deployments = Table(
    "deployments",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("component", String(128)),
    Column("version", String(128)),
    Column("environment", String(64)),
    Column("responsible", String(256)),
    Column("stage", String(16)),
    Column("status", String(16)),
    Column("received_at", INSTANT),
    Column("details", JSON(none_as_null=True)),
)
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("received_at", INSTANT, nullable=False),
)

CONNECT_TIMEOUT = 3
# More threads than these wait for Kafka, not for the database, which has connections for several replicas.
CONNECTIONS = 8
QUERY_TIMEOUT = 5
# Shorter than the idle timeouts of usual databases and of what stands between.
RECYCLE_AFTER = 600
# A connection that rested for longer is asked whether it still lives; asking each time would double every read's round trips.
PING_AFTER = 5.0
# MySQL's and MariaDB's "no such table": async-worker has not made it yet.
NO_SUCH_TABLE = 1146
# They give way to another statement by refusing one, which may simply be sent again.
DEADLOCK = 1213

# How far a run reaches to either side of the deployment that it is about: it bounds what is read of a component's past.
RUN_REACH = timedelta(days=1)
RUN_EVENTS = 100
# A run has some 25 events where a pipeline reports every stage and step: enough for the runs that the page shows.
RECENT_EVENTS = 1000
# What a pipeline says of itself is short; a thousand times 32 KB would take the database half a second to search.
SEARCHED_DETAILS = 4096
# Among how many of a component's newest events the newest run towards an environment is looked for.
STANDING_EVENTS = 1000
# What takes longer to arrive has waited in an outbox. Two deployments of one place are further apart.
ARRIVES_WITHIN = timedelta(minutes=1)
# How many deployments to the places that are asked for at once may have overtaken such ones, as far as is looked.
DEPLOYMENTS_BETWEEN = 1000
# As many places as are asked for in one statement, and as are known at all.
PLACES_AT_ONCE = 32
PLACES_MAX = 2000


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
    engine = create_engine(
        url,
        # Single statements need no transaction; without one and its ROLLBACK each costs two round trips less.
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT,
        pool_recycle=RECYCLE_AFTER,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": QUERY_TIMEOUT,
            "write_timeout": QUERY_TIMEOUT,
        },
    )
    event.listen(engine, "checkin", _note_rest)
    event.listen(engine, "checkout", _ping_if_rested)
    return engine


def _note_rest(_: object, record: Any) -> None:  # noqa: ANN401  SQLAlchemy's own signature
    record.info["rests_since"] = time.monotonic()


def _ping_if_rested(connection: Any, record: Any, _: object) -> None:  # noqa: ANN401
    """Have the pool replace a connection that died while it rested."""
    if time.monotonic() - record.info.get("rests_since", float("inf")) < PING_AFTER:
        return
    try:
        connection.ping(reconnect=False)
    except (pymysql.Error, OSError) as error:
        raise exc.DisconnectionError from error


_NEWEST_FIRST = (deployments.c.received_at.desc(), deployments.c.id.desc())
_FIND = select(deployments).where(deployments.c.id == bindparam("event_id"))
_CHECK = select(func.count()).select_from(select(deployments.c.id).limit(1).subquery())


def _said(name: str, limit: int, column: _Columns = deployments.c) -> ColumnElement[Any]:
    """Return what an event's details say under a name, as text, cut; large ones are not searched."""
    details = column.details
    small = func.length(cast(details, Text)) <= SEARCHED_DETAILS
    return case((small, func.substr(details[name].as_string(), 1, limit))).label(name)


# What runs are made of: of the details, which may be large, only what says to which run and stage an event belongs, and when.
_OF_RUNS = (
    *(column for column in deployments.c if column.name != "details"),
    _said("pipeline", 500),
    _said("step", 100),
    _said("at", 40),
)
_RECENT_EVENTS = select(*_OF_RUNS).order_by(*_NEWEST_FIRST).limit(RECENT_EVENTS)
_RESERVED = select(idempotency_keys.c.fingerprint, idempotency_keys.c.event_id, idempotency_keys.c.received_at).where(
    idempotency_keys.c.key_hash == bindparam("reserved")
)
# Setting the key to itself is MySQL's way to do nothing for a known key; INSERT IGNORE would hide other errors too.
_RESERVE = {
    "sqlite": sqlite.insert(idempotency_keys).on_conflict_do_nothing(index_elements=["key_hash"]),
    "mysql": mysql.insert(idempotency_keys).on_duplicate_key_update(key_hash=idempotency_keys.c.key_hash),
}


@lru_cache(maxsize=512)
def _listing(filters: tuple[str, ...], *, since: bool, until: bool, after: bool) -> Select[Any]:
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
        conditions.append(or_(column.received_at < bindparam("after"), column.id < bindparam("after_id")))
    return select(deployments).where(*conditions).order_by(*_NEWEST_FIRST).limit(bindparam("at_most"))


def _stands(deployed: _Columns) -> list[ColumnElement[bool]]:
    """Return what makes an event a deployment that was not rolled back."""

    def undone(stage: str) -> ColumnElement[bool]:
        undoing = deployments.alias(f"{stage}_undone")
        return (
            select(undoing.c.id)
            .where(
                undoing.c.stage == stage,
                undoing.c.status == "rolled-back",
                undoing.c.environment == deployed.environment,
                undoing.c.component == deployed.component,
                undoing.c.received_at >= deployed.received_at,
                undoing.c.version == deployed.version,
            )
            .exists()
        )

    return [
        deployed.stage == "deploy",
        deployed.status == "succeeded",
        # Two questions, not one with IN: each then has its own few rows of the index.
        ~undone("deploy"),
        ~undone("verify"),
    ]


def _deployed(environment: ColumnElement[str], component: ColumnElement[str]) -> Select[Any]:
    """Return the statement that finds the id of the newest deployment of a place that was not rolled back."""
    deployed = deployments.alias("deployed")
    return (
        select(deployed.c.id)
        .where(*_stands(deployed.c), deployed.c.environment == environment, deployed.c.component == component)
        .order_by(deployed.c.received_at.desc(), deployed.c.id.desc())
        .limit(1)
    )


def _of_running(column: _Columns) -> tuple[ColumnElement[Any], ...]:
    """Return what is read of a deployment that may be what runs."""
    told = (column.environment, column.component, column.version, column.received_at, column.responsible)
    return (*told, _said("at", 40, column))


def _running() -> Select[Any]:
    """Return the statement that finds what runs: for each place the newest deployment that was not rolled back."""
    places = (
        select(deployments.c.environment, deployments.c.component)
        .where(deployments.c.stage == "deploy", deployments.c.status == "succeeded")
        .group_by(deployments.c.environment, deployments.c.component)
        .order_by(deployments.c.environment, deployments.c.component)
        .limit(PLACES_MAX)
        .subquery("places")
    )
    found = deployments.alias("found")
    newest = _deployed(places.c.environment, places.c.component).scalar_subquery()
    ids = select(newest.label("id")).select_from(places).subquery("ids")
    return (
        select(*_of_running(found.c)).join(ids, ids.c.id == found.c.id).order_by(found.c.environment, found.c.component)
    )


def _running_there() -> Select[Any]:
    """Return the same statement for one place."""
    found = deployments.c
    newest = _deployed(bindparam("environment", type_=String), bindparam("component", type_=String)).scalar_subquery()
    return select(*_of_running(found)).where(found.id == newest)


def _between() -> Select[Any]:
    """Return the statement that reads the deployments of PLACES_AT_ONCE places in a span of time, the newest first."""
    deployed = deployments.alias("deployed")
    column = deployed.c
    places = [
        and_(
            column.environment == bindparam(f"environment_{number}"),
            column.component == bindparam(f"component_{number}"),
            column.received_at.between(bindparam(f"since_{number}"), bindparam(f"until_{number}")),
        )
        for number in range(PLACES_AT_ONCE)
    ]
    return (
        select(*_of_running(column))
        .where(*_stands(column), or_(*places))
        .order_by(column.received_at.desc(), column.id.desc())
        .limit(DEPLOYMENTS_BETWEEN)
    )


def _towards() -> Select[Any]:
    """Return the statement that reads, of a component's newest events, those of one environment."""
    column = deployments.c
    newest = (
        select(column.id)
        .where(column.component == bindparam("component"))
        .order_by(*_NEWEST_FIRST)
        .limit(STANDING_EVENTS)
        .subquery("newest")
    )
    return (
        select(*_OF_RUNS).join(newest, newest.c.id == column.id).where(column.environment == bindparam("environment"))
    )


def _events_around() -> Select[Any]:
    """Return the statement that reads the newest events around the deployments of PLACES_AT_ONCE places."""
    column = deployments.c
    places = [
        and_(
            column.component == bindparam(f"component_{number}"),
            column.environment == bindparam(f"environment_{number}"),
            column.version == bindparam(f"version_{number}"),
            column.received_at.between(bindparam(f"since_{number}"), bindparam(f"until_{number}")),
        )
        for number in range(PLACES_AT_ONCE)
    ]
    place = func.row_number().over(
        partition_by=(column.component, column.environment, column.version), order_by=_NEWEST_FIRST
    )
    events = select(*_OF_RUNS, place.label("place")).where(or_(*places)).subquery()
    return select(events).where(events.c.place <= RUN_EVENTS)


_RUNNING = _running()
_RUNNING_THERE = _running_there()
_BETWEEN = _between()
_TOWARDS = _towards()
_AROUND = _events_around()


class Store:
    """What the ledger holds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def recent(
        self,
        *,
        filters: Mapping[str, str],
        limit: int,
        since: datetime | None = None,
        until: datetime | None = None,
        after: Position | None = None,
    ) -> list[dict[str, Any]]:
        """Return the newest deployments whose columns equal the filters, since <= received_at < until, after a position."""
        values: dict[str, Any] = {**filters, "at_most": limit}
        if since is not None:
            values["since"] = since
        if until is not None:
            values["until"] = until
        if after is not None:
            values.update(after=after.received_at, after_id=after.id)
        statement = _listing(tuple(filters), since=since is not None, until=until is not None, after=after is not None)
        return [_event(row) for row in self._read(statement, values)]

    def find(self, event_id: str) -> dict[str, Any] | None:
        """Return one deployment, or None when it is not stored (yet)."""
        found = self._read(_FIND, {"event_id": event_id})
        return _event(found[0]) if found else None

    def running(self) -> list[Running]:
        """Return what each environment has of each component, and the run that brought it there."""
        rows = self._happened_last(self._read(_RUNNING, {}))
        known: dict[tuple[str, str], list[Run]] = {}
        for run in runs(_mappings(self._read_of(rows, _AROUND, _around))):
            known.setdefault((run.environment, run.component), []).append(run)
        return [_running_of(row, known.get((row.environment, row.component), [])) for row in rows]

    def standing(self, environment: str, component: str) -> tuple[Running | None, Run | None]:
        """Return what an environment has of a component, and the newest run towards it."""
        place = {"environment": environment, "component": component}
        there = self._happened_last(self._read(_RUNNING_THERE, place))
        towards = runs(_mappings(self._read(_TOWARDS, place)))
        return _running_of(there[0], towards) if there else None, towards[0] if towards else None

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

        return self._use(reserve)

    def check(self) -> None:
        """Raise Unavailable unless the table can be read."""
        self._read(_CHECK, {})

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def _happened_last(self, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
        """Return the deployments that happened last: each place's newest, unless it waited and was overtaken meanwhile."""
        late = [row for row in rows if row.received_at - _happened(row) > ARRIVES_WITHIN]
        last = {(row.environment, row.component): row for row in rows}
        for row in self._read_of(late, _BETWEEN, _meanwhile):
            place = (row.environment, row.component)
            last[place] = max(last[place], row, key=_happened)
        return list(last.values())

    def _read_of(
        self, places: Sequence[Row[Any]], statement: Executable, values: Callable[[Row[Any]], dict[str, Any]]
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
        return self._use(lambda connection: connection.execute(statement, values).all())

    def _use(self, action: Callable[[Connection], ResultT]) -> ResultT:
        """Return what the action, which may be repeated, makes of a connection; a dead one is replaced once."""
        with _translated():
            try:
                with self._engine.connect() as connection:
                    return action(connection)
            except exc.DBAPIError as error:
                if not _worth_repeating(error):
                    raise
            with self._engine.connect() as connection:
                return action(connection)


def _worth_repeating(error: exc.DBAPIError) -> bool:
    """Tell whether another try may go better at once; after a timeout it would only take as long again."""
    if error.orig is None:
        return False
    if error.connection_invalidated:
        return not isinstance(error.orig.__context__, TimeoutError)
    return error.orig.args[:1] == (DEADLOCK,)


def _happened(row: Row[Any]) -> datetime:
    return happened_at(row.at, row.received_at)


def _meanwhile(row: Row[Any]) -> dict[str, Any]:
    """Return the place of a deployment, and the time from when it happened until it was received."""
    return {
        "environment": row.environment,
        "component": row.component,
        "since": _happened(row),
        "until": row.received_at,
    }


def _around(row: Row[Any]) -> dict[str, Any]:
    """Return the place and version of a deployment, and the time around it."""
    return {
        "component": row.component,
        "environment": row.environment,
        "version": row.version,
        "since": row.received_at - RUN_REACH,
        "until": row.received_at + RUN_REACH,
    }


def _running_of(row: Row[Any], newest_first: list[Run]) -> Running:
    """Return what runs with the run that brought it: the newest of those before that deployed, or else that began to."""
    deploys = [
        (run, stage.status)
        for run in newest_first
        for stage in run.stages
        if run.started_at <= row.received_at and stage.stage == "deploy"
    ]
    found = next((run for run, status in deploys if status != "started"), deploys[0][0] if deploys else None)
    return Running(row.environment, row.component, row.version, row.received_at, row.responsible, found)


def _mappings(rows: Iterable[Row[Any]]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in rows]  # noqa: SLF001  SQLAlchemy's public name for it


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
        reason = "a table of the ledger does not exist yet; async-worker makes it"
        raise Unavailable(reason, plain=reason) from error


def _cause(error: exc.SQLAlchemyError) -> str:
    """Return the driver's own words; SQLAlchemy's add the statement and a link."""
    return str(error.orig) if isinstance(error, exc.DBAPIError) else str(error)


_COLUMNS = tuple(deployments.c.keys())


def _event(row: Row[Any]) -> dict[str, Any]:
    found = dict(zip(_COLUMNS, row, strict=True))
    found["received_at"] = rfc3339(found["received_at"])
    if found["details"] is None:
        del found["details"]
    return found
