import csv
import io
import itertools
import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_rest import app as app_module
from api_rest.answers import openapi_path
from api_rest.app import FREEZES_MAX, Ledger, create_app
from api_rest.backends import Backends, ConnectingBackend
from api_rest.concurrency import SharedValue
from api_rest.drift_reports import Report
from api_rest.errors import Busy, Cut, Unavailable
from api_rest.freezes import Freeze
from api_rest.idempotency import Reservation
from api_rest.lag import Lag, LagMonitor
from api_rest.listing import Batch, Listing, Position
from api_rest.metrics import Metrics
from api_rest.readiness import State
from api_rest.readiness import mount as mount_probes
from api_rest.runs import Run, Running, runs
from api_rest.tokens import AccessPlugin, Tokens
from ledger.tracing import Tracing, export_to
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from webtest import TestApp, TestRequest, TestResponse

EVENT_ID = "0b1e1a5c-6f0d-4f6e-9f57-3f6d1f2f7a11"


class Kafka:
    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None

    def publish(self, *, key: str, value: bytes, headers: dict[str, str]) -> None:
        if self.error:
            raise self.error
        self.published.append((key, json.loads(value)))
        self.headers = headers

    def check(self) -> None:
        if self.error:
            raise self.error

    def close(self) -> None:
        pass


def position(event: Mapping[str, Any]) -> Position:
    return Position(datetime.fromisoformat(event["received_at"]).replace(tzinfo=None), event["id"])


class Database:
    def __init__(self) -> None:
        self.asked: list[Listing] = []
        # Called for each event that is read.
        self.on_read: Callable[[], object] = lambda: None
        self.events: dict[str, dict[str, Any]] = {}
        self.places: list[Running] = []
        self.read = 0
        self.keys: dict[str, Reservation] = {}
        self.frozen: list[Freeze] | None = []
        self.reports: list[Report] | None = []
        self.error: Exception | None = None

    def recent(
        self,
        listing: Listing,
        encode: Callable[[dict[str, Any]], bytes],
        max_bytes: int,
    ) -> Batch:
        self.check()
        self.asked.append(listing)
        lines: list[bytes] = []
        last = None
        for event in self._listed(listing):
            line = encode(event)
            too_large = lines and sum(map(len, lines)) + len(line) > max_bytes
            if too_large or len(lines) == listing.limit:
                return Batch(lines, last, more=True)
            lines.append(line)
            last = position(event)
            self.on_read()
        return Batch(lines, last, more=False)

    def end(self, listing: Listing) -> Position | None:
        self.check()
        found = self._listed(listing)
        return position(found[listing.limit - 1]) if len(found) > listing.limit else None

    def _listed(self, listing: Listing) -> list[dict[str, Any]]:
        found = list(self.events.values())
        ids = [event["id"] for event in found]
        start = 0 if listing.cursor is None else ids.index(listing.cursor.id) + 1
        end = None if listing.last is None else ids.index(listing.last.id) + 1
        return found[start:end]

    def find(self, event_id: str) -> dict[str, Any] | None:
        self.check()
        return self.events.get(event_id)

    def running(self) -> list[Running]:
        self.read += 1
        self.check()
        return self.places

    def status(self, environment: str, component: str) -> tuple[Running | None, Run | None]:
        self.check()
        place = (environment, component)
        return next(
            (one for one in self.places if (one.environment, one.component) == place), None
        ), None

    def recent_runs(self, limit: int) -> list[Run]:
        self.check()
        del limit
        return []

    def reserve(self, key_hash: str, reservation: Reservation) -> Reservation:
        self.check()
        return self.keys.setdefault(key_hash, reservation)

    def freezes(self, now: datetime) -> list[Freeze] | None:
        self.check()
        return self.frozen and [freeze for freeze in self.frozen if freeze.until > now]

    def drift(self, now: datetime) -> list[Report] | None:
        del now
        return self.reports

    def report_drift(self, report: Report) -> None:
        self.reports = [report]

    def add_freeze(self, freeze: Freeze) -> None:
        assert self.frozen is not None
        self.frozen.append(freeze)

    def end_freeze(self, freeze_id: str, _now: datetime) -> None:
        self.frozen = [freeze for freeze in self.frozen or () if freeze.id != freeze_id]

    def check(self) -> None:
        if self.error:
            raise self.error

    def close(self) -> None:
        pass


