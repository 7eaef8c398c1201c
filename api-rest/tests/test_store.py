import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pymysql  # type: ignore[import-untyped]
import pytest
from api_rest import store as store_module
from api_rest.drift import Drift
from api_rest.drift_reports import Drifted, Report
from api_rest.errors import Busy, Unavailable
from api_rest.freezes import Freeze
from api_rest.idempotency import Reservation
from api_rest.listing import Batch, Listing, Position
from api_rest.runs import running, runs
from api_rest.settings import Settings
from api_rest.store import Store, database_engine
from histories import PLACES, Row, events
from hypothesis import HealthCheck, given, settings
from ledger.run_details import TEXT_LENGTHS, happened_at, run_text
from ledger.tables import deployments, drift, freezes, idempotency_keys
from sqlalchemy import Engine, create_engine, delete, event, exc, insert, select, text
from sqlalchemy.pool import QueuePool, StaticPool

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
        row: dict[str, Any] = {
            "id": event_id,
            "received_at": START,
            "details": None,
            **deployment,
            **changes,
        }
        # As async-worker fills them.
        details = row["details"] or {}
        row.update(
            {name: run_text(details, name) for name in TEXT_LENGTHS},
            at=happened_at(details, row["received_at"]),
        )
        with engine.begin() as connection:
            connection.execute(insert(deployments), row)

    return put


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [entry["id"] for entry in found]


