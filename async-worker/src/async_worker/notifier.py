"""Notifies the webhook when a deployment has ended, and deletes old rows, in the background."""

from __future__ import annotations

import http.client
import json
import logging
import random
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from .errors import Unavailable
from .store import NOTIFY_WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from .metrics import Metrics
    from .store import Notification, Store

__all__ = ["Notifier", "WebhookError", "post", "retry_delay", "slack_message"]

log = structlog.stdlib.get_logger(__name__)

TIMEOUT = 5.0
# If a worker dies while it sends a notification, another worker sends it after this time.
LEASE = timedelta(seconds=60)
# How often to look for retries and for the notifications of workers that died.
POLL_EVERY = 5.0
PURGE_EVERY = timedelta(hours=1)
KEEP_FOR = timedelta(days=7)
BATCH_SIZE = 20
FIRST_DELAY = 10.0
LONGEST_DELAY = 3_600.0
MARKS = {"succeeded": "✅", "failed": "❌", "rolled-back": "↩️", "removed": "🗑️"}
# Only with these statuses is Retry-After used.
RETRY_LATER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class WebhookError(Exception):
    """The webhook did not accept a notification. The reason never contains the secret URL."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


def slack_message(notification: Notification) -> bytes:
    """Return the JSON of a Slack message of one line."""
    mark = MARKS.get(notification.status, "")
    component, version, environment, responsible, stage, status = (
        _escape(text)
        for text in (
            notification.component,
            notification.version,
            notification.environment,
            notification.responsible,
            notification.stage,
            notification.status,
        )
    )
    text = f"{mark} *{component}* {version} on *{environment}*: {stage} {status} ({responsible})"
    return json.dumps({"text": text}).encode("utf-8")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def retry_delay(attempts: int, retry_after: float | None, random_part: float) -> float:
    """Return the seconds until the next attempt.

    They double with each attempt, are spread by `random_part` (0 to 1) so that workers do not retry
    together, and are at least `retry_after`.
    """
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempts, 20))
    return max(longest * (0.5 + random_part / 2), min(retry_after or 0.0, LONGEST_DELAY))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: urllib would follow it with a GET, without the message."""

    def redirect_request(self, *_: object) -> None:
        """Follow no redirect."""


_opener = urllib.request.build_opener(_NoRedirect)


def post(url: str, content: bytes) -> None:
    """Send one message, or raise WebhookError."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, content, headers)  # noqa: S310  always http or https
    try:
        with _opener.open(request, timeout=TIMEOUT):
            pass
    except urllib.error.HTTPError as error:
        with error:
            retry_after = error.headers.get("Retry-After") if error.code in RETRY_LATER else None
            raise WebhookError(f"it answered {error.code}", _parse_seconds(retry_after)) from None
    except urllib.error.URLError as error:
        cause = error.reason if isinstance(error.reason, OSError) else type(error.reason).__name__
        raise WebhookError(f"it cannot be reached: {cause}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        # The error's message may contain the URL.
        raise WebhookError(f"it cannot be reached: {type(error).__name__}") from None


def _parse_seconds(retry_after: str | None) -> float | None:
    """Return Retry-After in seconds; the header holds seconds or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(at.tzinfo)).total_seconds())


class Notifier:
    """Sends and deletes in its own thread, so that events never wait for the webhook."""

    def __init__(
        self,
        store: Store,
        send: Callable[[bytes], None] | None,
        metrics: Metrics,
        *,
        retention_days: int = 0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC).replace(tzinfo=None),
    ) -> None:
        """Send messages by `send`; with None, only delete old rows. 0 days: keep all events."""
        self._store = store
        self._retention_days = retention_days
        self._send = send
        self._metrics = metrics
        self._clock = clock
        self._next_purge = clock()
        # Whether there may be more events to delete.
        self._purging = False
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Send new notifications now."""
        self._woken.set()

    def close(self) -> None:
        """Finish the current attempt; unsent notifications stay in the database."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT + 1)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                more = self.run_once()
            except Unavailable as error:
                log.warning("notifications wait for the database", reason=str(error))
                more = False
            except Exception:
                # The worker consumes without this thread, which tries again.
                log.exception("the background work failed, trying again")
                more = False
            if not more:
                self._woken.wait(POLL_EVERY)

    def run_once(self) -> bool:
        """Number and delete rows, send due notifications; return whether more may be due."""
        now = self._clock()
        self._store.number()
        if now >= self._next_purge:
            self._next_purge = now + PURGE_EVERY
            self._purging = self._retention_days > 0
            self._metrics.purged.inc(self._store.purge(now - KEEP_FOR))
        if self._purging:
            # One step at a time: a notification does not wait for a million events.
            purged = self._store.purge_events(now - timedelta(days=self._retention_days))
            self._metrics.purged.inc(purged)
            self._purging = purged > 0
        if self._send is None:
            return self._purging
        due = self._store.due(now, BATCH_SIZE)
        for notification in due:
            if self._stopping.is_set():
                return False
            if self._store.claim(notification, self._clock() + LEASE):
                self._attempt(self._send, notification)
        return self._purging or len(due) == BATCH_SIZE

    def _attempt(self, send: Callable[[bytes], None], notification: Notification) -> None:
        try:
            send(slack_message(notification))
        except WebhookError as error:
            self._retry_later(notification, error)
        else:
            self._metrics.notifications.labels("sent").inc()
            self._store.record_attempt(
                notification, sent_at=self._clock(), retry_at=None, error=None
            )

    def _retry_later(self, notification: Notification, error: WebhookError) -> None:
        now = self._clock()
        random_part = random.random()  # noqa: S311  no secret
        seconds = retry_delay(notification.attempts, error.retry_after, random_part)
        wait = timedelta(seconds=seconds)
        given_up = now + wait > notification.created_at + NOTIFY_WITHIN
        self._metrics.notifications.labels("given_up" if given_up else "retried").inc()
        log.log(
            logging.ERROR if given_up else logging.WARNING,
            "the webhook is given up for this deployment"
            if given_up
            else "the webhook is tried again later",
            event_id=notification.deployment_id,
            attempt=notification.attempts + 1,
            reason=error.reason,
        )
        self._store.record_attempt(
            notification,
            sent_at=None,
            retry_at=None if given_up else now + wait,
            error=error.reason,
        )
