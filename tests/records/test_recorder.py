"""A stage and a deploy are told to the ledger, whatever happens to them, and nothing of it is felt."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from delivery.errors import BuildError, DeclarationError, DeliveryError, DeployError
from delivery.project import gather
from delivery.project.declaration import Declaration, Records, parse
from delivery.project.files import ROOT
from delivery.records import outbox, recorder
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from delivery.release.released import Release, ReleasedPart
from tests.conftest import DECLARATION, FOREIGN
from tests.registries import Answer, Break, serving
from tests.repositories import Repository, environment

BUILD = "https://ci.example.com/job/delivery/job/develop/7/"
VERSIONS = {"api-rest": "1.0.0", "platform-chart": "1.0.0"}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(name for name in os.environ if name.startswith("GIT_")), *FOREIGN]:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DELIVERY_LEDGER", "http://localhost:1")
    monkeypatch.setattr(recorder, "_said", set())


@pytest.fixture
def sample(tmp_path: Path) -> Repository:
    """A clone with everything at 1.0.0, tagged, on develop with a feature."""
    made = Repository(tmp_path / "sample")
    made.write("base-image/VERSION", "1.0.0\n")
    made.write("api-rest/pyproject.toml", '[project]\nname = "api-rest"\nversion = "1.0.0"\n')
    made.write("platform-chart/Chart.yaml", "apiVersion: v2\nname: platform\nversion: 1.0.0\n")
    for name in ("debian", "registry", "kind-node"):
        made.write(f"ops/upstream/{name}/Dockerfile", "FROM scratch\n")
    made.write("delivery.toml", DECLARATION)
    made.write(".gitignore", ".delivery\n")
    made.commit("feat: begin")
    made.tag("base-image-v1.0.0", "apps-v1.0.0", "platform-chart-v1.0.0")
    made.branch("develop")
    made.commit("feat: more", "api-rest/src/a")
    return made


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline's environment."""
    monkeypatch.setenv("BUILD_URL", BUILD)


def waiting(*names: str) -> list[tuple[Any, ...]]:
    """What waits in the outbox, by these fields of it."""
    return [
        tuple(one.event.get(name, one.event["details"].get(name)) for name in names)
        for one in outbox.waiting()
    ]


@pytest.mark.usefixtures("build")
def test_a_stage_says_when_it_starts_and_how_it_ends(sample: Repository) -> None:
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
    (told,) = {
        json.dumps({**one.event["details"], "at": "", "seconds": 0}) for one in outbox.waiting()[3:]
    }
    details = json.loads(told)
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
    assert [one.event for one in outbox.waiting()] == [
        record.to_json() for record in recorder.journal(sample.root)
    ]
    assert {one.ledger for one in outbox.waiting()} == {"http://localhost:1"}


def test_by_hand_a_stage_is_not_recorded(sample: Repository) -> None:
    with recorder.stage("build", root=sample.root):
        pass
    assert outbox.waiting() == []
    assert recorder.journal(sample.root) == []


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BuildError("build api-rest: no space"), "build api-rest: no space"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_stage_that_fails_says_why_and_fails_as_it_would(
    sample: Repository, error: BaseException, said: str
) -> None:
    with pytest.raises(type(error)), recorder.stage("build", components=["apps"], root=sample.root):
        raise error
    assert waiting("component", "status", "error") == [
        ("api-rest", "started", None),
        ("api-rest", "failed", said),
    ]


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(("code", "status"), [(0, "succeeded"), (3, "failed")])
def test_an_exit_is_a_failure_by_its_code(sample: Repository, code: int, status: str) -> None:
    with pytest.raises(SystemExit), recorder.stage("build", components=["apps"], root=sample.root):
        sys.exit(code)
    assert waiting("status")[-1] == (status,)


@pytest.mark.usefixtures("build")
def test_a_second_step_of_a_stage_begins_nothing_anew(sample: Repository) -> None:
    for step in ("first", "second"):
        with recorder.stage("scan", components=["api-rest"], step=step, root=sample.root):
            pass
    assert waiting("step", "status") == [
        ("first", "started"),
        ("first", "succeeded"),
        ("second", "succeeded"),
    ]


