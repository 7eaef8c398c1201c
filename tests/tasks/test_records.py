"""`inv records`, `records.waiting`, `ci.deliver` and `ci.notify`."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from delivery import console
from delivery.errors import DeclarationError, PlatformError
from delivery.records import notification, outbox, sending
from delivery.tasks import records
from tests.registries import Answer, serving
from tests.tasks.running import run

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DELIVERY_LEDGER", "http://localhost:1")
    monkeypatch.setattr(console.out, "width", 200)


def event(hours: float, status: str, version: str = "1.0.0", **details: object) -> dict[str, Any]:
    at = (NOW - timedelta(hours=hours)).isoformat()
    return {
        "id": f"e{hours}",
        "received_at": at,
        "component": "api-rest",
        "version": version,
        "environment": "staging",
        "responsible": "=Zoë",
        "stage": "deploy",
        "status": status,
        "details": {"at": at, **details},
    }


def ask(monkeypatch: pytest.MonkeyPatch, events: list[dict[str, Any]], **flags: Any) -> list[str]:
    """Run `inv records` with a ledger that has these events; return the ledger's requests."""

    def answer(_method: str, _path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        return 200, {}, json.dumps({"deployments": events, "next": None}).encode()

    with serving(answer) as (address, seen):
        monkeypatch.setenv("DELIVERY_LEDGER", f"http://{address}")
        run(records.records, **flags)
        return seen


EVENTS = [
    event(1, "succeeded", "1.1.0", seconds=30.0),
    event(2, "rolled-back", "1.0.1"),
    event(2, "failed", "1.0.1", seconds=90.0),
    event(3, "started", "1.0.1"),
    event(48, "succeeded", seconds=60.0),
]


def test_shows_deployments_stage_times_and_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (request,) = ask(monkeypatch, EVENTS, component="api-rest", environment="staging", since="7d")
    assert request.startswith("GET /deployments?component=api-rest&environment=staging&since=")
    printed = capsys.readouterr().out
    rows = [" ".join(line.split()) for line in printed.splitlines()]
    assert any(row.endswith("api-rest 1.1.0 staging succeeded =Zoë") for row in rows)
    assert not any("started" in row for row in rows)
    assert "api-rest deploy 3 1 min 1 min 30 s" in rows
    assert "api-rest staging 0.29 a day (2) no data 33% (1 of 3) 1 h" in rows


def test_no_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ask(monkeypatch, [])
    assert "no data: http://localhost:" in capsys.readouterr().out
    ask(monkeypatch, [{**event(1, "succeeded"), "stage": "build"}])
    printed = capsys.readouterr().out
    assert "the last 30d): no data" in printed
    assert "DORA: no data" in printed


def test_csv_has_every_event_and_no_formula(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "records.csv"
    ask(monkeypatch, EVENTS, csv=str(file))
    assert file.read_bytes().startswith("\ufeffid,received_at,component".encode())
    rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))
    assert len(rows) == len(EVENTS)
    assert rows[0]["responsible"] == "'=Zoë"
    assert json.loads(rows[0]["details"])["seconds"] == 30.0
    assert file.read_bytes().count(b"\r\n") == len(EVENTS) + 1


def test_a_file_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DeclarationError, match=r"write .*: Is a directory"):
        ask(monkeypatch, EVENTS, csv=str(tmp_path))


def test_records_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(monkeypatch, EVENTS, json_=True)
    output = json.loads(capsys.readouterr().out)
    assert [deployment["status"] for deployment in output["deployments"]] == [
        "succeeded",
        "rolled-back",
        "failed",
        "succeeded",
    ]
    assert output["stages"][0] | {"p90_seconds": 0} == {
        "component": "api-rest",
        "stage": "deploy",
        "runs": 3,
        "median_seconds": 60.0,
        "p90_seconds": 0,
    }
    assert (output["dora"][0]["deployments"], output["dora"][0]["lead_time_seconds"]) == (2, None)


def test_a_ledger_without_an_answer_is_an_error() -> None:
    with pytest.raises(PlatformError, match="does not answer"):
        run(records.records)
    with pytest.raises(DeclarationError, match="read --since"):
        run(records.records, since="ever")