class Service:
    """The app with everything around it."""

    def __init__(
        self,
        tracing: Tracing | None = None,
        tokens: Tokens | None = None,
        max_body_bytes: int = 2048,
    ) -> None:
        self.kafka = Kafka()
        self.database = Database()
        self.state = State(ready=True)
        self.authorizations: list[str] = []
        self.lag = LagMonitor()
        broker: ConnectingBackend[Any] = ConnectingBackend("Kafka", lambda: self.kafka)
        store: ConnectingBackend[Any] = ConnectingBackend("the database", lambda: self.database)
        for connecting in (broker, store):
            connecting.start()
            connecting._thread.join()
        app = create_app(
            Backends(broker, store, self.lag),
            max_body_bytes=max_body_bytes,
            metrics=Metrics("1"),
            tracing=tracing or Tracing(),
            access=AccessPlugin(tokens, protect_reads=False) if tokens else None,
        )
        mount_probes(app, self.ready)
        self.ledger: Ledger = app.routes[0].callback.__self__
        self.http = TestApp(app)

    def ready(self, authorization: str) -> State:
        self.authorizations.append(authorization)
        return self.state

    def post(self, body: object, *, status: int, **options: object) -> TestResponse:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(
            "/deployments", text, status=status, **{"content_type": "application/json", **options}
        )


@pytest.fixture
def service() -> Service:
    return Service()


def code(response: TestResponse) -> str:
    assert response.content_type == "application/json"
    return str(response.json["error"]["code"])


def test_an_accepted_event_is_on_kafka_before_the_answer(
    service: Service, deployment: dict[str, Any]
) -> None:
    response = service.post(deployment, status=202)
    ((key, event),) = service.kafka.published
    assert key == "api-rest"
    assert event == {**deployment, **response.json, "actor": None}
    assert set(response.json) == {"id", "received_at"}
    assert response.headers["Location"] == f"/deployments/{event['id']}"


def test_json_with_parameters_is_json(service: Service, deployment: dict[str, Any]) -> None:
    service.post(deployment, status=202, content_type="Application/JSON; charset=utf-8")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_media_type_is_415(
    service: Service, deployment: dict[str, Any], media_type: str
) -> None:
    assert (
        code(service.post(deployment, status=415, content_type=media_type))
        == "unsupported-media-type"
    )


def test_a_body_that_is_not_json_is_400(service: Service) -> None:
    assert code(service.post(b"{", status=400)) == "invalid-json"


def test_a_body_over_the_limit_is_413(service: Service) -> None:
    assert code(service.post(b"x" * 2049, status=413)) == "too-large"


def test_a_wrong_event_is_422_with_every_wrong_field_and_not_published(
    service: Service, deployment: dict[str, Any]
) -> None:
    del deployment["version"]
    response = service.post({**deployment, "stage": "Pray", "colour": "red"}, status=422)
    assert code(response) == "invalid-fields"
    assert set(response.json["error"]["fields"]) == {"version", "stage", "colour"}
    assert service.kafka.published == []


def test_an_event_that_kafka_does_not_acknowledge_is_503_with_retry_after(
    service: Service, deployment: dict[str, Any]
) -> None:
    service.kafka.error = Unavailable("kafka-0.internal refuses")
    response = service.post(deployment, status=503)
    assert code(response) == "unavailable"
    assert int(response.headers["Retry-After"]) > 0
    assert "internal" not in response.text


def test_a_bug_is_500_with_the_usual_body_and_logged(
    service: Service, deployment: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    service.kafka.error = KeyError("a bug")
    with caplog.at_level(logging.ERROR):
        assert code(service.post(deployment, status=500)) == "internal-error"
    assert "request failed" in caplog.text


def test_json_nested_too_deeply_is_422() -> None:
    response = Service(max_body_bytes=400_000).post(b"[" * 200_000 + b"]" * 200_000, status=422)
    assert code(response) == "invalid-fields"
    assert response.json["error"]["fields"] == {"body": "is nested too deeply"}


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", '"us-ascii"'])
def test_another_charset_is_415(service: Service, deployment: dict[str, Any], charset: str) -> None:
    media_type = f"application/json; charset={charset}"
    assert (
        code(service.post(deployment, status=415, content_type=media_type))
        == "unsupported-media-type"
    )


@pytest.mark.parametrize(
    "rest",
    [
        "\xff",
        "\xff=1",
        "v=\xff",
        'v="\xff"',
        "charset",
        "charset=",
        '="utf-8"',
        'charset="utf-8',
        "v=1 2",
        'v="1"; charset=latin-1',
        "charset=utf-8; charset=latin-1",
        # A slow regular expression would take minutes.
        ";" * 1000 + " " * 1000 + "\xff",
    ],
)
def test_a_malformed_media_type_is_415(service: Service, rest: str) -> None:
    response = service.post(b"{}", status=415, content_type=f"application/json; {rest}")
    assert code(response) == "unsupported-media-type"


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json;charset=UTF-8",
        'application/json; v=1; charset="utf8"',
        'application/json ; v="a; charset=latin-1, \\""; charset=utf-8 ;',
    ],
)
def test_every_spelling_of_utf_8_is_accepted(
    service: Service, deployment: dict[str, Any], media_type: str
) -> None:
    service.post(deployment, status=202, content_type=media_type)


