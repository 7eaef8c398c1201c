"""The webhook is notified once of each ended deployment, after failures too."""

import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ledger.tables import notifications
from live import Scenario, Worker, eventually
from sqlalchemy import select

pytestmark = pytest.mark.engine

SECRET = "/services/T0/secret-token"
# Short timeouts and delays.
SHORT_WAITS = """
notifier.TIMEOUT = 0.5
notifier.FIRST_DELAY = 0.2
notifier.POLL_EVERY = 0.2
notifier.LEASE = timedelta(seconds=2)
"""


class Webhook:
    """Keeps the messages; may hang, or respond with an error."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.requests = 0
        self.status = 200
        self.released = threading.Event()
        self.released.set()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                webhook.requests += 1
                content = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.released.wait(60)
                if webhook.status == 200:
                    webhook.texts.append(json.loads(content)["text"])
                try:
                    self.send_response(webhook.status)
                    self.send_header("Retry-After", "1")
                    self.end_headers()
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{SECRET}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    yield webhook
    webhook.close()


def ended_event(scenario: Scenario, version: str, **changes: Any) -> dict[str, Any]:
    return {**scenario.event(version), "received_at": datetime.now(UTC).isoformat(), **changes}


def pending(scenario: Scenario) -> int:
    with scenario.engine.connect() as connection:
        return len(
            connection.execute(
                select(notifications).where(notifications.c.next_attempt_at.is_not(None))
            ).all()
        )


def logs_no_secret(worker: Worker) -> bool:
    return "secret-token" not in json.dumps(worker.lines)


def test_each_ended_deployment_is_notified_once(scenario: Scenario, webhook: Webhook) -> None:
    workers = [scenario.start(WEBHOOK_URL=webhook.url, LOG_LEVEL="DEBUG") for _ in range(2)]
    eventually(lambda: all(worker.ready() for worker in workers), "they are not ready")
    good, started = ended_event(scenario, "1"), ended_event(scenario, "2", status="started")
    scenario.publish(
        good,
        started,
        good,
        ended_event(scenario, "3", stage="verify", status="rolled-back"),
        keys=3,
    )
    eventually(lambda: len(webhook.texts) >= 2, "no notification")
    eventually(lambda: pending(scenario) == 0, "a notification is pending")
    assert sorted(text.split(" on ")[0].split()[-1] for text in webhook.texts) == ["1", "3"]
    assert f"*{scenario.component}*" in webhook.texts[0]
    assert [worker.stop(signal.SIGTERM) for worker in workers] == [0, 0]
    assert webhook.requests == 2
    assert all(logs_no_secret(worker) for worker in workers)


def test_a_hanging_webhook_delays_no_event_and_is_notified_later(
    scenario: Scenario, webhook: Webhook
) -> None:
    webhook.released.clear()
    worker = scenario.start(SHORT_WAITS, WEBHOOK_URL=webhook.url)
    scenario.publish(ended_event(scenario, "1"))
    eventually(lambda: webhook.requests == 1, "no request")
    scenario.publish(*(scenario.event(str(number)) for number in range(300)), keys=9)
    eventually(lambda: scenario.count() == 301, "events wait for the webhook")
    eventually(
        lambda: worker.metric('worker_notifications_total{outcome="retried"}') >= 1,
        "no timeout is counted",
    )
    assert logs_no_secret(worker)
    webhook.texts.clear()
    webhook.released.set()
    eventually(lambda: pending(scenario) == 0, "no later notification")
    assert webhook.requests > 1
    assert worker.stop(signal.SIGTERM) == 0


def test_the_notification_of_a_killed_worker_is_sent_by_another(
    scenario: Scenario, webhook: Webhook
) -> None:
    webhook.status = 503
    worker = scenario.start(SHORT_WAITS, WEBHOOK_URL=webhook.url)
    scenario.publish(ended_event(scenario, "1"))
    eventually(lambda: webhook.requests >= 1, "no request")
    worker.stop(signal.SIGKILL)
    webhook.status = 200
    # In another group: this one need not wait for the session timeout of the first.
    scenario.start(
        SHORT_WAITS, WEBHOOK_URL=webhook.url, GROUP_ID=f"{scenario.settings.group_id}.next"
    )
    eventually(lambda: webhook.texts, "the notification is lost")
    assert "1 on" in webhook.texts[0]