def encode(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode()


def read(store: Store, max_bytes: int = 1_000_000, **asked: Any) -> Batch:
    return store.recent(Listing(**asked), encode, max_bytes)


def recent(store: Store, **asked: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read(store, **asked).lines]


def test_an_event_is_read_as_sent(
    store: Store, put: Callable[..., None], deployment: dict[str, Any]
) -> None:
    put("a", actor="jenkins", sequence=7, details={"seconds": 1.5, "who": "Zoë"})
    assert store.find("a") == {
        "id": "a",
        "received_at": "2026-01-01T12:00:00.000001Z",
        **deployment,
        "actor": "jenkins",
        "sequence": 7,
        "details": {"seconds": 1.5, "who": "Zoë"},
    }


def test_an_event_without_details_has_none_and_without_actor_a_null(
    store: Store, put: Callable[..., None]
) -> None:
    put("a")
    found = store.find("a")
    assert found is not None
    assert "details" not in found
    assert found["actor"] is None


def test_an_unknown_id_is_none(store: Store) -> None:
    assert store.find("a") is None


def test_the_newest_event_comes_first_then_the_largest_id(
    store: Store, put: Callable[..., None]
) -> None:
    put("old", received_at=START - timedelta(microseconds=1))
    put("b")
    put("a")
    assert ids(recent(store, filters={}, limit=10)) == ["b", "a", "old"]


def test_every_filter_must_match(store: Store, put: Callable[..., None]) -> None:
    put("a", component="x", status="failed")
    put("b", component="x", status="succeeded")
    put("c", component="y", status="failed")
    assert ids(recent(store, filters={"component": "x", "status": "failed"}, limit=10)) == ["a"]


def test_a_time_range_includes_its_start_and_excludes_its_end(
    store: Store, put: Callable[..., None]
) -> None:
    for minute in range(4):
        put(str(minute), received_at=START + timedelta(minutes=minute))
    since, until = START + timedelta(minutes=1), START + timedelta(minutes=3)
    found = recent(store, filters={}, limit=9, since=since, until=until)
    assert ids(found) == ["2", "1"]


def test_after_a_number_come_the_next_ones_whatever_their_times(
    store: Store, put: Callable[..., None]
) -> None:
    put("first", sequence=3)
    put("late", sequence=9, received_at=START - timedelta(days=1))
    put("other", sequence=10, component="other")
    put("next", sequence=8, received_at=START + timedelta(days=1))
    put("not numbered")
    filters = {"component": "api-rest"}
    assert ids(recent(store, filters=filters, after=0, limit=2)) == ["first", "next"]
    assert ids(recent(store, filters=filters, after=8, limit=2)) == ["late"]
    assert ids(recent(store, filters=filters, after=10, limit=2)) == []
    assert ids(recent(store, since=START, after=3, limit=9)) == ["next", "other"]


@pytest.mark.parametrize(("limit", "more"), [(1, True), (2, True), (3, False), (4, False)])
def test_a_batch_has_its_end_and_whether_more_follow(
    store: Store, put: Callable[..., None], limit: int, *, more: bool
) -> None:
    for second in range(3):
        put(str(second), received_at=START + timedelta(seconds=second))
    batch = read(store, limit=limit)
    last = max(0, 3 - limit)
    assert (batch.last, batch.more) == (Position(START + timedelta(seconds=last), str(last)), more)


def test_an_empty_listing_is_an_empty_batch(store: Store) -> None:
    assert read(store) == Batch([], None, more=False)


def test_a_batch_stops_before_it_is_too_large_but_has_one_event(
    store: Store,
    put: Callable[..., None],
) -> None:
    for name in "abc":
        put(name)
    whole = read(store)
    two = sum(map(len, whole.lines[:2]))
    assert read(store, two) == Batch(whole.lines[:2], Position(START, "b"), more=True)
    assert read(store, two - 1) == Batch(whole.lines[:1], Position(START, "c"), more=True)
    assert read(store, 0) == read(store, two - 1)
    assert read(store, two + len(whole.lines[2])) == whole


@pytest.mark.parametrize("more", [-20, 0])
def test_details_of_any_size_are_listed(store: Store, put: Callable[..., None], more: int) -> None:
    put("a", details={"log": "x" * (store_module.LISTED_DETAILS + more)})
    put("b")
    assert recent(store) == [store.find("b"), store.find("a")]


def test_large_details_are_read_one_at_a_time(
    store: Store,
    engine: Engine,
    put: Callable[..., None],
) -> None:
    for name in "abcd":
        put(name, details={"log": "x" * store_module.LISTED_DETAILS})
    statements: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    batch = read(store, max_bytes=2 * store_module.LISTED_DETAILS + 1000)
    # And of one more, which is known to be too much once it is there.
    assert (len(batch.lines), len(statements)) == (2, 1 + 3)


def test_large_details_deleted_during_a_read_are_none(
    store: Store,
    engine: Engine,
    put: Callable[..., None],
) -> None:
    put("a", details={"log": "x" * store_module.LISTED_DETAILS})

    def remove(_: object, __: object, statement: str, *___: object) -> None:
        if "id = ?" in statement and statement.startswith("SELECT"):
            with engine.begin() as connection:
                connection.execute(delete(deployments))

    event.listen(engine, "before_cursor_execute", remove)
    (found,) = recent(store)
    assert "details" not in found


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_end_of_a_listing_is_where_the_next_one_begins(
    store: Store,
    put: Callable[..., None],
    limit: int,
) -> None:
    for name in "abcd":
        put(name, component="x")
    put("y", component="y")
    listing = Listing(filters={"component": "x"}, cursor=Position(START, "d"), limit=limit)
    batch = store.recent(listing, encode, 10_000)
    assert store.end(listing) == (batch.last if limit < 3 else None)


def test_a_listing_ends_at_its_last_position(store: Store, put: Callable[..., None]) -> None:
    for name in "abcd":
        put(name)
        put(f"{name}-later", received_at=START + timedelta(seconds=1))
    last = Position(START, "c")
    assert ids(recent(store, cursor=Position(START + timedelta(seconds=1), "b"), last=last)) == [
        "a-later",
        "d",
        "c",
    ]
    assert not read(store, last=last).more


@pytest.mark.parametrize("filters", [{}, {"component": "x"}])
def test_pages_show_every_event_once_while_new_ones_arrive(
    store: Store, put: Callable[..., None], filters: dict[str, str]
) -> None:
    for number in range(10):
        # Three to a moment, so that pages end within one.
        put(
            f"{number % 7}{number}",
            received_at=START + timedelta(seconds=number // 3),
            component="x",
        )
    expected = ids(recent(store, filters=filters, limit=100))
    seen: list[str] = []
    cursor = None
    while (batch := read(store, filters=filters, limit=2, cursor=cursor)).lines:
        seen += [json.loads(line)["id"] for line in batch.lines]
        assert len(seen) <= 10
        cursor = batch.last
        put(f"new-{len(seen)}", received_at=START + timedelta(hours=1), component="x")
    assert seen == expected
    assert len(seen) == 10


def deploy(
    put: Callable[..., None], second: int, status: str = "succeeded", **changes: object
) -> None:
    values = {"stage": "deploy", "version": "1", **changes}
    put(str(uuid.uuid4()), received_at=START + timedelta(seconds=second), status=status, **values)


def places(store: Store) -> list[tuple[str, str, str, float]]:
    return [
        (found.environment, found.component, found.version, (found.since - START).total_seconds())
        for found in store.running()
    ]


def test_a_place_runs_its_newest_successful_deploy(store: Store, put: Callable[..., None]) -> None:
    deploy(put, 1, component="b", responsible="ana", actor="jenkins")
    deploy(put, 2, component="a")
    deploy(put, 3, component="a", version="2")
    deploy(put, 4, component="a", version="3", status="failed")
    deploy(put, 5, component="a", version="4", status="started")
    deploy(put, 6, component="a", version="5", stage="verify")
    deploy(put, 7, component="a", environment="production")
    assert places(store) == [
        ("production", "a", "1", 7),
        ("staging", "a", "2", 3),
        ("staging", "b", "1", 1),
    ]
    ana = store.running()[2]
    assert (ana.responsible, ana.actor) == ("ana", "jenkins")
    assert ana.run is not None
    assert ana.run.actor == "jenkins"


@pytest.mark.parametrize("status", ["rolled-back", "removed"])
def test_an_event_of_another_place_or_version_changes_nothing(
    store: Store, put: Callable[..., None], status: str
) -> None:
    deploy(put, 1)
    deploy(put, 2, status, component="b")
    deploy(put, 3, status, environment="qa")
    deploy(put, 4, status, stage="test")
    if status == "rolled-back":
        deploy(put, 5, status, version="2")
    assert places(store) == [("staging", "api-rest", "1", 1)]


def test_a_removed_component_runs_nowhere_until_it_is_deployed_again(
    store: Store, put: Callable[..., None]
) -> None:
    deploy(put, 1)
    deploy(put, 2, component="b")
    deploy(put, 3, "removed", component="b", version="0")
    assert places(store) == [("staging", "api-rest", "1", 1)]
    assert versions(store, "b")[0] is None
    deploy(put, 4, component="b")
    assert places(store) == [("staging", "api-rest", "1", 1), ("staging", "b", "1", 4)]
    assert versions(store, "b") == ("1", "1")


def test_the_time_of_an_event_counts_and_not_when_it_was_received(
    store: Store, put: Callable[..., None]
) -> None:
    def at(second: int) -> dict[str, str]:
        return {"at": f"{(START + timedelta(seconds=second)).isoformat()}Z"}

    deploy(put, 5, version="2", details=at(4))
    deploy(put, 900, version="1", details=at(0))
    assert both(store) == (["2"], "2")
    deploy(put, 910, "rolled-back", version="2", details=at(910))
    assert both(store) == (["1"], "1")
    deploy(put, 920, "rolled-back", version="1", details=at(-1))
    assert both(store) == (["1"], "1")
    deploy(put, 930, "rolled-back", version="3", details=at(925))
    deploy(put, 2000, version="3", details=at(921))
    assert both(store) == (["1"], "1")


def both(store: Store) -> tuple[list[str], str | None]:
    """What runs at the one place there is, as the page and as a badge say it."""
    return [found.version for found in store.running()], versions(store)[0]


def test_a_recent_run_has_what_its_scan_found(store: Store, put: Callable[..., None]) -> None:
    counts = dict.fromkeys(("critical", "high", "medium", "low", "unknown"), 3)
    deploy(put, 1, stage="scan", details={"vulnerabilities": counts})
    deploy(put, 2, stage="push", details={"unscanned": "nobody answers"})
    deploy(put, 3, stage="deploy", details={"vulnerabilities": counts})
    (run,) = store.recent_runs(9)
    every = "3 critical, 3 high, 3 medium, 3 low, 3 unknown"
    assert [stage.found for stage in run.stages] == [every, "not scanned", ""]


def test_a_running_version_has_the_run_of_its_deploy(
    store: Store, put: Callable[..., None]
) -> None:
    for second, stage, status in (
        (0, "build", "started"),
        (5, "build", "succeeded"),
        (6, "deploy", "started"),
        (9, "deploy", "succeeded"),
        (12, "verify", "succeeded"),
    ):
        deploy(put, second, status, stage=stage)
        deploy(put, second, status, stage=stage, environment="production")
    # Another run of the same version, which did not arrive yet.
    deploy(put, 20, "started", stage="build")
    deploy(put, 21, "started")
    deploy(put, 1, "started", stage="test", version="2")
    for found in store.running():
        assert found.run is not None
        assert [(stage.stage, stage.seconds) for stage in found.run.stages] == [
            ("build", 5),
            ("deploy", 3),
            ("verify", None),
        ]


def test_a_running_version_has_the_run_that_succeeded(
    store: Store, put: Callable[..., None]
) -> None:
    deploy(put, 0, "started", details={"pipeline": "https://ci/1"})
    deploy(put, 5, "started", details={"pipeline": "https://ci/2"})
    deploy(put, 9, "succeeded", details={"pipeline": "https://ci/1"})
    (found,) = store.running()
    assert found.run is not None
    assert found.run.seconds == 9
    deploy(put, 20, "started", details={"pipeline": "https://ci/1"})
    (found,) = store.running()
    assert found.run is not None


def test_a_run_has_the_events_within_a_day_of_its_deploy(
    store: Store, put: Callable[..., None]
) -> None:
    deploy(put, 0)
    deploy(put, -86_400, stage="test")
    deploy(put, -86_401, stage="build")
    deploy(put, 86_400, stage="verify")
    (found,) = store.running()
    assert found.run is not None
    assert [stage.stage for stage in found.run.stages] == ["test", "deploy", "verify"]


def test_many_places_are_read_in_several_statements(store: Store, put: Callable[..., None]) -> None:
    count = store_module.PLACES_AT_ONCE * 2 + 3
    for number in range(count):
        deploy(put, number, component=f"c{number:03}")
    found = store.running()
    assert len(found) == count
    assert all(place.run and place.run.component == place.component for place in found)


def test_a_run_has_a_limited_number_of_events(store: Store, put: Callable[..., None]) -> None:
    deploy(put, 0, "started", stage="build")
    for second in range(1, store_module.RUN_EVENTS):
        deploy(put, second, "failed", stage="test")
    deploy(put, 1000)
    (found,) = store.running()
    assert found.run is not None
    assert "build" not in [stage.stage for stage in found.run.stages]


def test_runs_use_the_columns_from_details(store: Store, put: Callable[..., None]) -> None:
    # Received after an hour in an outbox, all at once.
    for second, status in ((0, "started"), (30, "succeeded")):
        at = f"2026-01-01T12:00:{second:02}.000Z"
        for number in (1, 2):
            details = {
                "at": at,
                "pipeline": f"https://ci/{number}",
                "step": "inv build",
                "commit": "0a1b2c3",
            }
            deploy(put, 3600, status, stage="build", details=details)
    both = store.recent_runs(9)
    assert [(stage.stage, stage.seconds) for run in both for stage in run.stages] == [
        ("build", 30),
        ("build", 30),
    ]
    deploy(put, 3601)
    (found,) = store.running()
    assert found.run is not None
    assert [(stage.stage, stage.seconds) for stage in found.run.stages] == [
        ("build", 30),
        ("deploy", None),
    ]


def versions(store: Store, component: str = "api-rest") -> tuple[str | None, str | None]:
    there, newest = store.status("staging", component)
    return there.version if there else None, newest.version if newest else None


def test_the_status_of_a_place_is_its_version_and_its_newest_run(
    store: Store, put: Callable[..., None]
) -> None:
    assert versions(store) == (None, None)
    deploy(put, 1)
    deploy(put, 2, version="2")
    deploy(put, 3, version="3", environment="production")
    deploy(put, 3, version="4", component="b")
    deploy(put, 4, "started", version="5", stage="build")
    assert versions(store) == ("2", "5")
    deploy(put, 5, "rolled-back", version="2")
    assert versions(store) == ("1", "5")
    there, _ = store.status("staging", "api-rest")
    assert there == next(
        one
        for one in store.running()
        if (one.environment, one.component) == ("staging", "api-rest")
    )


def test_the_newest_run_of_a_place_is_read_from_its_own_events(
    store: Store, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_EVENTS_OF_PLACE", store_module._EVENTS_OF_PLACE.limit(3))
    deploy(put, 0, version="0")
    deploy(put, 1, "rolled-back", version="0")
    for second in (2, 3):
        deploy(put, second, "failed", environment="none", stage="test")
    assert versions(store) == (None, "0")
    for second in (4, 5):
        deploy(
            put,
            second,
            "failed",
            version="1",
            stage="test",
            details={"pipeline": f"https://ci/{second}"},
        )
    assert versions(store) == (None, "1")


def test_any_number_of_rolled_back_deploys_is_skipped(
    store: Store, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_EVENTS_OF_PLACE", store_module._EVENTS_OF_PLACE.limit(3))
    deploy(put, -90 * 86_400, version="1")
    for second in range(0, 20, 2):
        deploy(put, second, version="2")
        deploy(put, second + 1, "rolled-back", version="2")
    assert both(store) == (["1"], "1")
    deploy(put, 20, version="2")
    deploy(put, 21, version="2")
    deploy(put, 22, "rolled-back", version="2")
    assert places(store) == [("staging", "api-rest", "2", 20)]


def fill(engine: Engine, rows: list[Row]) -> Store:
    """Make these rows the only ones."""
    with engine.begin() as connection:
        connection.execute(delete(deployments))
        connection.execute(insert(deployments), rows)
    return Store(engine)


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events())
def test_the_statements_agree_with_the_functions_of_runs(engine: Engine, rows: list[Row]) -> None:
    store = fill(engine, rows)
    expected = running(rows)
    assert store.running() == expected
    assert store.recent_runs(99) == runs(rows)
    for place in PLACES:
        there = [one for one in expected if (one.environment, one.component) == place]
        towards = runs(row for row in rows if (row["environment"], row["component"]) == place)
        assert store.status(*place) == (
            there[0] if there else None,
            towards[0] if towards else None,
        )


def test_recent_runs_are_the_newest_ones(store: Store, put: Callable[..., None]) -> None:
    for number in range(5):
        deploy(put, number, version=str(number))
    assert [run.version for run in store.recent_runs(3)] == ["4", "3", "2"]


def new_reservation(fingerprint: str = "f" * 64) -> Reservation:
    return Reservation(fingerprint, str(uuid.uuid4()), START)


def test_the_first_reservation_of_a_key_stays(store: Store) -> None:
    first, second = new_reservation(), new_reservation("e" * 64)
    assert store.reserve("k1", first) == first
    assert store.reserve("k1", second) == first
    assert store.reserve("k2", second) == second


def test_concurrent_reservations_agree(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/ledger.db", connect_args={"timeout": 30})
    idempotency_keys.metadata.create_all(engine)
    together = threading.Barrier(8)

    def reserve(_: int) -> Reservation:
        together.wait(30)
        return Store(engine).reserve("k", new_reservation())

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(reserve, range(8)))
    with engine.connect() as connection:
        kept = connection.execute(select(idempotency_keys)).all()
    engine.dispose()
    assert len(answers) == len(kept) == 1


def freeze(identifier: str, **until: float) -> Freeze:
    end = START + timedelta(**until)
    return Freeze(identifier, "production", end, "a reason", "Zoë", "ops", START)


def test_a_freeze_is_in_force_until_its_end_or_until_it_is_ended(store: Store) -> None:
    short, long, past = freeze("a", hours=1), freeze("b", days=1), freeze("c", hours=0)
    for each in (short, long, past):
        store.add_freeze(each)
    assert store.freezes(START) == [long, short]
    store.end_freeze("b", START)
    assert store.freezes(START) == [short]
    assert store.freezes(START + timedelta(hours=1)) == []


@pytest.mark.parametrize(("number", "raised"), [(1142, False), (1146, False), (2013, True)])
def test_freezes_without_a_table_or_a_right_are_none(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, *, raised: bool
) -> None:
    statement = select(freezes.c.id).where(text("no_such_function()"))
    monkeypatch.setattr(store_module, "_FREEZES", statement)
    monkeypatch.setattr(store_module, "_number", lambda _: number)
    if raised:
        with pytest.raises(Unavailable):
            store.freezes(START)
    else:
        assert store.freezes(START) is None


def test_a_report_replaces_the_last_one_and_counts_for_a_day(engine: Engine) -> None:
    drifted = Drifted()
    store, now = Store(engine, drifted=drifted), datetime.now()  # noqa: DTZ005  about now
    one = Drift("web", "Service/web", "spec.type", "changed", "A", "B", "kubectl", "")
    for found in ((), (one, one)):
        store.report_drift(Report("staging", now, found))
    store.report_drift(Report("production", now - timedelta(days=2), (one,)))
    assert store.drift(now) == [Report("staging", now, (one, one))]
    store.check()
    assert drifted.by_environment == {"staging": 2}


def test_without_the_table_of_drift_the_check_passes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    drifted = Drifted()
    store = Store(engine, drifted=drifted)
    drift.drop(engine)
    monkeypatch.setattr(store_module, "_number", lambda _: 1146)
    store.check()
    assert store.drift(START) is None
    assert drifted.by_environment == {}


def test_check_passes_on_an_empty_table(store: Store) -> None:
    store.check()


def test_a_table_before_the_last_migration_fails_the_check(store: Store, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_deployments_sequence"))
        connection.execute(text("ALTER TABLE deployments DROP COLUMN sequence"))
    with pytest.raises(Unavailable, match="no such column"):
        store.check()


def test_a_missing_table_is_unavailable(store: Store, engine: Engine) -> None:
    deployments.drop(engine)
    with pytest.raises(Unavailable, match="no such table"):
        store.check()


def programming_error(code: int) -> exc.ProgrammingError:
    return exc.ProgrammingError("SELECT 1", {}, Exception(code, "no"))


@pytest.mark.parametrize(
    "error",
    [programming_error(1146), exc.OperationalError("SELECT 1", {}, Exception(1054, "no"))],
    ids=["table", "column"],
)
def test_a_missing_table_or_column_names_async_worker(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: exc.DBAPIError
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(Engine, "connect", refuse)
    with pytest.raises(Unavailable, match="async-worker makes it"):
        store.find("a")


def test_a_wrong_statement_stays_a_bug(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise programming_error(1064)

    monkeypatch.setattr(Engine, "connect", refuse)
    with pytest.raises(exc.ProgrammingError):
        store.find("a")


def test_a_server_that_refuses_connections_is_unavailable(
    make_settings: Callable[..., Settings],
) -> None:
    store = Store(database_engine(make_settings(DB_HOST="127.0.0.1", DB_PORT="1")))
    with pytest.raises(Unavailable, match="does not answer"):
        store.check()


def test_a_server_that_does_not_answer_is_unavailable(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "QUERY_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        store = Store(database_engine(make_settings(DB_HOST="127.0.0.1", DB_PORT=port)))
        with pytest.raises(Unavailable, match="does not answer"):
            store.check()


class LostError(Exception):
    """What a driver raises."""


def lost(
    *, invalidated: bool = True, cause: Exception | None = None, code: int = 2013
) -> exc.OperationalError:
    original = LostError(code, "Lost connection")
    original.__context__ = cause
    return exc.OperationalError("SELECT 1", {}, original, connection_invalidated=invalidated)


def answering(engine: Engine, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> list[int]:
    """Have the first uses of a connection fail; return where the tries are counted."""
    connect, left, tries = Engine.connect, list(errors), list[int]()

    def once(self: Engine) -> Any:
        tries.append(1)
        if left:
            raise left.pop(0)
        return connect(self)

    del engine
    monkeypatch.setattr(Engine, "connect", once)
    return tries


@pytest.mark.parametrize(
    ("error", "twice"), [(lost(), Unavailable), (lost(invalidated=False, code=1213), Busy)]
)
def test_a_dead_connection_and_a_deadlock_are_retried_once(
    store: Store,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    twice: type[Exception],
) -> None:
    answering(engine, monkeypatch, error)
    assert store.find("a") is None
    answering(engine, monkeypatch, error, error)
    with pytest.raises(twice):
        store.find("a")


@pytest.mark.parametrize("code", [1969, 3024, 1205])
def test_a_statement_over_its_time_limit_is_not_retried(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    tries = answering(engine, monkeypatch, lost(invalidated=False, code=code))
    with pytest.raises(Busy) as caught:
        store.find("a")
    assert (caught.value.code, len(tries)) == ("took-too-long", 1)
    assert "within 4 s" in caught.value.plain


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[tuple[Store, Engine]]:
    """A store whose engine for readers has one connection, and one for recording beside it."""
    address = f"sqlite:///{tmp_path / 'ledger'}"
    reading, recording = (
        create_engine(address, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0)
        for _ in range(2)
    )
    deployments.metadata.create_all(recording)
    yield Store(reading, recording), reading
    for engine in (reading, recording):
        engine.dispose()


def test_without_a_free_connection_the_database_is_busy(
    crowded: tuple[Store, Engine],
) -> None:
    store, reading = crowded
    with reading.connect():
        with pytest.raises(Busy) as caught:
            store.find("a")
        assert caught.value.code == "busy"
    assert store.find("a") is None


def test_recording_and_the_check_do_not_wait_for_readers(crowded: tuple[Store, Engine]) -> None:
    store, reading = crowded
    with reading.connect():
        assert store.reserve("k", new_reservation()).fingerprint == new_reservation().fingerprint
        store.check()


def test_close_disposes_both_engines(crowded: tuple[Store, Engine]) -> None:
    store, reading = crowded
    store.check()
    store.find("a")
    pools = [engine.pool for engine in (reading, store._recording)]
    store.close()
    assert [
        engine.pool is pool for engine, pool in zip((reading, store._recording), pools, strict=True)
    ] == [False] * 2


@pytest.mark.parametrize("error", [lost(invalidated=False), lost(cause=TimeoutError())])
def test_other_errors_are_not_retried(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tries = answering(engine, monkeypatch, error)
    with pytest.raises(Unavailable):
        store.find("a")
    assert len(tries) == 1


def test_an_idle_connection_has_no_rows() -> None:
    connection = pymysql.Connection(defer_connect=True)
    connection._result = object()
    store_module._drop_result(connection, None)
    assert connection._result is None
    # One that died was taken away.
    store_module._drop_result(None, None)


def test_the_pool_drops_results(make_settings: Callable[..., Settings]) -> None:
    engine = database_engine(make_settings())
    assert store_module._drop_result in list(engine.pool.dispatch.checkin)