def test_a_compressed_body_is_415_with_accept_encoding(
    service: Service, deployment: dict[str, Any]
) -> None:
    response = service.post(deployment, status=415, headers={"Content-Encoding": "gzip"})
    assert response.headers["Accept-Encoding"] == "identity"
    service.post(deployment, status=202, headers={"Content-Encoding": "Identity"})


def test_a_body_over_the_limit_without_a_length_is_413(service: Service) -> None:
    chunks = b"800\r\n" + b"x" * 2048 + b"\r\n1\r\nx\r\n0\r\n\r\n"
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": io.BytesIO(chunks),
    }
    response = service.http.request("/deployments", environ=environ, status=413)
    assert code(response) == "too-large"


def test_the_server_sets_the_time_of_an_event(service: Service, deployment: dict[str, Any]) -> None:
    headers = {"Date": "Thu, 01 Jan 1970 00:00:00 GMT", "Idempotency-Key": "k"}
    received = datetime.fromisoformat(
        service.post(deployment, status=202, headers=headers).json["received_at"]
    )
    assert abs(datetime.now(UTC) - received) < timedelta(minutes=1)


def keyed(
    service: Service, body: object, key: str, *, status: int = 202, **headers: str
) -> TestResponse:
    return service.post(body, status=status, headers={"Idempotency-Key": key, **headers})


def test_the_same_key_and_body_get_the_same_event(
    service: Service, deployment: dict[str, Any]
) -> None:
    first = keyed(service, deployment, "k")
    # The order of the names is nothing of the body's meaning.
    again = keyed(service, dict(reversed(deployment.items())), "k")
    assert (again.json, again.headers["Location"]) == (first.json, first.headers["Location"])
    # Published each time: the worker stores an id once.
    event = {**deployment, **first.json, "actor": None}
    assert [published for _, published in service.kafka.published] == [event] * 2


def test_a_used_key_with_another_body_is_422_and_not_published(
    service: Service, deployment: dict[str, Any]
) -> None:
    keyed(service, deployment, "k")
    response = keyed(service, {**deployment, "version": "2"}, "k", status=422)
    assert code(response) == "idempotency-key-reused"
    assert len(service.kafka.published) == 1


def test_a_retry_publishes_the_event_that_kafka_refused(
    service: Service, deployment: dict[str, Any]
) -> None:
    service.kafka.error = Unavailable("no leader")
    keyed(service, deployment, "k", status=503)
    (kept,) = service.database.keys.values()
    service.kafka.error = None
    assert keyed(service, deployment, "k").json["id"] == kept.event_id
    assert service.kafka.published[0][1]["id"] == kept.event_id


@pytest.mark.parametrize("key", ["\xc3\xa9", "\xd7"], ids=["UTF-8", "other bytes"])
def test_a_wrong_key_is_400_before_the_body_is_read(service: Service, key: str) -> None:
    assert code(keyed(service, b"{", key, status=400)) == "invalid-idempotency-key"


def test_a_wrong_body_does_not_use_up_its_key(service: Service, deployment: dict[str, Any]) -> None:
    keyed(service, {**deployment, "stage": "Pray"}, "k", status=422)
    keyed(service, deployment, "k")


def test_only_requests_with_a_key_need_the_database(
    service: Service, deployment: dict[str, Any]
) -> None:
    service.database.error = Unavailable("refused")
    assert code(keyed(service, deployment, "k", status=503)) == "unavailable"
    assert service.kafka.published == []
    service.post(deployment, status=202)


def test_posts_need_a_token_which_names_the_actor_and_has_its_own_keys(
    tmp_path: Path, deployment: dict[str, Any]
) -> None:
    file = tmp_path / "tokens"
    file.write_text("a write aaaa-0123456789abc\nb write bbbb-0123456789abc", encoding="utf-8")
    service = Service(tokens=Tokens(str(file)))
    assert code(service.post(deployment, status=401)) == "unauthorized"
    ids = {
        keyed(service, deployment, "k", Authorization=f"Bearer {token}").json["id"]
        for token in ("aaaa-0123456789abc", "bbbb-0123456789abc", "aaaa-0123456789abc")
    }
    assert len(ids) == 2
    service.post(deployment, status=202, headers={"Authorization": "Bearer aaaa-0123456789abc"})
    assert [event["actor"] for _, event in service.kafka.published] == ["a", "b", "a", "a"]
    assert service.http.get("/openapi.json").json["paths"]["/deployments"]["post"]["security"] == [
        {"token": []}
    ]


def test_a_token_writes_within_its_scope_only(tmp_path: Path, deployment: dict[str, Any]) -> None:
    file = tmp_path / "tokens"
    file.write_text("ci write:*@staging,web@* aaaa-0123456789abc", encoding="utf-8")
    service = Service(tokens=Tokens(str(file)))
    headers = {"Authorization": "Bearer aaaa-0123456789abc", "Idempotency-Key": "k"}
    refused = service.post({**deployment, "environment": "production"}, status=403, headers=headers)
    assert code(refused) == "forbidden"
    assert refused.json["error"]["message"] == (
        "the token ci may write *@staging,web@* only, not api-rest@production"
    )
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]
    assert service.database.keys == {}
    assert service.kafka.published == []
    service.post(deployment, status=202, headers=headers)


