"""What several test modules need."""

from collections.abc import Callable

import pytest
import structlog
from ledger.broker_security import BrokerSettings

from ledger import config


@pytest.fixture
def make_settings() -> Callable[..., BrokerSettings]:
    def make(**changes: str) -> BrokerSettings:
        return config.load(BrokerSettings, {"BROKER_URL": "kafka.invalid", **changes})

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
