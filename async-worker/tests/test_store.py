from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from async_worker.errors import Unavailable
from async_worker.settings import Settings
from async_worker.store import Store, database_engine, deployments, metadata
from sqlalchemy import Engine, create_engine, event, exc, select
from sqlalchemy.dialects import mysql
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateTable


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    store = Store(engine)
    store.prepare()
    return store


def row(event_id: str, **changes: object) -> dict[str, Any]:
    return {
        "id": event_id,
        "component": "api-rest",
        "version": "1",
        "environment": "staging",
        "responsible": "me",
        "stage": "deploy",
        "status": "succeeded",
        "received_at": datetime(2026, 1, 1),  # noqa: DTZ001  UTC without a zone, as the column
        "details": None,
        **changes,
    }


def stored(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {found.id: found.version for found in connection.execute(select(deployments))}


def test_rows_are_stored(store: Store, engine: Engine) -> None:
    assert store.add([row("a"), row("b", details={"who": "Zoë"})]) == []
    assert stored(engine) == {"a": "1", "b": "1"}


def test_nothing_to_store_asks_nothing(engine: Engine) -> None:
    engine.dispose()
    assert Store(engine).add([]) == []


def test_a_known_id_changes_nothing_and_stops_nothing(store: Store, engine: Engine) -> None:
    store.add([row("a", version="1")])
    assert store.add([row("a", version="2"), row("b", version="2"), row("b", version="3")]) == []
    assert stored(engine) == {"a": "1", "b": "2"}


def test_a_row_the_database_refuses_does_not_stop_the_others(store: Store, engine: Engine) -> None:
    bad = row("bad", version=None)
    ((rejected, reason),) = store.add([row("a"), bad, row("b")])
    assert rejected == bad
    assert "NOT NULL" in reason
    assert stored(engine) == {"a": "1", "b": "1"}


def test_a_batch_is_stored_whole_or_not_at_all(store: Store, engine: Engine) -> None:
    def fail(*_: object) -> None:
        raise exc.OperationalError("COMMIT", {}, Exception("gone"))

    event.listen(engine, "commit", fail)
    with pytest.raises(Unavailable, match="gone"):
        store.add([row("a"), row("b")])
    event.remove(engine, "commit", fail)
    assert stored(engine) == {}


def test_the_table_may_be_there_already(store: Store) -> None:
    store.prepare()


def refusing(code: int) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise exc.OperationalError("CREATE TABLE", {}, Exception(code, "no"))

    return refuse


def test_another_worker_may_make_the_table_at_the_same_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "create_all", refusing(1050))
    Store(engine).prepare()


def test_a_database_that_is_away_at_the_start_is_unavailable(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "create_all", refusing(2003))
    with pytest.raises(Unavailable):
        Store(engine).prepare()


def test_check_passes_on_an_empty_table(store: Store) -> None:
    store.check()


def test_check_fails_without_the_table(engine: Engine) -> None:
    with pytest.raises(Unavailable, match="no such table"):
        Store(engine).check()


def test_a_server_that_refuses_connections_is_unavailable(make_settings: Callable[..., Settings]) -> None:
    store = Store(database_engine(make_settings(DB_HOST="127.0.0.1", DB_PORT="1")))
    with pytest.raises(Unavailable, match="does not answer"):
        store.add([row("a")])


def test_mysql_keeps_microseconds_and_compares_exactly() -> None:
    ddl = str(CreateTable(deployments).compile(dialect=mysql.dialect()))
    assert "received_at DATETIME(6) NOT NULL" in ddl
    assert "utf8mb4_bin" in ddl
