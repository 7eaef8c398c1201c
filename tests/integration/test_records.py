"""Deploys are recorded in the real ledger, once each, also when it does not run meanwhile."""

import csv
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from delivery import console
from delivery.dora import metrics
from delivery.errors import DeployError
from delivery.project import files
from delivery.project.declaration import Declaration, parse
from delivery.records import outbox, recorder, sending
from delivery.records.deployment import Action, Contents, Deployment
from delivery.records.ledger import connect
from delivery.release.released import Release
from delivery.tasks import records
from tests.conftest import DECLARATION
from tests.integration.conftest import Platform
from tests.ledger.stack import is_ready
from tests.repositories import Repository
from tests.waiting import wait_for

pytestmark = pytest.mark.engine

ENVIRONMENT = "staging"


@pytest.fixture
def sample(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A clone whose deploys are recorded in that ledger."""
    monkeypatch.setenv("DELIVERY_LEDGER", f"http://127.0.0.1:{platform.ports['API_PORT']}")
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DELIVERY_RESPONSIBLE", "Zoë")
    for name in ("BUILD_URL", "CI_JOB_URL", "DELIVERY_LEDGER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    made = Repository(tmp_path / "sample")
    made.commit("feat: begin")
    return made


class Deploys:
    """Deploys of a component, recorded as `inv deploy` does it."""

    def __init__(self, sample: Repository, component: str) -> None:
        self.declaration: Declaration = parse(
            DECLARATION, is_folder=lambda _path: True, is_file=lambda _path: True
        )
        self.sample = sample
        self.component = component
        self.release = Release({}, commit=sample.git("rev-parse", "HEAD"))

    def __call__(self, version: str, error: Exception | None = None, previous: str = "") -> None:
        action = Action.ROLLBACK if previous else Action.DEPLOY
        with recorder.deployment(self.declaration, "deploy", action, self.sample.root) as recording:
            recording.start(
                self.deployment(action, version, previous), None if previous else self.release
            )
            if error:
                raise error

    def deployment(self, action: Action, version: str, previous: str = "") -> Deployment:
        contents, previous_contents = (
            Contents(versions={self.component: each} if each else {})
            for each in (version, previous)
        )
        return Deployment(
            action=action,
            environment=ENVIRONMENT,
            contents=contents,
            previous_contents=previous_contents,
        )


def wait_ready(platform: Platform) -> None:
    address = ("127.0.0.1", platform.ports["API_PORT"])
    wait_for("api-rest to be ready", lambda: is_ready(address))


def running_version(platform: Platform, component: str) -> str | None:
    """The version of a component that runs, as the ledger knew up to 2 s ago."""
    address = f"http://127.0.0.1:{platform.ports['API_PORT']}/environments"
    document: dict[str, Any] = requests.get(address, timeout=10).json()
    versions = (
        str(entry["version"])
        for environment in document["environments"]
        if environment["environment"] == ENVIRONMENT
        for entry in environment["components"]
        if entry["component"] == component
    )
    return next(versions, None)


def wait_for_version(platform: Platform, component: str, version: str | None) -> None:
    wait_for(
        f"the ledger to say that {version or 'nothing'} runs",
        lambda: running_version(platform, component) == version,
    )


def test_events_wait_for_a_ledger_that_does_not_run_and_arrive_once(
    platform: Platform,
    sample: Repository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    component = f"run-{uuid.uuid4().hex[:8]}"
    deploy = Deploys(sample, component)
    ledger = connect(deploy.declaration)

    def stored() -> list[dict[str, Any]]:
        return ledger.events({"component": component}, "2020-01-01T00:00:00Z")

    deploy("1.0.0")
    assert outbox.waiting() == []
    platform.compose("stop", "api-rest")
    with pytest.raises(DeployError):
        deploy("1.1.0", DeployError("upgrade: not ready", rolled_back=True))
    deploy("1.2.0")
    assert len(outbox.waiting()) == 5
    assert "waits in the outbox: http://127.0.0.1" in capsys.readouterr().err
    waiting = [event.event for event in outbox.waiting()]

    platform.compose("start", "api-rest")
    wait_ready(platform)
    records.deliver.body.__wrapped__(None)
    records.deliver.body.__wrapped__(None)
    printed = capsys.readouterr().out
    assert "5 events delivered, 0 waiting" in printed
    assert "0 events delivered, 0 waiting" in printed
    wait_for("the worker to have stored all", lambda: len(stored()) >= 7)
    wait_for_version(platform, component, "1.2.0")

    deploy("1.0.0", previous="1.2.0")
    wait_for("the worker to have stored the rollback", lambda: len(stored()) >= 10)
    wait_for_version(platform, component, "1.0.0")
    events = stored()
    assert len(events) == 10
    sent = [{name: event[name] for name in waiting[0]} for event in reversed(events)]
    assert sent[2:7] == waiting

    monkeypatch.setattr(files, "load_declaration", lambda: deploy.declaration)
    monkeypatch.setattr(console.out, "width", 200)
    capsys.readouterr()
    records.records.body.__wrapped__(None, component=component)
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(row.endswith(f"{component} 1.1.0 staging rolled-back Zoë") for row in rows)
    # 1.0.0 went well; 1.1.0 failed at once, 1.2.0 later.
    assert any(
        row.startswith(f"{component} staging 0.033 a day (1)") and "67% (2 of 3)" in row
        for row in rows
    ), rows
    file = tmp_path / "records.csv"
    records.records.body.__wrapped__(None, component=component, csv=str(file))
    with file.open(encoding="utf-8-sig", newline="") as text:
        cells = list(csv.DictReader(text))
    assert [cell["id"] for cell in cells] == [event["id"] for event in events]
    assert json.loads(cells[0]["details"])["commit"] == deploy.release.commit


def test_a_removal_and_a_verification_change_what_runs(
    platform: Platform, sample: Repository
) -> None:
    component = f"run-{uuid.uuid4().hex[:8]}"
    deploy = Deploys(sample, component)
    ledger = connect(deploy.declaration)

    def stored() -> list[dict[str, Any]]:
        return ledger.events({"component": component}, "2020-01-01T00:00:00Z")

    deploy("1.0.0")
    deploy("1.1.0")
    with recorder.deployment(
        deploy.declaration, "undeploy", Action.REMOVE, sample.root
    ) as recording:
        recording.start(deploy.deployment(Action.REMOVE, "", previous="1.1.0"))
    wait_for("the worker to have stored the removal", lambda: len(stored()) >= 5)
    assert outbox.rejected() == []
    assert metrics.is_removal(stored()[0])
    wait_for_version(platform, component, None)
    deploy("1.0.0")
    deploy("1.1.0")
    wait_for_version(platform, component, "1.1.0")

    def verify() -> None:
        with recorder.deployment(
            deploy.declaration, "verify", Action.VERIFY, sample.root
        ) as recording:
            recording.start(deploy.deployment(Action.VERIFY, "1.1.0"))
            raise DeployError("test: no greeting", rolled_back=True)

    with pytest.raises(DeployError):
        verify()
    wait_for("the worker to have stored the verification", lambda: len(stored()) >= 12)
    wait_for_version(platform, component, "1.0.0")


def test_an_event_that_is_sent_twice_is_stored_once(platform: Platform, sample: Repository) -> None:
    component = f"run-{uuid.uuid4().hex[:8]}"
    deploy = Deploys(sample, component)
    deploy("1.0.0")
    with recorder.deployment(deploy.declaration, "deploy", Action.DEPLOY, sample.root) as recording:
        platform.compose("stop", "api-rest")
        recording.start(deploy.deployment(Action.DEPLOY, "1.1.0"), deploy.release)
        platform.compose("start", "api-rest")
        wait_ready(platform)
        (event,) = outbox.waiting()
        # A process that was killed after the answer leaves the event in the outbox.
        content = event.file.read_bytes()
        assert sending.deliver(seconds=10).sent == 1
        event.file.write_bytes(content)
    ledger = connect(deploy.declaration)

    def stored() -> int:
        return len(ledger.events({"component": component}, "2020-01-01T00:00:00Z"))

    wait_for("the worker to have stored all", lambda: stored() >= 4)
    assert outbox.waiting() == []
    assert stored() == 4
