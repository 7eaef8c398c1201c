"""Roll back on request, and when the chart's tests fail."""

from pathlib import Path

import pytest

from delivery.deploy import reverting
from delivery.deploy.history import Revision
from delivery.deploy.locked_target import lock_target
from delivery.deploy.selection import DeployRequest
from delivery.deploy.target import Options
from delivery.deploy.upgrade import Chart, upgrade, write_files
from delivery.errors import DeclarationError, DeployError
from delivery.project.declaration import Declaration
from delivery.records import outbox
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from tests.deploy.cluster import CHART, LONG_AGO, NEW, OLD, Cluster, failed, target
from tests.recorded import recorded


@pytest.fixture(autouse=True)
def _connected(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_declaration: Declaration, name: str, _context: str) -> object:
        return target(cluster, name, confirm=name == "production")

    monkeypatch.setattr(reverting, "connect", connect)


FIELDS = ("component", "version", "environment", "stage", "status")


def roll_back(
    declaration: Declaration, environment: str = "local", revision: int = 0, *, yes: bool = False
) -> Deployment:
    return reverting.roll_back(
        declaration, DeployRequest(environment, yes=yes), revision, Options()
    )


def test_a_rollback_names_its_versions_and_is_recorded(
    cluster: Cluster, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.revisions = [
        Revision(
            1, "superseded", LONG_AGO, "platform-0.1.0", "api-rest 0.2.0, platform-chart 0.2.0"
        )
    ]
    cluster.add("deployed", NEW, description="api-rest 0.3.0, platform-chart 0.2.0")
    done = roll_back(declaration)
    assert cluster.done == ["rollback 1"]
    assert (
        "revision 1 is deployed again in place of 2: api-rest 0.2.0, platform-chart 0.2.0"
        in capsys.readouterr().out
    )
    assert (done.outcome, done.revision, done.previous_revision) == (Outcome.SUCCEEDED, 3, 2)
    # Both revisions have the same image, so that only the chart's values change.
    assert recorded(*FIELDS) == [
        (name, "0.2.0", "local", "deploy", status)
        for name, status in (
            ("platform-chart", "started"),
            ("api-rest", "succeeded"),
            ("platform-chart", "succeeded"),
        )
    ]


def test_a_history_may_have_no_revision_to_roll_back_to(
    cluster: Cluster, declaration: Declaration
) -> None:
    with pytest.raises(DeclarationError, match="no earlier revision"):
        roll_back(declaration)
    assert (cluster.done, outbox.waiting()) == ([], [])


def test_the_environment_has_to_be_given_and_production_confirmed(
    cluster: Cluster, declaration: Declaration
) -> None:
    cluster.add("deployed", NEW)
    cluster.revisions[0] = Revision(1, "superseded", LONG_AGO, "platform-0.1.0", "")
    with pytest.raises(DeclarationError, match="no terminal to confirm it"):
        roll_back(declaration, "production")
    with pytest.raises(DeclarationError, match="cannot roll back: no environment given") as caught:
        roll_back(declaration, "")
    assert "develop, staging, production" in caught.value.hint
    assert cluster.done == []
    roll_back(declaration, "production", yes=True)
    assert cluster.done == ["rollback 1"]


@pytest.fixture
def clone(cluster: Cluster, root: Path) -> Path:
    """A clone whose deploy made revision 2."""
    deploy(cluster, root)
    cluster.done.clear()
    return root


def deploy(cluster: Cluster, root: Path) -> None:
    local = target(cluster)
    contents = Contents(versions={"api-rest": "0.3.0", "platform-chart": "0.2.0"})
    inputs = write_files(local, Chart(CHART, {}), root)
    with lock_target(local, Options()) as locked:
        upgrade(locked, local.deployment(Action.DEPLOY, contents, Contents()), inputs, root)


def verify(declaration: Declaration, root: Path) -> None:
    reverting.verify(declaration, "local", "", Options(), root)


def test_a_verification_that_passes_is_not_recorded(
    cluster: Cluster, declaration: Declaration, root: Path
) -> None:
    verify(declaration, root)
    assert (cluster.done, outbox.waiting()) == (["test"], [])


def test_a_deployed_revision_that_fails_later_is_rolled_back_and_recorded(
    cluster: Cluster, declaration: Declaration, clone: Path
) -> None:
    cluster.fails["test"] = failed()
    message = "the chart's tests failed; revision 1 is deployed again"
    with pytest.raises(DeployError, match=message) as caught:
        verify(declaration, clone)
    assert cluster.done == ["test", "report", "rollback 1"]
    assert caught.value.rolled_back
    assert [row for row in recorded(*FIELDS) if row[0] == "platform-chart"] == [
        ("platform-chart", "0.2.0", "local", "verify", status)
        for status in ("started", "failed", "rolled-back")
    ]


def test_in_a_pipeline_the_stage_records_it(
    cluster: Cluster, declaration: Declaration, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/job/delivery/7/")
    cluster.fails["test"] = failed()
    with pytest.raises(DeployError):
        verify(declaration, clone)
    assert recorded(*FIELDS) == []


def test_a_rollback_that_fails_is_not_recorded_as_one(
    cluster: Cluster, declaration: Declaration, clone: Path
) -> None:
    cluster.fails = {"test": failed(), "rollback": failed()}
    with pytest.raises(DeployError, match="tests failed; rolling back to revision 1 failed"):
        verify(declaration, clone)
    assert cluster.done == ["test", "report", "rollback 1", "report"]
    assert recorded(*FIELDS) == []


@pytest.mark.parametrize(
    "case", ["nothing deployed here", "nothing changed", "deployed since", "another cluster"]
)
def test_a_revision_of_another_deploy_stays_though_it_fails(
    cluster: Cluster, declaration: Declaration, root: Path, case: str
) -> None:
    if case != "nothing deployed here":
        cluster.rendered = OLD if case == "nothing changed" else NEW
        deploy(cluster, root)
    if case == "deployed since":
        cluster.add("deployed", NEW)
    if case == "another cluster":
        cluster.context = "kind-other"
    cluster.fails["test"] = failed()
    before = list(cluster.done)
    with pytest.raises(
        DeployError, match=f"revision {len(cluster.revisions)} stays deployed"
    ) as caught:
        verify(declaration, root)
    assert cluster.done == [*before, "test", "report"]
    assert not caught.value.rolled_back


def test_after_a_failed_deploy_verify_rolls_nothing_back(
    cluster: Cluster, declaration: Declaration, clone: Path
) -> None:
    cluster.fails["preview"] = failed("Error: no")
    with pytest.raises(DeployError):
        deploy(cluster, clone)
    cluster.fails["test"] = failed()
    with pytest.raises(DeployError, match="revision 2 stays deployed"):
        verify(declaration, clone)
    assert "rollback 1" not in cluster.done


def test_a_first_install_that_fails_later_stays(
    cluster: Cluster, declaration: Declaration, root: Path
) -> None:
    cluster.revisions = []
    deploy(cluster, root)
    cluster.fails["test"] = failed()
    with pytest.raises(DeployError, match="nothing was deployed before"):
        verify(declaration, root)


def test_without_a_deployment_there_is_nothing_to_verify(
    cluster: Cluster, declaration: Declaration, root: Path
) -> None:
    cluster.revisions = []
    with pytest.raises(DeployError, match=r"cannot verify .*: nothing is deployed"):
        verify(declaration, root)
    assert cluster.done == []
