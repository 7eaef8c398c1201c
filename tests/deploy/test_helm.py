"""The exact command lines of helm 3 and 4, and how their output is read."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery import process
from delivery.deploy.helm import ChartFiles, Helm, Watcher, probe
from delivery.deploy.history import History
from delivery.errors import CommandError, DeployError

SCOPE = ["--namespace=platform", "--kube-context=kind-sample"]
THREE = Helm("helm", (3, 18), "kind-sample", "platform")
FOUR = Helm("helm", (4, 1), "kind-sample", "platform")
QUIET = Watcher(on_line=lambda _: None, tick=lambda: None)


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
def test_an_old_helm_is_refused(fp: FakeProcess, printed: str) -> None:
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
    upgrade = ["helm", "upgrade", "platform", "chart", "--install"]
    upgrade += ["--values=a.yaml", "--values=b.json", "--history-max=10"]
    fp.register([*upgrade, "--description=api-rest 0.2.0", *applying, *waiting])
    fp.register(["helm", "rollback", "platform", "3", "--history-max=10", *applying, *waiting])
    files = ChartFiles(Path("chart"), (Path("a.yaml"), Path("b.json")))
    helm.upgrade(files, description="api-rest 0.2.0", seconds=90, watcher=QUIET)
    helm.rollback(3, seconds=90, watcher=QUIET)
    assert len(fp.calls) == 2


def test_a_failed_command_says_what_it_cannot_do(fp: FakeProcess) -> None:
    fp.register(["helm", fp.any()], returncode=1, occurrences=4)
    files = ChartFiles(Path("chart"), ())
    with pytest.raises(CommandError, match=r"^cannot deploy platform: "):
        FOUR.upgrade(files, description="", seconds=90, watcher=QUIET)
    with pytest.raises(CommandError, match=r"^cannot roll platform back to revision 3: "):
        FOUR.rollback(3, seconds=90, watcher=QUIET)
    with pytest.raises(CommandError, match=r"^cannot remove platform: "):
        FOUR.uninstall(seconds=90, watcher=QUIET)
    with pytest.raises(CommandError, match=r"^cannot test platform: "):
        FOUR.test(seconds=90, watcher=QUIET)


def test_a_tick_that_raises_keeps_helm_from_starting(fp: FakeProcess) -> None:
    def tick() -> None:
        raise DeployError("the lease is lost")

    with pytest.raises(DeployError, match="the lease is lost"):
        FOUR.uninstall(seconds=90, watcher=Watcher(lambda _: None, tick))
    assert len(fp.calls) == 0


@pytest.mark.parametrize(("helm", "wait"), [(THREE, "--wait"), (FOUR, "--wait=legacy")])
def test_uninstalls_and_waits(helm: Helm, wait: str, fp: FakeProcess) -> None:
    line = ["helm", "uninstall", "platform", "--cascade=foreground", wait, "--timeout=90s", *SCOPE]
    fp.register(line)
    helm.uninstall(seconds=90, watcher=QUIET)
    assert fp.call_count(line) == 1


def test_tests_and_passes_on_the_output(fp: FakeProcess) -> None:
    line = ["helm", "test", "platform", "--timeout=90s", *SCOPE]
    fp.register(line, stdout=["Phase: Succeeded"])
    lines: list[str] = []
    FOUR.test(seconds=90, watcher=Watcher(lines.append, lambda: None))
    assert [line.strip() for line in lines] == ["Phase: Succeeded"]


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
    (read,) = FOUR.history().revisions
    assert (read.number, read.status, read.chart) == (2, "deployed", "platform-0.1.0")
    updated = datetime(2026, 11, 21, 14, 54, 50, tzinfo=UTC)
    assert read.updated.astimezone(UTC).replace(microsecond=0) == updated


def test_a_missing_release_has_an_empty_history_but_a_failure_is_an_error(fp: FakeProcess) -> None:
    history = ["helm", "history", "platform", "--output=json", *SCOPE]
    fp.register(history, returncode=1, stderr=["Error: release: not found"])
    fp.register(history, returncode=1, stderr=["Error: Kubernetes cluster unreachable"])
    assert FOUR.history() == History()
    with pytest.raises(CommandError):
        FOUR.history()


def test_a_preview_equals_the_manifest_of_the_same_revision(fp: FakeProcess) -> None:
    hook = {"path": "platform/templates/test.yaml", "manifest": "kind: Pod\n"}
    rendered = {"manifest": "---\nkind: Service\n", "hooks": [hook]}
    upgrade = ["helm", "upgrade", "platform", "chart", "--install", "--values=a.yaml"]
    upgrade += ["--dry-run=server", "--output=json", *SCOPE]
    fp.register(upgrade, stdout=[json.dumps(rendered)])
    fp.register(
        ["helm", "get", "manifest", "platform", "--revision=3", *SCOPE],
        stdout=["---", "kind: Service", ""],
    )
    hooks = ["---", "# Source: platform/templates/test.yaml", "kind: Pod"]
    fp.register(["helm", "get", "hooks", "platform", "--revision=3", *SCOPE], stdout=hooks)
    assert FOUR.preview(ChartFiles(Path("chart"), (Path("a.yaml"),))) == FOUR.manifest(3)


def test_reads_values_and_notes(fp: FakeProcess) -> None:
    values = ["helm", "get", "values", "platform", "--revision=3", "--output=json", *SCOPE]
    fp.register(values, stdout=['{"components": {}}'])
    fp.register(values, stdout=["null"])
    fp.register(["helm", "get", "notes", "platform", *SCOPE], stdout=["NOTES:", "Say hello."])
    assert FOUR.values(3) == {"components": {}}
    assert FOUR.values(3) == {}
    assert FOUR.notes() == "Say hello."


def test_the_users_helm_driver_has_no_effect(
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
    files = ChartFiles(Path("chart"), (Path("/a, b/c.yaml"),))
    FOUR.upgrade(files, description="", seconds=90, watcher=QUIET)


@pytest.mark.parametrize("command", ["preview", "upgrade"])
def test_decrypted_values_come_by_its_standard_input(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[list[str], str | None]] = []

    def run(argv: list[str], *, options: process.Options, **_: object) -> str:
        runs.append((argv, options.text))
        return json.dumps({"manifest": ""})

    monkeypatch.setattr(process, "capture", run)
    monkeypatch.setattr(process, "stream", run)
    files = ChartFiles(Path("chart"), (Path("a.yaml"),), "password: secret\n")
    if command == "preview":
        FOUR.preview(files)
    else:
        FOUR.upgrade(files, description="", seconds=90, watcher=QUIET)
    ((argv, text),) = runs
    assert argv.index("--values=a.yaml") < argv.index("--values=-")
    assert text == "password: secret\n"
    assert "secret" not in str(argv)
