from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from api_rest.errors import Unavailable
from api_rest.settings import Settings
from api_rest.store import Store, database_engine, deployments
from sqlalchemy import Engine, create_engine, exc, insert
from sqlalchemy.pool import StaticPool

START = datetime(2026, 1, 1, 12, 0, 0, 1)  # noqa: DTZ001  the column holds UTC without a zone


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    deployments.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


@pytest.fixture
def put(engine: Engine, deployment: dict[str, Any]) -> Callable[..., None]:
    def put(event_id: str, **changes: object) -> None:
        row = {"id": event_id, "received_at": START, "details": None, **deployment, **changes}
        with engine.begin() as connection:
            connection.execute(insert(deployments), row)

    return put


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in found]


def test_an_event_reads_as_it_was_sent(store: Store, put: Callable[..., None], deployment: dict[str, Any]) -> None:
    put("a", details={"seconds": 1.5, "who": "Zoë"})
    assert store.find("a") == {
        "id": "a",
        "received_at": "2026-01-01T12:00:00.000001Z",
        **deployment,
        "details": {"seconds": 1.5, "who": "Zoë"},
    }


def test_an_event_without_details_has_none(store: Store, put: Callable[..., None]) -> None:
    put("a")
    found = store.find("a")
    assert found is not None
    assert "details" not in found


def test_an_unknown_id_finds_nothing(store: Store) -> None:
    assert store.find("a") is None


def test_the_newest_comes_first_and_equal_times_have_an_order(store: Store, put: Callable[..., None]) -> None:
    put("old", received_at=START - timedelta(microseconds=1))
    put("b")
    put("a")
    assert ids(store.recent(filters={}, limit=10)) == ["b", "a", "old"]


def test_the_limit_holds(store: Store, put: Callable[..., None]) -> None:
    for name in "abc":
        put(name)
    assert len(store.recent(filters={}, limit=2)) == 2


def test_every_filter_must_match(store: Store, put: Callable[..., None]) -> None:
    put("a", component="x", status="failed")
    put("b", component="x", status="succeeded")
    put("c", component="y", status="failed")
    assert ids(store.recent(filters={"component": "x", "status": "failed"}, limit=10)) == ["a"]


def test_check_passes_on_an_empty_table(store: Store) -> None:
    store.check()


def test_a_missing_table_is_no_bug_of_the_request(store: Store, engine: Engine) -> None:
    deployments.drop(engine)
    with pytest.raises(Unavailable, match="no such table"):
        store.check()


def programming_error(code: int) -> exc.ProgrammingError:
    return exc.ProgrammingError("SELECT 1", {}, Exception(code, "no"))


def test_mysqls_missing_table_names_who_makes_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise programming_error(1146)

    monkeypatch.setattr(Engine, "connect", refuse)
    with pytest.raises(Unavailable, match="async-worker makes it"):
        store.find("a")


def test_a_wrong_statement_stays_a_bug(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise programming_error(1064)

    monkeypatch.setattr(Engine, "connect", refuse)
    with pytest.raises(exc.ProgrammingError):
        store.find("a")


def test_a_server_that_refuses_connections_is_unavailable(make_settings: Callable[..., Settings]) -> None:
    store = Store(database_engine(make_settings(DB_HOST="127.0.0.1", DB_PORT="1")))
    with pytest.raises(Unavailable, match="does not answer"):
        store.check()


def test_any_password_reaches_the_driver_as_it_is(make_settings: Callable[..., Settings]) -> None:
    engine = database_engine(make_settings(DB_PASSWORD="p@ss:/?#%word"))
    assert engine.dialect.create_connect_args(engine.url)[1]["password"] == "p@ss:/?#%word"
