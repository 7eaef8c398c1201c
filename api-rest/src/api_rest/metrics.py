"""The metrics of GET /metrics: rate, errors and duration of requests, and the server's state."""

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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .drift_reports import Drifted
    from .lag import LagMonitor

__all__ = ["Metrics", "ServerState"]

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Other methods are counted as "other": a client could send any word, each with its own time series.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ServerState(Protocol):
    """The server's own figures."""

    @property
    def queued(self) -> int:
        """Requests that wait for a thread."""

    @property
    def connections(self) -> int:
        """Open connections."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Requests and connections that the server refused or cut, by reason."""


class Metrics:
    """The metrics of this process."""

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
        # A lookup by labels costs as much as the counting.
        self._children: dict[
            tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]
        ] = {}
        Info("api_rest_build", "The running version", registry=self._registry).info(
            {"version": version}
        )
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def watch(self, server: ServerState) -> None:
        """Add the metrics of a server."""
        queued = Gauge(
            "http_queued_requests", "Requests that wait for a thread", registry=self._registry
        )
        queued.set_function(lambda: server.queued)
        connections = Gauge("http_connections", "Open connections", registry=self._registry)
        connections.set_function(lambda: server.connections)
        self._registry.register(_Refusals(server))

    def watch_backends(self, up: Mapping[str, bool]) -> None:
        """Add the metric of whether each backend answers."""
        gauge = Gauge(
            "api_rest_backend_up",
            "1 while the app can use it, else 0",
            ["backend"],
            registry=self._registry,
        )
        for name in up:
            gauge.labels(name).set_function(partial(up.__getitem__, name))

    def watch_lag(self, monitor: LagMonitor) -> None:
        """Add the metrics of the storage lag, NaN without a valid sample."""

        def figure(name: str) -> float:
            lag = monitor.lag()
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

    def watch_drift(self, drifted: Drifted) -> None:
        """Add the metric of how environments differ from what was deployed."""
        self._registry.register(_Drift(drifted))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is the rule that matched, never the path itself."""
        children = self._children.get((method, route, status))
        if children is None:
            known = method if method in METHODS else "other"
            children = (
                self._requests.labels(known, route, status).inc,
                self._durations.labels(known, route).observe,
            )
            if known == method:
                self._children[method, route, status] = children
        count, observe = children
        count()
        observe(seconds)

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the body in the newest format that the client accepts."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)


class _Refusals(Collector):
    """The server's own counters of what did not reach the app."""

    def __init__(self, server: ServerState) -> None:
        self._server = server

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the current counts."""
        family = CounterMetricFamily(
            "http_refused", "Requests and connections that the app never saw", labels=["reason"]
        )
        for reason, count in self._server.counters.items():
            family.add_metric([reason], count)
        yield family


class _Drift(Collector):
    """How many differences each environment has that was checked within a day."""

    def __init__(self, drifted: Drifted) -> None:
        self._drifted = drifted

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the counts of the last reports."""
        family = GaugeMetricFamily(
            "api_rest_drifted_fields",
            "Fields and objects that differ from what was deployed",
            labels=["environment"],
        )
        for environment, count in self._drifted.by_environment.items():
            family.add_metric([environment], count)
        yield family
