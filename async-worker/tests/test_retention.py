"""Which events the worker deletes. A row is named after what it is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from async_worker import store as store_module
from async_worker.event import Deployment
from async_worker.store import Store
from ledger.tables import deployments, notifications
from sqlalchemy import Engine, select

NOW = datetime(2026, 6, 1, tzinfo=UTC).replace(tzinfo=None)
BEFORE = NOW - timedelta(days=30)

Event = tuple[int, str, str, str]


@pytest.fixture
def store(engine: Engine) -> Store:
    store = Store(engine, notify=True)
    store.prepare()
    return store


@pytest.fixture
def kept(store: Store, engine: Engine) -> Callable[..., list[Event]]:
    """Store events of one place (days ago, version, stage, status), purge, and return the rest."""

    def kept(*events: Event, component: str = "api") -> list[Event]:
        ids = {f"{component}-{number}": event for number, event in enumerate(events)}
        store.add([row(event_id, event, component) for event_id, event in ids.items()])
        while store.purge_events(BEFORE):
            pass
        with engine.connect() as connection:
            left = set(connection.execute(select(deployments.c.id)).scalars())
        return [event for event_id, event in ids.items() if event_id in left]

    return kept


def row(event_id: str, event: Event, component: str) -> Deployment:
    days, version, stage, status = event
    at = (NOW - timedelta(days=days)).isoformat(sep=" ", timespec="microseconds")
    return Deployment(event_id, component, version, "staging", "me", stage, status, at, None, at)


def deploy(days: int, version: str, status: str = "succeeded") -> Event:
    return days, version, "deploy", status


def test_what_runs_is_kept_with_its_run_however_old(kept: Callable[..., list[Event]]) -> None:
    run = [(401, "1", "build", "succeeded"), deploy(401, "1", "started"), deploy(400, "1")]
    assert kept(*run) == run


def test_what_was_replaced_long_ago_is_deleted_with_its_run(
    kept: Callable[..., list[Event]],
) -> None:
    old = [(91, "1", "build", "succeeded"), deploy(90, "1"), (89, "1", "verify", "succeeded")]
    assert kept(*old, deploy(60, "2")) == [deploy(60, "2")]


def test_what_was_replaced_lately_is_kept_for_a_rollback(kept: Callable[..., list[Event]]) -> None:
    events = [deploy(90, "1"), deploy(10, "2")]
    assert kept(*events) == events


def test_all_runs_of_the_version_that_runs_are_kept(kept: Callable[..., list[Event]]) -> None:
    # A rollback may name the pipeline of the first one.
    assert kept(deploy(90, "1"), deploy(80, "2"), deploy(70, "1")) == [
        deploy(90, "1"),
        deploy(70, "1"),
    ]


@pytest.mark.parametrize("stage", ["deploy", "verify"])
def test_a_deploy_that_was_rolled_back_replaces_nothing(
    kept: Callable[..., list[Event]], stage: str
) -> None:
    events = [deploy(90, "1"), deploy(80, "2"), (79, "2", stage, "rolled-back")]
    assert kept(*events) == events


def test_a_failed_deploy_replaces_nothing_and_is_deleted(kept: Callable[..., list[Event]]) -> None:
    assert kept(deploy(90, "1"), deploy(80, "2", "failed")) == [deploy(90, "1")]


def test_of_a_removed_place_the_last_removal_is_kept(kept: Callable[..., list[Event]]) -> None:
    removals = [deploy(80, "1", "removed"), deploy(60, "2", "removed")]
    assert kept(deploy(90, "1"), removals[0], deploy(70, "2"), removals[1]) == removals[1:]


def test_what_was_removed_lately_is_kept(kept: Callable[..., list[Event]]) -> None:
    events = [deploy(90, "1"), deploy(10, "1", "removed")]
    assert kept(*events) == events


def test_events_of_a_version_that_was_not_deployed_are_deleted(
    kept: Callable[..., list[Event]],
) -> None:
    assert kept((90, "1", "build", "succeeded"), (5, "2", "build", "succeeded")) == [
        (5, "2", "build", "succeeded")
    ]


def test_another_place_does_not_count(kept: Callable[..., list[Event]]) -> None:
    assert kept(deploy(60, "2"), component="web") == [deploy(60, "2")]
    assert kept(deploy(90, "1")) == [deploy(90, "1")]


def test_events_are_deleted_in_small_steps_with_their_notifications(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PURGE_EVENTS_STEP", 2)
    monkeypatch.setattr(store_module, "NOTIFY_WITHIN", timedelta(days=36_500))
    store.add([row(f"{days}", deploy(days, f"{days}"), "api") for days in (90, 80, 70, 60)])
    assert store.purge_events(BEFORE) == 2
    assert store.purge_events(BEFORE) == 1
    assert store.purge_events(BEFORE) == 0
    with engine.connect() as connection:
        assert connection.execute(select(deployments.c.id)).scalars().all() == ["60"]
        assert connection.execute(select(notifications.c.deployment_id)).scalars().all() == ["60"]