@pytest.mark.usefixtures("build")
def test_another_pipeline_has_a_journal_of_its_own(
    sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorder.stage("build", components=["apps"], root=sample.root):
        pass
    monkeypatch.setenv("BUILD_URL", BUILD.replace("7", "8"))
    assert recorder.journal(sample.root) == []
    with recorder.stage("build", components=["apps"], root=sample.root):
        pass
    assert [record.status for record in recorder.journal(sample.root)] == ["started", "succeeded"]


@pytest.mark.usefixtures("build")
def test_a_line_of_the_journal_that_was_cut_off_is_left_out(sample: Repository) -> None:
    with recorder.stage("build", components=["apps"], root=sample.root):
        pass
    (file,) = (sample.root / ".delivery" / "records").iterdir()
    with file.open("a") as out:
        out.write('[1]\n{"comp')
    assert len(recorder.journal(sample.root)) == 2


def test_what_cannot_be_recorded_is_said_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BUILD_URL", BUILD)
    done = []
    with recorder.stage("build", root=tmp_path):  # neither a clone nor a declaration
        done.append(1)
    said = capsys.readouterr()
    assert done == [1]
    assert said.err.count("\n") == 1
    assert said.err.startswith("records: not recorded: read ")
    assert said.out == ""


@pytest.mark.usefixtures("build")
def test_an_outbox_that_cannot_be_written_is_said_and_the_work_goes_on(
    sample: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "file"))
    with recorder.stage("build", components=["apps"], root=sample.root):
        pass
    assert "records: not recorded: make the outbox" in capsys.readouterr().err
    assert len(recorder.journal(sample.root)) == 2  # which is told of at the end all the same


@pytest.mark.usefixtures("build")
def test_a_journal_that_cannot_be_written_is_said_and_the_work_goes_on(
    sample: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    (sample.root / ".delivery").write_text("")
    with recorder.stage("build", components=["apps"], root=sample.root):
        pass
    assert "records: not recorded: " in capsys.readouterr().err


@pytest.mark.usefixtures("build")
def test_a_mistake_of_our_own_in_recording_is_not_felt(
    sample: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(outbox, "add", broken)
    monkeypatch.setattr(outbox, "deliver", lambda *_, **__: broken())
    with recorder.stage("build", components=["apps"], root=sample.root):
        pass
    assert "records: not recorded: ZeroDivisionError: oops" in capsys.readouterr().err


def test_without_a_ledger_nothing_waits(
    sample: Repository, monkeypatch: pytest.MonkeyPatch, declaration: Declaration
) -> None:
    monkeypatch.delenv("DELIVERY_LEDGER")
    monkeypatch.setenv("BUILD_URL", BUILD)
    with recorder.stage("build", components=["apps"], root=sample.root):
        pass
    assert outbox.waiting() == []
    assert len(recorder.journal(sample.root)) == 2
    with pytest.raises(DeclarationError, match="nothing says where it is"):
        recorder.ledger(declaration)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("http://localhost:8000", "http://localhost:8100"),
        ("https://ledger:8000", "https://ledger:8000"),
    ],
)
def test_a_ledger_here_is_where_the_platform_here_is(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch, declared: str, expected: str
) -> None:
    monkeypatch.delenv("DELIVERY_LEDGER")
    monkeypatch.setenv("API_PORT", "8100")
    told = declaration.model_copy(update={"records": Records(ledger=declared)})
    assert recorder.address(told) == expected


