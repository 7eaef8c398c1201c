"""The webhook is told once of what has ended, whatever happens to it or to the worker."""

import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ledger.tables import notifications
from sqlalchemy import select
from world import Worker, World, eventually

pytestmark = pytest.mark.engine

SECRET = "/services/T0/secret-token"
# A webhook is given up soon, and asked again soon.
IMPATIENT = """
notifier.TIMEOUT = 0.5
notifier.FIRST_DELAY = 0.2
notifier.LOOK_EVERY = 0.2
notifier.LEASE = timedelta(seconds=2)
"""


class Webhook:
    """Notes what it is told; may hang, or answer with an error."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.asked = 0
        self.status = 200
        self.hanging = threading.Event()
        self.hanging.set()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                webhook.asked += 1
                content = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.hanging.wait(60)
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
        self.hanging.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    yield webhook
    webhook.close()


def ended(world: World, version: str, **changes: Any) -> dict[str, Any]:
    return {**world.event(version), "received_at": datetime.now(UTC).isoformat(), **changes}


def pending(world: World) -> int:
    with world.engine.connect() as connection:
        return len(
            connection.execute(
                select(notifications).where(notifications.c.next_attempt_at.is_not(None))
            ).all()
        )


def keeps_the_secret(worker: Worker) -> bool:
    return "secret-token" not in json.dumps(worker.lines)


def test_only_what_ended_is_told_and_once(world: World, webhook: Webhook) -> None:
    workers = [world.start(WEBHOOK_URL=webhook.url, LOG_LEVEL="DEBUG") for _ in range(2)]
    eventually(lambda: all(worker.ready() for worker in workers), "they are not ready")
    good, started = ended(world, "1"), ended(world, "2", status="started")
    world.publish(
        good, started, good, ended(world, "3", stage="verify", status="rolled-back"), keys=3
    )
    eventually(lambda: len(webhook.texts) >= 2, "it is not told")
    eventually(lambda: pending(world) == 0, "something is still to be told")
    assert sorted(text.split(" on ")[0].split()[-1] for text in webhook.texts) == ["1", "3"]
    assert f"*{world.component}*" in webhook.texts[0]
    assert [worker.end(signal.SIGTERM) for worker in workers] == [0, 0]
    assert webhook.asked == 2
    assert all(keeps_the_secret(worker) for worker in workers)


def test_a_webhook_that_hangs_keeps_no_event_waiting_and_is_told_later(
    world: World, webhook: Webhook
) -> None:
    webhook.hanging.clear()
    worker = world.start(IMPATIENT, WEBHOOK_URL=webhook.url)
    world.publish(ended(world, "1"))
    eventually(lambda: webhook.asked == 1, "it is not asked")
    world.publish(*(world.event(str(number)) for number in range(300)), keys=9)
    eventually(lambda: world.count() == 301, "events wait for the webhook")
    eventually(
        lambda: worker.metric('worker_notifications_total{outcome="retried"}') >= 1,
        "no timeout is counted",
    )
    assert keeps_the_secret(worker)
    webhook.texts.clear()
    webhook.hanging.set()
    eventually(lambda: pending(world) == 0, "it is not told later")
    assert webhook.asked > 1
    assert worker.end(signal.SIGTERM) == 0


def test_what_a_killed_worker_had_to_tell_is_told_by_the_next(
    world: World, webhook: Webhook
) -> None:
    webhook.status = 503
    worker = world.start(IMPATIENT, WEBHOOK_URL=webhook.url)
    world.publish(ended(world, "1"))
    eventually(lambda: webhook.asked >= 1, "it is not asked")
    worker.end(signal.SIGKILL)
    webhook.status = 200
    # In another group, so as not to wait until Kafka takes the first one for dead.
    world.start(IMPATIENT, WEBHOOK_URL=webhook.url, GROUP_ID=f"{world.settings.group_id}.next")
    eventually(lambda: webhook.texts, "it was forgotten")
    assert "1 on" in webhook.texts[0]
