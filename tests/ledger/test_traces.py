"""One trace leads from a client through HTTP and Kafka into the worker; where nobody collects it, nobody misses it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.ledger.conftest import Bring
from tests.ledger.otlp import Collector, collecting
from tests.ledger.stack import HOST, Stack, wait_for

pytestmark = pytest.mark.engine

APPS = ("api-rest", "async-worker")
PATIENCE = 60.0


@dataclass(frozen=True)
class Call:
    """A client's own span, and the id it gives its request."""

    trace_id: str
    span_id: str
    request_id: str

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "X-Request-ID": self.request_id,
            "traceparent": f"00-{self.trace_id}-{self.span_id}-01",
        }


@dataclass(frozen=True)
class Traced:
    """The platform, and where its spans go."""

    stack: Stack
    collector: Collector


@pytest.fixture
def call() -> Call:
    return Call(secrets.token_hex(16), secrets.token_hex(8), f"traced-{secrets.token_hex(4)}")


@pytest.fixture(scope="module")
def traced(bring: Bring) -> Iterator[Traced]:
    with collecting() as collector:
        told = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{collector.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            # What is left is given up soon: at the end nobody collects it.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        }
        with bring(told, APPS) as stack:
            for app in APPS:
                stack.wait_ready(app)
            yield Traced(stack, collector)


def record(stack: Stack, call: Call) -> tuple[int, str | None]:
    """Post an event; return the status and the id that the answer gives the request."""
    event = {
        "component": f"{call.request_id}/traced",
        "version": "1.2.3",
        "environment": "develop",
        "responsible": "Jane Doe <jane@example.com>",
        "stage": "deploy",
        "status": "succeeded",
    }
    connection = HTTPConnection(*stack.address("api-rest"), timeout=15)
    try:
        connection.request("POST", "/deployments", json.dumps(event), call.headers)
        response = connection.getresponse()
        response.read()
        return response.status, response.headers["X-Request-ID"]
    finally:
        connection.close()


def log(stack: Stack, app: str) -> str:
    return bytes(stack.container(app).logs()).decode("utf-8")


def logged(stack: Stack, call: Call) -> list[dict[str, Any]]:
    """What api-rest's log has about a request."""
    return [
        json.loads(line) for line in log(stack, "api-rest").splitlines() if call.request_id in line
    ]


def test_one_trace_leads_from_the_client_into_the_worker(traced: Traced, call: Call) -> None:
    assert record(traced.stack, call) == (202, call.request_id)
    wait_for(
        "three spans of the trace",
        lambda: len(traced.collector.spans(call.trace_id)) >= 3,
        seconds=PATIENCE,
    )

    spans = traced.collector.spans(call.trace_id)
    ids = {span.name: span.span_id for span in spans}
    assert len(set(ids.values()) - {"", call.span_id}) == len(spans)
    assert {(span.parent_id, span.name, span.service, span.kind) for span in spans} == {
        (call.span_id, "POST /deployments", "api-rest", "server"),
        (ids["POST /deployments"], "send deployments", "api-rest", "producer"),
        (ids["send deployments"], "process deployments", "async-worker", "consumer"),
    }


def test_the_log_line_of_a_request_names_its_trace(traced: Traced, call: Call) -> None:
    record(traced.stack, call)
    wait_for("the request's log line", lambda: bool(logged(traced.stack, call)), seconds=PATIENCE)
    (line,) = logged(traced.stack, call)
    assert (line["request_id"], line["trace_id"], line["path"]) == (
        call.request_id,
        call.trace_id,
        "/deployments",
    )


# The last one, since it stops what the others need.
def test_a_collector_that_is_away_disturbs_nobody(traced: Traced, call: Call) -> None:
    traced.collector.stop()
    said = {app: len(log(traced.stack, app)) for app in APPS}
    assert record(traced.stack, call)[0] == 202

    def missed() -> bool:
        return all(HOST in log(traced.stack, app)[said[app] :] for app in APPS)

    wait_for("both apps to miss the collector", missed, seconds=PATIENCE)
    assert record(traced.stack, call)[0] == 202
    wait_for(
        "both events to be stored",
        lambda: traced.stack.count(call.request_id) == 2,
        seconds=PATIENCE,
    )
    assert [traced.stack.signal(app, "TERM") for app in APPS] == [0, 0]
