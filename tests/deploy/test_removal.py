"""Removing a release keeps its data, unless the user asks to remove it."""

import pytest

from delivery import prompt
from delivery.deploy import removal
from delivery.deploy.selection import DeployRequest
from delivery.deploy.target import Options
from delivery.errors import CommandError, DeclarationError, DeployError
from delivery.project.declaration import Declaration
from delivery.records import outbox
from tests.deploy.cluster import Cluster, Terminal, lose_lease, target
from tests.recorded import recorded

DATA = {"persistentvolumeclaims": ["data-kafka-0"], "secrets": ["platform-database"]}


@pytest.fixture(autouse=True)
def _connected(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_declaration: Declaration, name: str, _context: str) -> object:
        return target(cluster, name, confirm=name == "production")

    monkeypatch.setattr(removal, "connect", connect)


def remove(
    declaration: Declaration, environment: str = "local", *, data: bool = False, yes: bool = False
) -> None:
    removal.remove(declaration, DeployRequest(environment, yes=yes), Options(), data=data)


def test_removing_keeps_the_data_and_is_recorded(
    cluster: Cluster, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.left = {"persistentvolumeclaims": ["data-kafka-0"]}
    remove(declaration)
    assert cluster.done == ["uninstall"]
    assert (
        "kept: persistentvolumeclaims/data-kafka-0; --data removes them" in capsys.readouterr().out
    )
    assert set(recorded("stage", "status", "error")) == {("deploy", "removed", None)}


def test_a_removal_that_fails_is_recorded_and_is_no_failed_deploy(
    cluster: Cluster, declaration: Declaration
) -> None:
    cluster.fails["uninstall"] = CommandError(
        "cannot remove platform", argv=["helm"], returncode=1, tail="stuck"
    )
    with pytest.raises(CommandError):
        remove(declaration)
    assert set(recorded("stage", "status")) == {("record", "failed")}


def test_the_environment_has_to_be_given_and_production_confirmed(
    cluster: Cluster, declaration: Declaration
) -> None:
    with pytest.raises(DeclarationError, match="cannot undeploy: no environment given"):
        remove(declaration, "")
    with pytest.raises(DeclarationError, match="no terminal to confirm it"):
        remove(declaration, "production")
    assert cluster.done == []
    remove(declaration, "production", yes=True)
    assert cluster.done == ["uninstall"]


def test_on_a_terminal_the_environment_is_asked_for(
    cluster: Cluster,
    declaration: Declaration,
    terminal: Terminal,
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.answer("", "staging")  # Enter alone selects nothing
    remove(declaration, "")
    assert cluster.done == ["uninstall"]
    assert "Which environment?" in capsys.readouterr().out
    assert outbox.waiting()[0].event["environment"] == "staging"


def test_data_is_removed_when_requested_and_confirmed(
    cluster: Cluster, declaration: Declaration, terminal: Terminal
) -> None:
    cluster.left = DATA
    with pytest.raises(DeclarationError, match="there is no terminal to confirm it on"):
        remove(declaration, data=True)
    assert cluster.done == []
    terminal.answer("yes", "local")
    deletes = ["delete persistentvolumeclaims data-kafka-0", "delete secrets platform-database"]
    for expected in (["uninstall"], ["uninstall", *deletes]):
        cluster.done.clear()
        remove(declaration, data=True)
        assert cluster.done == expected
    cluster.done.clear()
    remove(declaration, data=True, yes=True)
    assert cluster.done == ["uninstall", *deletes]


def test_removing_also_removes_the_pods_of_tests(
    cluster: Cluster, declaration: Declaration
) -> None:
    cluster.left = {"pods": ["platform-test"]}
    remove(declaration)
    assert cluster.done == ["uninstall", "delete pods platform-test"]


@pytest.mark.parametrize("when", ["uninstalled", "asked"])
def test_a_removal_that_lost_the_lease_removes_nothing_more(
    cluster: Cluster, declaration: Declaration, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    cluster.left = {"pods": ["platform-test"], **DATA}
    monkeypatch.setattr(prompt, "is_interactive", lambda: True)

    def uninstall(**_options: object) -> None:
        if when == "uninstalled":
            lose_lease(monkeypatch)

    def answer(_prompt: str) -> str:
        lose_lease(monkeypatch)
        return "local"

    monkeypatch.setattr(cluster, "uninstall", uninstall)
    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        remove(declaration, data=True)
    assert cluster.done == ([] if when == "uninstalled" else ["delete pods platform-test"])


def test_removing_what_does_not_exist_succeeds_and_is_not_recorded(
    cluster: Cluster, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.revisions = []
    remove(declaration)
    cluster.namespaces = {}
    remove(declaration)
    assert (cluster.done, outbox.waiting()) == ([], [])
    assert "the namespace does not exist" in capsys.readouterr().out
