"""What several test modules need."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from async_worker.event import Message
from async_worker.settings import Settings

from ledger import config

if TYPE_CHECKING:
    from world import Services, World

MINIMUM = {
    "BROKER_URL": "kafka.invalid",
    "DB_HOST": "database.invalid",
    "DB_DATABASE": "ledger",
    "DB_USERNAME": "ledger",
    "DB_PASSWORD": "secret",
}


@pytest.fixture
def minimum() -> dict[str, str]:
    """The variables that have no default."""
    return dict(MINIMUM)


@pytest.fixture
def make_settings(minimum: dict[str, str]) -> Callable[..., Settings]:
    def make(**changes: str) -> Settings:
        return config.load(Settings, {**minimum, **changes})

    return make


@pytest.fixture
def deployment() -> dict[str, Any]:
    """A good event as it travels."""
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
    """Make a message that carries the deployment, changed as told."""

    def make(offset: int = 0, partition: int = 0, **changes: object) -> Message:
        value = json.dumps({**deployment, **changes}).encode("utf-8")
        return Message(
            "deployments", partition, offset, b"api-rest", value, (("kind", b"deployment"),)
        )

    return make


@pytest.fixture(autouse=True)
def _plain_structlog() -> None:
    """Hand log lines to the standard library as dictionaries, where caplog finds them."""
    structlog.configure(
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger("DEBUG"),
        cache_logger_on_first_use=False,
    )


@pytest.fixture
def structured() -> Callable[[pytest.LogCaptureFixture], list[dict[str, Any]]]:
    def structured(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
        return [record.msg for record in caplog.records if isinstance(record.msg, dict)]

    return structured


@pytest.fixture(scope="session")
def services() -> "Iterator[Services]":
    """The real Kafka and database, for tests/integration alone."""
    from world import Services  # noqa: PLC0415  it needs what BROKER_URL and DB_* name

    with ExitStack() as stack:
        services = Services(stack)
        stack.callback(services.admin.delete_topics, services.topics)
        yield services


@pytest.fixture
def world(services: "Services") -> "Iterator[World]":
    """A test's own part of them."""
    from world import World  # noqa: PLC0415

    with ExitStack() as stack:
        yield World(services, stack)
