"""The HTTP side: one method a route."""

from __future__ import annotations

import json
import re
import uuid
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from bottle import Bottle, HTTPResponse, request
from opentelemetry.trace import SpanKind
from structlog.contextvars import bind_contextvars

from . import badge, idempotency
from .admission import Admission
from .answers import Answering, Querying, answer, exposition, query, request_id
from .errors import Problem
from .event import accept, encode, parse_json, rfc3339, validate
from .fresh import Fresh
from .idempotency import Reservation
from .listing import next_link, parameters, parse
from .page import Overview, mount
from .tokens import Access, Tokens, client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ledger.tracing import Tracing

    from .backends import Backends
    from .lag import Storing
    from .listing import Batch, Listing
    from .metrics import Metrics
    from .runs import Run, Running

__all__ = ["create_app"]

LIMIT_DEFAULT, LIMIT_MAX = 50, 500
CSV_LIMIT_DEFAULT, CSV_LIMIT_MAX = 1000, 10_000
LISTED = parameters(limit_default=LIMIT_DEFAULT, limit_max=LIMIT_MAX)
EXPORTED = parameters(limit_default=CSV_LIMIT_DEFAULT, limit_max=CSV_LIMIT_MAX)
# With one event more it is still no more than a connection takes without holding a thread.
PAGE_BYTES = 1_000_000
# What is read of a table at a time: all of it at once could be hundreds of megabytes.
CSV_BYTES = 262_144
CSV_ROWS = 500
# How many reads of a list are under way at the same time: each may take some megabytes.
READS_AT_ONCE = 2
READ_WITHIN = 3.0
# A table waits longer for its turn: once it has begun it would have to be begun anew.
READ_ON_WITHIN = 30.0
# How many tables are read and sent at the same time: a slow client holds a thread.
TABLES_AT_ONCE = 4
RECENT_RUNS = 30
# How old what runs where may be: it is read from the database so often at most, however many ask.
FRESH_SECONDS = 2.0
UTF_8 = ("utf-8", "utf8")
# As RFC 9110 has media types; Bottle makes them lower case.
_WORD = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_PARAMETER = rf'({_WORD})=({_WORD}|"(?:[\t !#-\[\]-~]|\\[\t -~])*")'
MEDIA_TYPE_PARAMETER = re.compile(_PARAMETER)
JSON_MEDIA_TYPE = re.compile(rf"application/json[ \t]*((?:;[ \t]*(?:{_PARAMETER}[ \t]*)?)*)")
# Made once: json.dumps() would make one for every event.
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Ledger:
    """The requests this app answers; one method a route."""

    def __init__(
        self,
        backends: Backends,
        *,
        max_body_bytes: int,
        storing: Storing,
        tracing: Tracing,
    ) -> None:
        self._backends = backends
        self._store = backends.store
        self._tracing = tracing
        self._max_body_bytes = max_body_bytes
        self._storing = storing
        self._overview = Fresh(self._read_overview, FRESH_SECONDS)
        self._environments = Fresh(self._read_environments, FRESH_SECONDS)
        self._reads = Admission(READS_AT_ONCE)
        self._tables = Admission(TABLES_AT_ONCE)

    def record(self) -> HTTPResponse:
        """Take a deployment event: answer 202 once Kafka holds it."""
        key = idempotency.parse_key(request.environ.get(idempotency.VARIABLE))
        payload = self._payload()
        wrong = validate(payload)
        if wrong or not isinstance(payload, dict):
            raise _invalid_fields(wrong)
        event = accept(payload) if key is None else self._reserved(key, payload)
        body = encode(event)
        self._publish(payload["component"], body, event["id"])
        # On the request's own line: a second one would cost as much as all of the rest.
        bind_contextvars(
            event_id=event["id"], component=event["component"], version=event["version"]
        )
        return answer(
            202,
            {"id": event["id"], "received_at": event["received_at"]},
            {"Location": f"/deployments/{event['id']}"},
        )

    def _reserved(self, key: str, payload: dict[str, object]) -> dict[str, object]:
        """Return the event that the key stands for: of the first request with it, or of this one.

        It is published each time: the worker stores an id once, so a repetition heals a crash before the first publishing.
        """
        now = datetime.now(UTC).replace(tzinfo=None)
        wanted = Reservation(idempotency.fingerprint(payload), str(uuid.uuid4()), now)
        hashed = idempotency.key_hash(client(), key)
        held = self._store.use(lambda store: store.reserve(hashed, wanted))
        if held.fingerprint != wanted.fingerprint:
            raise Problem(
                422,
                "idempotency-key-reused",
                "another body was sent with this Idempotency-Key before",
            )
        return accept(payload, event_id=held.event_id, now=held.received_at.replace(tzinfo=UTC))

    def _publish(self, component: str, body: bytes, event_id: object) -> None:
        """Hand an event to Kafka, with what connects the worker's log lines and spans to this request."""
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.message.id": str(event_id),
        }
        with self._tracing.span("send deployments", SpanKind.PRODUCER, attributes=attributes):
            headers = {"request-id": request_id(), **self._tracing.carrier()}
            self._backends.broker.use(
                lambda broker: broker.publish(key=component, value=body, headers=headers)
            )

    def recent(self) -> HTTPResponse:
        """List stored deployments, the newest first, a page at a time."""
        listing = parse(query(), limit_default=LIMIT_DEFAULT)
        page = self._read(listing, _encode, PAGE_BYTES, READ_WITHIN)
        cursor = _cursor(page)
        body = b'{"deployments":[%b],"next":%b}' % (b",".join(page.lines), _encode(cursor))
        headers = {"Content-Type": "application/json", **_link("/deployments", cursor)}
        return HTTPResponse(body, headers=headers)

    def export(self) -> HTTPResponse:
        """Return stored deployments as a table for spreadsheets, which is read while it is sent."""
        from . import table  # noqa: PLC0415  few ask for it

        listing = parse(query(), limit_default=CSV_LIMIT_DEFAULT)

        def read(some: Listing) -> Batch:
            return self._read(some, table.line, CSV_BYTES, READ_ON_WITHIN)

        with ExitStack() as sending:
            sending.enter_context(self._tables.within(0))
            batch = read(replace(listing, limit=min(listing.limit, CSV_ROWS)))
            begun = b"".join((table.head(), *batch.lines))
            left = listing.limit - len(batch.lines)
            body: bytes | table.Export = begun
            cursor = _cursor(batch)
            if cursor and left:
                rest = replace(listing, after=batch.last, limit=left)
                end = self._store.use(lambda store: store.end(rest))
                cursor = end and end.cursor()
                # To where the Link goes on: events may be stored in between meanwhile.
                rest = replace(rest, last=end, limit=CSV_ROWS)
                body = table.Export(begun, rest, read, sending.pop_all())
        headers = {
            "Content-Type": "text/csv; charset=utf-8; header=present",
            "Content-Disposition": 'attachment; filename="deployments.csv"',
            **_link("/deployments.csv", cursor),
        }
        return HTTPResponse(body, headers=headers)

    def _read(
        self,
        listing: Listing,
        encode: Callable[[dict[str, Any]], bytes],
        max_bytes: int,
        within: float,
    ) -> Batch:
        """Return what is listed, encoded, as many as fit; only few read at a time."""
        with self._reads.within(within):
            return self._store.use(lambda store: store.recent(listing, encode, max_bytes))

    def one(self, event_id: str) -> HTTPResponse:
        """Show one stored deployment."""
        found = None
        if (canonical := _canonical_uuid(event_id)) is not None:
            found = self._store.use(lambda store: store.find(canonical))
        if found is None:
            raise Problem(404, "not-found", "there is no such deployment, or it is not stored yet")
        return answer(200, found)

    def environments(self) -> HTTPResponse:
        """Tell which version of each component every environment has, since when, by whom, and how its run went."""
        return answer(200, self._environments.get())

    def _read_environments(self) -> dict[str, Any]:
        found: dict[str, list[dict[str, Any]]] = {}
        for running in self._store.use(lambda store: store.running()):
            found.setdefault(running.environment, []).append(_running(running))
        return {
            "environments": [
                {"environment": name, "components": components}
                for name, components in found.items()
            ]
        }

    def overview(self) -> Overview:
        """Return what the page shows."""
        # What waits to be stored is known without the database.
        return replace(self._overview.get(), late=self._storing.late())

    def _read_overview(self) -> Overview:
        return self._store.use(
            lambda store: Overview(
                running=store.running(),
                recent=store.recent_runs(RECENT_RUNS),
                now=datetime.now(UTC),
            )
        )

    def standing(self, environment: str, component: str) -> tuple[Running | None, Run | None]:
        """Return what a badge shows."""
        return self._store.use(lambda store: store.standing(environment, component))

    def _payload(self) -> object:
        _refuse_other_media()
        if request.content_length > self._max_body_bytes:
            raise self._too_large()
        # One byte more than allowed tells, even where no length was given or it was a wrong one.
        body = request.body.read(self._max_body_bytes + 1)
        if len(body) > self._max_body_bytes:
            raise self._too_large()
        try:
            return parse_json(body)
        except ValueError as error:
            raise Problem(400, "invalid-json", f"the body is not JSON: {error}") from None
        except RecursionError:
            raise _invalid_fields({"body": "is nested too deeply"}) from None

    def _too_large(self) -> Problem:
        return Problem(413, "too-large", f"the body may have at most {self._max_body_bytes} bytes")


