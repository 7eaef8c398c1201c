"""How the worker connects; test_main.py runs it as a process."""

import threading
from collections.abc import Callable

import pytest
from async_worker import service
from async_worker.errors import Unavailable
from async_worker.health import Vitals
from async_worker.metrics import Metrics
from async_worker.settings import Settings
from async_worker.store import Store


class FailingStore(Store):
    """Fails twice, and then succeeds."""

    def __init__(self) -> None:
        self.calls = 0

    def prepare(self) -> None:
        self.calls += 1
        if self.calls < 3:
            raise Unavailable("away")


def test_the_worker_connects_to_kafka_once_the_database_is_migrated(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FailingStore()
    migrations: list[int] = []
    monkeypatch.setattr(service, "KafkaBroker", lambda _: migrations.append(store.calls))
    monkeypatch.setattr(service, "RETRY_AFTER", 0.01)
    service._Consumer(make_settings(), threading.Event(), store, Vitals(), Metrics())._connect()
    assert migrations == [3]
