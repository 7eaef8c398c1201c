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
from async_worker.notifier import (
    KEEP_FOR,
    LEASE,
    Notifier,
    WebhookError,
    post,
    retry_delay,
    slack_message,
)
from async_worker.store import NOTIFY_WITHIN, Notification, Store

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


class Outbox(Store):
    """The notifications, in memory."""

    def __init__(self) -> None:
        self.waiting: list[Notification] = []
        self.claimed_by_others: set[str] = set()
        self.claims: list[tuple[str, datetime]] = []
        self.attempts: list[tuple[str, datetime | None, datetime | None, str | None]] = []
        self.numbered = 0
        self.purges: list[datetime] = []
        self.event_purges: list[datetime] = []
        self.old_events = 0
        self.error: Exception | None = None

    def due(self, now: datetime, limit: int) -> list[Notification]:
        if self.error:
            raise self.error
        return [entry for entry in self.waiting if entry.next_attempt_at <= now][:limit]

    def claim(self, notification: Notification, until: datetime) -> bool:
        self.claims.append((notification.deployment_id, until))
        return notification.deployment_id not in self.claimed_by_others

    def record_attempt(
        self,
        notification: Notification,
        *,
        sent_at: datetime | None,
        retry_at: datetime | None,
        error: str | None,
    ) -> None:
        self.attempts.append((notification.deployment_id, sent_at, retry_at, error))
        self.waiting.remove(notification)

    def number(self) -> None:
        self.numbered += 1

    def purge(self, before: datetime) -> int:
        self.purges.append(before)
        return 3

    def purge_events(self, before: datetime) -> int:
        self.event_purges.append(before)
        purged = min(2, self.old_events)
        self.old_events -= purged
        return purged


class Harness:
    """A notifier with a fake database, webhook and clock."""

    def __init__(self) -> None:
        self.now = START
        self.outbox = Outbox()
        self.sent: list[bytes] = []
        self.failures: list[WebhookError] = []
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
def harness() -> Harness:
    return Harness()


def test_the_message_is_one_line_with_slacks_syntax_escaped() -> None:
    text = json.loads(slack_message(notification(responsible="<!channel> & co", status="failed")))[
        "text"
    ]
    assert text == "❌ *api-rest* 1.2.3 on *staging*: deploy failed (&lt;!channel&gt; &amp; co)"


