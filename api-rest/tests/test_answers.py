import logging
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from api_rest.answers import AnswerPlugin, answer, exposition, openapi_path, request_id
from api_rest.errors import Busy, Problem, Unavailable
from api_rest.metrics import Metrics
from bottle import Bottle
from ledger.tracing import Tracing, export_to
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from webtest import TestApp

Structured = Callable[[pytest.LogCaptureFixture], list[dict[str, Any]]]


class Service:
    """An app of one route that does what a test wants."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.metrics = Metrics("1")
        self.error: Exception | None = None
        self.seen: dict[str, Any] = {}
        app = Bottle()
        answering = AnswerPlugin(self.metrics, tracing or Tracing())
        app.install(answering)
        app.default_error_handler = answering.framework_error
        app.route("/things/<name>", "GET", self.thing)
        app.route("/metrics", "GET", self.thing)
        app.route("/metrics", "GET", lambda: exposition(self.metrics))
        self.http = TestApp(app)

    def thing(self, name: str = "") -> Any:
        self.seen = {"request_id": request_id(), **structlog.contextvars.get_contextvars()}
        if self.error:
            raise self.error
        structlog.contextvars.bind_contextvars(name=name)
        return answer(200, {"name": name})

    def measured(self) -> set[str]:
        return set(self.metrics.render("")[1].decode().splitlines())


@pytest.fixture
def service() -> Service:
    return Service()


def test_a_request_keeps_its_valid_id(service: Service) -> None:
    response = service.http.get("/things/a", headers={"X-Request-ID": "proxy-1.a_b"})
    assert response.headers["X-Request-ID"] == "proxy-1.a_b" == service.seen["request_id"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "é".encode().decode("latin-1")])
def test_an_invalid_id_is_replaced(service: Service, given: str) -> None:
    response = service.http.get("/things/a", headers={"X-Request-ID": given})
    assert len(response.headers["X-Request-ID"]) == 32
    assert response.headers["X-Request-ID"] == service.seen["request_id"]


def test_the_id_is_on_the_log_lines_of_its_request_only(
    service: Service, caplog: pytest.LogCaptureFixture, structured: Structured
) -> None:
    with caplog.at_level(logging.INFO):
        headers = {"X-Request-ID": "one"}
        service.http.get("/things/a", headers=headers, extra_environ={"REMOTE_ADDR": "192.0.2.7"})
        service.http.get("/things/b")
    first, second = structured(caplog)
    assert (first["path"], first["status"]) == ("/things/a", 200)
    assert first["address"] == "192.0.2.7"
    assert second["event"] == "request"
    assert structlog.contextvars.get_contextvars()["request_id"] != "one"


def test_log_context_of_a_request_ends_with_it(service: Service) -> None:
    service.http.get("/things/a")
    service.http.get("/things/b")
    assert "name" not in service.seen
    service.http.get("/things/c")
    service.http.get("/nowhere", status=404)
    assert "name" not in structlog.contextvars.get_contextvars()


def test_probes_are_logged_only_while_debugging(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        service.http.get("/metrics")
        service.http.get("/things/a")
    assert [record.levelno for record in caplog.records] == [logging.DEBUG, logging.INFO]


def test_metrics_count_a_request_by_its_route(service: Service) -> None:
    service.http.get("/things/a")
    service.http.get("/things/b")
    assert (
        'http_requests_total{method="GET",route="/things/{name}",status="200"} 2.0'
        in service.measured()
    )


def test_an_openapi_path_has_no_filters() -> None:
    assert (
        openapi_path("/badges/<environment>/<component:path>.svg")
        == "/badges/{environment}/{component}.svg"
    )


def test_metrics_count_unknown_routes(service: Service) -> None:
    service.http.get("/nowhere", status=404)
    assert service.http.post("/things/a", status=405).headers["Allow"]
    assert {
        'http_requests_total{method="GET",route="none",status="404"} 1.0',
        'http_requests_total{method="POST",route="none",status="405"} 1.0',
    } <= service.measured()


def test_the_metrics_are_served(service: Service) -> None:
    response = service.http.get("/metrics")
    assert response.content_type == "text/plain"
    assert "http_request_duration_seconds" in response.text


def test_a_problem_becomes_its_answer(service: Service) -> None:
    service.error = Problem(422, "wrong", "no", fields={"a": "b"}, headers={"X-Reason": "r"})
    response = service.http.get("/things/a", status=422)
    assert response.json == {"error": {"code": "wrong", "message": "no", "fields": {"a": "b"}}}
    assert response.headers["X-Reason"] == "r"


def test_an_outage_is_503_without_its_reason(service: Service) -> None:
    service.error = Unavailable("user root at db.internal")
    response = service.http.get("/things/a", status=503)
    assert response.headers["Retry-After"] == "5"
    assert "root" not in response.text


def test_what_everybody_may_know_of_an_outage_is_in_the_answer(service: Service) -> None:
    service.error = Unavailable("root: no such table", plain="a table does not exist yet")
    response = service.http.get("/things/a", status=503)
    assert response.json["error"]["message"] == "a table does not exist yet; try again"


def test_a_busy_database_is_503_with_its_own_code_and_a_logged_reason(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.error = Busy("took-too-long", "SELECT secret")
    with caplog.at_level(logging.WARNING):
        response = service.http.get("/things/a", status=503)
    error = {
        "code": "took-too-long",
        "message": "the database had no time for this request; try again",
    }
    assert response.json["error"] == error
    assert int(response.headers["Retry-After"]) > 0
    assert "secret" not in response.text
    assert "SELECT secret" in caplog.text


def test_a_bug_is_500_and_only_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.error = RuntimeError("secret")
    response = service.http.get("/things/a", status=500)
    assert response.json["error"]["code"] == "internal-error"
    assert "secret" not in response.text
    assert any(record.exc_info or "request failed" in str(record.msg) for record in caplog.records)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def traced(exporter: InMemorySpanExporter, error: Exception | None = None) -> Any:
    tracing = export_to(exporter, service="api-rest", environment="test", version="1")
    service = Service(tracing)
    service.error = error
    carrier = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    service.http.get("/metrics", headers={"traceparent": carrier}, expect_errors=True)
    service.http.get("/things/a", headers={"traceparent": carrier}, expect_errors=True)
    tracing.close()
    (span,) = exporter.get_finished_spans()
    return span, service


def test_a_request_continues_its_clients_trace_and_a_probe_has_no_span(
    exporter: InMemorySpanExporter,
) -> None:
    span, service = traced(exporter)
    assert (span.name, span.kind) == ("GET /things/{name}", SpanKind.SERVER)
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/things/{name}",
        "url.path": "/things/a",
        "http.response.status_code": 200,
    }
    assert span.parent.span_id == 0xB7AD6B7169203331
    assert service.seen["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("error", "status"),
    [(Problem(404, "c", "m"), StatusCode.UNSET), (Unavailable("x"), StatusCode.ERROR)],
)
def test_only_server_errors_fail_the_span(
    exporter: InMemorySpanExporter, error: Exception, status: StatusCode
) -> None:
    span, _ = traced(exporter, error)
    assert span.status.status_code == status
