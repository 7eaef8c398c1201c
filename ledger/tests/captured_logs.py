"""Log lines as caplog shows them; both apps' conftest takes these fixtures from here."""

from collections.abc import Callable
from typing import Any

import pytest
import structlog

__all__ = ["plain_structlog", "structured"]


@pytest.fixture(autouse=True)
def plain_structlog() -> None:
    """Pass log lines to the standard library as dictionaries, for caplog."""
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
    """Reads the structured lines that a test has logged."""

    def structured(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
        return [record.msg for record in caplog.records if isinstance(record.msg, dict)]

    return structured
