"""One shape for every answer; one log line, one measurement and, where wanted, one span for every request."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

import structlog
from bottle import HTTPError, HTTPResponse, request
from opentelemetry.trace import SpanKind, StatusCode

from .errors import Busy, Problem, Unavailable
from .listing import read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bottle import Route
    from ledger.tracing import Tracing

    from .metrics import Metrics

__all__ = ["Answering", "Querying", "address", "answer", "exposition", "query", "request_id"]

log = structlog.stdlib.get_logger(__name__)

# Kafka's and the database's own reconnects take about this long.
RETRY_AFTER_SECONDS = "5"
# Asked every few seconds by machines; their answers are worth a log line only while debugging.
PROBES = ("/metrics",)
# What a proxy in front may call a request; anything else is replaced, since it ends in logs and Kafka headers.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUERY = "api_rest.query"

_PLACEHOLDER = re.compile(r"<(\w+)[^>]*>")
_CODES = {404: "not-found", 405: "method-not-allowed", 500: "internal-error"}
_MESSAGES = {
    404: "there is nothing at this address",
    405: "this address does not take this method",
    500: "something went wrong here; the log has the details",
}


class Answering:
    """The Bottle plugin that every route runs in."""

    name = "answering"
    api = 2

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def apply(
        self, handler: Callable[..., HTTPResponse], route: Route
    ) -> Callable[..., HTTPResponse]:
        """Turn what the route raises into its answer, and tell of the request."""
        rule = address(route.rule)
        respond = _responding(handler) if rule in PROBES else self._traced(handler, rule)

        def answered(**arguments: str) -> HTTPResponse:
            started = time.perf_counter()
            structlog.contextvars.clear_contextvars()
            identity = request_id()
            structlog.contextvars.bind_contextvars(request_id=identity)
            response = respond(**arguments)
            response.set_header("X-Request-ID", identity)
            self._tell(rule, response.status_code, time.perf_counter() - started)
            return response

        return answered

    def framework_error(self, error: HTTPError) -> str:
        """Give Bottle's own errors (no such route, wrong method) the shape of ours."""
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id())
        status = error.status_code
        problem = Problem(
            status, _CODES.get(status, "http-error"), _MESSAGES.get(status, error.status_line)
        )
        error.content_type = "application/json"
        error.set_header("X-Request-ID", request_id())
        self._tell("none", status, 0.0)
        return json.dumps(problem.body())

    def _traced(
        self, handler: Callable[..., HTTPResponse], rule: str
    ) -> Callable[..., HTTPResponse]:
        respond = _responding(handler)

        def traced(**arguments: str) -> HTTPResponse:
            # Not get_header(), which raises on bytes that are not UTF-8.
            environ = request.environ
            carrier = {
                name: value
                for name in ("traceparent", "tracestate")
                if (value := environ.get(f"HTTP_{name.upper()}"))
            }
            attributes: dict[str, str | int] = {
                "http.request.method": request.method,
                "http.route": rule,
                "url.path": request.path,
            }
            with self._tracing.span(
                f"{request.method} {rule}",
                SpanKind.SERVER,
                carrier=carrier,
                attributes=attributes,
            ) as span:
                if trace_id := self._tracing.trace_id():
                    structlog.contextvars.bind_contextvars(trace_id=trace_id)
                response = respond(**arguments)
                span.set_attribute("http.response.status_code", response.status_code)
                if response.status_code >= 500:  # noqa: PLR2004  a client's mistake is no failure of this span
                    span.set_status(StatusCode.ERROR, response.status_line)
                return response

        return traced

    def _tell(self, rule: str, status: int, seconds: float) -> None:
        self._metrics.observe(request.method, rule, status, seconds)
        log.log(
            logging.DEBUG if rule in PROBES else logging.INFO,
            "request",
            method=request.method,
            path=request.path,
            status=status,
            duration_ms=round(seconds * 1000, 1),
        )


class Querying:
    """The Bottle plugin that reads the query of every route.

    A route declares what it takes, `app.route(…, parameters=KNOWN)`; by default it takes none.
    """

    name = "querying"
    api = 2

    def apply(
        self,
        handler: Callable[..., HTTPResponse],
        route: Route,
    ) -> Callable[..., HTTPResponse]:
        """Refuse what the route does not take, and keep the rest for `query()`."""
        known = route.config.get("parameters", ())

        def queried(**arguments: str) -> HTTPResponse:
            request.environ[_QUERY] = read(request.query_string, known)
            return handler(**arguments)

        return queried


def query() -> Mapping[str, Any]:
    """Return the parameters of the current request, each as its declaration reads it."""
    parameters: Mapping[str, Any] = request.environ[_QUERY]
    return parameters


def address(rule: str) -> str:
    """Return a route's rule as OpenAPI spells it, for measurements and traces too."""
    return _PLACEHOLDER.sub(r"{\1}", rule)


def request_id() -> str:
    """Return what this request is called: the X-Request-ID it came with, else a new one."""
    environ = request.environ
    found: str | None = environ.get("api_rest.request_id")
    if found is None:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        found = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        environ["api_rest.request_id"] = found
    return found


def _responding(handler: Callable[..., HTTPResponse]) -> Callable[..., HTTPResponse]:
    """Turn what the handler raises into its answer."""

    def respond(**arguments: str) -> HTTPResponse:
        try:
            return handler(**arguments)
        except Problem as problem:
            return answer(problem.status, problem.body(), problem.headers)
        except Unavailable as error:
            log.warning("cannot serve", reason=str(error))
            # The reason stays in the log: it may name hosts and users.
            away = Problem(503, "unavailable", "Kafka or the database is away; try again")
            return answer(away.status, away.body(), {"Retry-After": RETRY_AFTER_SECONDS})
        except Busy as error:
            log.warning("cannot serve in time", reason=str(error))
            busy = Problem(503, error.code, f"{error.plain}; try again")
            return answer(busy.status, busy.body(), {"Retry-After": RETRY_AFTER_SECONDS})
        except Exception:
            log.exception("request failed")
            return answer(500, Problem(500, _CODES[500], _MESSAGES[500]).body())

    return respond


def exposition(metrics: Metrics) -> HTTPResponse:
    """Return the measurements in the format that the client takes."""
    content_type, body = metrics.render(request.environ.get("HTTP_ACCEPT", ""))
    return HTTPResponse(body, headers={"Content-Type": content_type})


def answer(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return a JSON answer."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return HTTPResponse(
        text, status=status, headers={"Content-Type": "application/json", **(headers or {})}
    )
