"""The Bottle plugins for every route: one shape of answers, a log line, metrics and a span."""

from __future__ import annotations

import logging
import re
import time
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from bottle import HTTPError, HTTPResponse, request
from ledger.event_rules import write_json
from opentelemetry.trace import SpanKind, StatusCode

from .errors import Busy, Problem, Unavailable
from .listing import read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from bottle import Route
    from ledger.tracing import Tracing
    from opentelemetry.trace import Span

    from .metrics import Metrics

__all__ = [
    "AnswerPlugin",
    "QueryPlugin",
    "answer",
    "exposition",
    "openapi_path",
    "query",
    "request_id",
]

log = structlog.stdlib.get_logger(__name__)

# About as long as a reconnect to Kafka or the database takes.
RETRY_AFTER_SECONDS = "5"
# Requested every few seconds: logged at level DEBUG, and not traced.
PROBES = ("/health", "/ready", "/metrics")
# A request id by a proxy. Any other is replaced, since it gets into logs and Kafka headers.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUERY = "api_rest.query"

_PLACEHOLDER = re.compile(r"<(\w+)[^>]*>")
_CODES = {404: "not-found", 405: "method-not-allowed", 500: "internal-error"}
_MESSAGES = {
    404: "there is nothing at this address",
    405: "this address does not take this method",
    500: "something went wrong here; the log has the details",
}


class AnswerPlugin:
    """The Bottle plugin that answers, logs, counts and traces the requests of every route."""

    name = "answering"
    api = 2

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def apply(
        self, handler: Callable[..., HTTPResponse], route: Route
    ) -> Callable[..., HTTPResponse]:
        """Turn what the route raises into an answer, and report the request."""
        rule = openapi_path(route.rule)

        def respond(arguments: dict[str, str]) -> HTTPResponse:
            if rule in PROBES:
                return _respond(handler, arguments)
            with self._span(rule) as span:
                if trace_id := self._tracing.trace_id():
                    structlog.contextvars.bind_contextvars(trace_id=trace_id)
                response = _respond(handler, arguments)
                span.set_attribute("http.response.status_code", response.status_code)
                if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    span.set_status(StatusCode.ERROR, response.status_line)
                return response

        def answered(**arguments: str) -> HTTPResponse:
            started = time.perf_counter()
            structlog.contextvars.clear_contextvars()
            identity = request_id()
            structlog.contextvars.bind_contextvars(request_id=identity)
            response = respond(arguments)
            response.set_header("X-Request-ID", identity)
            self._report(rule, response.status_code, time.perf_counter() - started)
            return response

        return answered

    def framework_error(self, error: HTTPError) -> str:
        """Return the body of an error of Bottle's own: no such route, or a wrong method."""
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id())
        status = error.status_code
        problem = Problem(
            status, _CODES.get(status, "http-error"), _MESSAGES.get(status, error.status_line)
        )
        error.content_type = "application/json"
        error.set_header("X-Request-ID", request_id())
        self._report("none", status, 0.0)
        return write_json(problem.body())

    def _span(self, rule: str) -> AbstractContextManager[Span]:
        # Bottle's get_header() raises on bytes that are not UTF-8.
        environ = request.environ
        return self._tracing.span(
            f"{request.method} {rule}",
            SpanKind.SERVER,
            carrier={
                name: environ.get(f"HTTP_{name.upper()}", "")
                for name in ("traceparent", "tracestate")
            },
            attributes={
                "http.request.method": request.method,
                "http.route": rule,
                "url.path": request.path,
            },
        )

    def _report(self, rule: str, status: int, seconds: float) -> None:
        self._metrics.observe(request.method, rule, status, seconds)
        log.log(
            logging.DEBUG if rule in PROBES else logging.INFO,
            "request",
            method=request.method,
            path=request.path,
            address=request.environ.get("REMOTE_ADDR", ""),
            status=status,
            duration_ms=round(seconds * 1000, 1),
        )


class QueryPlugin:
    """The Bottle plugin that reads the query of every route.

    A route declares its parameters, `app.route(…, parameters=KNOWN)`; by default it has none.
    """

    name = "querying"
    api = 2

    def apply(
        self,
        handler: Callable[..., HTTPResponse],
        route: Route,
    ) -> Callable[..., HTTPResponse]:
        """Read the query for `query()`, or refuse a wrong one."""
        known = route.config.get("parameters", ())

        def queried(**arguments: str) -> HTTPResponse:
            request.environ[_QUERY] = read(request.query_string, known)
            return handler(**arguments)

        return queried


def query() -> Mapping[str, Any]:
    """Return the parsed parameters of the current request."""
    parameters: Mapping[str, Any] = request.environ[_QUERY]
    return parameters


def openapi_path(rule: str) -> str:
    """Return the path of a Bottle rule in OpenAPI's form, also for metrics and traces."""
    return _PLACEHOLDER.sub(r"{\1}", rule)


def request_id() -> str:
    """Return the id of the current request: a valid X-Request-ID header, else a new one."""
    environ = request.environ
    identity: str | None = environ.get("api_rest.request_id")
    if identity is None:
        header = environ.get("HTTP_X_REQUEST_ID", "")
        identity = header if REQUEST_ID.fullmatch(header) else uuid.uuid4().hex
        environ["api_rest.request_id"] = identity
    return identity


def _respond(handler: Callable[..., HTTPResponse], arguments: dict[str, str]) -> HTTPResponse:
    """Return the handler's answer, or one for what it raises."""
    try:
        return handler(**arguments)
    except Problem as problem:
        return answer(problem.status, problem.body(), problem.headers)
    except Unavailable as error:
        log.warning("cannot serve", reason=str(error))
        # The answer does not include the reason, which may name hosts and users.
        return _try_again("unavailable", error.plain or "Kafka or the database is away")
    except Busy as error:
        log.warning("cannot serve in time", reason=str(error))
        return _try_again(error.code, error.plain)
    except Exception:
        log.exception("request failed")
        return answer(500, Problem(500, _CODES[500], _MESSAGES[500]).body())


def _try_again(code: str, reason: str) -> HTTPResponse:
    problem = Problem(503, code, f"{reason}; try again")
    return answer(503, problem.body(), {"Retry-After": RETRY_AFTER_SECONDS})


def exposition(metrics: Metrics) -> HTTPResponse:
    """Return the metrics in the format that the client accepts."""
    content_type, body = metrics.render(request.environ.get("HTTP_ACCEPT", ""))
    return HTTPResponse(body, headers={"Content-Type": content_type})


def answer(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return a JSON answer."""
    return HTTPResponse(
        write_json(body),
        status=status,
        headers={"Content-Type": "application/json", **(headers or {})},
    )
