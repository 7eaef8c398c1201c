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
from sqlalchemy import insert, select, text
from world import PATIENCE, World

pytestmark = pytest.mark.engine


def test_the_real_database_has_what_is_declared(world: World) -> None:
    with world.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_rows_of_the_version_before_are_stored_and_filled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "BATCH", 2)
    received = datetime(2026, 1, 2, 3, 4, 5, 678)  # noqa: DTZ001  the column holds UTC without a zone
    said: list[dict[str, Any] | None] = [
        {"at": "2026-01-02T04:00:00+01:00", "pipeline": "https://ci/é", "log": "x" * 30_000},
        {"at": "yesterday", "step": "inv deploy"},
        None,
    ]
    rows = [
        {**world.event(f"{number}"), "received_at": received, "details": details}
        for number, details in enumerate(said)
    ]

    def stored() -> list[Any]:
        column = deployments.c
        ours = select(column.at, column.pipeline, column.step).where(
            column.component == world.component
        )
        with world.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(ours.order_by(column.version))]

    with world.engine.begin() as connection:
        # A worker of the version before names no more columns than these.
        connection.execute(insert(deployments), rows)
    assert stored() == [(received, None, None)] * 3
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0004'"))
    Store(world.engine).prepare()
    earlier = datetime(2026, 1, 2, 3)  # noqa: DTZ001
    assert stored() == [
        (earlier, "https://ci/é", None),
        (received, None, "inv deploy"),
        (received, None, None),
    ]


def test_one_worker_at_a_time_migrates(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes long: the others wait, within limits, and go on once it is done."""
    monkeypatch.setattr(migrations, "HEAD", f"{int(migrations.HEAD) + 1:04}")
    monkeypatch.setattr(store, "MIGRATION_LOCK_WAIT", 1)
    running: list[int] = []
    most: list[int] = []
    waited = threading.Event()
    upgrade = migrations.upgrade

    def slow(connection: object) -> None:
        running.append(1)
        most.append(len(running))
        waited.wait(PATIENCE)
        upgrade(connection)  # type: ignore[arg-type]
        running.pop()

    monkeypatch.setattr(migrations, "upgrade", slow)
    done: list[int] = []

    def prepare() -> None:
        mine = Store(store.database_engine(world.settings))
        for _ in range(30):
            try:
                mine.prepare()
            except Unavailable:
                waited.set()
            else:
                done.append(1)
                break
        mine.close()

    threads = [threading.Thread(target=prepare) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), max(most)) == (3, 1)
    assert waited.is_set()
