import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from async_worker import notifier
from async_worker.errors import Unavailable
from async_worker.metrics import Metrics
from async_worker.notifier import KEEP_FOR, LEASE, Failed, Notifier, body, delay, post
from async_worker.store import NEWS_FOR, Notification

START = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  UTC without a zone, as the column


def notification(event_id: str = "a", **changes: Any) -> Notification:
    fields = {
        "component": "api-rest",
        "version": "1.2.3",
        "environment": "staging",
        "responsible": "Zoë",
        "stage": "deploy",
        "status": "succeeded",
        "attempts": 0,
        "created_at": START,
        "next_attempt_at": START,
    }
    return Notification(event_id, **{**fields, **changes})


class Outbox:
    """The table of notifications, and who has claimed what."""

    def __init__(self) -> None:
        self.waiting: list[Notification] = []
        self.taken: set[str] = set()
        self.claims: list[tuple[str, datetime]] = []
        self.settled: list[tuple[str, datetime | None, datetime | None, str | None]] = []
        self.purges: list[datetime] = []
        self.error: Exception | None = None

    def due(self, now: datetime, limit: int) -> list[Notification]:
        if self.error:
            raise self.error
        return [found for found in self.waiting if found.next_attempt_at <= now][:limit]

    def claim(self, found: Notification, until: datetime) -> bool:
        self.claims.append((found.deployment_id, until))
        return found.deployment_id not in self.taken

    def settle(
        self,
        found: Notification,
        *,
        sent_at: datetime | None,
        retry_at: datetime | None,
        error: str | None,
    ) -> None:
        self.settled.append((found.deployment_id, sent_at, retry_at, error))
        self.waiting.remove(found)

    def purge(self, before: datetime) -> int:
        self.purges.append(before)
        return 3


class World:
    def __init__(self) -> None:
        self.now = START
        self.outbox = Outbox()
        self.sent: list[bytes] = []
        self.failures: list[Failed] = []
        self.metrics = Metrics()
        self.notifier = Notifier(self.outbox, self.send, self.metrics, clock=lambda: self.now)

    def send(self, content: bytes) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(content)

    def count(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "worker_notifications_total", {"outcome": outcome}
        )


@pytest.fixture
def world() -> World:
    return World()


def test_what_slack_shows_is_one_line_with_nothing_of_its_syntax_from_outside() -> None:
    text = json.loads(body(notification(responsible="<!channel> & co", status="failed")))["text"]
    assert text == "❌ *api-rest* 1.2.3 on *staging*: deploy failed (&lt;!channel&gt; &amp; co)"


@pytest.mark.parametrize(
    ("attempts", "retry_after", "chance", "expected"),
    [
        (0, None, 1, 10),
        (0, None, 0, 5),
        (3, None, 1, 80),
        (9, None, 1, 3600),
        (10_000, None, 1, 3600),
        (0, 60, 1, 60),
        (3, 60, 1, 80),
        (0, 1e9, 0, 3600),
    ],
)
def test_the_next_attempt_is_later_each_time_and_not_before_it_is_welcome(
    attempts: int, retry_after: float | None, chance: float, expected: float
) -> None:
    assert delay(attempts, retry_after, chance) == expected


def test_what_is_due_is_sent_once_and_noted(world: World) -> None:
    world.outbox.waiting = [
        notification("a"),
        notification("later", next_attempt_at=START + timedelta(seconds=1)),
    ]
    assert world.notifier.turn() is False
    assert [json.loads(content)["text"][:12] for content in world.sent] == ["✅ *api-rest*"[:12]]
    assert world.outbox.settled == [("a", START, None, None)]
    assert world.outbox.claims == [("a", START + LEASE)]
    assert world.count("sent") == 1


def test_what_another_worker_has_claimed_is_left_to_it(world: World) -> None:
    world.outbox.waiting = [notification("a"), notification("b")]
    world.outbox.taken = {"a"}
    world.notifier.turn()
    assert [settled[0] for settled in world.outbox.settled] == ["b"]


def test_a_failure_is_tried_again_later(
    world: World, caplog: pytest.LogCaptureFixture, structured: Callable[..., Any]
) -> None:
    world.outbox.waiting = [notification("a", attempts=2)]
    world.failures = [Failed("it answered 503", 100)]
    world.notifier.turn()
    assert world.outbox.settled == [("a", None, START + timedelta(seconds=100), "it answered 503")]
    assert world.count("retried") == 1
    (line,) = structured(caplog)
    assert (line["event_id"], line["attempt"], line["reason"]) == ("a", 3, "it answered 503")


