"""Events are sent in time, with a token for the declared ledger only."""

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from delivery.errors import DeliveryError, DeployError
from delivery.records import outbox, sending
from tests.conftest import DECLARATION
from tests.records.conftest import FakeLedger
from tests.registries import serving
from tests.repositories import Repository

pytestmark = pytest.mark.usefixtures("no_ledger")


def add(event: dict[str, Any] | None = None, *, days_ago: float = 0.0) -> None:
    """Add an event for the ledger of DELIVERY_LEDGER."""
    with pytest.MonkeyPatch.context() as patch:
        since = datetime.now(UTC) - timedelta(days=days_ago)
        patch.setattr("delivery.records.outbox.time.time_ns", lambda: int(since.timestamp() * 1e9))
        patch.setattr(outbox, "_last_stamp", [0])
        outbox.add(os.environ["DELIVERY_LEDGER"], [event or {"component": "a"}])


def test_only_the_named_ledger_gets_the_token(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER_TOKEN", "secret")
    add()
    other = FakeLedger()
    with serving(other) as (address, _):
        outbox.add(f"http://{address}", [{"component": "a"}])  # as another clone does
        assert sending.deliver(seconds=10).sent == 2
        assert sending.ledger_status(f"http://{address}") == "it answers"
    assert (ledger.tokens, other.tokens) == ({"Bearer secret"}, {""})


@pytest.mark.parametrize(("given", "sent"), [("given", "Bearer given"), ("", "Bearer read")])
def test_a_token_is_read_unless_one_is_given(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, given: str, sent: str
) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER_TOKEN", given)
    add()
    assert sending.deliver(seconds=10, read_token=lambda: "read").sent == 1
    assert ledger.tokens == {sent}


def test_a_token_that_cannot_be_read_stops_no_event(ledger: FakeLedger) -> None:
    def fail() -> str:
        raise DeployError("cannot look for the secret", hint="")

    add()
    assert sending.deliver(seconds=10, read_token=fail).sent == 1
    assert ledger.tokens == {""}


@pytest.mark.parametrize(
    ("content", "token"),
    [
        (DECLARATION + '[records]\nledger = "{address}"\n', "Bearer secret"),
        (DECLARATION, ""),
        ("not TOML", ""),
    ],
)
def test_the_declared_ledger_gets_the_token(
    sample: Repository,
    ledger: FakeLedger,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    token: str,
) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER_TOKEN", "secret")
    add()
    sample.write("delivery.toml", content.replace("{address}", os.environ["DELIVERY_LEDGER"]))
    monkeypatch.delenv("DELIVERY_LEDGER")
    assert sending.deliver(seconds=10, root=sample.root).sent == 1
    assert ledger.tokens == {token}


def test_a_ledger_that_never_answers_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    add()
    monkeypatch.setattr(sending, "_MARGIN_SECONDS", 0.0)
    released, ended = threading.Event(), threading.Event()

    def never(*_: object, **__: object) -> None:
        released.wait(30)
        ended.set()

    monkeypatch.setattr("delivery.records.ledger.requests.post", never)
    report = sending.deliver(seconds=0.05)
    assert (report.late, report.waiting) == (True, 1)
    assert not ended.is_set()
    released.set()


def test_an_error_in_the_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(outbox, "deliver", broken)
    with pytest.raises(DeliveryError, match="cannot deliver events: ZeroDivisionError: oops"):
        sending.deliver(seconds=1)


@pytest.mark.parametrize(("days", "sent"), [(5.9, 1), (6.1, 0)])
def test_the_ledger_is_asked_for_an_event_that_is_older_than_its_keys(
    ledger: FakeLedger, days: float, sent: int
) -> None:
    event = {"component": "api-rest", "details": {"at": "2026-01-01T00:00:00.000Z"}}
    add(event, days_ago=days)
    ledger.stored = [{**event, "id": "e1"}]
    assert sending.deliver(seconds=5).waiting == 0
    assert len(ledger.accepted) == sent


@pytest.mark.parametrize(("stored", "sent"), [(None, 0), (False, 1)])
def test_an_old_event_is_sent_once_the_ledger_says_that_it_has_it_not(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, sent: int, *, stored: bool | None
) -> None:
    add(days_ago=30)
    monkeypatch.setattr("delivery.records.ledger.Ledger.has", lambda *_, **__: stored)
    report = sending.deliver(seconds=5)
    assert (report.sent, report.waiting, len(ledger.accepted)) == (sent, 1 - sent, sent)
