"""Kafka and the database, each connected by a thread in the background.

The app starts without them. The threads import the client libraries too, so the server listens
0.3 s earlier.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import structlog

from .concurrency import Gate
from .drift_reports import Drifted
from .errors import Busy, Unavailable
from .lag import LagMonitor
from .readiness import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from .broker import KafkaBroker
    from .settings import Settings
    from .store import Store

__all__ = ["Backends", "ConnectingBackend"]

log = structlog.stdlib.get_logger(__name__)

RETRY_AFTER = 1.0


class Backend(Protocol):
    """A service that the app depends on."""

    def check(self) -> None:
        """Raise Unavailable if it cannot serve, or Busy if there is no time to check."""

    def close(self) -> None:
        """Close its connections."""


BackendT = TypeVar("BackendT", bound=Backend)
ResultT = TypeVar("ResultT")


class ConnectingBackend(Generic[BackendT]):
    """A backend that a thread connects in the background, with retries."""

    def __init__(self, name: str, connect: Callable[[], BackendT]) -> None:
        self._name = name
        self._connect = connect
        self._backend: BackendT | None = None
        self._reason = f"{name} is not connected yet"
        self._gate = Gate()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"connect-{name}", daemon=True)

    def start(self) -> None:
        """Start to connect, without waiting."""
        self._thread.start()

    def use(self, action: Callable[[BackendT], ResultT]) -> ResultT:
        """Return the result of an action on the backend, or raise Unavailable."""
        if self._backend is None:
            raise Unavailable(self._reason)
        with self._gate.passing():
            return action(self._backend)

    def check(self) -> None:
        """Raise Unavailable if the backend cannot serve, or Busy if there is no time to check.

        The result decides whether `use` is refused.
        """
        if self._backend is None:
            raise Unavailable(self._reason)
        with self._gate.checking():
            self._backend.check()

    def close(self) -> None:
        """Stop to connect, or close the connection."""
        self._closing.set()
        if self._backend is not None:
            self._backend.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._backend = self._connect()
            except Unavailable as error:
                self._reason = str(error)
                log.warning(
                    "not connected yet, trying again", backend=self._name, reason=self._reason
                )
                self._closing.wait(RETRY_AFTER)
            except Exception as error:
                # A bug or a wrong setting: /ready reports it, and a restart would not help.
                self._reason = f"{self._name} cannot be used: {error!r}"
                log.exception("cannot connect", backend=self._name)
                return
            else:
                log.info("opened", backend=self._name)
                return


class Backends:
    """The services that the app depends on."""

    def __init__(
        self,
        broker: ConnectingBackend[KafkaBroker],
        store: ConnectingBackend[Store],
        lag: LagMonitor,
        drifted: Drifted | None = None,
    ) -> None:
        self.broker = broker
        self.store = store
        self.lag = lag
        self.drifted = drifted or Drifted()
        # Whether each one answered the last check.
        self.up = {"kafka": False, "database": False}

    @classmethod
    def of(cls, settings: Settings) -> Backends:
        """Return backends for the settings; `start` connects them."""
        lag, drifted = LagMonitor(), Drifted()

        def broker() -> KafkaBroker:
            from .broker import KafkaBroker  # noqa: PLC0415  see the module's docstring

            return KafkaBroker(settings, lag)

        def store() -> Store:
            from .store import Store, database_engine  # noqa: PLC0415

            # A connection for each thread that records, and one for the check: none has to wait.
            return Store(
                database_engine(settings),
                database_engine(settings, settings.http_threads + 1),
                drifted,
            )

        return cls(
            ConnectingBackend("Kafka", broker),
            ConnectingBackend("the database", store),
            lag,
            drifted,
        )

    def start(self) -> None:
        """Start to connect to both."""
        self.broker.start()
        self.store.start()

    def problems(self) -> list[Reason]:
        """Check both backends and return what is wrong."""
        problems = []
        backends = (("kafka", "Kafka", self.broker), ("database", "the database", self.store))
        for name, label, backend in backends:
            try:
                backend.check()
            except Unavailable as error:
                problems.append(Reason(error.plain or f"{label} does not answer", str(error)))
                self.up[name] = False
            except Busy as error:
                # A busy backend keeps the result of the check before.
                if not self.up[name]:
                    problems.append(Reason(f"{label} is busy", str(error)))
            else:
                self.up[name] = True
        return problems

    def close(self) -> None:
        """Close both."""
        self.broker.close()
        self.store.close()
