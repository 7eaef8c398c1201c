"""Runs the worker: `python -m async_worker`."""
# ruff: noqa: T201  a command line speaks by print

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from . import config
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .broker import KafkaBroker
    from .health import Vitals
    from .store import Store

__all__ = ["main"]

FAILED = 1
WRONG_SETTINGS = 2
RETRY_AFTER = 1.0


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Read the settings and work until told to stop; return the process's exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments:
        return _command_line(arguments)
    try:
        settings = config.load(Settings, os.environ if environ is None else environ)
    except config.SettingsError as error:
        print("async-worker cannot start, these settings are wrong:", file=sys.stderr)
        print(*(f"  {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        print("`python -m async_worker --help` lists all of them.", file=sys.stderr)
        return WRONG_SETTINGS
    stopping = threading.Event()
    # As PID 1 a process gets no default handling of signals: without handlers SIGTERM would be ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return _work(settings, stopping)


def _work(settings: Settings, stopping: threading.Event) -> int:
    # Imported only now, so that --help and wrong settings are answered at once.
    import structlog  # noqa: PLC0415

    from . import logs  # noqa: PLC0415
    from .health import HealthServer, Vitals  # noqa: PLC0415
    from .store import Store, database_engine  # noqa: PLC0415
    from .worker import Worker  # noqa: PLC0415

    logs.configure(level=settings.log_level, service="async-worker", environment=settings.environment)
    log = structlog.stdlib.get_logger("async_worker")
    store = Store(database_engine(settings))
    vitals = Vitals()
    try:
        health = HealthServer(settings.health_port, vitals, store.check)
    except OSError as error:
        log.error("cannot listen", port=settings.health_port, reason=str(error))  # noqa: TRY400
        return FAILED
    health.serve()
    log.info("started", health_port=health.port)
    try:
        broker = _connect(settings, store, vitals, stopping)
        if broker is not None:
            log.info("consuming", topic=settings.topic, group=settings.group_id)
            worker = Worker(
                broker,
                store,
                vitals,
                instance=os.uname().nodename,
                heartbeat_interval=settings.heartbeat_interval,
                stopping=stopping.is_set,
            )
            try:
                worker.run()
            finally:
                broker.close()
    except Exception:
        log.exception("cannot go on")
        return FAILED
    finally:
        health.close()
        store.close()
    log.info("stopped")
    return 0


def _connect(settings: Settings, store: Store, vitals: Vitals, stopping: threading.Event) -> KafkaBroker | None:
    """Wait until Kafka and the database are there; None when told to stop meanwhile."""
    import structlog  # noqa: PLC0415

    from .broker import KafkaBroker  # noqa: PLC0415
    from .errors import Unavailable  # noqa: PLC0415

    log = structlog.stdlib.get_logger("async_worker")
    while not stopping.is_set():
        vitals.turned(joined=False, delivering=True)
        try:
            store.prepare()
            return KafkaBroker(settings)
        except Unavailable as error:
            log.warning("not connected yet, trying again", reason=str(error))
            stopping.wait(RETRY_AFTER)
    return None


def _command_line(arguments: Sequence[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print("Keeps the deployment ledger. Usage: python -m async_worker [--help | --version]\n")
        print("Settings, from the environment:\n")
        print(config.table(Settings))
        return 0
    if arguments == ["--version"]:
        from importlib.metadata import version  # noqa: PLC0415

        print(version("async-worker"))
        return 0
    print(f"async-worker takes no arguments but --help and --version, not {' '.join(arguments)!r}", file=sys.stderr)
    return WRONG_SETTINGS


if __name__ == "__main__":
    sys.exit(main())
