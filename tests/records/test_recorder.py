"""A stage and a deployment are recorded whatever happens, and recording fails neither."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from delivery.errors import BuildError, DeclarationError, DeployError
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.records import journal, outbox, recorder, sending
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from delivery.release.released import Release
from tests.records.conftest import BUILD, FakeLedger
from tests.records.test_source import RELEASE
from tests.repositories import Repository

VERSIONS = {"api-rest": "1.0.0", "platform-chart": "1.0.0"}


@pytest.fixture(autouse=True)
def _no_ledger(no_ledger: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del no_ledger
    monkeypatch.setattr(recorder, "_printed", set())


def waiting(*names: str) -> list[tuple[Any, ...]]:
    """What waits in the outbox, by these fields of it."""
    return [
        tuple(event.event.get(name, event.event["details"].get(name)) for name in names)
        for event in outbox.waiting()
    ]


@pytest.mark.usefixtures("build")
def test_a_stage_is_recorded_at_its_start_and_end(sample: Repository) -> None:
    with recorder.stage("build", step="build", root=sample.root):
        assert waiting("component", "status") == [
            ("base-image", "started"),
            ("api-rest", "started"),
            ("platform-chart", "started"),
        ]
    assert waiting("component", "version", "environment", "stage", "status")[3:] == [
        ("base-image", "1.0.0", "develop", "build", "succeeded"),
        ("api-rest", "1.1.0-dev.1", "develop", "build", "succeeded"),
        ("platform-chart", "1.0.1-dev.1", "develop", "build", "succeeded"),
    ]
    (text,) = {
        json.dumps({**event.event["details"], "at": "", "seconds": 0})
        for event in outbox.waiting()[3:]
    }
    details = json.loads(text)
    assert details.pop("run")
    assert details == {
        "at": "",
        "pipeline": BUILD,
        "commit": sample.git("rev-parse", "HEAD"),
        "branch": "develop",
        "line": "develop",
        "committed_at": sample.git("log", "-1", "--format=%cI"),
        "seconds": 0,
        "step": "build",
    }
    assert [event.event for event in outbox.waiting()] == [
        record.to_json() for record in journal.read(sample.root)
    ]
    assert {event.ledger for event in outbox.waiting()} == {"http://localhost:1"}


def test_a_stage_by_hand_is_not_recorded(sample: Repository) -> None:
    with recorder.stage("build", root=sample.root):
        pass
    assert outbox.waiting() == []
    assert journal.read(sample.root) == []


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BuildError("build api-rest: no space"), "build api-rest: no space"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_failed_stage_is_recorded_with_its_error(
    sample: Repository, error: BaseException, message: str
) -> None:
    with pytest.raises(type(error)), recorder.stage("build", part="apps", root=sample.root):
        raise error
    assert waiting("component", "status", "error") == [
        ("api-rest", "started", None),
        ("api-rest", "failed", message),
    ]


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(("code", "status"), [(0, "succeeded"), (3, "failed")])
def test_an_exit_fails_a_stage_unless_its_code_is_0(
    sample: Repository, code: int, status: str
) -> None:
    with pytest.raises(SystemExit), recorder.stage("build", part="apps", root=sample.root):
        sys.exit(code)
    assert waiting("status")[-1] == (status,)


def test_without_a_clone_a_warning_is_printed_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BUILD_URL", BUILD)
    done = []
    with recorder.stage("build", root=tmp_path):  # neither a clone nor a declaration
        done.append(1)
    printed = capsys.readouterr()
    assert done == [1]
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("records: not recorded: cannot read ")
    assert printed.out == ""


@pytest.mark.usefixtures("build")
def test_an_outbox_that_cannot_be_written_is_a_warning(
    sample: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "file"))
    with recorder.stage("build", part="apps", root=sample.root):
        pass
    assert "records: not recorded: cannot make the outbox" in capsys.readouterr().err
    assert len(journal.read(sample.root)) == 2


@pytest.mark.usefixtures("build")
def test_a_journal_that_cannot_be_written_is_a_warning(
    sample: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    (sample.root / ".delivery").write_text("")
    with recorder.stage("build", part="apps", root=sample.root):
        pass
    assert "records: not recorded: " in capsys.readouterr().err


@pytest.mark.usefixtures("build")
def test_an_unexpected_error_in_recording_is_a_warning(
    sample: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(outbox, "add", broken)
    monkeypatch.setattr(outbox, "deliver", lambda *_, **__: broken())
    with recorder.stage("build", part="apps", root=sample.root):
        pass
    assert "records: not recorded: ZeroDivisionError: oops" in capsys.readouterr().err


def test_without_a_ledger_only_the_journal_is_written(
    sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DELIVERY_LEDGER")
    monkeypatch.setenv("BUILD_URL", BUILD)
    with recorder.stage("build", part="apps", root=sample.root):
        pass
    assert outbox.waiting() == []
    assert len(journal.read(sample.root)) == 2


@pytest.mark.usefixtures("build")
def test_records_are_delivered_before_and_after_the_work(
    sample: Repository,
    ledger: FakeLedger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER_TOKEN", "secret")
    with recorder.stage("build", part="apps", root=sample.root):
        assert [event["status"] for event in ledger.accepted.values()] == ["started"]
    assert [event["status"] for event in ledger.accepted.values()] == ["started", "succeeded"]
    assert ledger.tokens == {"Bearer secret"}
    assert outbox.waiting() == []
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("build")
def test_a_ledger_that_is_unavailable_is_one_warning_and_events_wait(
    sample: Repository, ledger: FakeLedger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.status = 503
    for stage in ("build", "push"):
        with recorder.stage(stage, part="apps", root=sample.root):
            pass
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "1 event waits in the outbox: http://localhost:" in printed
    assert "it answered 503" in printed
    ledger.status = 202
    assert sending.deliver(seconds=10).sent == 4
    assert [(event["stage"], event["status"]) for event in ledger.accepted.values()] == [
        ("build", "started"),
        ("build", "succeeded"),
        ("push", "started"),
        ("push", "succeeded"),
    ]


@pytest.mark.usefixtures("build")
def test_a_rejected_event_is_a_warning(
    sample: Repository, ledger: FakeLedger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.status = 422
    with recorder.stage("build", part="apps", root=sample.root):
        pass
    assert "the ledger rejected an event, now in" in capsys.readouterr().err
    assert len(outbox.rejected()) == 2


CONTENTS = Contents(versions=VERSIONS)


def deploy(
    declaration: Declaration,
    sample: Repository,
    error: BaseException | None = None,
    release: Release | None = None,
) -> None:
    """A deploy that ends so."""
    with recorder.deployment(declaration, "deploy", Action.DEPLOY, sample.root) as recording:
        recording.start(
            Deployment(action=Action.DEPLOY, environment="staging", contents=CONTENTS), release
        )
        if error:
            raise error


def test_a_deploy_by_hand_is_recorded(declaration: Declaration, sample: Repository) -> None:
    sha = sample.git("rev-parse", "main")
    deploy(declaration, sample, release=replace(RELEASE, commit=sha))
    assert waiting("component", "environment", "stage", "status", "changed") == [
        ("api-rest", "staging", "deploy", "started", None),
        ("platform-chart", "staging", "deploy", "started", None),
        ("api-rest", "staging", "deploy", "succeeded", True),
        ("platform-chart", "staging", "deploy", "succeeded", True),
    ]
    assert set(waiting("commit", "branch")) == {(sha, "main")}
    assert journal.read(sample.root) == []


def test_a_deploy_that_is_rolled_back_has_failed_too(
    declaration: Declaration, sample: Repository
) -> None:
    with pytest.raises(DeployError):
        deploy(declaration, sample, DeployError("upgrade: not ready", rolled_back=True))
    assert waiting("component", "status", "error")[2:] == [
        ("api-rest", "failed", "upgrade: not ready"),
        ("platform-chart", "failed", "upgrade: not ready"),
        ("api-rest", "rolled-back", "upgrade: not ready"),
        ("platform-chart", "rolled-back", "upgrade: not ready"),
    ]


def test_the_start_of_a_deploy_is_delivered_at_once(
    declaration: Declaration, sample: Repository, ledger: FakeLedger
) -> None:
    with recorder.deployment(declaration, "deploy", Action.DEPLOY, sample.root) as recording:
        recording.start(Deployment(action=Action.DEPLOY, environment="staging", contents=CONTENTS))
        assert [event["status"] for event in ledger.accepted.values()] == ["started", "started"]


def test_a_deploy_that_fails_early_began_when_the_task_did(
    declaration: Declaration, sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_URL", BUILD)
    clock = iter(datetime(2026, 1, 1, minute=minute, tzinfo=UTC) for minute in range(60))
    monkeypatch.setattr(recorder, "_now", lambda: next(clock))
    with (
        pytest.raises(DeployError),
        recorder.deployment(declaration, "deploy", Action.DEPLOY, sample.root),
    ):
        raise DeployError("cannot reach the cluster")
    assert {seconds for status, seconds in waiting("status", "seconds") if status == "failed"} == {
        60.0
    }


def test_a_verification_that_rolls_back_began_before_its_tests(
    declaration: Declaration, sample: Repository
) -> None:
    def verify() -> None:
        with recorder.deployment(declaration, "verify", Action.VERIFY, sample.root) as recording:
            recording.entered -= timedelta(minutes=5)  # the tests took so long
            recording.start(
                Deployment(action=Action.VERIFY, environment="staging", contents=CONTENTS)
            )
            raise DeployError("test", rolled_back=True)

    with pytest.raises(DeployError):
        verify()
    seconds = [
        seconds for status, seconds in waiting("status", "seconds") if status == "rolled-back"
    ]
    assert [round(each) for each in seconds] == [300, 300]


def test_a_deploy_by_hand_that_fails_before_its_start_is_not_recorded(
    declaration: Declaration, sample: Repository
) -> None:
    with (
        pytest.raises(DeclarationError),
        recorder.deployment(declaration, "deploy", Action.DEPLOY, sample.root),
    ):
        raise DeclarationError("no such version")
    assert outbox.waiting() == []


@pytest.mark.usefixtures("build")
def test_a_deploy_in_a_pipeline_that_fails_before_its_start_is_a_failed_stage(
    declaration: Declaration, sample: Repository
) -> None:
    with (
        pytest.raises(DeclarationError),
        recorder.deployment(declaration, "deploy", Action.DEPLOY, sample.root),
    ):
        raise DeclarationError("no such version")
    assert waiting("component", "version", "environment", "status") == [
        ("api-rest", "1.1.0-dev.1", "develop", "started"),
        ("platform-chart", "1.0.1-dev.1", "develop", "started"),
        ("api-rest", "1.1.0-dev.1", "develop", "failed"),
        ("platform-chart", "1.0.1-dev.1", "develop", "failed"),
    ]


@pytest.mark.usefixtures("build")
def test_a_removal_that_fails_before_its_start_is_not_recorded(
    declaration: Declaration, sample: Repository
) -> None:
    with (
        pytest.raises(DeclarationError),
        recorder.deployment(declaration, "undeploy", Action.REMOVE, sample.root),
    ):
        raise DeclarationError("not confirmed")
    assert outbox.waiting() == []


@pytest.mark.usefixtures("build")
def test_a_failed_verification_rolls_back_what_the_deploy_changed(
    declaration: Declaration, sample: Repository
) -> None:
    before = Contents(versions={**VERSIONS, "platform-chart": "0.9.0"})
    with recorder.deployment(declaration, "deploy", Action.DEPLOY, sample.root) as recording:
        started = Deployment(
            action=Action.DEPLOY, environment="staging", contents=CONTENTS, before=before
        )
        recording.start(started)
        recording.finish(started.ended(Outcome.SUCCEEDED))
    with pytest.raises(DeployError), recorder.stage("verify", root=sample.root):
        raise DeployError("test", rolled_back=True)
    assert waiting("component", "stage", "status")[3:] == [
        ("platform-chart", "verify", "started"),
        ("platform-chart", "verify", "failed"),
        ("platform-chart", "verify", "rolled-back"),
    ]


def default_sigint() -> None:
    """Handle Ctrl-C as by default: the children of a background job ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


SCRIPT = """
import sys, time
from pathlib import Path
from delivery.records import recorder
with recorder.stage("build", part="apps", root=Path(sys.argv[1])):
    print("at work", flush=True)
    time.sleep(60)
"""


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (signal.SIGTERM, "interrupted (SIGTERM)"),
        (signal.SIGINT, "interrupted"),
        (signal.SIGKILL, None),
    ],
)
def test_a_stage_that_is_ended_by_a_signal_has_failed(
    sample: Repository, sent: signal.Signals, error: str | None
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(sample.root)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=default_sigint,  # noqa: PLW1509  # nothing here runs in threads
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        process.send_signal(sent)
        process.wait(timeout=30)
    assert process.returncode != 0
    ends = [text for status, text in waiting("status", "error") if status == "failed"]
    assert ends == ([error] if error else [])
    assert waiting("status")[0] == ("started",)


def test_the_handler_of_sigterm_is_restored(
    sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_URL", BUILD)
    with recorder.stage("build", part="apps", root=sample.root):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
