"""Migrations on the real database."""

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from async_worker import migrations, store
from async_worker.errors import Unavailable
from async_worker.store import Store, metadata
from world import PATIENCE, World

pytestmark = pytest.mark.engine


def test_the_real_database_has_what_is_declared(world: World) -> None:
    with world.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_one_worker_at_a_time_migrates(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes long: the others wait, within limits, and go on once it is done."""
    monkeypatch.setattr(migrations, "HEAD", "0005")
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
