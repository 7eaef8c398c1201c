"""What happens in the background: telling the webhook when a deployment has ended, and deleting what nobody needs."""

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
from typing import TYPE_CHECKING, Protocol

import structlog

from .errors import Unavailable
from .store import NEWS_FOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from .metrics import Metrics
    from .store import Notification

__all__ = ["Failed", "Notifier", "Outbox", "body", "delay", "post"]

log = structlog.stdlib.get_logger(__name__)

TIMEOUT = 5.0
# How long a notification belongs to the worker that sends it: if that one dies, another one tries again after this.
LEASE = timedelta(seconds=60)
# How often the outbox is looked into without being told of news: retries, and what dead workers left.
LOOK_EVERY = 5.0
TIDY_EVERY = timedelta(hours=1)
KEEP_FOR = timedelta(days=7)
AT_ONCE = 20
FIRST_DELAY = 10.0
LONGEST_DELAY = 3_600.0
MARKS = {"succeeded": "✅", "failed": "❌", "rolled-back": "↩️", "removed": "🗑️"}
TOO_MANY, AWAY = 429, 503


class Outbox(Protocol):
    """What is needed of the database."""

    def due(self, now: datetime, limit: int) -> list[Notification]:
        """What is to be sent by now."""

    def claim(self, notification: Notification, until: datetime) -> bool:
        """Take a notification for this worker."""

    def settle(
        self,
        notification: Notification,
        *,
        sent_at: datetime | None,
        retry_at: datetime | None,
        error: str | None,
    ) -> None:
        """Note what came of it."""

    def purge(self, before: datetime) -> int:
        """Delete what is older and done."""


class Failed(Exception):  # noqa: N818  named for what it says
    """The webhook did not take a notification; the reason never holds its address, which is a secret."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


def body(notification: Notification) -> bytes:
    """Return what Slack, and what is compatible with it, shows as one line."""
    mark = MARKS.get(notification.status, "")
    component, version, environment, responsible, stage, status = (
        _escaped(text)
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


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def delay(attempts: int, retry_after: float | None, chance: float) -> float:
    """Return the seconds until the next attempt: twice as long each time, spread by chance (0 to 1), at least as asked."""
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempts, 20))
    return max(longest * (0.5 + chance / 2), min(retry_after or 0.0, LONGEST_DELAY))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is redirected becomes a GET, which tells nobody anything."""

    def redirect_request(self, *_: object) -> None:
        """Leave it an error."""


_opener = urllib.request.build_opener(_NoRedirect)


def post(url: str, content: bytes) -> None:
    """Send one notification, or raise Failed."""
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310  http or https: settings
    try:
        with _opener.open(request, timeout=TIMEOUT):
            pass
    except urllib.error.HTTPError as error:
        with error:
            waits = error.code in {TOO_MANY, AWAY}
            raise Failed(
                f"it answered {error.code}",
                _seconds(error.headers.get("Retry-After")) if waits else None,
            ) from None
    except urllib.error.URLError as error:
        reason = error.reason
        raise Failed(
            f"it cannot be reached: {reason if isinstance(reason, OSError) else type(reason).__name__}"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        # Its words may hold the address.
        raise Failed(f"it cannot be reached: {type(error).__name__}") from None


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After, which is a number of seconds or a date."""
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
    """Works in a thread of its own, so that neither a slow webhook nor a large clean-up keeps events waiting."""

    def __init__(
        self,
        outbox: Outbox,
        send: Callable[[bytes], None] | None,
        metrics: Metrics,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC).replace(tzinfo=None),
    ) -> None:
        """Send by `send`; None: nobody is to be told, only tidy up."""
        self._outbox = outbox
        self._send = send
        self._metrics = metrics
        self._clock = clock
        self._tidy_at = clock()
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look into the outbox now."""
        self._woken.set()

    def close(self) -> None:
        """Finish the attempt under way; what is not sent stays in the outbox."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT + 1)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                more = self.turn()
            except Unavailable as error:
                log.warning("notifications wait for the database", reason=str(error))
                more = False
            except Exception:
                # Consumption does not depend on this thread, and it is tried again.
                log.exception("the background work failed, trying again")
                more = False
            if not more:
                self._woken.wait(LOOK_EVERY)

    def turn(self) -> bool:
        """Tidy up when it is time, and send what is due; tell whether there may be more at once."""
        now = self._clock()
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY
            self._metrics.purged.inc(self._outbox.purge(now - KEEP_FOR))
        if self._send is None:
            return False
        due = self._outbox.due(now, AT_ONCE)
        for notification in due:
            if self._stopping.is_set():
                return False
            if self._outbox.claim(notification, self._clock() + LEASE):
                self._attempt(self._send, notification)
        return len(due) == AT_ONCE

    def _attempt(self, send: Callable[[bytes], None], notification: Notification) -> None:
        try:
            send(body(notification))
        except Failed as failed:
            self._failed(notification, failed)
        else:
            self._metrics.notifications.labels("sent").inc()
            self._outbox.settle(notification, sent_at=self._clock(), retry_at=None, error=None)

    def _failed(self, notification: Notification, failed: Failed) -> None:
        now = self._clock()
        wait = timedelta(seconds=delay(notification.attempts, failed.retry_after, random.random()))  # noqa: S311  no secret
        given_up = now + wait > notification.created_at + NEWS_FOR
        self._metrics.notifications.labels("given_up" if given_up else "retried").inc()
        log.log(
            logging.ERROR if given_up else logging.WARNING,
            "the webhook is given up for this deployment"
            if given_up
            else "the webhook is tried again later",
            event_id=notification.deployment_id,
            attempt=notification.attempts + 1,
            reason=failed.reason,
        )
        self._outbox.settle(
            notification,
            sent_at=None,
            retry_at=None if given_up else now + wait,
            error=failed.reason,
        )
