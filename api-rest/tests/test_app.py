import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from api_rest.app import create_app
from api_rest.backends import Backends, Connecting
from api_rest.errors import Unavailable
from api_rest.metrics import Metrics
from api_rest.tracing import OtlpTracing, Tracing
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from webtest import TestApp, TestResponse

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


class Database:
    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], int]] = []
        self.events: dict[str, dict[str, Any]] = {}
        self.error: Exception | None = None

    def recent(self, *, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
        self.check()
        self.asked.append((filters, limit))
        return list(self.events.values())

    def find(self, event_id: str) -> dict[str, Any] | None:
        self.check()
        return self.events.get(event_id)

    def check(self) -> None:
        if self.error:
            raise self.error

    def close(self) -> None:
        pass


class World:
    """The app with everything around it."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.kafka = Kafka()
        self.database = Database()
        self.draining = False
        broker: Connecting[Any] = Connecting("Kafka", lambda: self.kafka)
        store: Connecting[Any] = Connecting("the database", lambda: self.database)
        for connecting in (broker, store):
            connecting.start()
            connecting._thread.join()
        app = create_app(
            Backends(broker, store),
            max_body_bytes=2048,
            draining=lambda: self.draining,
            metrics=Metrics("1"),
            tracing=tracing or Tracing(),
        )
        self.http = TestApp(app)

    def post(self, body: object, *, status: int, **options: object) -> TestResponse:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post("/deployments", text, status=status, **{"content_type": "application/json", **options})


@pytest.fixture
def world() -> World:
    return World()


def code(response: TestResponse) -> str:
    assert response.content_type == "application/json"
    return str(response.json["error"]["code"])


def test_an_accepted_event_is_on_kafka_before_the_answer(world: World, deployment: dict[str, Any]) -> None:
    response = world.post(deployment, status=202)
    ((key, event),) = world.kafka.published
    assert key == "api-rest"
    assert event == {**deployment, **response.json}
    assert set(response.json) == {"id", "received_at"}
    assert response.headers["Location"] == f"/deployments/{event['id']}"


def test_json_with_parameters_is_json(world: World, deployment: dict[str, Any]) -> None:
    world.post(deployment, status=202, content_type="Application/JSON; charset=utf-8")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_media_type_is_415(world: World, deployment: dict[str, Any], media_type: str) -> None:
    assert code(world.post(deployment, status=415, content_type=media_type)) == "unsupported-media-type"


def test_what_is_no_json_is_400(world: World) -> None:
    assert code(world.post(b"{", status=400)) == "invalid-json"


def test_a_body_over_the_limit_is_413(world: World) -> None:
    assert code(world.post(b"x" * 2049, status=413)) == "too-large"


def test_every_wrong_field_is_named_and_nothing_published(world: World, deployment: dict[str, Any]) -> None:
    del deployment["version"]
    response = world.post({**deployment, "stage": "pray", "colour": "red"}, status=422)
    assert code(response) == "invalid-fields"
    assert set(response.json["error"]["fields"]) == {"version", "stage", "colour"}
    assert world.kafka.published == []


def test_an_event_kafka_does_not_take_is_503_with_a_time_to_try_again(world: World, deployment: dict[str, Any]) -> None:
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


def test_the_listing_asks_for_the_newest_by_default(world: World) -> None:
    world.database.events = {EVENT_ID: {"id": EVENT_ID}}
    assert world.http.get("/deployments").json == {"deployments": [{"id": EVENT_ID}]}
    assert world.database.asked == [({}, 50)]


def test_filters_and_limit_reach_the_database_decoded(world: World) -> None:
    world.http.get("/deployments?component=a%2Fb&version=%C3%A9+1&limit=500")
    assert world.database.asked == [({"component": "a/b", "version": "é 1"}, 500)]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("colour=red&limit=5", {"colour"}),
        ("limit=0", {"limit"}),
        ("limit=501", {"limit"}),
        ("limit=", {"limit"}),
        ("limit=-1&id=1", {"limit", "id"}),
        ("stage=a&stage=b", {"stage"}),
        ("limit=1&limit=2", {"limit"}),
    ],
)
def test_every_wrong_parameter_is_named(world: World, query: str, wrong: set[str]) -> None:
    response = world.http.get(f"/deployments?{query}", status=422)
    assert code(response) == "invalid-query"
    assert set(response.json["error"]["fields"]) == wrong


@pytest.mark.parametrize("query", ["version=%FF", "version", "&&"])
def test_a_query_that_cannot_be_read_is_422(world: World, query: str) -> None:
    assert code(world.http.get(f"/deployments?{query}", status=422)) == "invalid-query"


def test_a_stored_event_is_found_by_its_id_in_any_case(world: World) -> None:
    world.database.events = {EVENT_ID: {"id": EVENT_ID}}
    assert world.http.get(f"/deployments/{EVENT_ID.upper()}").json == {"id": EVENT_ID}


@pytest.mark.parametrize("event_id", [EVENT_ID, "1", "%00"])
def test_an_event_that_is_not_stored_is_404(world: World, event_id: str) -> None:
    assert code(world.http.get(f"/deployments/{event_id}", status=404)) == "not-found"


@pytest.mark.parametrize("path", ["/deployments", f"/deployments/{EVENT_ID}"])
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


def test_health_depends_on_nothing(world: World) -> None:
    world.kafka.error = world.database.error = Unavailable("away")
    world.draining = True
    assert world.http.get("/health").json == {"status": "alive"}


def test_ready_while_both_are_well(world: World) -> None:
    assert world.http.get("/ready").json == {"status": "ready"}


def test_not_ready_says_why(world: World) -> None:
    world.kafka.error, world.database.error = Unavailable("no leader"), Unavailable("refused")
    assert world.http.get("/ready", status=503).json == {"status": "not ready", "reasons": ["no leader", "refused"]}


def test_not_ready_while_draining(world: World) -> None:
    world.draining = True
    assert code(world.http.get("/ready", status=503)) == "draining"


@pytest.mark.parametrize(("path", "level"), [("/health", logging.DEBUG), ("/deployments", logging.INFO)])
def test_requests_are_logged_and_probes_only_while_debugging(
    world: World, caplog: pytest.LogCaptureFixture, path: str, level: int
) -> None:
    with caplog.at_level(logging.DEBUG, logger="api_rest.answers"):
        world.http.get(path)
    assert [record.levelno for record in caplog.records] == [level]


def test_the_log_names_the_event(
    world: World, deployment: dict[str, Any], caplog: pytest.LogCaptureFixture, structured: Callable[..., Any]
) -> None:
    with caplog.at_level(logging.INFO):
        event_id = world.post(deployment, status=202).json["id"]
    assert structured(caplog)[0]["event_id"] == event_id


def test_the_event_carries_its_requests_id(world: World, deployment: dict[str, Any]) -> None:
    response = world.post(deployment, status=202)
    assert world.kafka.headers == {"request-id": response.headers["X-Request-ID"]}


def test_a_trace_goes_on_in_the_events_headers(deployment: dict[str, Any]) -> None:
    exporter = InMemorySpanExporter()
    tracing = OtlpTracing(exporter, service="api-rest", environment="test", version="1")
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
