"""A stage and a deployment are recorded whatever happens, and recording fails neither."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from delivery.errors import BuildError, DeclarationError, DeliveryError, DeployError
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT, load_declaration
from delivery.records import journal, outbox, recorder, sending
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from tests.recorded import recorded
from tests.records.conftest import BUILD, FakeLedger
from tests.records.test_source import RELEASE
from tests.repositories import Repository
from tests.signals import with_default_signals

VERSIONS = {"api-rest": "1.0.0", "platform-chart": "1.0.0"}


@pytest.fixture(autouse=True)
def _no_ledger(no_ledger: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del no_ledger
    monkeypatch.setattr(recorder, "_printed", set())


def stage(sample: Repository, name: str = "build") -> None:
    """Record a stage of the apps."""
    with recorder.stage(name, part="apps", root=sample.root):
        pass


@pytest.mark.usefixtures("build")
def test_a_stage_is_recorded_at_its_start_and_end(sample: Repository) -> None:
    with recorder.stage("build", step="build", root=sample.root):
        assert recorded("component", "status") == [
            ("base-image", "started"),
            ("api-rest", "started"),
            ("platform-chart", "started"),
        ]
    assert recorded("component", "version", "environment", "stage", "status")[3:] == [
        ("base-image", "1.0.0", "develop", "build", "succeeded"),
        ("api-rest", "1.1.0-dev.1", "develop", "build", "succeeded"),
        ("platform-chart", "1.0.1-dev.1", "develop", "build", "succeeded"),
    ]
    commit, committed_at = sample.git("log", "-1", "--format=%H %cI").split()
    origin = (BUILD, commit, "develop", "develop", committed_at, "build")
    names = ("pipeline", "commit", "branch", "line", "committed_at", "step")
    assert set(recorded(*names)) == {origin}
    assert len(set(recorded("run"))) == 1
    events = [event.event for event in outbox.waiting()]
    assert events == [record.to_json() for record in journal.read(sample.root)]
    assert {event.ledger for event in outbox.waiting()} == {"http://localhost:1"}


@pytest.mark.usefixtures("build")
def test_a_stage_ends_with_what_its_scan_has_found(sample: Repository) -> None:
    found = {"api-rest": {"high": 2}}
    with recorder.stage("scan", root=sample.root):
        recorder.note(vulnerabilities=found)
    names = ("component", "status", "vulnerabilities", "unscanned")
    assert recorded(*names) == [
        *((name, "started", None, None) for name in ("base-image", "api-rest", "platform-chart")),
        ("base-image", "succeeded", None, None),
        ("api-rest", "succeeded", {"high": 2}, None),
        ("platform-chart", "succeeded", None, None),
    ]
    with recorder.stage("push", part="apps", root=sample.root):
        recorder.note(unscanned="no database here")
    assert recorded(*names)[6:] == [
        ("api-rest", "started", None, None),
        ("api-rest", "succeeded", None, "no database here"),
    ]


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
    assert recorded("component", "status", "error") == [
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
    assert recorded("status")[-1] == (status,)


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
@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("outbox.folder", DeliveryError("cannot make the outbox")),
        ("outbox.add", ZeroDivisionError("oops")),
        ("journal.append", PermissionError(13, "no")),
    ],
)
def test_an_error_in_recording_is_a_warning(
    sample: Repository,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    function: str,
    error: Exception,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(f"delivery.records.{function}", broken)
    stage(sample)
    name = "" if isinstance(error, DeliveryError) else f"{type(error).__name__}: "
    assert f"records: not recorded: {name}{error}" in capsys.readouterr().err
    written = outbox.waiting() if function == "journal.append" else journal.read(sample.root)
    assert len(written) == 2  # what can be written is written


def test_without_a_ledger_only_the_journal_is_written(
    sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DELIVERY_LEDGER")
    monkeypatch.setenv("BUILD_URL", BUILD)
    stage(sample)
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
    stage(sample, "build")
    stage(sample, "push")
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "1 event waits in the outbox: http://localhost:" in printed
    assert "it answered 503" in printed
    ledger.status = 202
    assert sending.deliver(seconds=10).sent == 4
    sent = [(event["stage"], event["status"]) for event in ledger.accepted.values()]
    assert sent == [
        (name, status) for name in ("build", "push") for status in ("started", "succeeded")
    ]


@pytest.mark.usefixtures("build")
def test_a_rejected_event_is_a_warning(
    sample: Repository, ledger: FakeLedger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.status = 422
    stage(sample)
    assert "the ledger rejected an event, now in" in capsys.readouterr().err
    assert len(outbox.rejected()) == 2


CONTENTS = Contents(versions=VERSIONS)
DEPLOYMENT = Deployment(action=Action.DEPLOY, environment="staging", contents=CONTENTS)
DEPLOY = ("deploy", Action.DEPLOY)


def test_a_deploy_by_hand_is_recorded(
    declaration: Declaration, sample: Repository, ledger: FakeLedger
) -> None:
    sha = sample.git("rev-parse", "main")
    with recorder.deployment(declaration, *DEPLOY, sample.root) as recording:
        recording.start(DEPLOYMENT, replace(RELEASE, commit=sha))
        assert [event["status"] for event in ledger.accepted.values()] == ["started", "started"]
        ledger.status = 503
    names = ("component", "environment", "stage", "status", "changed", "commit", "branch")
    assert recorded(*names) == [
        ("api-rest", "staging", "deploy", "succeeded", True, sha, "main"),
        ("platform-chart", "staging", "deploy", "succeeded", True, sha, "main"),
    ]
    assert journal.read(sample.root) == []


def test_a_ledger_that_a_deploy_starts_gets_events_at_its_end(
    declaration: Declaration, sample: Repository, ledger: FakeLedger
) -> None:
    address = os.environ["DELIVERY_LEDGER"]
    with recorder.deployment(declaration, *DEPLOY, sample.root) as recording:
        recording.start(DEPLOYMENT, ledger=address)
        assert not ledger.accepted
    assert len(ledger.accepted) == 4


def roll_back(declaration: Declaration, sample: Repository, action: Action) -> None:
    """Record what is rolled back, and starts 5 minutes after its task."""
    with recorder.deployment(declaration, action, action, sample.root) as recording:
        recording.entered -= timedelta(minutes=5)
        began = datetime.now(UTC)
        recording.start(DEPLOYMENT.model_copy(update={"action": action, "began": began}))
        raise DeployError("not ready", rolled_back=True)


@pytest.mark.parametrize(("action", "seconds"), [(Action.DEPLOY, 0), (Action.VERIFY, 300)])
def test_what_is_rolled_back_has_failed_and_a_verification_began_with_its_tests(
    declaration: Declaration, sample: Repository, action: Action, seconds: int
) -> None:
    with pytest.raises(DeployError):
        roll_back(declaration, sample, action)
    ends = recorded("component", "status", "error", "seconds")[2:]
    assert [(*row, round(took, -1)) for *row, took in ends] == [
        (name, status, "not ready", seconds)
        for status in ("failed", "rolled-back")
        for name in ("api-rest", "platform-chart")
    ]


def test_a_removal_is_recorded_from_the_start_of_its_task(
    declaration: Declaration, sample: Repository
) -> None:
    with recorder.deployment(declaration, "undeploy", Action.REMOVE, sample.root) as recording:
        recording.entered -= timedelta(minutes=5)
        removal = Deployment(
            action=Action.REMOVE, environment="staging", previous_contents=CONTENTS
        )
        recording.start(removal)
        recording.finish(removal.ended(Outcome.SUCCEEDED))
    ends = recorded("component", "stage", "status", "seconds")
    assert [(*row, round(took, -1)) for *row, took in ends] == [
        ("api-rest", "deploy", "removed", 300),
        ("platform-chart", "deploy", "removed", 300),
    ]


@pytest.mark.parametrize(
    ("build", "action", "expected"),
    [
        ("", Action.DEPLOY, []),
        (BUILD, Action.REMOVE, []),
        (BUILD, Action.DEPLOY, [("started", None)] * 2 + [("failed", 60.0)] * 2),
    ],
)
def test_only_a_deploy_in_a_pipeline_is_recorded_when_it_fails_before_its_start(
    sample: Repository,
    monkeypatch: pytest.MonkeyPatch,
    build: str,
    action: Action,
    expected: list[tuple[object, ...]],
) -> None:
    declaration = load_declaration(sample.root)
    clock = iter(datetime(2026, 1, 1, minute=minute, tzinfo=UTC) for minute in range(60))
    monkeypatch.setattr(recorder, "_now", lambda: next(clock))
    monkeypatch.setenv("BUILD_URL", build)
    recording = recorder.deployment(declaration, "step", action, sample.root)
    with pytest.raises(DeclarationError), recording:
        raise DeclarationError("no such version")
    assert recorded("status", "seconds") == expected
    own = {
        ("api-rest", "1.1.0-dev.1", "develop"),
        ("platform-chart", "1.0.1-dev.1", "develop"),
    }
    assert set(recorded("component", "version", "environment")) == (own if expected else set())


@pytest.mark.usefixtures("build")
def test_a_failed_verification_rolls_back_what_the_deploy_changed(
    declaration: Declaration, sample: Repository
) -> None:
    previous = Contents(versions={**VERSIONS, "platform-chart": "0.9.0"})
    started = DEPLOYMENT.model_copy(update={"previous_contents": previous})
    with recorder.deployment(declaration, *DEPLOY, sample.root) as recording:
        recording.start(started)
        recording.finish(started.ended(Outcome.SUCCEEDED))
    with pytest.raises(DeployError), recorder.stage("verify", root=sample.root):
        raise DeployError("test", rolled_back=True)
    assert recorded("component", "stage", "status")[3:] == [
        ("platform-chart", "verify", "started"),
        ("platform-chart", "verify", "failed"),
        ("platform-chart", "verify", "rolled-back"),
    ]


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
        with_default_signals([sys.executable, "-c", SCRIPT, str(sample.root)]),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        process.send_signal(sent)
        process.wait(timeout=30)
    assert process.returncode != 0
    ends = [text for status, text in recorded("status", "error") if status == "failed"]
    assert ends == ([error] if error else [])
    assert recorded("status")[0] == ("started",)


@pytest.mark.usefixtures("build")
def test_the_handler_of_sigterm_is_restored(sample: Repository) -> None:
    stage(sample)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
