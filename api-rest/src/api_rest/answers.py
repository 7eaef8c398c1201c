"""One shape for every answer, and one log line for every request."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import structlog
from bottle import HTTPError, HTTPResponse, request

from .errors import Problem, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["answer", "answered", "framework_error"]

log = structlog.stdlib.get_logger(__name__)

# Kafka's and the database's own reconnects take about this long.
RETRY_AFTER_SECONDS = "5"
# Asked every few seconds by machines; their answers are worth a log line only while debugging.
PROBES = ("/health", "/ready")

_CODES = {404: "not-found", 405: "method-not-allowed", 500: "internal-error"}
_MESSAGES = {
    404: "there is nothing at this address",
    405: "this address does not take this method",
    500: "something went wrong here; the log has the details",
}


def answered(handler: Callable[..., HTTPResponse]) -> Callable[..., HTTPResponse]:
    """Turn what a route raises into its answer, and log the request: a Bottle plugin."""

    def answered(**arguments: str) -> HTTPResponse:
        started = time.perf_counter()
        try:
            response = handler(**arguments)
        except Problem as problem:
            response = answer(problem.status, problem.body(), problem.headers)
        except Unavailable as error:
            log.warning("cannot serve", reason=str(error))
            # The reason stays in the log: it may name hosts and users.
            away = Problem(503, "unavailable", "Kafka or the database is away; try again")
            response = answer(away.status, away.body(), {"Retry-After": RETRY_AFTER_SECONDS})
        except Exception:
            log.exception("request failed")
            response = answer(500, Problem(500, _CODES[500], _MESSAGES[500]).body())
        log.log(
            logging.DEBUG if request.path in PROBES else logging.INFO,
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            duration_ms=round((time.perf_counter() - started) * 1000, 1),
        )
        return response

    return answered


def framework_error(error: HTTPError) -> str:
    """Give Bottle's own errors (no such route, wrong method) the shape of ours."""
    status = error.status_code
    problem = Problem(status, _CODES.get(status, "http-error"), _MESSAGES.get(status, error.status_line))
    error.content_type = "application/json"
    return json.dumps(problem.body())


def answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Return a JSON answer."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return HTTPResponse(text, status=status, headers={"Content-Type": "application/json", **(headers or {})})
