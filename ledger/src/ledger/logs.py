"""Log lines as JSON on stdout, ours and the libraries' alike."""

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

# These write several lines for every attempt to reach a broker that is away; this app says so itself, once a failure.
QUIET = {"kafka": logging.WARNING, "kafka.cluster": logging.CRITICAL, "kafka.net": logging.CRITICAL}

# How long a line may wait for others, in seconds.
TOGETHER = 0.02


def configure(*, level: str, service: str, environment: str) -> Writer:
    """Send every log line of the process to stdout as one JSON object; return what writes them."""

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
    """Writes lines to a stream, those of a moment together: each write lets go of the interpreter, and costs a change of threads.

    What is serious is written at once, with what waits before it. What is left at the end is written then.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._some = threading.Event()
        self._writing = threading.Lock()
        self._closed = False
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.close)

    def write(self, text: str) -> None:
        """Write it within a moment."""
        self._lines.append(text)
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Write what waits, now."""
        with self._writing:
            self._write_waiting()

    def close(self) -> None:
        """Write what waits, and nothing after that: Python aborts if a thread is still writing when it ends."""
        with self._writing:
            self._write_waiting()
            self._closed = True

    def _write_waiting(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines and not self._closed:
            self._stream.write("".join(lines))
            self._stream.flush()

    def _run(self) -> None:
        while self._some.wait():
            time.sleep(TOGETHER)
            # In this order: a line that comes in between sets it again, and is at worst written a round early.
            self._some.clear()
            self.flush()


class _Lines:
    """Our own lines, past the standard library, whose records cost ten times as much as the line."""

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
