"""What several test modules need."""

from collections.abc import Callable
from typing import Any

import pytest
import structlog
from api_rest.settings import Settings

from ledger import config

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
    """A good request body."""
    return {
        "component": "api-rest",
        "version": "1.2.3",
        "environment": "staging",
        "responsible": "Zoë",
        "stage": "deploy",
        "status": "succeeded",
    }


@pytest.fixture(autouse=True)
def _plain_structlog() -> None:
    """Hand log lines to the standard library as dictionaries, where caplog finds them."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger("DEBUG"),
        cache_logger_on_first_use=False,
    )


@pytest.fixture
def structured() -> Callable[[pytest.LogCaptureFixture], list[dict[str, Any]]]:
    def structured(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
        return [record.msg for record in caplog.records if isinstance(record.msg, dict)]

    return structured
