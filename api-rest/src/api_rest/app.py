"""The WSGI application."""

from __future__ import annotations

import re
import uuid
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from bottle import Bottle, HTTPResponse, request
from ledger.event_rules import validate
from opentelemetry.trace import SpanKind
from structlog.contextvars import bind_contextvars

from . import badge, drift_reports, freezes, idempotency
from .answers import AnswerPlugin, QueryPlugin, answer, exposition, query, request_id
from .concurrency import Admission, SharedValue
from .errors import Busy, Problem
from .event import accept, encode, parse_json, rfc3339
from .idempotency import Reservation
from .listing import AFTER, next_link, parameters, parse
from .page import Overview, mount
from .tokens import AccessPlugin, actor, check_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ledger.tracing import Tracing

    from .backends import Backends
    from .listing import Batch, Listing
    from .metrics import Metrics
    from .runs import Run, Running

__all__ = ["create_app"]

RowT = TypeVar("RowT")
# How many freezes of an environment may be in force: a deploy reads those of all.
FREEZES_MAX = 20
LIMIT_DEFAULT, LIMIT_MAX = 50, 500
CSV_LIMIT_DEFAULT, CSV_LIMIT_MAX = 1000, 10_000
LIST_PARAMETERS = (*parameters(limit_max=LIMIT_MAX), AFTER)
EXPORT_PARAMETERS = parameters(limit_max=CSV_LIMIT_MAX)
# One more event still fits into what the server sends without occupying a thread.
PAGE_BYTES = 1_000_000
# How much of a table is read at a time: the whole could be hundreds of megabytes.
CSV_BYTES = 262_144
CSV_ROWS = 500
# How many lists are read at the same time, since each may need some megabytes.
READS_AT_ONCE = 2
READ_WAIT_SECONDS = 3.0
# A table waits longer: a client would have to start again.
TABLE_READ_WAIT_SECONDS = 30.0
# How many tables are sent at the same time, since a slow client occupies a thread.
TABLES_AT_ONCE = 4
RECENT_RUNS = 30
# How old the page and /environments may be. The database is read at most this often.
MAX_AGE_SECONDS = 2.0
UTF_8 = ("utf-8", "utf8")
# A media type of RFC 9110; Bottle makes it lower case.
_WORD = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_PARAMETER = rf'({_WORD})=({_WORD}|"(?:[\t !#-\[\]-~]|\\[\t -~])*")'
MEDIA_TYPE_PARAMETER = re.compile(_PARAMETER)
JSON_MEDIA_TYPE = re.compile(rf"application/json[ \t]*((?:;[ \t]*(?:{_PARAMETER}[ \t]*)?)*)")


