"""The HTTP side: one method a route."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import structlog
from bottle import Bottle, HTTPResponse, request

from .answers import Answering, answer, exposition, request_id
from .errors import Problem
from .event import FILTERS, accept, encode, parse_json, validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from .backends import Backends
    from .metrics import Metrics
    from .tracing import Tracing

__all__ = ["create_app"]

log = structlog.stdlib.get_logger(__name__)

LIMIT_DEFAULT = 50
LIMIT_MAX = 500


class Ledger:
    """The requests this app answers; one method a route."""

    def __init__(
        self, backends: Backends, *, max_body_bytes: int, draining: Callable[[], bool], tracing: Tracing
    ) -> None:
        self._backends = backends
        self._tracing = tracing
        self._max_body_bytes = max_body_bytes
        self._draining = draining

    def record(self) -> HTTPResponse:
        """Take a deployment event: answer 202 once Kafka holds it."""
        payload = self._payload()
        wrong = validate(payload)
        if wrong or not isinstance(payload, dict):
            raise Problem(422, "invalid-fields", "some fields are wrong", fields=wrong)
        event = accept(payload)
        body = encode(event)
        self._publish(payload["component"], body, event["id"])
        log.info("deployment accepted", event_id=event["id"], component=event["component"], version=event["version"])
        return answer(
            202,
            {"id": event["id"], "received_at": event["received_at"]},
            {"Location": f"/deployments/{event['id']}"},
        )

    def _publish(self, component: str, body: bytes, event_id: object) -> None:
        """Hand an event to Kafka, with what connects the worker's log lines and spans to this request."""
        attributes: dict[str, str | int] = {"messaging.system": "kafka", "messaging.message.id": str(event_id)}
        with self._tracing.span("send deployments", "producer", attributes=attributes):
            headers = {"request-id": request_id(), **self._tracing.carrier()}
            self._backends.broker.use(lambda broker: broker.publish(key=component, value=body, headers=headers))

    def recent(self) -> HTTPResponse:
        """List stored deployments, the newest first."""
        filters, limit = parse_query(request.query_string)
        found = self._backends.store.use(lambda store: store.recent(filters=filters, limit=limit))
        return answer(200, {"deployments": found})

    def one(self, event_id: str) -> HTTPResponse:
        """Show one stored deployment."""
        found = None
        if (canonical := _canonical_uuid(event_id)) is not None:
            found = self._backends.store.use(lambda store: store.find(canonical))
        if found is None:
            raise Problem(404, "not-found", "there is no such deployment, or it is not stored yet")
        return answer(200, found)

    def health(self) -> HTTPResponse:
        """Tell that the process is alive, whatever it depends on."""
        return answer(200, {"status": "alive"})

    def ready(self) -> HTTPResponse:
        """Tell whether requests can be served now, and if not, why."""
        if self._draining():
            raise Problem(503, "draining", "this instance is shutting down")
        if problems := self._backends.problems():
            log.warning("not ready", reasons=problems)
            return answer(503, {"status": "not ready", "reasons": problems})
        return answer(200, {"status": "ready"})

    def _payload(self) -> object:
        media_type = request.content_type.partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise Problem(415, "unsupported-media-type", "send the event as application/json")
        if request.content_length > self._max_body_bytes:
            raise Problem(413, "too-large", f"the body may have at most {self._max_body_bytes} bytes")
        try:
            return parse_json(request.body.read())
        except ValueError as error:
            raise Problem(400, "invalid-json", f"the body is not JSON: {error}") from None


def parse_query(query: str) -> tuple[dict[str, str], int]:
    """Return the filters and the limit of a listing's query, or raise a Problem that names every wrong parameter."""
    filters: dict[str, str] = {}
    limit = LIMIT_DEFAULT
    wrong: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise Problem(422, "invalid-query", "the query is not name=value pairs in UTF-8") from None
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            wrong[name] = "is given more than once"
        elif name in FILTERS:
            filters[name] = value
        elif name != "limit":
            wrong[name] = f"is not a parameter; there are limit, {', '.join(FILTERS)}"
        elif value.isascii() and value.isdigit() and 1 <= int(value) <= LIMIT_MAX:
            limit = int(value)
        else:
            wrong[name] = f"must be a whole number from 1 to {LIMIT_MAX}"
        seen.add(name)
    if wrong:
        raise Problem(422, "invalid-query", "some parameters are wrong", fields=wrong)
    return filters, limit


def create_app(
    backends: Backends, *, max_body_bytes: int, draining: Callable[[], bool], metrics: Metrics, tracing: Tracing
) -> Bottle:
    """Return the WSGI application."""
    ledger = Ledger(backends, max_body_bytes=max_body_bytes, draining=draining, tracing=tracing)
    app = Bottle()
    answering = Answering(metrics, tracing)
    app.install(answering)
    app.default_error_handler = answering.framework_error
    app.route("/deployments", "POST", ledger.record)
    app.route("/deployments", "GET", ledger.recent)
    app.route("/deployments/<event_id>", "GET", ledger.one)
    app.route("/health", "GET", ledger.health)
    app.route("/ready", "GET", ledger.ready)
    app.route("/metrics", "GET", lambda: exposition(metrics))
    return app


def _canonical_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
