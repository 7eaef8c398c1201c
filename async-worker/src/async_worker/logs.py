"""Log lines as JSON on stdout, ours and the libraries' alike."""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor

__all__ = ["configure"]

# kafka.net writes four lines for every attempt to reach a broker that is away; this app says so itself, once a failure.
# waitress.queue warns of every request that waits for a thread.
QUIET = {"kafka": logging.WARNING, "kafka.net": logging.CRITICAL, "waitress.queue": logging.ERROR}


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
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
