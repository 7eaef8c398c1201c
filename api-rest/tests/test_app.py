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
from api_rest.app import Ledger, create_app
from api_rest.backends import Backends, ConnectingBackend
from api_rest.concurrency import SharedValue
from api_rest.errors import Busy, Cut, Unavailable
from api_rest.idempotency import Reservation
from api_rest.lag import Lag, LagMonitor
from api_rest.listing import Batch, Listing, Position
from api_rest.metrics import Metrics
from api_rest.runs import Run, Running, runs
from api_rest.state import State
from api_rest.tokens import Tokens
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
        start = 0 if listing.after is None else ids.index(listing.after.id) + 1
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

    def reserve(self, key_hash: str, wanted: Reservation) -> Reservation:
        self.check()
        return self.keys.setdefault(key_hash, wanted)

    def check(self) -> None:
        if self.error:
            raise self.error

    def close(self) -> None:
        pass


class World:
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
        self.lag = LagMonitor()
        broker: ConnectingBackend[Any] = ConnectingBackend("Kafka", lambda: self.kafka)
        store: ConnectingBackend[Any] = ConnectingBackend("the database", lambda: self.database)
        for connecting in (broker, store):
            connecting.start()
            connecting._thread.join()
        app = create_app(
            Backends(broker, store),
            max_body_bytes=max_body_bytes,
            lag=self.lag,
            metrics=Metrics("1"),
            tracing=tracing or Tracing(),
            tokens=tokens,
        )
        self.ledger: Ledger = app.routes[0].callback.__self__
        self.http = TestApp(app)

    def post(self, body: object, *, status: int, **options: object) -> TestResponse:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(
            "/deployments", text, status=status, **{"content_type": "application/json", **options}
        )


@pytest.fixture
def world() -> World:
    return World()


def code(response: TestResponse) -> str:
    assert response.content_type == "application/json"
    return str(response.json["error"]["code"])


def test_an_accepted_event_is_on_kafka_before_the_answer(
    world: World, deployment: dict[str, Any]
) -> None:
    response = world.post(deployment, status=202)
    ((key, event),) = world.kafka.published
    assert key == "api-rest"
    assert event == {**deployment, **response.json}
    assert set(response.json) == {"id", "received_at"}
    assert response.headers["Location"] == f"/deployments/{event['id']}"


def test_json_with_parameters_is_json(world: World, deployment: dict[str, Any]) -> None:
    world.post(deployment, status=202, content_type="Application/JSON; charset=utf-8")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_media_type_is_415(
    world: World, deployment: dict[str, Any], media_type: str
) -> None:
    assert (
        code(world.post(deployment, status=415, content_type=media_type))
        == "unsupported-media-type"
    )


def test_what_is_no_json_is_400(world: World) -> None:
    assert code(world.post(b"{", status=400)) == "invalid-json"


def test_a_body_over_the_limit_is_413(world: World) -> None:
    assert code(world.post(b"x" * 2049, status=413)) == "too-large"


def test_every_wrong_field_is_named_and_nothing_published(
    world: World, deployment: dict[str, Any]
) -> None:
    del deployment["version"]
    response = world.post({**deployment, "stage": "pray", "colour": "red"}, status=422)
    assert code(response) == "invalid-fields"
    assert set(response.json["error"]["fields"]) == {"version", "stage", "colour"}
    assert world.kafka.published == []


def test_an_event_kafka_does_not_take_is_503_with_a_time_to_try_again(
    world: World, deployment: dict[str, Any]
) -> None:
    world.kafka.error = Unavailable("kafka-0.internal refuses")
    response = world.post(deployment, status=503)
    assert code(response) == "unavailable"
    assert int(response.headers["Retry-After"]) > 0
    assert "internal" not in response.text


