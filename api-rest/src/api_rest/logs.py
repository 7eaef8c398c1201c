"""Log lines as JSON on stdout, ours and the libraries' alike."""

import json
import logging
import sys
from collections.abc import Callable
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

__all__ = ["configure"]

# These write several lines for every attempt to reach a broker that is away; this app says so itself, once a failure.
QUIET = {"kafka": logging.WARNING, "kafka.cluster": logging.CRITICAL, "kafka.net": logging.CRITICAL}


def configure(*, level: str, service: str, environment: str) -> None:
    """Send every log line of the process to stdout as one JSON object."""

    def name_the_process(_: object, __: str, line: EventDict) -> EventDict:
        return {"service": service, "environment": environment, **line}

    shared: list[Processor] = [
        name_the_process,
        # What is bound for the length of a request or a batch: its id, its trace.
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stdout)
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
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_dumps)],
        logger_factory=lambda name="", *_: _Lines(name, sys.stdout),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


class _Lines:
    """Writes our own lines past the standard library, whose records cost ten times as much as the line."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name  # add_logger_name reads it
        self._stream = stream

    def msg(self, line: str) -> None:
        # One write, so that no other thread's line comes between it and its end.
        self._stream.write(f"{line}\n")
        self._stream.flush()

    debug = info = warning = error = critical = exception = log = msg


def _dumps(line: EventDict, default: Callable[[object], object]) -> str:
    del default
    return _encoder.encode(line)


_encoder = json.JSONEncoder(default=repr)
