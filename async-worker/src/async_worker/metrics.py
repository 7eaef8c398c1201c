"""The metrics of GET /metrics.

The registry is not the global one of prometheus_client, to which libraries may add metrics.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from ledger import version

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Metrics"]

# Prometheus does not read creation times from this format, and they double the page.
disable_created_metrics()  # type: ignore[no-untyped-call]

OUTCOMES = ("stored", "duplicate", "dead_letter", "heartbeat")
NOTIFICATION_OUTCOMES = ("sent", "retried", "given_up")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROUND_TRIPS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
MESSAGES = (1, 5, 10, 50, 100, 250, 500, 1000, 2500, 5000)


class Metrics:
    """Every metric of this worker."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.messages = counter(
            "worker_messages", "Messages done with, by what came of them", ["outcome"]
        )
        self.dead_letters = counter(
            "worker_dead_letters", "Messages put aside, by the class of the error", ["reason"]
        )
        self.batch_messages = histogram(
            "worker_batch_messages", "Messages in a batch", buckets=MESSAGES
        )
        self.batch_seconds = histogram(
            "worker_batch_seconds", "Time from a batch's arrival to its effect", buckets=SECONDS
        )
        self.outages = counter("worker_outages", "Times that Kafka or the database went away")
        self.retries = counter("worker_retries", "Attempts that failed while it was away")
        self.commit_failures = counter(
            "worker_commit_failures", "Offsets that Kafka did not take at once"
        )
        self.lag = gauge(
            "worker_consumer_lag_messages",
            "Messages of a partition that are not read yet",
            ["topic", "partition"],
        )
        self.heartbeat_round_trip = histogram(
            "worker_heartbeat_round_trip_seconds",
            "From sending a heartbeat to reading it",
            buckets=ROUND_TRIPS,
        )
        self.heartbeat_last = gauge(
            "worker_heartbeat_last_timestamp_seconds", "When a heartbeat was last read, Unix time"
        )
        self.notifications = counter(
            "worker_notifications",
            "Attempts to tell the webhook, by what came of them",
            ["outcome"],
        )
        self.purged = counter("worker_purged_rows", "Rows deleted that nobody needs any more")
        self.ready = gauge("worker_ready", "1 while this worker consumes, else 0")
        build = gauge("worker_build_info", "Always 1; the version is in the label", ["version"])
        build.labels(version.installed()).set(1)
        for outcome in OUTCOMES:
            self.messages.labels(outcome)
        for outcome in NOTIFICATION_OUTCOMES:
            self.notifications.labels(outcome)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    def set_lags(self, topic: str, lags: Mapping[int, int]) -> None:
        """Set the lag of the partitions that this worker reads, and remove all others."""
        self.lag.clear()
        for partition, lag in lags.items():
            self.lag.labels(topic, str(partition)).set(lag)

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the body in the newest format that the client accepts."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)
