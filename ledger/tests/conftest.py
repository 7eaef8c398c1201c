"""Shared fixtures."""

from collections.abc import Callable

import pytest
from ledger.broker_security import BrokerSettings

from ledger import config


@pytest.fixture
def make_settings() -> Callable[..., BrokerSettings]:
    def make(**changes: str) -> BrokerSettings:
        return config.load(BrokerSettings, {"BROKER_URL": "kafka.invalid", **changes})

    return make