@pytest.mark.parametrize(
    ("attempts", "retry_after", "random_part", "expected"),
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
def test_the_delay_doubles_and_is_at_least_retry_after(
    attempts: int, retry_after: float | None, random_part: float, expected: float
) -> None:
    assert retry_delay(attempts, retry_after, random_part) == expected


def test_a_due_notification_is_claimed_and_sent(harness: Harness) -> None:
    harness.outbox.waiting = [
        notification("a"),
        notification("later", next_attempt_at=START + timedelta(seconds=1)),
    ]
    assert harness.notifier.run_once() is False
    assert [json.loads(content)["text"][:12] for content in harness.sent] == ["✅ *api-rest*"[:12]]
    assert harness.outbox.attempts == [("a", START, None, None)]
    assert harness.outbox.claims == [("a", START + LEASE)]
    assert harness.count("sent") == 1


def test_a_notification_that_another_worker_claimed_is_not_sent(harness: Harness) -> None:
    harness.outbox.waiting = [notification("a"), notification("b")]
    harness.outbox.claimed_by_others = {"a"}
    harness.notifier.run_once()
    assert [attempt[0] for attempt in harness.outbox.attempts] == ["b"]


def test_a_failed_notification_is_retried_later(
    harness: Harness, caplog: pytest.LogCaptureFixture, structured: Callable[..., Any]
) -> None:
    harness.outbox.waiting = [notification("a", attempts=2)]
    harness.failures = [WebhookError("it answered 503", 100)]
    harness.notifier.run_once()
    assert harness.outbox.attempts == [
        ("a", None, START + timedelta(seconds=100), "it answered 503")
    ]
    assert harness.count("retried") == 1
    (line,) = structured(caplog)
    assert (line["event_id"], line["attempt"], line["reason"]) == ("a", 3, "it answered 503")


def test_a_notification_is_given_up_after_a_day(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.now = START + NOTIFY_WITHIN - timedelta(seconds=10)
    harness.outbox.waiting = [notification("a", attempts=20)]
    harness.failures = [WebhookError("it answered 500")]
    harness.notifier.run_once()
    assert harness.outbox.attempts == [("a", None, None, "it answered 500")]
    assert harness.count("given_up") == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_after_a_full_batch_more_may_be_due(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "BATCH_SIZE", 2)
    harness.outbox.waiting = [notification(name) for name in "abc"]
    assert harness.notifier.run_once() is True
    assert harness.notifier.run_once() is False
    assert len(harness.sent) == 3


def test_rows_are_numbered_and_deleted_even_without_a_webhook(
    harness: Harness,
) -> None:
    notifier_without_webhook = Notifier(
        harness.outbox, None, harness.metrics, clock=lambda: harness.now
    )
    harness.outbox.waiting = [notification()]
    for minutes in (0, 59, 2):
        harness.now += timedelta(minutes=minutes)
        assert notifier_without_webhook.run_once() is False
    assert harness.outbox.purges == [START - KEEP_FOR, START + timedelta(minutes=61) - KEEP_FOR]
    assert harness.outbox.numbered == 3
    assert harness.metrics.registry.get_sample_value("worker_purged_rows_total") == 6
    assert harness.outbox.claims == []


def test_old_events_are_deleted_hourly_in_steps_between_notifications(harness: Harness) -> None:
    notifier = Notifier(
        harness.outbox, harness.send, harness.metrics, retention_days=30, clock=lambda: harness.now
    )
    harness.outbox.old_events = 3
    harness.outbox.waiting = [notification()]
    assert [notifier.run_once() for _ in range(4)] == [True, True, False, False]
    assert len(harness.sent) == 1
    assert harness.outbox.event_purges == [START - timedelta(days=30)] * 3
    assert harness.metrics.registry.get_sample_value("worker_purged_rows_total") == 3 + 3
    harness.now += timedelta(minutes=61)
    notifier.run_once()
    assert len(harness.outbox.event_purges) == 4


def test_without_retention_all_events_are_kept(harness: Harness) -> None:
    harness.notifier.run_once()
    assert harness.outbox.event_purges == []


def eventually(condition: Callable[[], object]) -> None:
    assert any(condition() or threading.Event().wait(0.01) for _ in range(1000))


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a bug")])
def test_the_thread_survives_errors(
    harness: Harness, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "POLL_EVERY", 0.01)
    harness.outbox.error = error
    harness.notifier.start()
    eventually(lambda: len(harness.outbox.purges) == 1)
    harness.outbox.waiting = [notification()]
    harness.outbox.error = None
    eventually(lambda: harness.sent)
    harness.notifier.close()
    assert not harness.notifier._thread.is_alive()


def test_wake_sends_new_notifications_immediately(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "POLL_EVERY", 3600)
    harness.notifier.start()
    eventually(lambda: harness.outbox.purges)
    harness.outbox.waiting = [notification()]
    harness.notifier.wake()
    eventually(lambda: harness.sent)
    harness.notifier.close()


def test_close_without_start(harness: Harness) -> None:
    harness.notifier.close()


class Webhook(BaseHTTPRequestHandler):
    """Responds with `status`, and keeps the requests."""

    status = 200
    headers_to_send: dict[str, str]
    requests: list[tuple[str, str, Any]]

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).requests.append((self.path, self.headers["Content-Type"], json.loads(content)))
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
        requests: list[tuple[str, str, Any]] = []  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield Handler, f"http://127.0.0.1:{server.server_address[1]}/services/secret-token"
    server.shutdown()
    server.server_close()
    thread.join()


def test_post_sends_json(webhook: tuple[type[Webhook], str]) -> None:
    handler, url = webhook
    post(url, b'{"text": "hi"}')
    assert handler.requests == [("/services/secret-token", "application/json", {"text": "hi"})]


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
def test_any_other_status_is_an_error(
    webhook: tuple[type[Webhook], str],
    status: int,
    headers: dict[str, str],
    retry_after: float | None,
) -> None:
    handler, url = webhook
    handler.status, handler.headers_to_send = status, headers
    with pytest.raises(WebhookError, match=f"it answered {status}") as caught:
        post(url, b"{}")
    assert caught.value.retry_after == retry_after
    assert len(handler.requests) == 1, "a redirect must not be followed"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/secret",
        "http://127.0.0.1:1/secret with\nspace",
        "https://127.0.0.1:1/secret",
    ],
)
def test_no_error_contains_the_url(url: str) -> None:
    with pytest.raises(WebhookError, match="it cannot be reached") as caught:
        post(url, b"{}")
    assert "secret" not in caught.value.reason


def test_a_hanging_webhook_times_out(
    webhook: tuple[type[Webhook], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, url = webhook
    release = threading.Event()
    monkeypatch.setattr(handler, "do_POST", lambda _: release.wait(30))
    monkeypatch.setattr(notifier, "TIMEOUT", 0.1)
    with pytest.raises(WebhookError, match=r"timed out|TimeoutError"):
        post(url, b"{}")
    release.set()