def create_app(  # noqa: PLR0913  # one service each
    backends: Backends,
    *,
    max_body_bytes: int,
    storing: Storing,
    metrics: Metrics,
    tracing: Tracing,
    tokens: Tokens | None = None,
    protect_reads: bool = False,
) -> Bottle:
    """Return the WSGI application; without tokens everybody may do everything.

    The server answers /health and /ready itself.
    """
    ledger = Ledger(backends, max_body_bytes=max_body_bytes, storing=storing, tracing=tracing)
    app = Bottle()
    answering = Answering(metrics, tracing)
    app.install(answering)
    if tokens is not None:
        app.install(Access(tokens, protect_reads=protect_reads))
    # The last one: what a query may hold is told to nobody without a token.
    app.install(Querying())
    app.default_error_handler = answering.framework_error
    app.route("/deployments", "POST", ledger.record)
    app.route("/deployments", "GET", ledger.recent, parameters=LISTED)
    app.route("/deployments.csv", "GET", ledger.export, parameters=EXPORTED)
    app.route("/deployments/<event_id>", "GET", ledger.one)
    app.route("/environments", "GET", ledger.environments)
    app.route("/metrics", "GET", lambda: exposition(metrics))
    contract = cache(
        lambda: _contract(
            max_body_bytes, writes=tokens is not None, reads=tokens is not None and protect_reads
        )
    )
    app.route("/openapi.json", "GET", lambda: answer(200, contract()))
    mount(app, ledger.overview)
    badge.mount(app, ledger.standing, lambda: datetime.now(UTC).replace(tzinfo=None))
    return app


