"""Migrations on the real database."""

import threading
from datetime import datetime
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from async_worker import migrations, store
from async_worker.errors import Unavailable
from async_worker.migrations import steps
from async_worker.store import Store
from ledger.tables import deployments, metadata
from live import TIMEOUT, Scenario
from sqlalchemy import insert, select, text

pytestmark = pytest.mark.engine


def test_the_real_database_has_the_declared_tables(scenario: Scenario) -> None:
    with scenario.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_rows_of_the_previous_version_get_their_columns(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "BATCH", 2)
    received = datetime(2026, 1, 2, 3, 4, 5, 678)  # noqa: DTZ001  UTC
    all_details: list[dict[str, Any] | None] = [
        {"at": "2026-01-02T04:00:00+01:00", "pipeline": "https://ci/é", "log": "x" * 30_000},
        {"at": "yesterday", "step": "inv deploy"},
        None,
    ]
    rows = [
        {**scenario.event(f"{number}"), "received_at": received, "details": details}
        for number, details in enumerate(all_details)
    ]

    def stored() -> list[Any]:
        column = deployments.c
        query = select(column.at, column.pipeline, column.step).where(
            column.component == scenario.component
        )
        with scenario.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query.order_by(column.version))]

    with scenario.engine.begin() as connection:
        # A worker of the previous version has only these columns.
        connection.execute(insert(deployments), rows)
    assert stored() == [(received, None, None)] * 3
    with scenario.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0004'"))
    Store(scenario.engine).prepare()
    earlier = datetime(2026, 1, 2, 3)  # noqa: DTZ001
    assert stored() == [
        (earlier, "https://ci/é", None),
        (received, None, "inv deploy"),
        (received, None, None),
    ]


def test_one_worker_at_a_time_migrates(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for a slow step, and go on when it is done."""
    monkeypatch.setattr(migrations, "HEAD", f"{int(migrations.HEAD) + 1:04}")
    monkeypatch.setattr(store, "MIGRATION_LOCK_WAIT", 1)
    running: list[int] = []
    most: list[int] = []
    waited = threading.Event()
    upgrade = migrations.upgrade

    def slow(connection: object) -> None:
        running.append(1)
        most.append(len(running))
        waited.wait(TIMEOUT)
        upgrade(connection)  # type: ignore[arg-type]
        running.pop()

    monkeypatch.setattr(migrations, "upgrade", slow)
    done: list[int] = []

    def prepare() -> None:
        own_store = Store(store.database_engine(scenario.settings))
        for _ in range(30):
            try:
                own_store.prepare()
            except Unavailable:
                waited.set()
            else:
                done.append(1)
                break
        own_store.close()

    threads = [threading.Thread(target=prepare) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), max(most)) == (3, 1)
    assert waited.is_set()