def test_the_ledgers_address_is_declared_and_may_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = parse(
        DECLARATION + '[records]\nledger = "https://ledger/"\n', is_folder=lambda _path: True
    )
    assert recorder.address(declared) == "http://localhost:1"
    monkeypatch.delenv("DELIVERY_LEDGER")
    assert recorder.address(declared) == "https://ledger"
    assert recorder.ledger(declared).address == "https://ledger"
    monkeypatch.setenv("DELIVERY_LEDGER", "ledger:8000")
    with pytest.raises(DeclarationError, match="read DELIVERY_LEDGER: 'ledger:8000' is no address"):
        recorder.address(declared)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"BUILD_URL": BUILD}, "tester"),
        ({"BUILD_URL": BUILD, "CHANGE_AUTHOR": "zoe"}, "zoe"),
        ({"BUILD_URL": BUILD, "CHANGE_AUTHOR": "zoe", "DELIVERY_RESPONSIBLE": "boss"}, "boss"),
        ({"CHANGE_AUTHOR": "zoe", "LOGNAME": "me"}, "me"),
        ({"CI_JOB_URL": BUILD}, "tester"),
    ],
)
def test_who_is_responsible(
    sample: Repository, monkeypatch: pytest.MonkeyPatch, told: Mapping[str, str], expected: str
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert recorder.source(sample.root).origin.responsible == expected


def test_what_a_clone_is_is_found_without_asking_its_remote(
    sample: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    sample.git("remote", "add", "origin", "file:///nowhere")
    assert recorder.source(sample.root).versions["api-rest"] == "1.1.0-dev.1"
    assert capsys.readouterr().out == ""


class Ledger:
    """A ledger that takes everything, under its key."""

    def __init__(self, status: int = 202) -> None:
        self.status = status
        self.taken: dict[str, dict[str, Any]] = {}
        self.stored: list[dict[str, Any]] = []
        self.tokens: set[str] = set()

    def __call__(self, method: str, _path: str, headers: dict[str, str], body: bytes) -> Answer:
        self.tokens.add(headers.get("Authorization", ""))
        if method == "GET":
            return 200, {}, json.dumps({"deployments": self.stored, "next": None}).encode()
        if self.status == 202:
            self.taken[headers["Idempotency-Key"]] = json.loads(body)
        return self.status, {}, b"{}"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    taking = Ledger()
    with serving(taking) as (address, _):
        monkeypatch.setenv("DELIVERY_LEDGER", f"http://{address}")
        yield taking


@pytest.mark.usefixtures("build")
def test_what_was_recorded_is_delivered_with_the_token(
    sample: Repository,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER_TOKEN", "secret")
    with recorder.stage("build", components=["apps"], root=sample.root):
        assert [event["status"] for event in ledger.taken.values()] == ["started"]
    assert [event["status"] for event in ledger.taken.values()] == ["started", "succeeded"]
    assert ledger.tokens == {"Bearer secret"}
    assert outbox.waiting() == []
    assert capsys.readouterr().err == ""


def test_its_ledger_alone_sees_the_token(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER_TOKEN", "secret")
    outbox.add(os.environ["DELIVERY_LEDGER"], [{"component": "a"}])
    other = Ledger()
    with serving(other) as (address, _):
        outbox.add(f"http://{address}", [{"component": "a"}])  # of another clone, or of another day
        assert recorder.deliver(seconds=10).sent == 2
        recorder.state(f"http://{address}")
    assert (ledger.tokens, other.tokens) == ({"Bearer secret"}, {""})


def test_the_token_is_for_the_declared_ledger_where_none_is_named(
    sample: Repository, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER_TOKEN", "secret")
    address = os.environ["DELIVERY_LEDGER"]
    monkeypatch.delenv("DELIVERY_LEDGER")
    outbox.add(address, [{"component": "a"}])
    recorder.deliver(seconds=10, root=sample.root)
    sample.write("delivery.toml", DECLARATION + f'[records]\nledger = "{address}"\n')
    outbox.add(address, [{"component": "a"}])
    recorder.deliver(seconds=10, root=sample.root)
    assert ledger.tokens == {"", "Bearer secret"}


@pytest.mark.parametrize("content", ["", "what is this"])
def test_the_token_is_shown_to_nobody_where_nothing_says_whose_it_is(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER_TOKEN", "secret")
    outbox.add(os.environ["DELIVERY_LEDGER"], [{"component": "a"}])
    monkeypatch.delenv("DELIVERY_LEDGER")
    (tmp_path / "delivery.toml").write_text(content)
    assert recorder.deliver(seconds=10, root=tmp_path).sent == 1
    assert ledger.tokens == {""}


@pytest.mark.usefixtures("build")
def test_a_ledger_that_is_away_is_said_once_and_the_events_wait_for_it(
    sample: Repository, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.status = 503
    for stage in ("build", "push"):
        with recorder.stage(stage, components=["apps"], root=sample.root):
            pass
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "1 event waits in the outbox: http://localhost:" in said
    assert "it answered 503" in said
    ledger.status = 202
    assert recorder.deliver(seconds=10).sent == 4
    assert [(event["stage"], event["status"]) for event in ledger.taken.values()] == [
        ("build", "started"),
        ("build", "succeeded"),
        ("push", "started"),
        ("push", "succeeded"),
    ]


@pytest.mark.usefixtures("build")
def test_a_refused_event_is_said(
    sample: Repository, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.status = 422
    with recorder.stage("build", components=["apps"], root=sample.root):
        pass
    assert "the ledger will never take an event, which was put aside as" in capsys.readouterr().err
    assert len(outbox.rejected()) == 2


def test_a_ledger_that_never_answers_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox.add("http://ledger", [{"component": "a"}])
    monkeypatch.setattr(recorder, "_MARGIN_SECONDS", 0.0)

    let_go, ended = threading.Event(), threading.Event()

    def never(*_: object, **__: object) -> None:
        let_go.wait(30)
        ended.set()

    monkeypatch.setattr("delivery.records.ledger.requests.post", never)
    report = recorder.deliver(seconds=0.05)
    assert (report.late, report.waiting) == (True, 1)
    assert not ended.is_set()
    let_go.set()


def test_a_stalled_answer_leaves_the_event_waiting() -> None:
    with serving(lambda *_: (202, {}, b"{}"), lambda *_: Break("stall", 0.5)) as (address, _):
        outbox.add(f"http://{address}", [{"component": "a"}])
        report = recorder.deliver(seconds=0.2)
    assert (report.sent, report.waiting) == (0, 1)
    assert list(report.reasons.values()) == ["it does not answer in time"]


def test_an_outbox_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "file"))
    with pytest.raises(DeliveryError, match="make the outbox"):
        recorder.deliver(seconds=1)


def aged(monkeypatch: pytest.MonkeyPatch, event: dict[str, Any], days: float) -> None:
    """Put an event into the outbox, so many days ago."""
    outbox.add(os.environ["DELIVERY_LEDGER"], [event])
    later = datetime.now(UTC) + timedelta(days=days)
    monkeypatch.setattr(recorder, "_now", lambda: later)


@pytest.mark.parametrize(("days", "sent"), [(5.9, 1), (6.1, 0)])
def test_an_event_that_outlived_its_key_is_looked_for_first(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, days: float, sent: int
) -> None:
    event = {"component": "api-rest", "details": {"at": "2026-01-01T00:00:00.000Z"}}
    aged(monkeypatch, event, days)
    ledger.stored = [{**event, "id": "e1"}]
    assert recorder.deliver(seconds=5).waiting == 0
    assert len(ledger.taken) == sent


def test_an_old_event_that_the_ledger_lacks_is_sent_and_waits_while_it_does_not_say(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(monkeypatch, {"component": "api-rest"}, 30)
    monkeypatch.setattr("delivery.records.ledger.Ledger.holds", lambda *_, **__: None)
    assert recorder.deliver(seconds=5).waiting == 1
    assert ledger.taken == {}
    monkeypatch.undo()


def test_an_old_event_that_the_ledger_has_not_is_sent(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(monkeypatch, {"component": "api-rest"}, 30)
    assert recorder.deliver(seconds=5).sent == 1
    assert len(ledger.taken) == 1


RELEASE = Release(
    {"api-rest": ReleasedPart("r/api-rest", "k", "sha256:" + "c" * 64, "1.0.0")},
    "1.0.0",
    ReleasedPart("r/platform-chart", "k", "sha256:" + "d" * 64, "1.0.0"),
    "release",
    "main",
)


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


def test_a_deploy_is_recorded_by_hand_too(declaration: Declaration, sample: Repository) -> None:
    sha = sample.git("rev-parse", "main")
    deploy(declaration, sample, release=replace(RELEASE, commit=sha))
    assert waiting("component", "environment", "stage", "status", "changed") == [
        ("api-rest", "staging", "deploy", "started", None),
        ("platform-chart", "staging", "deploy", "started", None),
        ("api-rest", "staging", "deploy", "succeeded", True),
        ("platform-chart", "staging", "deploy", "succeeded", True),
    ]
    committed = sample.git("log", "-1", "--format=%cI", "main")
    assert set(waiting("commit", "branch", "line", "committed_at", "pipeline")) == {
        (sha, "main", "release", committed, "")
    }
    assert recorder.journal(sample.root) == []


def test_a_commit_that_is_not_here_has_no_time(declaration: Declaration, sample: Repository) -> None:
    deploy(declaration, sample, release=replace(RELEASE, commit="0" * 40))
    assert set(waiting("commit", "committed_at")) == {("0" * 40, "")}


def test_a_deploy_that_failed_and_was_rolled_back_says_both(
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


def test_the_versions_to_come_are_gits(declaration: Declaration, sample: Repository) -> None:
    expected = {"base-image": "1.0.0", "api-rest": "1.1.0-dev.1", "platform-chart": "1.0.1-dev.1"}
    assert gather.load_checkout(declaration, sample.root, ask=False).published == expected


def test_the_time_before_it_is_known_what_is_deployed_counts(
    declaration: Declaration, sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a deploy that fails early in a pipeline, and of a verification that takes a version back."""
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


def test_a_verification_that_takes_a_version_back_began_before_its_tests(
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


@pytest.mark.usefixtures("build")
def test_a_stage_says_the_digests_that_this_clone_has_published(sample: Repository) -> None:
    sample.write(".delivery/release.json", RELEASE.to_json())
    sample.git("switch", "--quiet", "main")
    with recorder.stage("verify", root=sample.root):
        pass
    assert waiting("component", "version", "digest")[2:] == [
        ("api-rest", "1.0.0", "sha256:" + "c" * 64),
        ("platform-chart", "1.0.0", "sha256:" + "d" * 64),
    ]
    sample.write("api-rest/src/b", "other")
    sample.commit("fix: another")
    with recorder.stage("push", components=["api-rest"], root=sample.root):
        pass
    assert waiting("version", "digest")[4:] == [("1.0.1", None)] * 2


def test_a_deploy_by_hand_that_is_refused_before_it_begins_is_none(
    declaration: Declaration, sample: Repository
) -> None:
    with (
        pytest.raises(DeclarationError),
        recorder.deployment(declaration, "deploy", Action.DEPLOY, sample.root),
    ):
        raise DeclarationError("no such version")
    assert outbox.waiting() == []


@pytest.mark.usefixtures("build")
def test_in_a_pipeline_it_is_a_stage_that_failed(
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
def test_a_refused_removal_is_no_failed_deploy(declaration: Declaration, sample: Repository) -> None:
    with (
        pytest.raises(DeclarationError),
        recorder.deployment(declaration, "undeploy", Action.REMOVE, sample.root),
    ):
        raise DeclarationError("not confirmed")
    assert outbox.waiting() == []


@pytest.mark.usefixtures("build")
def test_a_verification_that_brings_the_old_version_back_says_so_of_what_had_changed(
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


SCRIPT = """
import sys, time
from pathlib import Path
from delivery.records import recorder
with recorder.stage("build", components=["apps"], root=Path(sys.argv[1])):
    print("at work", flush=True)
    time.sleep(60)
"""


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (signal.SIGTERM, "interrupted (SIGTERM)"),
        (signal.SIGINT, "interrupted"),
        (signal.SIGKILL, None),
    ],
)
def test_a_stage_that_is_ended_from_outside(
    sample: Repository, sent: signal.Signals, said: str | None
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(sample.root)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A background job ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        process.send_signal(sent)
        process.wait(timeout=30)
    assert process.returncode != 0
    ends = [error for status, error in waiting("status", "error") if status == "failed"]
    assert ends == ([said] if said else [])
    assert waiting("status")[0] == ("started",)


def test_sigterm_is_nobody_elses_afterwards(
    sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_URL", BUILD)
    with recorder.stage("build", components=["apps"], root=sample.root):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_deploy_is_told_when_it_begins(
    declaration: Declaration, sample: Repository, ledger: Ledger
) -> None:
    with recorder.deployment(declaration, "deploy", Action.DEPLOY, sample.root) as recording:
        recording.start(Deployment(action=Action.DEPLOY, environment="staging", contents=CONTENTS))
        assert [event["status"] for event in ledger.taken.values()] == ["started", "started"]