def test_deliver_sends_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda *_: (202, {}, b"{}")) as (address, _):
        outbox.add(f"http://{address}", [event(1, "started")])
        outbox.add("http://localhost:1", [event(1, "started")])
        run(records.deliver)
    printed = capsys.readouterr().out
    assert "1 event delivered, 1 waiting, 0 rejected" in printed
    assert "http://localhost:1: it does not answer; its events stay in the outbox" in printed


def test_rejected_events_can_be_sent_again(capsys: pytest.CaptureFixture[str]) -> None:
    status = [422]
    with serving(lambda *_: (status[0], {}, b"no")) as (address, _):
        outbox.add(f"http://{address}", [event(1, "started")])
        run(records.deliver)
        assert "0 events delivered, 0 waiting, 1 rejected" in capsys.readouterr().out
        run(records.waiting)
        assert "0 events waiting, 1 rejected" in capsys.readouterr().out
        status[0] = 202
        run(records.deliver, rejected=True)
    printed = capsys.readouterr().out
    assert "sending 1 event again that the ledger rejected" in printed
    assert "1 event delivered, 0 waiting" in printed


def test_a_late_or_concurrent_delivery_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sending, "deliver", lambda **_: outbox.Report(waiting=3, busy=True, late=True)
    )
    run(records.deliver)
    printed = capsys.readouterr().out
    assert "another process is delivering" in printed
    assert "out of time" in printed


def test_waiting_shows_events_with_time_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    run(records.waiting)
    assert "0 events waiting, 0 rejected" in capsys.readouterr().out
    outbox.add("http://localhost:1", [event(1, "started")])
    run(records.waiting)
    printed = capsys.readouterr().out
    assert f"{datetime.now(UTC).astimezone():%Y-%m-%d}" in printed
    assert "api-rest" in printed
    assert "http://localhost:1: it does not answer" in printed
    run(records.waiting, json_=True)
    output = json.loads(capsys.readouterr().out)
    assert [waiting["ledger"] for waiting in output["waiting"]] == ["http://localhost:1"]
    assert output["rejected"] == []


@pytest.fixture
def notice(monkeypatch: pytest.MonkeyPatch) -> None:
    success = notification.Notice("SUCCESS", "sample", "develop", "1.0.0", seconds=3.0)
    monkeypatch.setattr(notification, "load_notice", lambda _result: success)


@pytest.mark.usefixtures("notice")
def test_no_notification_without_a_webhook(capsys: pytest.CaptureFixture[str]) -> None:
    run(records.notify, result="success")
    printed = capsys.readouterr().out
    assert "✅ sample, develop, succeeded" in printed
    assert "no notification was sent: DELIVERY_WEBHOOK is not set" in printed


@pytest.mark.usefixtures("notice")
@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"ok", "the notification was sent"),
        (400, b"invalid_payload", "warning: the notification was not sent: it answered 400"),
    ],
)
def test_a_failed_webhook_is_a_warning_and_stays_secret(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    body: bytes,
    message: str,
) -> None:
    with serving(lambda *_: (status, {}, body)) as (address, seen):
        monkeypatch.setattr(notification, "_WAIT_SECONDS", 0.0)
        monkeypatch.setenv("DELIVERY_WEBHOOK", f"http://{address}/T0/secret")
        outbox.add("http://localhost:1", [event(1, "started")])
        run(records.notify, result="SUCCESS")
    printed = capsys.readouterr()
    assert message in printed.out
    assert "outbox: 0 events delivered, 1 waiting" in printed.out
    assert "secret" not in printed.out + printed.err
    assert set(seen) == {"POST /T0/secret"}


@pytest.mark.usefixtures("notice")
def test_an_unreadable_outbox_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "file"))
    run(records.notify, result="SUCCESS")
    assert "warning: cannot make the outbox" in capsys.readouterr().out


def test_an_unknown_result_is_an_error() -> None:
    with pytest.raises(DeclarationError, match="notify of FINE: it is not an outcome"):
        run(records.notify, result="fine")
