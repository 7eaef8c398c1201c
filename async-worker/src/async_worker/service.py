"""The running worker: starts its parts, connects, consumes, and closes everything at the end.

Kafka and OpenTelemetry are slow to import, so they are imported once /health answers.
"""

from __future__ import annotations

import gc
import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
from ledger.management import ManagementServer

from ledger import logs, version

from . import notifier
from .errors import Fatal, Unavailable
from .health import Vitals, probes
from .metrics import Metrics
from .store import MIGRATION_TIMEOUT, Store, database_engine

if TYPE_CHECKING:
    from .broker import KafkaBroker
    from .settings import Settings

__all__ = ["run"]

log = structlog.stdlib.get_logger("async_worker")

FAILED = 1
RETRY_AFTER = 1.0


def run(settings: Settings, stopping: threading.Event) -> int:
    """Consume until `stopping` is set; return the exit code."""
    logs.configure(
        level=settings.log_level, service="async-worker", environment=settings.environment
    )
    # For kafka-python's own threads. The loop fails by itself when it next needs a dead thread.
    threading.excepthook = lambda died: log.critical(
        "a thread died", thread=died.thread and died.thread.name, reason=repr(died.exc_value)
    )
    metrics = Metrics()
    vitals = Vitals(heartbeat_interval=settings.heartbeat_interval)
    with ExitStack() as resources:
        store = Store(
            database_engine(settings),
            migrating=database_engine(settings, MIGRATION_TIMEOUT),
            notify=bool(settings.webhook_url),
        )
        resources.callback(store.close)
        try:
            management = ManagementServer(
                settings.management_port, probes(vitals, store.check, metrics, settings.topic)
            )
        except OSError as error:
            reason = str(error)
            log.error("cannot listen", port=settings.management_port, reason=reason)  # noqa: TRY400
            return FAILED
        resources.callback(management.close)
        management.serve()
        log.info("started", management_port=management.port)
        consumer = _Consumer(settings, stopping, store, vitals, metrics)
        try:
            consumer.run(resources)
        except Fatal as error:
            log.critical("cannot go on", reason=str(error))
            return FAILED
        except Exception:
            log.exception("cannot go on, this is a bug")
            return FAILED
    log.info("stopped")
    return 0


@dataclass(frozen=True)
class _Consumer:
    """Connects to Kafka and the database, and consumes."""

    settings: Settings
    stopping: threading.Event
    store: Store
    vitals: Vitals
    metrics: Metrics

    def run(self, resources: ExitStack) -> None:
        """Consume until told to stop; `resources` closes what this opens."""
        from ledger import tracing  # noqa: PLC0415  see the module's docstring

        from .worker import Worker, WorkerOptions  # noqa: PLC0415  see the module's docstring

        settings = self.settings
        traces = tracing.start(
            settings.otel_exporter_otlp_endpoint,
            service="async-worker",
            environment=settings.environment,
            version=version.installed(),
        )
        resources.callback(traces.close)
        broker = self._connect()
        if broker is None:
            return
        resources.callback(broker.close)
        webhook = partial(notifier.post, settings.webhook_url) if settings.webhook_url else None
        background = notifier.Notifier(
            self.store, webhook, self.metrics, retention_days=settings.retention_days
        )
        resources.callback(background.close)
        background.start()
        # Imported objects live as long as the process: the collector need not scan them.
        gc.collect()
        gc.freeze()
        log.info("consuming", topic=settings.topic, group=settings.group_id)
        options = WorkerOptions(
            tracing=traces,
            instance=os.uname().nodename,
            heartbeat_interval=settings.heartbeat_interval,
            is_stopping=self.stopping.is_set,
            on_deployment_ended=background.wake,
        )
        Worker(broker, self.store, self.vitals, self.metrics, options).run()

    def _connect(self) -> KafkaBroker | None:
        """Wait for Kafka and the database; return None when told to stop meanwhile."""
        from .broker import KafkaBroker  # noqa: PLC0415  see the module's docstring

        while not self.stopping.is_set():
            self._show_alive()
            try:
                if not self._prepare_store():
                    return None
                return KafkaBroker(self.settings)
            except Unavailable as error:
                log.warning("not connected yet, trying again", reason=str(error))
                self.stopping.wait(RETRY_AFTER)
        return None

    def _prepare_store(self) -> bool:
        """Prepare the store; return False when told to stop meanwhile.

        A migration may take longer than /health allows the loop to pause, so it runs in a thread.
        """
        failures: list[BaseException] = []

        def prepare() -> None:
            try:
                self.store.prepare()
            except BaseException as error:  # noqa: BLE001  raised again by the waiting thread
                failures.append(error)

        thread = threading.Thread(target=prepare, name="migrations", daemon=True)
        thread.start()
        while thread.is_alive():
            if self.stopping.is_set():
                return False
            self._show_alive()
            thread.join(RETRY_AFTER)
        if failures:
            raise failures[0]
        return True

    def _show_alive(self) -> None:
        self.vitals.record_iteration(joined=False, delivering=True)