def test_a_bug_is_500_in_the_same_shape_and_in_the_log(
    world: World, deployment: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    world.kafka.error = KeyError("a bug")
    with caplog.at_level(logging.ERROR):
        assert code(world.post(deployment, status=500)) == "internal-error"
    assert "request failed" in caplog.text


def test_what_is_nested_too_deeply_to_be_read_is_422() -> None:
    response = World(max_body_bytes=400_000).post(b"[" * 200_000 + b"]" * 200_000, status=422)
    assert code(response) == "invalid-fields"
    assert response.json["error"]["fields"] == {"body": "is nested too deeply"}


def test_a_number_of_thousands_of_digits_is_told_in_our_words(deployment: dict[str, Any]) -> None:
    body = json.dumps({**deployment, "details": {"a": 0}}).replace('"a": 0', f'"a": {"1" * 5000}')
    response = World(max_body_bytes=8192).post(body.encode(), status=422)
    assert response.json["error"]["fields"] == {
        "details": "must be without a number beyond a double",
    }


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", '"us-ascii"'])
def test_another_charset_is_415(world: World, deployment: dict[str, Any], charset: str) -> None:
    media_type = f"application/json; charset={charset}"
    assert (
        code(world.post(deployment, status=415, content_type=media_type))
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
    ],
)
@pytest.mark.parametrize("end", ["", ";" * 1000 + " " * 1000 + "\xff"])
def test_a_malformed_media_type_is_415(world: World, rest: str, end: str) -> None:
    response = world.post(b"{}", status=415, content_type=f"application/json; {rest}{end}")
    assert code(response) == "unsupported-media-type"


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json;charset=UTF-8",
        'application/json; v=1; charset="utf8"',
        'application/json ; v="a; charset=latin-1, \\""; charset=utf-8 ;',
    ],
)
def test_utf_8_by_any_of_its_names_is_taken(
    world: World, deployment: dict[str, Any], media_type: str
) -> None:
    world.post(deployment, status=202, content_type=media_type)


def test_a_compressed_body_is_415_and_says_what_is_taken(
    world: World, deployment: dict[str, Any]
) -> None:
    response = world.post(deployment, status=415, headers={"Content-Encoding": "gzip"})
    assert response.headers["Accept-Encoding"] == "identity"
    world.post(deployment, status=202, headers={"Content-Encoding": "Identity"})


def test_a_body_over_the_limit_is_413_though_no_length_was_given(world: World) -> None:
    chunks = b"800\r\n" + b"x" * 2048 + b"\r\n1\r\nx\r\n0\r\n\r\n"
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": io.BytesIO(chunks),
    }
    response = world.http.request("/deployments", environ=environ, status=413)
    assert code(response) == "too-large"


def test_the_client_never_sets_the_id_or_the_time(world: World, deployment: dict[str, Any]) -> None:
    response = world.post(
        {**deployment, "id": EVENT_ID, "received_at": "2026-01-01T00:00:00Z"}, status=422
    )
    assert set(response.json["error"]["fields"]) == {"id", "received_at"}


def test_an_answers_time_is_the_servers(world: World, deployment: dict[str, Any]) -> None:
    headers = {"Date": "Thu, 01 Jan 1970 00:00:00 GMT", "Idempotency-Key": "k"}
    received = datetime.fromisoformat(
        world.post(deployment, status=202, headers=headers).json["received_at"]
    )
    assert abs(datetime.now(UTC) - received) < timedelta(minutes=1)


def keyed(
    world: World, body: object, key: str, *, status: int = 202, **headers: str
) -> TestResponse:
    return world.post(body, status=status, headers={"Idempotency-Key": key, **headers})


def test_the_same_key_and_body_get_the_same_answer_and_are_one_event(
    world: World, deployment: dict[str, Any]
) -> None:
    first = keyed(world, deployment, "k")
    # The order of the names is nothing of the body's meaning.
    again = keyed(world, dict(reversed(deployment.items())), "k")
    assert (again.json, again.headers["Location"]) == (first.json, first.headers["Location"])
    # Published each time: the worker stores an id once.
    assert [event for _, event in world.kafka.published] == [{**deployment, **first.json}] * 2


