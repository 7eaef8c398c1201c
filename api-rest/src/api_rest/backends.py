"""Kafka and the database as the HTTP side sees them: there at once, connected when they can be.

Both libraries are imported by background threads, so that the server listens 0.3 s earlier, and neither has to be
up for this app to start.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import structlog

from .errors import Busy, Unavailable
from .gate import Gate
from .idempotency import Reserver
from .state import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .lag import Storing
    from .listing import Batch, Listing, Position
    from .runs import Run, Running
    from .settings import Settings

__all__ = ["Backends", "Broker", "Connecting", "Reader"]

log = structlog.stdlib.get_logger(__name__)

RETRY_AFTER = 1.0


class Backend(Protocol):
    """What can be checked and closed."""

    def check(self) -> None:
        """Raise Unavailable unless it can serve, or Busy when that cannot be told now."""

    def close(self) -> None:
        """Let go of it."""


class Broker(Backend, Protocol):
    """Where events go."""

    def publish(self, *, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """Return once the event is safe, or raise Unavailable."""


class Reader(Backend, Reserver, Protocol):
    """The database as the requests use it."""

    def recent(
        self,
        listing: Listing,
        encode: Callable[[dict[str, Any]], bytes],
        max_bytes: int,
    ) -> Batch:
        """Return what is listed, encoded: up to so many bytes, but one event at least."""

    def end(self, listing: Listing) -> Position | None:
        """Return where what is listed ends, or None if nothing follows there."""

    def find(self, event_id: str) -> dict[str, Any] | None:
        """Return one deployment, or None."""

    def running(self) -> list[Running]:
        """Return what each environment has of each component."""

    def standing(self, environment: str, component: str) -> tuple[Running | None, Run | None]:
        """Return what an environment has of a component, and the newest run towards it."""

    def recent_runs(self, limit: int) -> list[Run]:
        """Return the newest runs."""


BackendT = TypeVar("BackendT", bound=Backend)
ResultT = TypeVar("ResultT")


class Connecting(Generic[BackendT]):
    """A backend that a thread connects in the background, again and again until it is there."""

    def __init__(self, name: str, connect: Callable[[], BackendT]) -> None:
        self._name = name
        self._connect = connect
        self._backend: BackendT | None = None
        self._reason = f"{name} is not connected yet"
        self._gate = Gate()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"connect-{name}", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def use(self, action: Callable[[BackendT], ResultT]) -> ResultT:
        """Return what the action makes of the backend, or raise Unavailable."""
        if self._backend is None:
            raise Unavailable(self._reason)
        with self._gate.passing():
            return action(self._backend)

    def check(self) -> None:
        """Raise Unavailable unless the backend can serve, or Busy when that cannot be told now.

        Whoever uses it next benefits from what was found.
        """
        if self._backend is None:
            raise Unavailable(self._reason)
        with self._gate.checking():
            self._backend.check()

    def close(self) -> None:
        """Stop connecting, or let go of what is connected."""
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
                # A bug or a setting that can never work: /ready tells, and a restart would not help.
                self._reason = f"{self._name} cannot be used: {error!r}"
                log.exception("cannot connect", backend=self._name)
                return
            else:
                log.info("opened", backend=self._name)
                return


class Backends:
    """Everything the HTTP side needs from outside the process."""

    def __init__(self, broker: Connecting[Broker], store: Connecting[Reader]) -> None:
        self.broker = broker
        self.store = store
        # Which of them answered when last checked.
        self.well = {"kafka": False, "database": False}

    @classmethod
    def of(cls, settings: Settings, storing: Storing) -> Backends:
        """Return the real ones, not started yet; the broker notes in `storing` what is stored."""

        def broker() -> Broker:
            from .broker import KafkaBroker  # noqa: PLC0415  see the module's docstring

            return KafkaBroker(settings, storing)

        def store() -> Reader:
            from .store import Store, database_engine  # noqa: PLC0415

            # One for each thread that records, and one for the check: neither waits for a connection.
            return Store(
                database_engine(settings), database_engine(settings, settings.http_threads + 1)
            )

        return cls(Connecting("Kafka", broker), Connecting("the database", store))

    def start(self) -> None:
        """Begin to connect to both."""
        self.broker.start()
        self.store.start()

    def problems(self) -> list[Reason]:
        """Return why requests cannot be served now; nothing when they can."""
        found = []
        backends = (("kafka", "Kafka", self.broker), ("database", "the database", self.store))
        for name, words, backend in backends:
            try:
                backend.check()
            except Unavailable as error:
                found.append(Reason(error.plain or f"{words} does not answer", str(error)))
                self.well[name] = False
            except Busy as error:
                # Says nothing new: what answered before still counts as answering.
                if not self.well[name]:
                    found.append(Reason(f"{words} is busy", str(error)))
            else:
                self.well[name] = True
        return found

    def close(self) -> None:
        """Let go of both."""
        self.broker.close()
        self.store.close()