def _contract(max_body_bytes: int, *, writes: bool, reads: bool) -> dict[str, Any]:
    from ledger import version  # noqa: PLC0415

    from . import openapi  # noqa: PLC0415  few ask for it

    return openapi.document(
        version=version.installed(),
        max_body_bytes=max_body_bytes,
        listed=LISTED,
        exported=EXPORTED,
        protect_writes=writes,
        protect_reads=reads,
    )


def _invalid_fields(fields: Mapping[str, str]) -> Problem:
    return Problem(422, "invalid-fields", "some fields are wrong", fields=fields)


def _refuse_other_media() -> None:
    """Raise a Problem unless the body is plain JSON in UTF-8 by its headers."""
    media_type = JSON_MEDIA_TYPE.fullmatch(request.content_type)
    if not media_type:
        raise Problem(415, "unsupported-media-type", "send the event as application/json")
    for name, value in MEDIA_TYPE_PARAMETER.findall(media_type[1]):
        if name == "charset" and value.strip('"') not in UTF_8:
            raise Problem(415, "unsupported-media-type", "send the event in UTF-8")
    if request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in {"", "identity"}:
        headers = {"Accept-Encoding": "identity"}
        raise Problem(415, "unsupported-media-type", "send the event uncompressed", headers=headers)


def _link(path: str, cursor: str | None) -> dict[str, str]:
    return {} if cursor is None else {"Link": next_link(path, request.query_string, cursor)}


def _cursor(batch: Batch) -> str | None:
    return batch.last.cursor() if batch.more and batch.last else None


def _encode(value: object) -> bytes:
    return _JSON.encode(value).encode()


def _running(running: Running) -> dict[str, Any]:
    return {
        "component": running.component,
        "version": running.version,
        "since": rfc3339(running.since),
        "responsible": running.responsible,
        "stages": [
            {
                "stage": stage.stage,
                "status": stage.status,
                "started_at": stage.started_at and rfc3339(stage.started_at),
                "ended_at": stage.ended_at and rfc3339(stage.ended_at),
                "seconds": stage.seconds,
            }
            for stage in (running.run.stages if running.run else ())
        ],
    }


def _canonical_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