def test_another_key_is_another_event(world: World, deployment: dict[str, Any]) -> None:
    assert keyed(world, deployment, "k").json["id"] != keyed(world, deployment, "K").json["id"]


def test_another_body_with_a_used_key_is_422_and_not_published(
    world: World, deployment: dict[str, Any]
) -> None:
    keyed(world, deployment, "k")
    response = keyed(world, {**deployment, "version": "2"}, "k", status=422)
    assert code(response) == "idempotency-key-reused"
    assert len(world.kafka.published) == 1


def test_a_key_whose_event_kafka_did_not_take_is_healed_by_the_next_try(
    world: World, deployment: dict[str, Any]
) -> None:
    world.kafka.error = Unavailable("no leader")
    keyed(world, deployment, "k", status=503)
    (kept,) = world.database.keys.values()
    world.kafka.error = None
    assert keyed(world, deployment, "k").json["id"] == kept.event_id
    assert world.kafka.published[0][1]["id"] == kept.event_id


def test_a_wrong_key_is_400_before_the_body_is_looked_at(world: World) -> None:
    assert (
        code(keyed(world, b"{", "é".encode().decode("latin-1"), status=400))
        == "invalid-idempotency-key"
    )


def test_bytes_that_are_no_utf_8_are_no_key(world: World, deployment: dict[str, Any]) -> None:
    assert code(keyed(world, deployment, "\xd7", status=400)) == "invalid-idempotency-key"


def test_a_wrong_body_takes_no_key(world: World, deployment: dict[str, Any]) -> None:
    keyed(world, {**deployment, "stage": "pray"}, "k", status=422)
    keyed(world, deployment, "k")


def test_without_the_database_a_key_is_503_and_no_key_is_202(
    world: World, deployment: dict[str, Any]
) -> None:
    world.database.error = Unavailable("refused")
    assert code(keyed(world, deployment, "k", status=503)) == "unavailable"
    assert world.kafka.published == []
    world.post(deployment, status=202)


def test_tokens_guard_posts_and_each_client_has_its_own_keys(
    tmp_path: Path, deployment: dict[str, Any]
) -> None:
    file = tmp_path / "tokens"
    file.write_text("a write aaaa-0123456789abc\nb write bbbb-0123456789abc", encoding="utf-8")
    world = World(tokens=Tokens(str(file)))
    assert code(world.post(deployment, status=401)) == "unauthorized"
    ids = {
        keyed(world, deployment, "k", Authorization=f"Bearer {token}").json["id"]
        for token in ("aaaa-0123456789abc", "bbbb-0123456789abc", "aaaa-0123456789abc")
    }
    assert len(ids) == 2
    assert world.http.get("/openapi.json").json["paths"]["/deployments"]["post"]["security"] == [
        {"token": []}
    ]


def stored(number: int, **changes: object) -> dict[str, Any]:
    return {
        "id": str(uuid.UUID(int=number)),
        "received_at": f"2026-01-01T00:00:00.{number:06}Z",
        "component": "a",
        **changes,
    }


def put(world: World, *events: dict[str, Any]) -> None:
    world.database.events = {event["id"]: event for event in events}


def test_the_listing_asks_for_the_newest_by_default(world: World) -> None:
    put(world, stored(1))
    response = world.http.get("/deployments")
    assert response.json == {"deployments": [stored(1)], "next": None}
    assert "Link" not in response.headers
    assert world.database.asked == [Listing(limit=50)]


def test_filters_span_and_limit_reach_the_database_decoded(world: World) -> None:
    world.http.get(
        "/deployments?component=a%2Fb&version=%C3%A9+1&limit=500&since=2026-01-01T00:00:00Z"
    )
    (asked,) = world.database.asked
    assert asked.filters == {"component": "a/b", "version": "é 1"}
    assert (asked.limit, asked.since) == (500, datetime(2026, 1, 1))  # noqa: DTZ001


