"""Log lines as JSON on stdout, for the app and its libraries."""

from __future__ import annotations

import atexit
import json
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

__all__ = ["Writer", "configure"]

# kafka-python logs several lines for each failed connection. The apps log each failure once;
# broker_network has those of kafka.net.
QUIET = {"kafka": logging.WARNING, "kafka.cluster": logging.CRITICAL}

# Seconds in which lines are collected for one write.
FLUSH_DELAY = 0.02


def configure(*, level: str, service: str, environment: str) -> Writer:
    """Write each log line of the process to stdout as a JSON object; return the writer."""

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
    writer = Writer(sys.stdout)
    handler = logging.StreamHandler(writer)
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
        logger_factory=lambda name="", *_: _Lines(name, writer),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    return writer


class Writer:
    """Writes lines to a stream in groups: each write releases the GIL and switches threads.

    Warnings and errors are written immediately, after the lines before them. The last lines are
    written at exit.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._has_lines = threading.Event()
        self._writing = threading.Lock()
        self._closed = False
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.close)

    def write(self, text: str) -> None:
        """Write a text after FLUSH_DELAY at the latest."""
        self._lines.append(text)
        if not self._has_lines.is_set():
            self._has_lines.set()

    def flush(self) -> None:
        """Write all collected lines."""
        with self._writing:
            self._write_lines()

    def close(self) -> None:
        """Write all collected lines and no more: Python aborts if a thread writes at exit."""
        with self._writing:
            self._write_lines()
            self._closed = True

    def _write_lines(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines and not self._closed:
            self._stream.write("".join(lines))
            self._stream.flush()

    def _run(self) -> None:
        while self._has_lines.wait():
            time.sleep(FLUSH_DELAY)
            # Clear it first: a line that comes between both calls then sets it again.
            self._has_lines.clear()
            self.flush()


class _Lines:
    """The app's lines. The records of the standard library would take ten times as long."""

    def __init__(self, name: str, writer: Writer) -> None:
        self.name = name  # add_logger_name reads it
        self._writer = writer

    def info(self, line: str) -> None:
        self._writer.write(f"{line}\n")

    def error(self, line: str) -> None:
        self._writer.write(f"{line}\n")
        self._writer.flush()

    debug = log = msg = info
    warning = critical = exception = error


def _dumps(line: EventDict, default: Callable[[object], object]) -> str:
    del default
    return _encoder.encode(line)


_encoder = json.JSONEncoder(default=repr)