def stored(number: int, **changes: object) -> dict[str, Any]:
    return {
        "id": str(uuid.UUID(int=number)),
        "received_at": f"2026-01-01T00:00:00.{number:06}Z",
        "component": "a",
        **changes,
    }


def put(service: Service, *events: dict[str, Any]) -> None:
    service.database.events = {event["id"]: event for event in events}


def test_a_listing_without_a_query_has_the_newest_events(service: Service) -> None:
    put(service, stored(1))
    response = service.http.get("/deployments")
    assert response.json == {"deployments": [stored(1)], "next": None}
    assert "Link" not in response.headers
    assert service.database.asked == [Listing(limit=50)]


def test_a_page_after_a_number_has_no_cursor(service: Service) -> None:
    put(service, stored(1), stored(2))
    response = service.http.get("/deployments?after=0&limit=1")
    assert response.json == {"deployments": [stored(1)], "next": None}
    assert "Link" not in response.headers
    assert service.database.asked == [Listing(after=0, limit=1)]


def test_the_query_reaches_the_database_decoded(service: Service) -> None:
    service.http.get(
        "/deployments?component=a%2Fb&version=%C3%A9+1&limit=500&since=2026-01-01T00:00:00Z"
    )
    (asked,) = service.database.asked
    assert asked.filters == {"component": "a/b", "version": "é 1"}
    assert (asked.limit, asked.since) == (500, datetime(2026, 1, 1))  # noqa: DTZ001


def addresses(service: Service) -> list[tuple[str, str]]:
    """Each route's method and an address of it."""
    routes = service.http.app.routes
    return [
        (route.method, re.sub(r"\{\w+\}", "page.js", openapi_path(route.rule))) for route in routes
    ]


def test_every_route_refuses_unknown_parameters(
    service: Service, deployment: dict[str, Any]
) -> None:
    body = json.dumps(deployment).encode()
    refused = []
    for method, path in addresses(service):
        response = service.http.request(
            f"{path}?colour=red&colour=blue",
            method=method,
            status=422,
            **({"body": body, "content_type": "application/json"} if method == "POST" else {}),
        )
        assert list(response.json["error"]["fields"]) == ["colour"]
        refused.append((method, path))
    assert len(refused) == len(service.http.app.routes) > 8
    assert service.kafka.published == []


def test_a_repeated_parameter_is_422(service: Service) -> None:
    known = {"/deployments": "limit", "/badges/a/b.svg": "label", "/assets/page.js": "v"}
    for path, name in known.items():
        response = service.http.get(f"{path}?{name}=1&{name}=1", status=422)
        assert response.json["error"]["fields"] == {name: "is given more than once"}


def test_errors_of_a_query_need_a_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("a write aaaa-0123456789abc", encoding="utf-8")
    Service(tokens=Tokens(str(file))).http.post("/deployments?colour=red", status=401)


@pytest.mark.parametrize("path", ["/deployments", "/deployments.csv"])
def test_a_wrong_parameter_is_422(service: Service, path: str) -> None:
    response = service.http.get(f"{path}?limit=0&cursor=x", status=422)
    assert code(response) == "invalid-query"
    assert set(response.json["error"]["fields"]) == {"limit", "cursor"}


def test_the_limit_is_500_for_json_and_10000_for_csv(service: Service) -> None:
    service.http.get("/deployments?limit=501", status=422)
    service.http.get("/deployments.csv?limit=10000")
    service.http.get("/deployments.csv?limit=10001", status=422)


def link(response: TestResponse) -> str | None:
    found = response.headers.get("Link")
    return None if found is None else str(found).removeprefix("<").partition(">")[0]


def test_the_links_lead_through_all_pages(service: Service) -> None:
    events = [stored(number) for number in range(5)]
    put(service, *events)
    seen: list[Any] = []
    path: str | None = "/deployments?component=a&limit=2"
    while path:
        response = service.http.get(path)
        seen.append(response.json["deployments"])
        assert len(seen) <= 3
        path = link(response)
        assert (path is None) == (response.json["next"] is None)
        assert path is None or path.endswith(f"?component=a&limit=2&cursor={response.json['next']}")
    assert seen == [events[:2], events[2:4], events[4:]]


def rows(response: TestResponse) -> list[Mapping[str, str]]:
    return list(
        csv.DictReader(io.StringIO(response.body.decode("utf-8-sig"), newline=""), strict=True)
    )