def addresses(world: World) -> list[tuple[str, str]]:
    """Each route's method and an address of it."""
    routes = world.http.app.routes
    return [
        (route.method, re.sub(r"\{\w+\}", "page.js", openapi_path(route.rule))) for route in routes
    ]


def test_no_route_takes_what_it_does_not_declare(world: World, deployment: dict[str, Any]) -> None:
    body = json.dumps(deployment).encode()
    refused = []
    for method, path in addresses(world):
        response = world.http.request(
            f"{path}?colour=red&colour=blue",
            method=method,
            status=422,
            **({"body": body, "content_type": "application/json"} if method == "POST" else {}),
        )
        assert list(response.json["error"]["fields"]) == ["colour"]
        refused.append((method, path))
    assert len(refused) == len(world.http.app.routes) > 8
    assert world.kafka.published == []


def test_a_parameter_that_is_given_twice_is_422(world: World) -> None:
    known = {"/deployments": "limit", "/badges/a/b.svg": "label", "/assets/page.js": "v"}
    for path, name in known.items():
        response = world.http.get(f"{path}?{name}=1&{name}=1", status=422)
        assert response.json["error"]["fields"] == {name: "is given more than once"}


def test_what_a_query_may_hold_is_told_to_nobody_without_a_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("a write aaaa-0123456789abc", encoding="utf-8")
    World(tokens=Tokens(str(file))).http.post("/deployments?colour=red", status=401)


@pytest.mark.parametrize("path", ["/deployments", "/deployments.csv"])
def test_a_wrong_parameter_is_422(world: World, path: str) -> None:
    response = world.http.get(f"{path}?limit=0&cursor=x", status=422)
    assert code(response) == "invalid-query"
    assert set(response.json["error"]["fields"]) == {"limit", "cursor"}


def test_the_listing_takes_500_and_the_table_10000(world: World) -> None:
    world.http.get("/deployments?limit=501", status=422)
    world.http.get("/deployments.csv?limit=10000")
    world.http.get("/deployments.csv?limit=10001", status=422)


def link(response: TestResponse) -> str | None:
    found = response.headers.get("Link")
    return None if found is None else str(found).removeprefix("<").partition(">")[0]


def test_pages_follow_one_another_to_the_last_one(world: World) -> None:
    events = [stored(number) for number in range(5)]
    put(world, *events)
    seen: list[Any] = []
    path: str | None = "/deployments?component=a&limit=2"
    while path:
        response = world.http.get(path)
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


def test_the_table_is_a_file_to_open(world: World) -> None:
    put(world, stored(1, version="=1", details={"a": "é"}))
    response = world.http.get("/deployments.csv")
    assert response.content_type == "text/csv"
    assert response.charset == "utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="deployments.csv"'
    assert "Link" not in response.headers
    ((row),) = rows(response)
    assert (row["id"], row["version"], row["details"]) == (stored(1)["id"], "'=1", '{"a":"é"}')


def followed(world: World, path: str | None) -> list[str]:
    """Return the ids of every table that a Link leads to."""
    seen: list[str] = []
    while path:
        response = world.http.get(path)
        seen += [row["id"] for row in rows(response)]
        path = link(response)
    return seen