class Ledger:
    """The handlers of the requests, one for each route."""

    def __init__(
        self,
        backends: Backends,
        *,
        max_body_bytes: int,
        tracing: Tracing,
    ) -> None:
        self._backends = backends
        self._store = backends.store
        self._tracing = tracing
        self._max_body_bytes = max_body_bytes
        self._overview = SharedValue(self._read_overview, MAX_AGE_SECONDS)
        self._environments = SharedValue(self._read_environments, MAX_AGE_SECONDS)
        self._reads = Admission(READS_AT_ONCE)
        self._tables = Admission(TABLES_AT_ONCE)

    def record(self) -> HTTPResponse:
        """Accept an event: answer 202 once Kafka has it."""
        key = idempotency.parse_key(request.environ.get(idempotency.VARIABLE))
        payload = self._payload()
        wrong = validate(payload)
        if wrong or not isinstance(payload, dict):
            raise _invalid_fields(wrong)
        check_scope(payload["component"], payload["environment"])
        event = accept(payload, actor=actor()) if key is None else self._reserved(key, payload)
        body = encode(event)
        self._publish(payload["component"], body, event["id"])
        # On the log line of the request: a second line would double the cost of a request.
        bind_contextvars(
            event_id=event["id"], component=event["component"], version=event["version"]
        )
        return answer(
            202,
            {"id": event["id"], "received_at": event["received_at"]},
            {"Location": f"/deployments/{event['id']}"},
        )

    def _reserved(self, key: str, payload: dict[str, object]) -> dict[str, object]:
        """Return the event of the first request with this key.

        Each request publishes it again, in case the first one crashed before. The worker stores an
        id once.
        """
        new = Reservation(idempotency.fingerprint(payload), str(uuid.uuid4()), _now())
        key_hash = idempotency.key_hash(actor(), key)
        first = self._store.use(lambda store: store.reserve(key_hash, new))
        if first.fingerprint != new.fingerprint:
            raise Problem(
                422,
                "idempotency-key-reused",
                "another body was sent with this Idempotency-Key before",
            )
        received_at = first.received_at.replace(tzinfo=UTC)
        return accept(payload, actor=actor(), event_id=first.event_id, now=received_at)

    def _publish(self, component: str, body: bytes, event_id: object) -> None:
        """Publish an event with headers that connect the worker's logs and spans to it."""
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
        """Return a page of the stored events: the newest first, or as stored with `after`."""
        listing = parse(query(), limit_default=LIMIT_DEFAULT)
        page = self._read(listing, encode, PAGE_BYTES, READ_WAIT_SECONDS)
        # With `after`, the last event's number leads on.
        cursor = _cursor(page) if listing.after is None else None
        body = b'{"deployments":[%b],"next":%b}' % (b",".join(page.lines), encode(cursor))
        headers = {"Content-Type": "application/json", **_link("/deployments", cursor)}
        return HTTPResponse(body, headers=headers)

    def export(self) -> HTTPResponse:
        """Return stored events as CSV, which is read while it is sent."""
        from . import table  # noqa: PLC0415  rarely used

        listing = parse(query(), limit_default=CSV_LIMIT_DEFAULT)

        def read(part: Listing) -> Batch:
            return self._read(part, table.line, CSV_BYTES, TABLE_READ_WAIT_SECONDS)

        with ExitStack() as sending:
            sending.enter_context(self._tables.within(0))
            batch = read(replace(listing, limit=min(listing.limit, CSV_ROWS)))
            begun = b"".join((table.head(), *batch.lines))
            remaining = listing.limit - len(batch.lines)
            body: bytes | table.Export = begun
            cursor = _cursor(batch)
            if cursor and remaining:
                rest = replace(listing, cursor=batch.last, limit=remaining)
                end = self._store.use(lambda store: store.end(rest))
                cursor = end and end.cursor()
                # End where the Link begins, even if more events are stored while it is sent.
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
        wait_seconds: float,
    ) -> Batch:
        """Return the encoded events of a listing that fit into a size."""
        with self._reads.within(wait_seconds):
            return self._store.use(lambda store: store.recent(listing, encode, max_bytes))

    def show(self, event_id: str) -> HTTPResponse:
        """Return one stored event."""
        event = None
        if (canonical := _canonical_uuid(event_id)) is not None:
            event = self._store.use(lambda store: store.find(canonical))
        if event is None:
            raise Problem(404, "not-found", "there is no such deployment, or it is not stored yet")
        return answer(200, event)

    def environments(self) -> HTTPResponse:
        """Return the running version of each component in each environment, with its run."""
        return answer(200, self._environments.get())

    def _read_environments(self) -> dict[str, Any]:
        environments: dict[str, list[dict[str, Any]]] = {}
        for running in self._store.use(lambda store: store.running()):
            environments.setdefault(running.environment, []).append(_running(running))
        return {
            "environments": [
                {"environment": name, "components": components}
                for name, components in environments.items()
            ]
        }

    def overview(self) -> Overview:
        """Return what the page shows."""
        # The lag is known without the database, so it is always current.
        return replace(self._overview.get(), late=self._backends.lag.late())

    def _read_overview(self) -> Overview:
        return self._store.use(
            lambda store: Overview(
                running=store.running(),
                recent=store.recent_runs(RECENT_RUNS),
                now=_now(),
                freezes=store.freezes(_now()) or [],
                drift=store.drift(_now()) or [],
            )
        )

    def list_freezes(self) -> HTTPResponse:
        """Return the freezes in force, always as they are now."""
        return answer(200, {"freezes": [freeze.document() for freeze in self._freezes()]})

    def add_freeze(self) -> HTTPResponse:
        """Freeze an environment: answer 201 once the database has it."""
        freeze = replace(freezes.parse(self._payload(), now=_now()), actor=actor() or None)
        check_scope("*", freeze.environment)
        held = sum(each.environment == freeze.environment for each in self._freezes())
        if held >= FREEZES_MAX:
            reason = f"{held} freezes of {freeze.environment} are in force, which is the limit"
            raise Problem(409, "too-many-freezes", f"{reason}; end one first")
        self._store.use(lambda store: store.add_freeze(freeze))
        return answer(201, freeze.document())

    def end_freeze(self, freeze_id: str) -> HTTPResponse:
        """End a freeze."""
        canonical = _canonical_uuid(freeze_id)
        freeze = next((each for each in self._freezes() if each.id == canonical), None)
        if freeze is None:
            raise Problem(404, "not-found", "there is no such freeze, or it has ended")
        check_scope("*", freeze.environment)
        self._store.use(lambda store: store.end_freeze(freeze.id, _now()))
        return answer(200, freeze.document())

    def _freezes(self) -> list[freezes.Freeze]:
        return _existing("freezes", self._store.use(lambda store: store.freezes(_now())))

    def report_drift(self) -> HTTPResponse:
        """Store how an environment differs from what was deployed to it."""
        report = drift_reports.parse(self._payload(), now=_now())
        check_scope("*", report.environment)
        _existing("drift", self._store.use(lambda store: store.drift(_now())))
        self._store.use(lambda store: store.report_drift(report))
        body = {"environment": report.environment, "checked_at": rfc3339(report.checked_at)}
        return answer(200, body)

    def status(self, environment: str, component: str) -> tuple[Running | None, Run | None]:
        """Return what a badge shows."""
        return self._store.use(lambda store: store.status(environment, component))

    def _payload(self) -> object:
        _refuse_other_media()
        if request.content_length > self._max_body_bytes:
            raise self._too_large()
        # The Content-Length may be missing or wrong: read one byte beyond the limit.
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


