"""How the worker starts and connects; test_main.py runs it as a process."""

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from async_worker import broker, service
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
    monkeypatch.setattr(broker, "KafkaBroker", lambda _: migrations.append(store.calls))
    monkeypatch.setattr(service, "RETRY_AFTER", 0.01)
    service._Consumer(make_settings(), threading.Event(), store, Vitals(), Metrics())._connect()
    assert migrations == [3]


def test_the_worker_listens_before_it_imports_kafka_and_opentelemetry() -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path}; import async_worker.service\n"
        "print({'kafka', 'opentelemetry'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == "set()\n"