def test_after_a_day_it_is_given_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.now = START + NEWS_FOR - timedelta(seconds=10)
    world.outbox.waiting = [notification("a", attempts=20)]
    world.failures = [Failed("it answered 500")]
    world.notifier.turn()
    assert world.outbox.settled == [("a", None, None, "it answered 500")]
    assert world.count("given_up") == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_there_may_be_more_after_a_full_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "AT_ONCE", 2)
    world.outbox.waiting = [notification(name) for name in "abc"]
    assert world.notifier.turn() is True
    assert world.notifier.turn() is False
    assert len(world.sent) == 3


def test_it_tidies_up_every_hour_even_when_nobody_is_to_be_told(world: World) -> None:
    quiet = Notifier(world.outbox, None, world.metrics, clock=lambda: world.now)
    world.outbox.waiting = [notification()]
    for minutes in (0, 59, 2):
        world.now += timedelta(minutes=minutes)
        assert quiet.turn() is False
    assert world.outbox.purges == [START - KEEP_FOR, START + timedelta(minutes=61) - KEEP_FOR]
    assert world.metrics.registry.get_sample_value("worker_purged_rows_total") == 6
    assert world.outbox.claims == []


def eventually(condition: Callable[[], object]) -> None:
    assert any(condition() or threading.Event().wait(0.01) for _ in range(1000))


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a bug")])
def test_the_thread_survives_what_goes_wrong(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "LOOK_EVERY", 0.01)
    world.outbox.error = error
    world.notifier.start()
    eventually(lambda: len(world.outbox.purges) == 1)
    world.outbox.waiting = [notification()]
    world.outbox.error = None
    eventually(lambda: world.sent)
    world.notifier.close()
    assert not world.notifier._thread.is_alive()


def test_news_are_sent_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "LOOK_EVERY", 3600)
    world.notifier.start()
    eventually(lambda: world.outbox.purges)
    world.outbox.waiting = [notification()]
    world.notifier.wake()
    eventually(lambda: world.sent)
    world.notifier.close()


def test_what_was_never_started_can_be_closed(world: World) -> None:
    world.notifier.close()


class Webhook(BaseHTTPRequestHandler):
    """Answers as told; notes what it is sent."""

    status = 200
    headers_to_send: dict[str, str]
    got: list[tuple[str, str, Any]]

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).got.append((self.path, self.headers["Content-Type"], json.loads(content)))
        self.send_response(self.status)
        for name, value in self.headers_to_send.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[tuple[type[Webhook], str]]:
    class Handler(Webhook):
        headers_to_send: dict[str, str] = {}  # noqa: RUF012
        got: list[tuple[str, str, Any]] = []  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield Handler, f"http://127.0.0.1:{server.server_address[1]}/services/secret-token"
    server.shutdown()
    server.server_close()
    thread.join()


def test_it_is_posted_as_json(webhook: tuple[type[Webhook], str]) -> None:
    handler, url = webhook
    post(url, b'{"text": "hi"}')
    assert handler.got == [("/services/secret-token", "application/json", {"text": "hi"})]


@pytest.mark.parametrize(
    ("status", "headers", "retry_after"),
    [
        (500, {}, None),
        (404, {"Retry-After": "7"}, None),
        (429, {"Retry-After": "7"}, 7),
        (503, {"Retry-After": "Fri, 02 Jan 1970 00:00:00 GMT"}, 0),
        (503, {"Retry-After": "soon"}, None),
        (302, {"Location": "/elsewhere"}, None),
    ],
)
def test_an_answer_that_is_no_success_is_a_failure(
    webhook: tuple[type[Webhook], str],
    status: int,
    headers: dict[str, str],
    retry_after: float | None,
) -> None:
    handler, url = webhook
    handler.status, handler.headers_to_send = status, headers
    with pytest.raises(Failed, match=f"it answered {status}") as caught:
        post(url, b"{}")
    assert caught.value.retry_after == retry_after
    assert len(handler.got) == 1, "a redirected POST is a GET"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/secret",
        "http://127.0.0.1:1/secret with\nspace",
        "https://127.0.0.1:1/secret",
    ],
)
def test_the_address_is_in_no_error(url: str) -> None:
    with pytest.raises(Failed, match="it cannot be reached") as caught:
        post(url, b"{}")
    assert "secret" not in caught.value.reason


def test_a_webhook_that_hangs_is_not_waited_for_long(
    webhook: tuple[type[Webhook], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, url = webhook
    go_on = threading.Event()
    monkeypatch.setattr(handler, "do_POST", lambda _: go_on.wait(30))
    monkeypatch.setattr(notifier, "TIMEOUT", 0.1)
    with pytest.raises(Failed, match=r"timed out|TimeoutError"):
        post(url, b"{}")
    go_on.set()
