"""What several test modules need."""

from collections.abc import Callable
from typing import Any

import pytest
from api_rest.settings import Settings
from captured_logs import plain_structlog, structured

from ledger import config

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
