"""Runs the worker: `python -m async_worker`."""
# ruff: noqa: T201  a command line speaks by print

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from ledger import config

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
USAGE = "async-worker [--help | --version | redrive [--limit N] [--dry-run]]"


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Read the settings and work until told to stop; return the process's exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    environ = os.environ if environ is None else environ
    if arguments[:1] == ["redrive"]:
        return _redrive(arguments[1:], environ)
    if arguments:
        return _command_line(arguments)
    settings = _settings(environ)
    if settings is None:
        return WRONG_SETTINGS
    stopping = threading.Event()

    def stop(*_: object) -> None:
        if stopping.is_set():
            # Told twice: whoever does that wants no more waiting. What is not committed is read again.
            os._exit(FAILED)
        stopping.set()

    # As PID 1 a process gets no default handling of signals: without handlers SIGTERM would be ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return _work(settings, stopping)


def _settings(environ: Mapping[str, str]) -> Settings | None:
    try:
        return config.load(Settings, environ)
    except config.SettingsError as error:
        print("async-worker cannot start, these settings are wrong:", file=sys.stderr)
        print(*(f"  {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        print("`python -m async_worker --help` lists all of them.", file=sys.stderr)
        return None


def _redrive(given: Sequence[str], environ: Mapping[str, str]) -> int:
    import logging  # noqa: PLC0415

    from .redrive import arguments, redrive  # noqa: PLC0415

    try:
        wanted = arguments(given)
    except SystemExit as end:
        return int(end.code or 0)
    settings = _settings(environ)
    if settings is None:
        return WRONG_SETTINGS
    # What goes wrong is said once, by the command itself.
    logging.basicConfig(level=logging.CRITICAL)
    return redrive(settings, limit=wanted.limit, dry_run=wanted.dry_run)


def _work(settings: Settings, stopping: threading.Event) -> int:
    # Imported only now, so that --help and wrong settings are answered at once.
    from contextlib import ExitStack  # noqa: PLC0415
    from functools import partial  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    from ledger import logs, tracing, version  # noqa: PLC0415

    from . import notifier  # noqa: PLC0415
    from .errors import Fatal  # noqa: PLC0415
    from .health import HealthServer, Vitals  # noqa: PLC0415
    from .metrics import Metrics  # noqa: PLC0415
    from .store import Store, database_engine  # noqa: PLC0415
    from .worker import Worker  # noqa: PLC0415

    logs.configure(
        level=settings.log_level, service="async-worker", environment=settings.environment
    )
    log = structlog.stdlib.get_logger("async_worker")
    # kafka-python's own threads, for one: the loop learns of it when it next needs them.
    threading.excepthook = lambda died: log.critical(
        "a thread died", thread=died.thread and died.thread.name, reason=repr(died.exc_value)
    )
    metrics = Metrics()
    vitals = Vitals(heartbeat_interval=settings.heartbeat_interval)
    with ExitStack() as opened:
        store = Store(database_engine(settings), notify=bool(settings.webhook_url))
        opened.callback(store.close)
        try:
            health = HealthServer(
                settings.health_port, vitals, store.check, metrics, settings.topic
            )
        except OSError as error:
            log.error("cannot listen", port=settings.health_port, reason=str(error))  # noqa: TRY400
            return FAILED
        opened.callback(health.close)
        health.serve()
        log.info("started", health_port=health.port)
        try:
            traces = tracing.start(
                settings.otel_exporter_otlp_endpoint,
                service="async-worker",
                environment=settings.environment,
                version=version.installed(),
            )
            opened.callback(traces.close)
            broker = _connect(settings, store, vitals, stopping)
            if broker is None:
                log.info("stopped")
                return 0
            opened.callback(broker.close)
            background = notifier.Notifier(
                store,
                partial(notifier.post, settings.webhook_url) if settings.webhook_url else None,
                metrics,
            )
            opened.callback(background.close)
            background.start()
            # What was imported stays: the collector need not look through it again and again.
            gc.collect()
            gc.freeze()
            log.info("consuming", topic=settings.topic, group=settings.group_id)
            Worker(
                broker,
                store,
                vitals,
                metrics,
                traces,
                instance=os.uname().nodename,
                heartbeat_interval=settings.heartbeat_interval,
                stopping=stopping.is_set,
                ended=background.wake,
            ).run()
        except Fatal as error:
            log.critical("cannot go on", reason=str(error))
            return FAILED
        except Exception:
            log.exception("cannot go on, this is a bug")
            return FAILED
    log.info("stopped")
    return 0


def _connect(
    settings: Settings, store: Store, vitals: Vitals, stopping: threading.Event
) -> KafkaBroker | None:
    """Wait until Kafka and the database are there; None when told to stop meanwhile."""
    import structlog  # noqa: PLC0415

    from .broker import KafkaBroker  # noqa: PLC0415
    from .errors import Unavailable  # noqa: PLC0415

    log = structlog.stdlib.get_logger("async_worker")
    while not stopping.is_set():
        vitals.turned(joined=False, delivering=True)
        try:
            if not _prepared(store, vitals, stopping):
                return None
            return KafkaBroker(settings)
        except Unavailable as error:
            log.warning("not connected yet, trying again", reason=str(error))
            stopping.wait(RETRY_AFTER)
    return None


def _prepared(store: Store, vitals: Vitals, stopping: threading.Event) -> bool:
    """Prepare the store; False when told to stop meanwhile. It may take longer than a loop may rest: /health goes on."""
    failures: list[BaseException] = []

    def prepare() -> None:
        try:
            store.prepare()
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            failures.append(error)

    thread = threading.Thread(target=prepare, name="migrations", daemon=True)
    thread.start()
    while thread.is_alive():
        if stopping.is_set():
            return False
        vitals.turned(joined=False, delivering=True)
        thread.join(RETRY_AFTER)
    if failures:
        raise failures[0]
    return True


def _command_line(arguments: Sequence[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(f"Keeps the deployment ledger. Usage: {USAGE}\n")
        print("Settings, from the environment:\n")
        print(config.reference(Settings))
        return 0
    if arguments == ["--version"]:
        from ledger import version  # noqa: PLC0415

        print(version.installed())
        return 0
    print(f"async-worker does not know {' '.join(arguments)!r}. Usage: {USAGE}", file=sys.stderr)
    return WRONG_SETTINGS


if __name__ == "__main__":
    sys.exit(main())