def test_a_table_is_a_csv_file_with_its_headers(service: Service) -> None:
    put(service, stored(1, version="=1", details={"a": "é"}))
    response = service.http.get("/deployments.csv")
    assert response.content_type == "text/csv"
    assert response.charset == "utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="deployments.csv"'
    assert "Link" not in response.headers
    ((row),) = rows(response)
    assert (row["id"], row["version"], row["details"]) == (stored(1)["id"], "'=1", '{"a":"é"}')


def followed(service: Service, path: str | None) -> list[str]:
    """Return the ids of every table that a Link leads to."""
    seen: list[str] = []
    while path:
        response = service.http.get(path)
        seen += [row["id"] for row in rows(response)]
        path = link(response)
    return seen


def test_a_page_ends_before_it_is_too_large_and_links_to_the_next(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app_module, "PAGE_BYTES", 500)
    put(service, *(stored(number, version="x" * 100) for number in range(4)))
    response = service.http.get("/deployments?limit=4")
    assert response.json["deployments"] == [stored(n, version="x" * 100) for n in range(2)]
    rest = service.http.get(link(response)).json
    assert rest["deployments"] == [stored(n, version="x" * 100) for n in range(2, 4)]
    assert rest["next"] is None


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows at a time, or fewer, since they are large for it."""
    monkeypatch.setattr(app_module, "CSV_ROWS", 2)
    monkeypatch.setattr(app_module, "CSV_BYTES", 300)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("length", [1, 100, 1000])
def test_a_long_table_is_read_in_batches_up_to_its_limit(service: Service, length: int) -> None:
    put(service, *(stored(number, version="x" * length) for number in range(8)))
    response = service.http.get("/deployments.csv?limit=5")
    assert [row["id"] for row in rows(response)] == [stored(number)["id"] for number in range(5)]
    assert max(asked.limit for asked in service.database.asked) == 2
    rest = service.http.get(link(response))
    assert [row["id"] for row in rows(rest)] == [stored(number)["id"] for number in range(5, 8)]
    assert link(rest) is None


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("limit", [3, 4, 9])
def test_a_complete_table_has_no_link(service: Service, limit: int) -> None:
    put(service, *(stored(number) for number in range(3)))
    response = service.http.get(f"/deployments.csv?limit={limit}")
    assert len(rows(response)) == 3
    assert link(response) is None


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_table_of_one_batch_has_a_length_and_a_link(service: Service, limit: int) -> None:
    put(service, *(stored(number) for number in range(4)))
    path = f"/deployments.csv?limit={limit}"
    sent_headers: list[dict[str, str]] = []
    environ = TestRequest.blank(path).environ
    body = service.http.app(environ, lambda _, headers, __=None: sent_headers.append(dict(headers)))
    length = sent_headers[0].get("Content-Length")
    assert length == (None if limit == 3 else str(len(b"".join(body))))
    assert followed(service, path) == list(service.database.events)


@pytest.mark.usefixtures("small_batches")
def test_events_stored_while_a_table_is_sent_do_not_displace_others(service: Service) -> None:
    old = [stored(number) for number in range(8)]
    put(service, *old)

    read = itertools.count(1)

    def store_more() -> None:
        # Where it ends was asked for after the first two.
        if next(read) == 3:
            put(service, stored(100), *old[:4], stored(101), *old[4:])

    service.database.on_read = store_more
    seen = followed(service, "/deployments.csv?limit=6")
    # The newest came after the table had begun.
    assert seen == [entry["id"] for entry in (*old[:4], stored(101), *old[4:])]


def sent(service: Service, path: str) -> Any:
    """Return an answer that is not read yet."""
    return service.http.app(TestRequest.blank(path).environ, lambda *_: None)


def taken(service: Service, name: str) -> ExitStack:
    """Take all places for reads, or for tables."""
    admission, places = {
        "reads": (service.ledger._reads, app_module.READS_AT_ONCE),
        "tables": (service.ledger._tables, app_module.TABLES_AT_ONCE),
    }[name]
    with ExitStack() as taking:
        for _ in range(places):
            taking.enter_context(admission.within(0))
        return taking.pop_all()


@pytest.mark.parametrize("path", ["/deployments", "/deployments.csv"])
def test_too_many_reads_at_once_are_503_and_leave_the_gate_open(
    service: Service, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("READ_WAIT_SECONDS", "TABLE_READ_WAIT_SECONDS"):
        monkeypatch.setattr(app_module, name, 0)
    with taken(service, "reads"):
        response = service.http.get(path, status=503)
        assert code(response) == "busy"
        assert "too many large answers" in response.json["error"]["message"]
        assert int(response.headers["Retry-After"]) > 0
        service.http.get("/environments")
    service.http.get(path)


@pytest.mark.usefixtures("small_batches")
def test_too_many_tables_at_once_are_503_before_a_read(service: Service) -> None:
    with taken(service, "tables"):
        assert code(service.http.get("/deployments.csv", status=503)) == "busy"
        assert service.database.asked == []
        service.http.get("/deployments")


@pytest.mark.usefixtures("small_batches")
def test_sending_a_table_does_not_count_as_a_read(service: Service) -> None:
    put(service, *(stored(number) for number in range(8)))
    for method, limit in (("GET", 2), ("GET", 8), ("HEAD", 8)):
        for _ in range(app_module.TABLES_AT_ONCE + 1):
            service.http.request(f"/deployments.csv?limit={limit}", method=method)
    answer = sent(service, "/deployments.csv")
    next(iter(answer))
    with taken(service, "reads"), pytest.raises(Busy):
        taken(service, "tables")
    answer.close()
    taken(service, "tables").close()


@pytest.mark.usefixtures("small_batches")
def test_a_table_that_fails_to_start_does_not_count_as_sent(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(service, *(stored(number) for number in range(3)))

    def away(_: Listing) -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(service.database, "end", away)
    assert code(service.http.get("/deployments.csv", status=503)) == "unavailable"
    taken(service, "tables").close()


@pytest.mark.usefixtures("small_batches")
def test_a_table_is_cut_if_the_database_fails(service: Service) -> None:
    put(service, *(stored(number) for number in range(8)))
    answer = sent(service, "/deployments.csv")
    parts = iter(answer)
    next(parts)
    service.database.error = Unavailable("gone")
    with pytest.raises(Cut):
        next(parts)
    answer.close()
    taken(service, "tables").close()


@pytest.mark.usefixtures("small_batches")
def test_head_of_a_long_table_has_the_headers_of_get(service: Service) -> None:
    put(service, *(stored(number) for number in range(3)))
    get = service.http.get("/deployments.csv?limit=2")
    head = service.http.head("/deployments.csv?limit=2")
    assert (head.body, head.headers["Link"]) == (b"", get.headers["Link"])
    assert head.content_type == get.content_type == "text/csv"


def test_environments_list_the_running_versions_with_their_stages(service: Service) -> None:
    start = datetime(2026, 1, 1, 12)  # noqa: DTZ001
    common = {
        "component": "api",
        "version": "1",
        "environment": "prod",
        "responsible": "Zoë",
        "id": "",
    }
    (run,) = runs(
        {**common, "stage": stage, "status": status, "at": start + timedelta(seconds=second)}
        for second, stage, status in (
            (0, "deploy", "started"),
            (90, "deploy", "succeeded"),
            (91, "verify", "failed"),
        )
    )
    since = start + timedelta(seconds=90)
    service.database.places = [
        Running("prod", "api", "1", since, "Zoë", run, "jenkins"),
        Running("prod", "web", "2", since, "ana", None),
        Running("test", "api", "3", since, "ana", None),
    ]
    api, web = service.http.get("/environments").json["environments"][0]["components"]
    assert api == {
        "component": "api",
        "version": "1",
        "since": "2026-01-01T12:01:30.000000Z",
        "responsible": "Zoë",
        "actor": "jenkins",
        "stages": [
            {
                "stage": "deploy",
                "status": "succeeded",
                "started_at": "2026-01-01T12:00:00.000000Z",
                "ended_at": "2026-01-01T12:01:30.000000Z",
                "seconds": 90,
            },
            {
                "stage": "verify",
                "status": "failed",
                "started_at": None,
                "ended_at": "2026-01-01T12:01:31.000000Z",
                "seconds": None,
            },
        ],
    }
    assert (web["component"], web["stages"]) == ("web", [])
    names = [
        entry["environment"] for entry in service.http.get("/environments").json["environments"]
    ]
    assert names == ["prod", "test"]


def test_the_page_shows_the_stored_events(service: Service) -> None:
    since = datetime(2026, 1, 1, 12)  # noqa: DTZ001
    service.database.places = [Running("prod", "the-component", "1.2.3", since, "Zoë", None)]
    response = service.http.get("/")
    assert response.content_type == "text/html"
    assert "the-component" in response.text


@pytest.mark.parametrize("path", ["/", "/environments"])
def test_the_running_versions_are_read_every_two_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    now = 0.0
    monkeypatch.setattr(
        app_module, "SharedValue", lambda compute, age: SharedValue(compute, age, lambda: now)
    )
    service = Service()
    for now in (0.0, 0.5, 1.9, 2.0, 3.9):  # noqa: B007  the clock reads it
        service.http.get(path)
    assert service.database.read == 2


@pytest.mark.parametrize("path", ["/", "/environments"])
def test_a_database_that_is_back_is_read_immediately(service: Service, path: str) -> None:
    service.database.error = Unavailable("refused")
    service.http.get(path, status=503)
    service.database.error = None
    service.http.get(path)


@pytest.mark.parametrize("path", ["/deployments", f"/deployments/{EVENT_ID}", "/environments"])
def test_a_busy_database_is_503_for_one_request_only(service: Service, path: str) -> None:
    put(service, {"id": EVENT_ID, "received_at": "2026-01-01T00:00:00Z"})
    service.database.error = Busy("took-too-long", "max_statement_time exceeded")
    response = service.http.get(path, status=503)
    assert code(response) == "took-too-long"
    assert "Retry-After" in response.headers
    service.database.error = None
    service.http.get(path)


def test_a_badge_shows_the_stored_events(service: Service) -> None:
    since = datetime(2026, 1, 1, 12)  # noqa: DTZ001
    service.database.places = [Running("prod", "team/api", "1.2.3", since, "Zoë", None)]
    response = service.http.get("/badges/prod/team/api.svg")
    assert response.content_type == "image/svg+xml"
    assert "prod: 1.2.3" in response.text


GETS = (
    "/deployments",
    "/deployments.csv",
    "/environments",
    "/badges/prod/api.svg",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/",
)


@pytest.mark.parametrize("path", [*GETS, f"/deployments/{EVENT_ID}"])
def test_every_get_route_accepts_head(service: Service, path: str) -> None:
    service.database.events = {EVENT_ID: stored(1)}
    response = service.http.head(path, status=200)
    assert response.body == b""
    assert int(response.headers["Content-Length"]) > 0


def test_an_id_in_upper_case_returns_its_event(service: Service) -> None:
    service.database.events = {EVENT_ID: {"id": EVENT_ID}}
    assert service.http.get(f"/deployments/{EVENT_ID.upper()}").json == {"id": EVENT_ID}


@pytest.mark.parametrize("event_id", [EVENT_ID, "1", "%00"])
def test_an_event_that_is_not_stored_is_404(service: Service, event_id: str) -> None:
    assert code(service.http.get(f"/deployments/{event_id}", status=404)) == "not-found"


@pytest.mark.parametrize(
    "path", ["/deployments", f"/deployments/{EVENT_ID}", "/deployments.csv", "/environments"]
)
def test_reading_while_the_database_is_away_is_503(service: Service, path: str) -> None:
    service.database.error = Unavailable("refused")
    response = service.http.get(path, status=503)
    assert code(response) == "unavailable"
    assert "Retry-After" in response.headers


def test_an_unknown_path_is_404_with_the_usual_body(service: Service) -> None:
    assert code(service.http.get("/nowhere", status=404)) == "not-found"


def test_a_wrong_method_is_405_with_the_allowed_ones(service: Service) -> None:
    response = service.http.delete("/deployments", status=405)
    assert code(response) == "method-not-allowed"
    assert set(response.headers["Allow"].split(",")) >= {"GET", "POST"}
    service.http.post("/environments", status=405)


def test_the_page_shows_the_storage_lag(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "The ledger is behind" not in service.http.get("/").text
    monkeypatch.setattr(service.lag, "late", lambda: Lag(7, 90))
    assert "7 accepted events are not shown here yet" in service.http.get("/").text


def test_a_probe_is_answered_with_the_state_of_this_instance(service: Service) -> None:
    assert service.http.get("/health").json == {"status": "alive"}
    assert service.http.get("/ready").json == {"status": "ready"}
    service.state = State(ready=True, missing=["Kafka does not answer"])
    reasons = {"reasons": ["Kafka does not answer"]}
    assert service.http.get("/ready").json == {"status": "degraded", **reasons}
    service.state = State(ready=False, missing=["Kafka does not answer"])
    assert service.http.get("/ready", status=503).json == {"status": "not ready", **reasons}


def test_who_asks_whether_it_is_ready_is_known_by_the_authorization(service: Service) -> None:
    service.http.get("/ready")
    service.http.get("/ready", headers={"Authorization": "Bearer secret"})
    assert service.authorizations == ["", "Bearer secret"]


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/health", logging.DEBUG),
        ("/ready", logging.DEBUG),
        ("/metrics", logging.DEBUG),
        ("/deployments", logging.INFO),
    ],
)
def test_requests_are_logged_and_probes_only_while_debugging(
    service: Service, caplog: pytest.LogCaptureFixture, path: str, level: int
) -> None:
    with caplog.at_level(logging.DEBUG, logger="api_rest.answers"):
        service.http.get(path)
    assert [record.levelno for record in caplog.records] == [level]


def test_the_log_names_the_event(
    service: Service,
    deployment: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    structured: Callable[..., Any],
) -> None:
    with caplog.at_level(logging.INFO):
        event_id = service.post(deployment, status=202).json["id"]
    (line,) = structured(caplog)
    assert (line["event_id"], line["component"], line["status"]) == (
        event_id,
        deployment["component"],
        202,
    )


def test_the_event_carries_its_requests_id(service: Service, deployment: dict[str, Any]) -> None:
    response = service.post(deployment, status=202)
    assert service.kafka.headers == {"request-id": response.headers["X-Request-ID"]}


def test_an_events_headers_continue_the_trace(deployment: dict[str, Any]) -> None:
    exporter = InMemorySpanExporter()
    tracing = export_to(exporter, service="api-rest", environment="test", version="1")
    service = Service(tracing)
    service.post(deployment, status=202)
    tracing.close()
    send, post = exporter.get_finished_spans()
    assert (send.name, post.name) == ("send deployments", "POST /deployments")
    assert send.context is not None
    assert service.kafka.headers["traceparent"].split("-")[1:3] == [
        format(send.context.trace_id, "032x"),
        format(send.context.span_id, "016x"),
    ]


FREEZE = {
    "environment": "production",
    "until": "2999-12-26T08:00:00Z",
    "reason": "the busiest week",
    "responsible": "Zoë",
}


def test_a_freeze_is_in_force_until_it_is_ended(service: Service) -> None:
    freeze = service.http.post_json("/freezes", FREEZE, status=201).json
    service.http.post_json("/freezes", {**FREEZE, "until": "2020-01-01T00:00:00Z"}, status=201)
    assert service.http.get("/freezes").json == {"freezes": [freeze]}
    assert "production is frozen" in re.sub("<[^>]*>", "", service.http.get("/").text)
    assert service.http.delete(f"/freezes/{freeze['id'].upper()}").json == freeze
    assert service.http.get("/freezes").json == {"freezes": []}
    for ended in (freeze["id"], str(uuid.uuid4()), "nothing"):
        assert code(service.http.delete(f"/freezes/{ended}", status=404)) == "not-found"


def test_a_freeze_beyond_the_limit_is_refused_until_another_ends(service: Service) -> None:
    freezes = [service.http.post_json("/freezes", FREEZE).json for _ in range(FREEZES_MAX)]
    refused = service.http.post_json("/freezes", FREEZE, status=409)
    assert code(refused) == "too-many-freezes"
    service.http.post_json("/freezes", {**FREEZE, "environment": "develop"}, status=201)
    service.http.delete(f"/freezes/{freezes[-1]['id']}")
    service.http.post_json("/freezes", FREEZE, status=201)


def test_a_token_freezes_what_it_may_write_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(
        "ops write:*@production aaaa-0123456789abc\n"
        "web write:web@production,*@staging bbbb-0123456789abc\n"
        "eve read cccc-0123456789abc",
        encoding="utf-8",
    )
    service = Service(tokens=Tokens(str(file)))
    ops, web, eve = ({"Authorization": f"Bearer {name * 4}-0123456789abc"} for name in "abc")
    for headers, status in ((web, 403), (eve, 403), ({}, 401)):
        service.http.post_json("/freezes", FREEZE, headers=headers, status=status)
    freeze = service.http.post_json("/freezes", FREEZE, headers=ops).json
    assert freeze["actor"] == "ops"
    path = f"/freezes/{freeze['id']}"
    refused = service.http.delete(path, headers=web, status=403).json["error"]
    assert refused["message"].endswith("may write web@production,*@staging only, not *@production")
    service.http.delete(path, headers=ops)


def test_without_the_table_of_freezes_the_page_is_shown(service: Service) -> None:
    service.database.frozen = None
    service.http.get("/")
    for call in (
        service.http.get("/freezes", status=503),
        service.http.post_json("/freezes", FREEZE, status=503),
        service.http.delete(f"/freezes/{uuid.uuid4()}", status=503),
    ):
        assert "the table freezes" in call.json["error"]["message"]


DRIFT = {
    "component": "api-rest",
    "object": "Deployment/api-rest",
    "field": "spec.replicas",
    "change": "changed",
    "deployed": "2",
    "live": "5",
    "manager": "kubectl",
    "at": "2026-12-01T12:00:00Z",
}


def test_a_report_of_drift_is_shown_on_the_page(service: Service) -> None:
    body = {"environment": "staging", "found": [DRIFT]}
    answer = service.http.post_json("/drift", body, status=200).json
    assert (answer["environment"], set(answer)) == ("staging", {"environment", "checked_at"})
    page = re.sub("<[^>]*>", "", service.http.get("/").text)
    assert "staging differs from what was deployed" in page
    assert "Deployment/api-rest spec.replicas changed: 2 → 5, by kubectl" in page
    service.database.reports = None
    assert code(service.http.post_json("/drift", body, status=503)) == "unavailable"
    service.http.get("/")


def test_a_token_reports_the_drift_of_what_it_may_write(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("web write:web@staging,*@develop aaaa-0123456789abc", encoding="utf-8")
    service = Service(tokens=Tokens(str(file)))
    headers = {"Authorization": "Bearer aaaa-0123456789abc"}
    for environment, status in (("staging", 403), ("develop", 200)):
        body = {"environment": environment, "found": []}
        service.http.post_json("/drift", body, headers=headers, status=status)
