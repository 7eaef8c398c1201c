from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from async_worker import sequence
from async_worker import store as store_module
from async_worker.errors import Unavailable
from async_worker.event import Deployment
from async_worker.settings import Settings
from async_worker.store import (
    NOTIFY_WITHIN,
    Notification,
    Store,
    database_engine,
    ends_deployment,
)
from ledger.event_rules import STAGES, STATUSES
from ledger.tables import deployments, idempotency_keys, notifications
from sqlalchemy import Engine, event, exc, insert, select

NOW = datetime.now(UTC).replace(tzinfo=None)


@pytest.fixture
def store(engine: Engine) -> Store:
    store = Store(engine)
    store.prepare()
    return store


@pytest.fixture
def notifying(engine: Engine) -> Store:
    """A store that adds notifications for the webhook."""
    store = Store(engine, notify=True)
    store.prepare()
    return store


def row(event_id: str, **changes: Any) -> Deployment:
    at = NOW.isoformat(sep=" ", timespec="microseconds")
    made = Deployment(
        event_id, "api-rest", "1", "staging", "me", "deploy", "succeeded", at, None, at
    )
    return made._replace(**changes)


def stored(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {row.id: row.version for row in connection.execute(select(deployments))}


def test_rows_are_stored(store: Store, engine: Engine) -> None:
    earlier = (NOW - timedelta(hours=1)).isoformat(sep=" ", timespec="microseconds")
    run = {"at": earlier, "pipeline": "https://ci/1", "step": "inv deploy"}
    added = store.add([row("a"), row("b", details='{"who":"Zoë"}', actor="jenkins", **run)])
    assert (added.rejected, added.duplicates) == ([], 0)
    assert stored(engine) == {"a": "1", "b": "1"}
    with engine.connect() as connection:
        rows = connection.execute(select(deployments).order_by(deployments.c.id)).all()
    assert [row.details for row in rows] == [None, {"who": "Zoë"}]
    assert [row.actor for row in rows] == [None, "jenkins"]
    assert rows[0].received_at == NOW
    assert [(row.at, row.pipeline, row.step) for row in rows] == [
        (NOW, None, None),
        (NOW - timedelta(hours=1), "https://ci/1", "inv deploy"),
    ]


def test_an_empty_batch_needs_no_connection(engine: Engine) -> None:
    engine.dispose()
    assert Store(engine).add([]).rejected == []


def test_a_known_id_is_skipped(store: Store, engine: Engine) -> None:
    store.add([row("a", version="1")])
    added = store.add([row("a", version="2"), row("b", version="2"), row("b", version="3")])
    assert (added.rejected, added.duplicates) == ([], 2)
    assert stored(engine) == {"a": "1", "b": "2"}


def test_a_rejected_row_does_not_stop_the_others(store: Store, engine: Engine) -> None:
    store.add([row("b")])
    bad = row("bad", version=None)
    added = store.add([row("a"), bad, row("b")])
    ((rejected, error),) = added.rejected
    assert rejected is bad
    assert type(error).__name__ == "IntegrityError"
    assert str(error) == "NOT NULL constraint failed: deployments.version"
    assert added.duplicates == 1
    assert stored(engine) == {"a": "1", "b": "1"}


@pytest.mark.parametrize(
    "code",
    [1153, 4025, 3819, 3140, 3157],
    ids=["packet", "check of MariaDB", "check of MySQL", "JSON", "deep JSON"],
)
def test_a_row_that_causes_a_server_error_is_rejected(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    add = store._add

    def limited(rows: list[Deployment]) -> object:
        if any(row.id == "large" for row in rows):
            raise exc.OperationalError("INSERT", {}, Exception(code, "no"))
        return add(rows)

    monkeypatch.setattr(store, "_add", limited)
    ((rejected, _),) = store.add([row("a"), row("large"), row("b")]).rejected
    assert rejected.id == "large"
    assert set(stored(engine)) == {"a", "b"}


def test_a_batch_is_stored_whole_or_not_at_all(notifying: Store, engine: Engine) -> None:
    def fail(*_: object) -> None:
        raise exc.OperationalError("COMMIT", {}, Exception("gone"))

    event.listen(engine, "commit", fail)
    with pytest.raises(Unavailable, match="gone"):
        notifying.add([row("a"), row("b")])
    event.remove(engine, "commit", fail)
    assert stored(engine) == {}
    assert notifying.due(NOW + timedelta(hours=1), 9) == []


def test_check_accepts_an_empty_table(store: Store) -> None:
    store.check()


def test_check_fails_without_the_table(engine: Engine) -> None:
    with pytest.raises(Unavailable, match="no such table"):
        Store(engine).check()


def test_a_missing_table_of_mysql_is_unavailable(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise exc.ProgrammingError(
            "SELECT", {}, Exception(1146, "Table 'ledger.deployments' doesn't exist")
        )

    monkeypatch.setattr(store._engine, "connect", missing)
    with pytest.raises(Unavailable, match=r"the database is not ready: .*doesn't exist"):
        store.check()


def test_a_server_that_refuses_connections_is_unavailable(
    make_settings: Callable[..., Settings],
) -> None:
    store = Store(database_engine(make_settings(DB_HOST="127.0.0.1", DB_PORT="1")))
    for ask in (lambda: store.add([row("a")]), store.prepare, store.check):
        with pytest.raises(Unavailable, match="does not answer"):
            ask()


def numbers(engine: Engine) -> dict[str, int | None]:
    with engine.connect() as connection:
        rows = connection.execute(select(deployments.c.id, deployments.c.sequence)).all()
    return {row.id: row.sequence for row in rows}


def test_numbers_grow_in_the_order_of_storing_whatever_the_times(
    store: Store, engine: Engine
) -> None:
    store.add([row("new"), row("b")])
    store.add([row("old", received_at="2026-01-01 00:00:00.000000"), row("b"), row("c")])
    stored = numbers(engine)
    assert sorted(stored, key=lambda name: stored[name] or 0) == ["new", "b", "old", "c"]


def test_rows_of_an_earlier_worker_are_numbered_after_the_others_by_their_times(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "STEP", 2)
    store.add([row("a")])
    times = [NOW - timedelta(hours=hours) for hours in (1, 3, 2, 4, 4)]
    earlier = [
        {**row(name)._asdict(), "received_at": at, "at": at}
        for name, at in zip("vwxyz", times, strict=True)
    ]
    with engine.begin() as connection:
        connection.execute(insert(deployments), earlier)
    store.number()
    store.add([row("b")])
    stored = numbers(engine)
    assert sorted(stored, key=lambda name: stored[name] or 0) == [*"ayzwxvb"]
    store.number()
    assert numbers(engine) == stored


ENDS = {
    ("deploy", "succeeded"),
    ("deploy", "failed"),
    ("deploy", "rolled-back"),
    ("deploy", "removed"),
    ("verify", "failed"),
    ("verify", "rolled-back"),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("status", STATUSES)
def test_which_events_end_a_deployment(stage: str, status: str) -> None:
    assert ends_deployment(row("a", stage=stage, status=status)) is ((stage, status) in ENDS)


def test_each_ended_deployment_gets_one_notification(notifying: Store) -> None:
    old = (NOW - NOTIFY_WITHIN - timedelta(minutes=1)).isoformat(sep=" ", timespec="microseconds")
    rows = [
        row("a"),
        row("b", status="started"),
        row("c", status="failed"),
        row("old", received_at=old),
    ]
    assert notifying.add(rows).notifications == 2
    assert notifying.add(rows).notifications == 0
    due = notifying.due(NOW + timedelta(hours=1), 9)
    assert {(entry.deployment_id, entry.status, entry.attempts) for entry in due} == {
        ("a", "succeeded", 0),
        ("c", "failed", 0),
    }


def test_without_a_webhook_there_are_no_notifications(store: Store) -> None:
    assert store.add([row("a")]).notifications == 0
    assert store.due(NOW + timedelta(hours=1), 9) == []


def only_due(store: Store, at: datetime) -> Notification:
    (notification,) = store.due(at, 9)
    return notification


def test_only_one_worker_claims_a_notification_until_its_lease_ends(
    notifying: Store,
) -> None:
    notifying.add([row("a")])
    soon, until = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    notification = only_due(notifying, soon)
    assert notifying.claim(notification, until)
    assert not notifying.claim(notification, until), "two workers have it"
    assert notifying.due(soon, 9) == []
    assert only_due(notifying, until).attempts == 1


def test_sent_and_given_up_notifications_are_not_due(notifying: Store, engine: Engine) -> None:
    notifying.add([row("a"), row("b"), row("c")])
    later = NOW + timedelta(days=9)
    for number, (notification, sent, retry) in enumerate(
        zip(notifying.due(later, 9), (NOW, None, None), (None, None, later), strict=True)
    ):
        notifying.record_attempt(
            notification, sent_at=sent, retry_at=retry, error=f"{number}" * 300
        )
    assert only_due(notifying, later).deployment_id == "c"
    with engine.connect() as connection:
        errors = connection.execute(select(notifications.c.last_error)).scalars().all()
    assert {len(error) for error in errors if error} == {255}


def test_only_old_finished_rows_are_purged(
    notifying: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PURGE_STEP", 2)
    notifying.add([row("a"), row("b")])
    done = notifying.due(NOW + timedelta(days=1), 9)[0]
    notifying.record_attempt(done, sent_at=NOW, retry_at=None, error=None)
    keys = [
        {
            "key_hash": f"{number}",
            "fingerprint": "f",
            "event_id": "e",
            "received_at": NOW - timedelta(days=number),
        }
        for number in range(6)
    ]
    with engine.begin() as connection:
        connection.execute(insert(idempotency_keys), keys)
    assert notifying.purge(NOW - timedelta(days=2)) == 3
    assert notifying.purge(NOW + timedelta(days=1)) == 3 + 1
    assert only_due(notifying, NOW + timedelta(days=1)).deployment_id != done.deployment_id