def create_app(
    backends: Backends,
    *,
    max_body_bytes: int,
    metrics: Metrics,
    tracing: Tracing,
    access: AccessPlugin | None = None,
) -> Bottle:
    """Return the WSGI application; without `access`, every client may read and write."""
    ledger = Ledger(backends, max_body_bytes=max_body_bytes, tracing=tracing)
    app = Bottle()
    answers = AnswerPlugin(metrics, tracing)
    app.install(answers)
    access = access or AccessPlugin()
    app.install(access)
    # The last plugin: its errors list the parameters, which clients without a token must not see.
    app.install(QueryPlugin())
    app.default_error_handler = answers.framework_error
    app.route("/deployments", "POST", ledger.record)
    app.route("/deployments", "GET", ledger.recent, parameters=LIST_PARAMETERS)
    app.route("/deployments.csv", "GET", ledger.export, parameters=EXPORT_PARAMETERS)
    app.route("/deployments/<event_id>", "GET", ledger.show)
    app.route("/environments", "GET", ledger.environments)
    app.route("/drift", "POST", ledger.report_drift)
    app.route("/freezes", "GET", ledger.list_freezes)
    app.route("/freezes", "POST", ledger.add_freeze)
    app.route("/freezes/<freeze_id>", "DELETE", ledger.end_freeze)
    app.route("/metrics", "GET", lambda: exposition(metrics), skip=["access"])
    contract = cache(lambda: _contract(max_body_bytes, access))
    app.route("/openapi.json", "GET", lambda: answer(200, contract()), skip=["access"])
    mount(app, ledger.overview)
    badge.mount(app, ledger.status, _now)
    return app


def _contract(max_body_bytes: int, access: AccessPlugin) -> dict[str, Any]:
    from ledger import version  # noqa: PLC0415

    from . import openapi  # noqa: PLC0415  rarely used

    return openapi.document(
        version=version.installed(),
        max_body_bytes=max_body_bytes,
        protect_writes=access.protect_writes,
        protect_reads=access.protect_reads,
    )


def _existing(table: str, rows: list[RowT] | None) -> list[RowT]:
    """Return the rows of a table, or raise Busy if there is no such table yet."""
    if rows is None:
        reason = f"async-worker has not made the table {table} yet, or the account lacks rights"
        raise Busy("unavailable", reason, plain=reason)
    return rows


def _invalid_fields(fields: Mapping[str, str]) -> Problem:
    return Problem(422, "invalid-fields", "some fields are wrong", fields=fields)


def _refuse_other_media() -> None:
    """Raise a Problem unless the headers declare uncompressed JSON in UTF-8."""
    media_type = JSON_MEDIA_TYPE.fullmatch(request.content_type)
    if not media_type:
        raise Problem(415, "unsupported-media-type", "send the event as application/json")
    for name, value in MEDIA_TYPE_PARAMETER.findall(media_type[1]):
        if name == "charset" and value.strip('"') not in UTF_8:
            raise Problem(415, "unsupported-media-type", "send the event in UTF-8")
    if request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in {"", "identity"}:
        headers = {"Accept-Encoding": "identity"}
        raise Problem(415, "unsupported-media-type", "send the event uncompressed", headers=headers)


def _now() -> datetime:
    """Return the time in UTC without a zone, as the database has it."""
    return datetime.now(UTC).replace(tzinfo=None)


def _link(path: str, cursor: str | None) -> dict[str, str]:
    return {} if cursor is None else {"Link": next_link(path, request.query_string, cursor)}


def _cursor(batch: Batch) -> str | None:
    return batch.last.cursor() if batch.more and batch.last else None


def _running(running: Running) -> dict[str, Any]:
    return {
        "component": running.component,
        "version": running.version,
        "since": rfc3339(running.since),
        "responsible": running.responsible,
        "actor": running.actor,
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
