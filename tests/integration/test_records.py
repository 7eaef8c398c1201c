"""Deploys are recorded in the real ledger, once each, also when it does not run meanwhile.

tests/e2e/test_history.py reads what a removal records.
"""

import uuid
from pathlib import Path
from typing import Any

import pytest

from delivery.errors import DeployError
from delivery.project.declaration import Declaration
from delivery.records import outbox, recorder, sending
from delivery.records.deployment import Action, Contents, Deployment
from delivery.records.ledger import connect
from tests.integration.conftest import Platform
from tests.ledger.stack import is_ready
from tests.repositories import Repository
from tests.waiting import wait_for

pytestmark = pytest.mark.engine


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


def test_events_wait_for_a_ledger_that_does_not_run_and_arrive_once(
    declaration: Declaration,
    platform: Platform,
    sample: Repository,
    capsys: pytest.CaptureFixture[str],
) -> None:
    component = f"run-{uuid.uuid4().hex[:8]}"
    ledger = connect(declaration)

    def stored() -> list[dict[str, Any]]:
        return ledger.events({"component": component}, "2020-01-01T00:00:00Z")

    def deploy(version: str, error: Exception | None = None) -> None:
        contents = Contents(versions={component: version})
        deployment = Deployment(action=Action.DEPLOY, environment="staging", contents=contents)
        with recorder.deployment(declaration, "deploy", Action.DEPLOY, sample.root) as recording:
            recording.start(deployment)
            if error:
                raise error

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
    address = ("127.0.0.1", platform.ports["API_PORT"])
    wait_for("api-rest to be ready", lambda: is_ready(address))
    for sent in (5, 0):
        report = sending.deliver(seconds=60)
        assert (report.sent, report.waiting) == (sent, 0)
    wait_for("the worker to have stored all", lambda: len(stored()) >= 7)
    events = [{name: event[name] for name in waiting[0]} for event in reversed(stored())]
    assert (len(events), events[2:]) == (7, waiting)
    assert ledger.running("staging")[component] == "1.2.0"