def test_a_page_is_cut_before_it_is_too_large_and_leads_on(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app_module, "PAGE_BYTES", 500)
    put(world, *(stored(number, version="x" * 100) for number in range(4)))
    response = world.http.get("/deployments?limit=4")
    assert response.json["deployments"] == [stored(n, version="x" * 100) for n in range(2)]
    rest = world.http.get(link(response)).json
    assert rest["deployments"] == [stored(n, version="x" * 100) for n in range(2, 4)]
    assert rest["next"] is None


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows at a time, or fewer, since they are large for it."""
    monkeypatch.setattr(app_module, "CSV_ROWS", 2)
    monkeypatch.setattr(app_module, "CSV_BYTES", 300)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("length", [1, 100, 1000])
def test_a_long_table_is_read_in_batches_up_to_its_limit(world: World, length: int) -> None:
    put(world, *(stored(number, version="x" * length) for number in range(8)))
    response = world.http.get("/deployments.csv?limit=5")
    assert [row["id"] for row in rows(response)] == [stored(number)["id"] for number in range(5)]
    assert max(asked.limit for asked in world.database.asked) == 2
    rest = world.http.get(link(response))
    assert [row["id"] for row in rows(rest)] == [stored(number)["id"] for number in range(5, 8)]
    assert link(rest) is None


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("limit", [3, 4, 9])
def test_a_table_that_holds_all_has_no_next(world: World, limit: int) -> None:
    put(world, *(stored(number) for number in range(3)))
    response = world.http.get(f"/deployments.csv?limit={limit}")
    assert len(rows(response)) == 3
    assert link(response) is None


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_table_of_one_batch_has_a_length_and_any_leads_on(world: World, limit: int) -> None:
    put(world, *(stored(number) for number in range(4)))
    path = f"/deployments.csv?limit={limit}"
    told: list[dict[str, str]] = []
    environ = TestRequest.blank(path).environ
    body = world.http.app(environ, lambda _, headers, __=None: told.append(dict(headers)))
    length = told[0].get("Content-Length")
    assert length == (None if limit == 3 else str(len(b"".join(body))))
    assert followed(world, path) == list(world.database.events)


@pytest.mark.usefixtures("small_batches")
def test_what_is_stored_while_a_table_is_sent_takes_no_events_away(world: World) -> None:
    old = [stored(number) for number in range(8)]
    put(world, *old)

    read = itertools.count(1)

    def store_more() -> None:
        # Where it ends was asked for after the first two.
        if next(read) == 3:
            put(world, stored(100), *old[:4], stored(101), *old[4:])

    world.database.on_read = store_more
    seen = followed(world, "/deployments.csv?limit=6")
    # The newest came after the table had begun.
    assert seen == [entry["id"] for entry in (*old[:4], stored(101), *old[4:])]


def sent(world: World, path: str) -> Any:
    """Return an answer that is not read yet."""
    return world.http.app(TestRequest.blank(path).environ, lambda *_: None)


def taken(world: World, name: str) -> ExitStack:
    """Take all places for reads, or for tables."""
    admission, places = {
        "reads": (world.ledger._reads, app_module.READS_AT_ONCE),
        "tables": (world.ledger._tables, app_module.TABLES_AT_ONCE),
    }[name]
    with ExitStack() as taking:
        for _ in range(places):
            taking.enter_context(admission.within(0))
        return taking.pop_all()


@pytest.mark.parametrize("path", ["/deployments", "/deployments.csv"])
def test_while_enough_is_read_a_read_is_503_of_its_own_kind_and_closes_no_gate(
    world: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("READ_WAIT_SECONDS", "TABLE_READ_WAIT_SECONDS"):
        monkeypatch.setattr(app_module, name, 0)
    with taken(world, "reads"):
        response = world.http.get(path, status=503)
        assert code(response) == "busy"
        assert "too many large answers" in response.json["error"]["message"]
        assert int(response.headers["Retry-After"]) > 0
        world.http.get("/environments")
    world.http.get(path)


@pytest.mark.usefixtures("small_batches")
def test_while_enough_tables_are_sent_another_is_503_before_anything_is_read(world: World) -> None:
    with taken(world, "tables"):
        assert code(world.http.get("/deployments.csv", status=503)) == "busy"
        assert world.database.asked == []
        world.http.get("/deployments")


@pytest.mark.usefixtures("small_batches")
def test_a_table_that_is_sent_holds_one_place_and_no_read(world: World) -> None:
    put(world, *(stored(number) for number in range(8)))
    for method, limit in (("GET", 2), ("GET", 8), ("HEAD", 8)):
        for _ in range(app_module.TABLES_AT_ONCE + 1):
            world.http.request(f"/deployments.csv?limit={limit}", method=method)
    answer = sent(world, "/deployments.csv")
    next(iter(answer))
    with taken(world, "reads"), pytest.raises(Busy):
        taken(world, "tables")
    answer.close()
    taken(world, "tables").close()


@pytest.mark.usefixtures("small_batches")
def test_a_database_that_goes_away_before_a_long_table_begins_leaves_its_place_free(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(world, *(stored(number) for number in range(3)))

    def away(_: Listing) -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(world.database, "end", away)
    assert code(world.http.get("/deployments.csv", status=503)) == "unavailable"
    taken(world, "tables").close()


@pytest.mark.usefixtures("small_batches")
def test_a_table_whose_database_goes_away_is_cut(world: World) -> None:
    put(world, *(stored(number) for number in range(8)))
    answer = sent(world, "/deployments.csv")
    parts = iter(answer)
    next(parts)
    world.database.error = Unavailable("gone")
    with pytest.raises(Cut):
        next(parts)
    answer.close()
    taken(world, "tables").close()


@pytest.mark.usefixtures("small_batches")
def test_head_of_a_long_table_has_the_headers_of_get(world: World) -> None:
    put(world, *(stored(number) for number in range(3)))
    get = world.http.get("/deployments.csv?limit=2")
    head = world.http.head("/deployments.csv?limit=2")
    assert (head.body, head.headers["Link"]) == (b"", get.headers["Link"])
    assert head.content_type == get.content_type == "text/csv"


def test_environments_tell_what_runs_where_since_when_and_how_long_it_took(world: World) -> None:
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
    world.database.places = [
        Running("prod", "api", "1", since, "Zoë", run),
        Running("prod", "web", "2", since, "ana", None),
        Running("test", "api", "3", since, "ana", None),
    ]
    api, web = world.http.get("/environments").json["environments"][0]["components"]
    assert api == {
        "component": "api",
        "version": "1",
        "since": "2026-01-01T12:01:30.000000Z",
        "responsible": "Zoë",
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
    names = [entry["environment"] for entry in world.http.get("/environments").json["environments"]]
    assert names == ["prod", "test"]


def test_the_page_shows_what_the_store_knows(world: World) -> None:
    since = datetime(2026, 1, 1, 12)  # noqa: DTZ001
    world.database.places = [Running("prod", "the-component", "1.2.3", since, "Zoë", None)]
    response = world.http.get("/")
    assert response.content_type == "text/html"
    assert "the-component" in response.text


@pytest.mark.parametrize("path", ["/", "/environments"])
def test_what_runs_is_read_every_two_seconds_at_most_however_many_ask(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    now = 0.0
    monkeypatch.setattr(
        app_module, "SharedValue", lambda compute, age: SharedValue(compute, age, lambda: now)
    )
    world = World()
    for now in (0.0, 0.5, 1.9, 2.0, 3.9):  # noqa: B007  the clock reads it
        world.http.get(path)
    assert world.database.read == 2


@pytest.mark.parametrize("path", ["/", "/environments"])
def test_a_database_that_is_back_is_read_at_once(world: World, path: str) -> None:
    world.database.error = Unavailable("refused")
    world.http.get(path, status=503)
    world.database.error = None
    world.http.get(path)


@pytest.mark.parametrize("path", ["/deployments", f"/deployments/{EVENT_ID}", "/environments"])
def test_one_who_the_database_had_no_time_for_gets_503_and_the_next_is_served(
    world: World, path: str
) -> None:
    put(world, {"id": EVENT_ID, "received_at": "2026-01-01T00:00:00Z"})
    world.database.error = Busy("took-too-long", "max_statement_time exceeded")
    response = world.http.get(path, status=503)
    assert code(response) == "took-too-long"
    assert "Retry-After" in response.headers
    world.database.error = None
    world.http.get(path)


def test_a_badge_shows_what_the_store_knows(world: World) -> None:
    since = datetime(2026, 1, 1, 12)  # noqa: DTZ001
    world.database.places = [Running("prod", "team/api", "1.2.3", since, "Zoë", None)]
    response = world.http.get("/badges/prod/team/api.svg")
    assert response.content_type == "image/svg+xml"
    assert "prod: 1.2.3" in response.text


GETS = (
    "/deployments",
    "/deployments.csv",
    "/environments",
    "/badges/prod/api.svg",
    "/metrics",
    "/openapi.json",
    "/",
)


@pytest.mark.parametrize("path", [*GETS, f"/deployments/{EVENT_ID}"])
def test_every_get_takes_head_too(world: World, path: str) -> None:
    world.database.events = {EVENT_ID: stored(1)}
    response = world.http.head(path, status=200)
    assert response.body == b""
    assert int(response.headers["Content-Length"]) > 0


def test_a_stored_event_is_found_by_its_id_in_any_case(world: World) -> None:
    world.database.events = {EVENT_ID: {"id": EVENT_ID}}
    assert world.http.get(f"/deployments/{EVENT_ID.upper()}").json == {"id": EVENT_ID}


@pytest.mark.parametrize("event_id", [EVENT_ID, "1", "%00"])
def test_an_event_that_is_not_stored_is_404(world: World, event_id: str) -> None:
    assert code(world.http.get(f"/deployments/{event_id}", status=404)) == "not-found"


@pytest.mark.parametrize(
    "path", ["/deployments", f"/deployments/{EVENT_ID}", "/deployments.csv", "/environments"]
)
def test_reading_while_the_database_is_away_is_503(world: World, path: str) -> None:
    world.database.error = Unavailable("refused")
    response = world.http.get(path, status=503)
    assert code(response) == "unavailable"
    assert "Retry-After" in response.headers


def test_an_unknown_address_is_404_in_the_same_shape(world: World) -> None:
    assert code(world.http.get("/nowhere", status=404)) == "not-found"


def test_a_wrong_method_is_405_and_names_the_right_ones(world: World) -> None:
    response = world.http.delete("/deployments", status=405)
    assert code(response) == "method-not-allowed"
    assert set(response.headers["Allow"].split(",")) >= {"GET", "POST"}
    world.http.post("/environments", status=405)


def test_the_page_says_that_storing_is_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "The ledger is behind" not in world.http.get("/").text
    monkeypatch.setattr(world.lag, "late", lambda: Lag(7, 90))
    assert "7 accepted events are not shown here yet" in world.http.get("/").text


@pytest.mark.parametrize(
    ("path", "level"), [("/metrics", logging.DEBUG), ("/deployments", logging.INFO)]
)
def test_requests_are_logged_and_probes_only_while_debugging(
    world: World, caplog: pytest.LogCaptureFixture, path: str, level: int
) -> None:
    with caplog.at_level(logging.DEBUG, logger="api_rest.answers"):
        world.http.get(path)
    assert [record.levelno for record in caplog.records] == [level]


def test_the_log_names_the_event(
    world: World,
    deployment: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    structured: Callable[..., Any],
) -> None:
    with caplog.at_level(logging.INFO):
        event_id = world.post(deployment, status=202).json["id"]
    (line,) = structured(caplog)
    assert (line["event_id"], line["component"], line["status"]) == (
        event_id,
        deployment["component"],
        202,
    )


def test_the_event_carries_its_requests_id(world: World, deployment: dict[str, Any]) -> None:
    response = world.post(deployment, status=202)
    assert world.kafka.headers == {"request-id": response.headers["X-Request-ID"]}


def test_a_trace_goes_on_in_the_events_headers(deployment: dict[str, Any]) -> None:
    exporter = InMemorySpanExporter()
    tracing = export_to(exporter, service="api-rest", environment="test", version="1")
    world = World(tracing)
    world.post(deployment, status=202)
    tracing.close()
    send, post = exporter.get_finished_spans()
    assert (send.name, post.name) == ("send deployments", "POST /deployments")
    assert send.context is not None
    assert world.kafka.headers["traceparent"].split("-")[1:3] == [
        format(send.context.trace_id, "032x"),
        format(send.context.span_id, "016x"),
    ]
