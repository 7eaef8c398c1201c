"""A trace leads from a client through HTTP and Kafka into the worker; a collector is optional."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.ledger.conftest import Bring
from tests.ledger.otlp import Collector
from tests.ledger.stack import HOST, Stack, wait_for
from tests.load.generator import event
from tests.registries import serving

pytestmark = pytest.mark.engine

APPS = ("api-rest", "async-worker")


@dataclass(frozen=True)
class Call:
    """A client's span, and the id of its request."""

    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    request_id: str = field(default_factory=lambda: f"traced-{secrets.token_hex(4)}")

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-Request-ID": self.request_id,
            "traceparent": f"00-{self.trace_id}-{self.span_id}-01",
        }


@dataclass(frozen=True)
class Traced:
    """The platform, and the collector of its spans."""

    stack: Stack
    collector: Collector
    stop: Callable[[], None]  # the collector


@pytest.fixture(scope="module")
def traced(bring: Bring) -> Iterator[Traced]:
    collector = Collector()
    with ExitStack() as running:
        # Containers send to it.
        address, _ = running.enter_context(serving(collector, host="0.0.0.0"))  # noqa: S104
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{address.rpartition(':')[2]}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            # Short: after the last test no collector answers.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        }
        with bring(environment, APPS) as stack:
            for app in APPS:
                stack.wait_ready(app)
            yield Traced(stack, collector, running.close)


def log(stack: Stack, app: str) -> str:
    return bytes(stack.container(app).logs()).decode("utf-8")


def test_one_trace_leads_from_the_client_into_the_worker(traced: Traced) -> None:
    call = Call()
    answer = traced.stack.post(event(call.request_id, 1), **call.headers)
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (202, call.request_id)
    wait_for(
        "three spans of the trace",
        lambda: len(traced.collector.spans(call.trace_id)) >= 3,
    )

    spans = traced.collector.spans(call.trace_id)
    ids = {span.name: span.span_id for span in spans}
    assert len(set(ids.values()) - {"", call.span_id}) == len(spans)
    assert {(span.parent_id, span.name, span.service, span.kind) for span in spans} == {
        (call.span_id, "POST /deployments", "api-rest", "server"),
        (ids["POST /deployments"], "send deployments", "api-rest", "producer"),
        (ids["send deployments"], "process deployments", "async-worker", "consumer"),
    }


# The last test: it stops the collector of the others.
def test_a_missing_collector_disturbs_no_app(traced: Traced) -> None:
    call = Call()
    traced.stop()
    lengths = {app: len(log(traced.stack, app)) for app in APPS}
    assert traced.stack.post(event(call.request_id, 1), **call.headers).status_code == 202

    def missed() -> bool:
        return all(HOST in log(traced.stack, app)[lengths[app] :] for app in APPS)

    wait_for("both apps to log the missing collector", missed)
    assert traced.stack.post(event(call.request_id, 2), **call.headers).status_code == 202
    wait_for(
        "both events to be stored",
        lambda: traced.stack.count(call.request_id) == 2,
    )
    assert [traced.stack.signal(app, "TERM") for app in APPS] == [0, 0]
