"""What is shown of the ledger, what is delivered to it, and who is told."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from delivery import console
from delivery.errors import DeclarationError, PlatformError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.records import notification, outbox, sending
from delivery.tasks import records
from tests.registries import Answer, serving

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> None:
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DELIVERY_LEDGER", "http://localhost:1")
    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(console.out, "width", 200)


def run(task: Any, **arguments: Any) -> None:  # noqa: ANN401  # an invoke task and its flags
    task.body.__wrapped__(None, **arguments)


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


def ask(monkeypatch: pytest.MonkeyPatch, events: list[dict[str, Any]], **flags: Any) -> list[str]:  # noqa: ANN401
    """Run `inv records` against a ledger with these events; what it was asked."""

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
    (asked,) = ask(monkeypatch, EVENTS, component="api-rest", environment="staging", since="7d")
    assert asked.startswith("GET /deployments?component=api-rest&environment=staging&since=")
    said = capsys.readouterr().out
    rows = [" ".join(line.split()) for line in said.splitlines()]
    assert any(row.endswith("api-rest 1.1.0 staging succeeded =Zoë") for row in rows)
    assert not any("started" in row for row in rows)
    assert "api-rest deploy 3 1 min 1 min 30 s" in rows
    assert "api-rest staging 0.29 a day (2) no data 33% (1 of 3) 1 h" in rows


def test_shows_what_was_removed_and_takes_it_for_no_stage_of_a_pipeline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {**event(1, "succeeded", "1.1.0", removed=True, seconds=9.0), "stage": "record"}
    kept = {**event(2, "succeeded", "1.1.0", seconds=5.0), "stage": "record"}
    ask(monkeypatch, [gone, kept])
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(row.endswith("api-rest 1.1.0 staging removed =Zoë") for row in rows)
    assert not any(row.endswith("staging succeeded =Zoë") for row in rows)
    assert "api-rest record 1 5.0 s 5.0 s" in rows


def test_no_data_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(monkeypatch, [])
    assert "no data: http://localhost:" in capsys.readouterr().out
    ask(monkeypatch, [{**event(1, "succeeded"), "stage": "build"}])
    said = capsys.readouterr().out
    assert "the last 30d): no data" in said
    assert "DORA: no data" in said


def test_a_spreadsheet_gets_every_event_and_no_formula(
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


def test_a_machine_can_read_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(monkeypatch, EVENTS, json_=True)
    told = json.loads(capsys.readouterr().out)
    assert [one["status"] for one in told["deployments"]] == [
        "succeeded",
        "rolled-back",
        "failed",
        "succeeded",
    ]
    assert told["stages"][0] | {"p90_seconds": 0} == {
        "component": "api-rest",
        "stage": "deploy",
        "runs": 3,
        "median_seconds": 60.0,
        "p90_seconds": 0,
    }
    assert (told["dora"][0]["deployments"], told["dora"][0]["lead_time_seconds"]) == (2, None)


def test_a_ledger_that_is_away_is_an_error() -> None:
    with pytest.raises(PlatformError, match="does not answer"):
        run(records.records)
    with pytest.raises(DeclarationError, match="read --since"):
        run(records.records, since="ever")


def test_what_waits_is_delivered_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda *_: (202, {}, b"{}")) as (address, _):
        outbox.add(f"http://{address}", [event(1, "started")])
        outbox.add("http://localhost:1", [event(1, "started")])
        run(records.deliver)
    said = capsys.readouterr().out
    assert "1 event delivered, 1 waiting, 0 put aside" in said
    assert "http://localhost:1: it does not answer; what it has not taken waits on" in said


def test_what_was_put_aside_is_said_and_sent_again(capsys: pytest.CaptureFixture[str]) -> None:
    status = [422]
    with serving(lambda *_: (status[0], {}, b"no")) as (address, _):
        outbox.add(f"http://{address}", [event(1, "started")])
        run(records.deliver)
        assert "0 events delivered, 0 waiting, 1 put aside" in capsys.readouterr().out
        run(records.waiting)
        assert "0 events waiting, 1 put aside" in capsys.readouterr().out
        status[0] = 202
        run(records.deliver, rejected=True)
    said = capsys.readouterr().out
    assert "1 event that had been put aside will be sent again" in said
    assert "1 event delivered, 0 waiting" in said


def test_a_delivery_that_is_late_or_another_ones_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sending, "deliver", lambda **_: outbox.Report(waiting=3, busy=True, late=True)
    )
    run(records.deliver)
    said = capsys.readouterr().out
    assert "another process is delivering" in said
    assert "no time for the rest" in said


def test_what_waits_is_shown_with_since_when_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    run(records.waiting)
    assert "0 events waiting, 0 put aside" in capsys.readouterr().out
    outbox.add("http://localhost:1", [event(1, "started")])
    run(records.waiting)
    said = capsys.readouterr().out
    assert f"{datetime.now(UTC).astimezone():%Y-%m-%d}" in said
    assert "api-rest" in said
    assert "http://localhost:1: it does not answer" in said
    run(records.waiting, json_=True)
    told = json.loads(capsys.readouterr().out)
    assert [waiting["ledger"] for waiting in told["waiting"]] == ["http://localhost:1"]
    assert told["rejected"] == []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    notice = notification.Notice(
        "SUCCESS", "sample", "develop", "1.0.0", "fix: it", "", "me", "", 3.0, ()
    )
    monkeypatch.setattr(notification, "load_notice", lambda _result: notice)


@pytest.mark.usefixtures("told")
def test_nobody_is_told_without_a_webhook(capsys: pytest.CaptureFixture[str]) -> None:
    run(records.notify, result="success")
    said = capsys.readouterr().out
    assert "✅ sample, develop, succeeded" in said
    assert "no notification was sent: DELIVERY_WEBHOOK is not set" in said


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"ok", "the notification was sent"),
        (400, b"invalid_payload", "warning: the notification was not sent: it answered 400"),
    ],
)
def test_a_webhook_fails_nothing_and_stays_a_secret(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    body: bytes,
    said: str,
) -> None:
    with serving(lambda *_: (status, {}, body)) as (address, seen):
        monkeypatch.setattr(notification, "_WAIT_SECONDS", 0.0)
        monkeypatch.setenv("DELIVERY_WEBHOOK", f"http://{address}/T0/secret")
        outbox.add("http://localhost:1", [event(1, "started")])
        run(records.notify, result="SUCCESS")
    printed = capsys.readouterr()
    assert said in printed.out
    assert "outbox: 0 events delivered, 1 waiting" in printed.out
    assert "secret" not in printed.out + printed.err
    assert set(seen) == {"POST /T0/secret"}


@pytest.mark.usefixtures("told")
def test_an_outbox_that_cannot_be_read_fails_no_notification(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "file"))
    run(records.notify, result="SUCCESS")
    assert "warning: cannot make the outbox" in capsys.readouterr().out


def test_an_outcome_that_is_none_is_an_error() -> None:
    with pytest.raises(DeclarationError, match="notify of FINE: it is not an outcome"):
        run(records.notify, result="fine")
