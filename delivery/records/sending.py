"""Send the events of the outbox to their ledgers, within a time limit."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from delivery.errors import DeclarationError, DeliveryError
from delivery.origin import origin
from delivery.project import files
from delivery.project.files import ROOT
from delivery.records import outbox
from delivery.records.events import SendResult, format_time
from delivery.records.ledger import TOKEN, Ledger, find_address
from delivery.records.outbox import Entry, Report

__all__ = ["deliver", "ledger_status"]

_REQUEST_SECONDS = 6.0  # the ledger itself waits up to 5 s for Kafka
_MARGIN_SECONDS = 1.0
# The ledger remembers an Idempotency-Key for a week. For older events it is asked whether it has
# them already.
_KEY_AGE = timedelta(days=6)
_CLOCK_SKEW = timedelta(days=1)  # the largest expected difference between two clocks


def deliver(
    *,
    seconds: float,
    wait: float = 0.0,
    root: Path = ROOT,
    read_token: Callable[[], str] = str,
) -> Report:
    """Send the events that wait in the outbox; those that cannot be sent in time wait on.

    wait is how long another process may deliver first. read_token returns the declared ledger's
    token; it is called if DELIVERY_LEDGER_TOKEN is not set.
    """
    results: list[Report | DeliveryError] = []
    token_for = _token_for(root, read_token)
    deadline = time.monotonic() + seconds

    def send(entry: Entry) -> tuple[SendResult, str]:
        return _send(entry, token_for(entry.ledger), deadline)

    def run() -> None:
        try:
            results.append(outbox.deliver(send, seconds=seconds, wait=wait))
        except DeliveryError as error:
            results.append(error)
        except Exception as error:  # noqa: BLE001  # nothing catches the exceptions of a thread
            results.append(
                DeliveryError(
                    f"cannot deliver events: {type(error).__name__}: {error}",
                    hint="run `./run inv ci.deliver` to try again; the events stay in the outbox",
                )
            )

    # A thread, since a name server that does not answer cannot be interrupted otherwise.
    thread = threading.Thread(target=run, name="outbox", daemon=True)
    thread.start()
    thread.join(seconds + wait + _MARGIN_SECONDS)
    result = results[0] if results else Report(waiting=len(outbox.waiting()), late=True)
    if isinstance(result, DeliveryError):
        raise result
    return result


def ledger_status(address: str) -> str:
    """How the ledger at an address answers now, for people."""
    return Ledger(address, _token_for(ROOT)(address)).status()


def _token_for(root: Path, read_token: Callable[[], str] = str) -> Callable[[str], str]:
    """The token for each ledger: the one that is known for the declared ledger, else "".

    The outbox may have events of other clones, for other ledgers.
    """
    token, declared = os.environ.get(TOKEN, ""), ""
    if not token:
        with suppress(DeliveryError):  # without a token the ledger's answer says what to do
            token = read_token()
    if token:
        with suppress(DeclarationError):  # without an address no ledger gets the token
            declared = find_address(files.load_declaration(root))

    def find(ledger: str) -> str:
        with suppress(ValueError):  # not a URL
            if declared and origin(ledger) == origin(declared):
                return token
        return ""

    return find


def _send(entry: Entry, token: str, deadline: float) -> tuple[SendResult, str]:
    seconds = max(0.1, min(_REQUEST_SECONDS, deadline - time.monotonic()))
    ledger, event = Ledger(entry.ledger, token), entry.event
    if _now() - entry.since > _KEY_AGE:
        stored = ledger.has(event, format_time(entry.since - _CLOCK_SKEW), seconds=seconds)
        if stored is None:
            why = "it does not say whether it has an event that is older than its keys"
            return SendResult.UNAVAILABLE, why
        if stored:
            return SendResult.DELIVERED, ""
    return ledger.send(event, entry.key, seconds=seconds)


def _now() -> datetime:
    return datetime.now(UTC)
