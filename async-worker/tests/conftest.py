"""Shared fixtures."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from async_worker.event import Message
from async_worker.settings import Settings
from captured_logs import plain_structlog, structured
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from ledger import config

if TYPE_CHECKING:
    from live import Scenario, Services

__all__ = ["plain_structlog", "structured"]

MINIMUM = {
    "BROKER_URL": "kafka.invalid",
    "DB_HOST": "database.invalid",
    "DB_DATABASE": "ledger",
    "DB_USERNAME": "ledger",
    "DB_PASSWORD": "secret",
}


@pytest.fixture
def minimum() -> dict[str, str]:
    """The required variables."""
    return dict(MINIMUM)


@pytest.fixture
def make_settings(minimum: dict[str, str]) -> Callable[..., Settings]:
    def make(**changes: str) -> Settings:
        return config.load(Settings, {**minimum, **changes})

    return make


@pytest.fixture
def deployment() -> dict[str, Any]:
    """A valid event."""
    return {
        "id": "0b1e1a5c-6f0d-4f6e-9f57-3f6d1f2f7a11",
        "component": "api-rest",
        "version": "1.2.3",
        "environment": "staging",
        "responsible": "Zoë",
        "stage": "deploy",
        "status": "succeeded",
        "received_at": "2026-01-02T03:04:05.000678Z",
    }


@pytest.fixture
def make_message(deployment: dict[str, Any]) -> Callable[..., Message]:
    """Make a message with the deployment and some changed fields."""

    def make(offset: int = 0, partition: int = 0, **changes: object) -> Message:
        value = json.dumps({**deployment, **changes}).encode("utf-8")
        return Message(
            "deployments", partition, offset, b"api-rest", value, (("kind", b"deployment"),)
        )

    return make


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An empty SQLite database in memory."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def services() -> "Iterator[Services]":
    """The real Kafka and database, for tests/integration."""
    from live import Services  # noqa: PLC0415  it needs what BROKER_URL and DB_* name

    with ExitStack() as stack:
        services = Services(stack)
        stack.callback(services.admin.delete_topics, services.topics)
        yield services


@pytest.fixture
def scenario(services: "Services") -> "Iterator[Scenario]":
    """The topics, the group and the component of one test."""
    from live import Scenario  # noqa: PLC0415

    with ExitStack() as stack:
        yield Scenario(services, stack)
