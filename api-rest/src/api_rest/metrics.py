"""What Prometheus reads from GET /metrics: rate, errors and duration of the requests, and the state of the server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .lag import Storing

__all__ = ["Metrics", "Served"]

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Any word may stand where the method does; each would be a time series of its own.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Served(Protocol):
    """What the server says about itself."""

    @property
    def queued(self) -> int:
        """Requests that wait for a thread."""

    @property
    def connections(self) -> int:
        """Open connections."""

    @property
    def counters(self) -> Mapping[str, int]:
        """What the server itself refused or cut, by reason."""


class Metrics:
    """One process's measurements; nothing is kept outside of it."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._durations = Histogram(
            "http_request_duration_seconds",
            "From the request being whole and having its thread to its answer being made",
            ["method", "route"],
            buckets=DURATIONS,
            registry=self._registry,
        )
        # Finding a child by its labels costs as much as counting on it.
        self._seen: dict[
            tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]
        ] = {}
        Info("api_rest_build", "The running version", registry=self._registry).info(
            {"version": version}
        )
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def watch(self, server: Served) -> None:
        """Tell of this server, too."""
        queued = Gauge(
            "http_queued_requests", "Requests that wait for a thread", registry=self._registry
        )
        queued.set_function(lambda: server.queued)
        connections = Gauge("http_connections", "Open connections", registry=self._registry)
        connections.set_function(lambda: server.connections)
        self._registry.register(_Refusals(server))

    def watch_backends(self, well: Mapping[str, bool]) -> None:
        """Tell which of what this app depends on answers."""
        up = Gauge(
            "api_rest_backend_up",
            "1 while the app can use it, else 0",
            ["backend"],
            registry=self._registry,
        )
        for name in well:
            up.labels(name).set_function(partial(well.__getitem__, name))

    def watch_storing(self, storing: Storing) -> None:
        """Tell how far storing is behind; NaN while that is not known."""

        def figure(name: str) -> float:
            lag = storing.lag()
            return float("nan") if lag is None else float(getattr(lag, name))

        waiting = Gauge(
            "api_rest_store_waiting_events",
            "Events accepted and not stored yet",
            registry=self._registry,
        )
        waiting.set_function(partial(figure, "waiting"))
        delay = Gauge(
            "api_rest_store_delay_seconds",
            "How long the oldest of them has waited",
            registry=self._registry,
        )
        delay.set_function(partial(figure, "delay"))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; the route is the rule that matched, never the address itself."""
        found = self._seen.get((method, route, status))
        if found is None:
            known = method if method in METHODS else "other"
            found = (
                self._requests.labels(known, route, status).inc,
                self._durations.labels(known, route).observe,
            )
            if known == method:
                self._seen[method, route, status] = found
        count, observe = found
        count()
        observe(seconds)

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the body, in the newest format of those that the Accept header names."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)


class _Refusals(Collector):
    """The server's own counters: what never reached the app."""

    def __init__(self, server: Served) -> None:
        self._server = server

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read them."""
        family = CounterMetricFamily(
            "http_refused", "Requests and connections that the app never saw", labels=["reason"]
        )
        for reason, count in self._server.counters.items():
            family.add_metric([reason], count)
        yield family
