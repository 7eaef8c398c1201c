"""The exact lines that helm is given, 3 and 4, and what is read from what it prints."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery import process
from delivery.deploy.helm import Helm, Watcher, probe
from delivery.deploy.history import History
from delivery.errors import CommandError, DeployError

SCOPE = ["--namespace=platform", "--kube-context=kind-sample"]
THREE = Helm("helm", (3, 18), "kind-sample", "platform")
FOUR = Helm("helm", (4, 1), "kind-sample", "platform")
QUIET = Watcher(on_line=lambda _: None, tick=lambda: None, every=0.01)


@pytest.fixture(autouse=True)
def _plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Helm's own command lines alone, whether or not a helm is on PATH."""
    monkeypatch.setattr(process, "_kill_with_parent", tuple)


@pytest.mark.parametrize(
    ("printed", "version"), [("v3.18.4+gd80839c", (3, 18)), ("v4.1.4+g05fa379", (4, 1))]
)
def test_reads_its_version(fp: FakeProcess, printed: str, version: tuple[int, int]) -> None:
    fp.register(["helm", "version", "--short"], stdout=[printed])
    assert probe("helm") == version


@pytest.mark.parametrize("printed", ["v3.17.9+g1", "v2.17.0", "hello"])
def test_refuses_one_that_is_too_old_or_no_helm(fp: FakeProcess, printed: str) -> None:
    fp.register(["helm", "version", "--short"], stdout=[printed])
    with pytest.raises(DeployError, match=r"3\.18 or newer is needed"):
        probe("helm")


@pytest.mark.parametrize(
    ("helm", "applying"),
    [(THREE, []), (FOUR, ["--server-side=true", "--force-conflicts"])],
    ids=["3", "4"],
)
def test_upgrades_and_rolls_back_waiting_and_never_atomically(
    helm: Helm, applying: list[str], fp: FakeProcess
) -> None:
    waiting = ["--wait", "--timeout=90s", *SCOPE]
    upgrade = [
        "helm",
        "upgrade",
        "platform",
        "chart",
        "--install",
        "--values=a.yaml",
        "--values=b.json",
    ]
    fp.register([*upgrade, "--history-max=10", "--description=api-rest 0.2.0", *applying, *waiting])
    fp.register(["helm", "rollback", "platform", "3", "--history-max=10", *applying, *waiting])
    values = [Path("a.yaml"), Path("b.json")]
    helm.upgrade(Path("chart"), values, description="api-rest 0.2.0", seconds=90, watcher=QUIET)
    helm.rollback(3, seconds=90, watcher=QUIET)
    assert len(fp.calls) == 2


def test_does_not_start_when_it_is_ended_already(fp: FakeProcess) -> None:
    def tick() -> None:
        raise DeployError("the lease is lost")

    with pytest.raises(DeployError, match="the lease is lost"):
        FOUR.uninstall(seconds=90, watcher=Watcher(lambda _: None, tick))
    assert len(fp.calls) == 0


def test_removes_and_tests(fp: FakeProcess) -> None:
    fp.register(
        [
            "helm",
            "uninstall",
            "platform",
            "--cascade=foreground",
            "--wait=legacy",
            "--timeout=90s",
            *SCOPE,
        ]
    )
    fp.register(
        ["helm", "test", "platform", "--logs", "--timeout=90s", *SCOPE], stdout=["Phase: Succeeded"]
    )
    lines: list[str] = []
    FOUR.uninstall(seconds=90, watcher=QUIET)
    FOUR.test(seconds=90, watcher=Watcher(lines.append, lambda: None, 0.01))
    assert [line.strip() for line in lines] == ["Phase: Succeeded"]


def test_the_helm_before_knows_one_way_to_wait(fp: FakeProcess) -> None:
    fp.register(
        ["helm", "uninstall", "platform", "--cascade=foreground", "--wait", "--timeout=90s", *SCOPE]
    )
    THREE.uninstall(seconds=90, watcher=QUIET)


def test_reads_the_history(fp: FakeProcess) -> None:
    revision = {
        "revision": 2,
        "updated": "2026-11-21T11:54:50.436507495-03:00",
        "status": "deployed",
        "chart": "platform-0.1.0",
        "description": "Upgrade complete",
    }
    fp.register(
        ["helm", "history", "platform", "--output=json", *SCOPE], stdout=[json.dumps([revision])]
    )
    (found,) = FOUR.history().revisions
    assert (found.number, found.status, found.chart) == (2, "deployed", "platform-0.1.0")
    assert found.updated.astimezone(UTC).replace(microsecond=0) == datetime(
        2026, 11, 21, 14, 54, 50, tzinfo=UTC
    )


def test_a_release_that_is_not_there_has_no_history_but_a_failure_is_one(fp: FakeProcess) -> None:
    history = ["helm", "history", "platform", "--output=json", *SCOPE]
    fp.register(history, returncode=1, stderr=["Error: release: not found"])
    fp.register(history, returncode=1, stderr=["Error: Kubernetes cluster unreachable"])
    assert FOUR.history() == History()
    with pytest.raises(CommandError):
        FOUR.history()


def test_a_preview_compares_with_what_is_deployed(fp: FakeProcess) -> None:
    hook = {"path": "platform/templates/test.yaml", "manifest": "kind: Pod\n"}
    rendered = {"manifest": "---\nkind: Service\n", "hooks": [hook]}
    upgrade = [
        "helm",
        "upgrade",
        "platform",
        "chart",
        "--values=a.yaml",
        "--dry-run=server",
        "--output=json",
        *SCOPE,
    ]
    fp.register(upgrade, stdout=[json.dumps(rendered)])
    fp.register(
        ["helm", "get", "manifest", "platform", "--revision=3", *SCOPE],
        stdout=["---", "kind: Service", ""],
    )
    hooks = ["---", "# Source: platform/templates/test.yaml", "kind: Pod"]
    fp.register(["helm", "get", "hooks", "platform", "--revision=3", *SCOPE], stdout=hooks)
    assert FOUR.preview(Path("chart"), [Path("a.yaml")]) == FOUR.manifest(3)


def test_reads_values_and_notes(fp: FakeProcess) -> None:
    values = ["helm", "get", "values", "platform", "--revision=3", "--output=json", *SCOPE]
    fp.register(values, stdout=['{"components": {}}'])
    fp.register(values, stdout=["null"])
    fp.register(["helm", "get", "notes", "platform", *SCOPE], stdout=["NOTES:", "Say hello."])
    assert FOUR.values(3) == {"components": {}}
    assert FOUR.values(3) == {}
    assert FOUR.notes() == "Say hello."


def test_keeps_its_releases_where_they_are_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELM_DRIVER", "configmap")
    program = tmp_path / "helm"
    program.write_text('#!/bin/sh\necho "$HELM_DRIVER"\n')
    program.chmod(0o755)
    assert Helm(str(program), (4, 1), "kind-sample", "platform").notes() == "secret"


def test_a_values_file_may_have_a_comma_in_its_path(fp: FakeProcess) -> None:
    fp.register(
        ["helm", "upgrade", "platform", "chart", "--install", '--values="/a, b/c.yaml"', fp.any()]
    )
    FOUR.upgrade(Path("chart"), [Path("/a, b/c.yaml")], description="", seconds=90, watcher=QUIET)
