"""Log lines as JSON on stdout, for the app and its libraries, by structlog."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, TextIO, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

__all__ = ["configure"]

# kafka-python logs several lines for each failed connection. The apps log each failure once;
# broker_network has those of kafka.net.
QUIET = {"kafka": logging.WARNING, "kafka.cluster": logging.CRITICAL}
STDOUT = 1


def configure(*, level: str, service: str, environment: str) -> None:
    """Write each log line of the process to stdout as a JSON object."""

    def add_process(_: object, __: str, line: EventDict) -> EventDict:
        return {"service": service, "environment": environment, **line}

    shared: list[Processor] = [
        add_process,
        # The values that a request binds: its id and trace.
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(_stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(least)
    # The records of the standard library would take the app's own lines ten times as long.
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        logger_factory=lambda name="", *_: _Logger(name),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


class _Logger(structlog.WriteLogger):
    def __init__(self, name: str) -> None:
        super().__init__(_stdout)
        self.name = name  # add_logger_name reads it


class _Stdout:
    """Writes to stdout without a buffer, and loses what stdout does not take.

    Python aborts if a thread has the lock of a buffer at exit. A pipe that nobody reads, or a full
    disk, must neither fail the code that logs nor keep its lines.
    """

    def write(self, text: str) -> int:
        try:
            return os.write(STDOUT, text.encode("utf-8", "backslashreplace"))
        except OSError:
            return len(text)

    def flush(self) -> None:
        pass


_stdout = cast("TextIO", _Stdout())
