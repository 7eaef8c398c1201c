"""The exact command lines of helm 3 and 4, and how their output is read."""

import base64
import gzip
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery import process
from delivery.deploy.helm import ChartFiles, Helm, Watcher, probe
from delivery.deploy.history import History
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.manifests import Manifest
from delivery.errors import CommandError, DeployError

SCOPE = ["--namespace=platform", "--kube-context=kind-sample"]
CLUSTER = Kubernetes("kubectl", "kind-sample", "platform")
THREE = Helm("helm", (3, 18), CLUSTER)
FOUR = Helm("helm", (4, 1), CLUSTER)
SERVICE = "---\n# Source: platform/templates/a.yaml\nkind: Service\nmetadata: {name: a}"
# An object that has a hook, and is none.
NOTE = """---
# Source: platform/templates/b.yaml
kind: ConfigMap
metadata: {name: b}
data:
  note: |
    ---
    # Source: helm.sh/hook"""
POD = "kind: Pod\nmetadata:\n  name: p\n  annotations: {helm.sh/hook: test}"
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


def test_a_tick_that_raises_ends_helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delivery.deploy.helm.TICK_SECONDS", 0.01)
    program, ticks = tmp_path / "helm", itertools.count()
    program.write_text("#!/bin/sh\nexec sleep 5\n")
    program.chmod(0o755)

    def tick() -> None:
        if next(ticks):
            raise DeployError("the lease is lost")

    with pytest.raises(DeployError, match="the lease is lost"):
        replace(FOUR, program=str(program)).uninstall(
            seconds=90, watcher=Watcher(lambda _: None, tick)
        )


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


def secret(number: int, status: str, **release: object) -> dict[str, object]:
    """A Secret in which helm keeps a revision."""
    info = {"status": status, "last_deployed": "2026-11-21T11:54:50.436507495-03:00"}
    chart = {"metadata": {"name": "platform", "version": "0.1.0"}, "templates": []}
    stored = {"version": number, "info": info, "chart": chart, "manifest": "", **release}
    packed = base64.b64encode(gzip.compress(json.dumps(stored).encode()))
    return {"kind": "Secret", "data": {"release": base64.b64encode(packed).decode()}}


def register_history(fp: FakeProcess, *secrets: dict[str, object]) -> None:
    path = "/api/v1/namespaces/platform/secrets?labelSelector=owner%3Dhelm%2Cname%3Dplatform"
    command = ["kubectl", "--context=kind-sample", "--namespace=platform", "--request-timeout=20s"]
    printed = json.dumps({"kind": "SecretList", "items": secrets})
    fp.register([*command, "get", "--raw", path], stdout=[printed])


def test_reads_the_history_of_its_secrets(fp: FakeProcess) -> None:
    values: dict[str, object] = {"components": {}}
    register_history(
        fp, secret(10, "deployed", config=values), secret(9, "superseded", config=None)
    )
    old, new = FOUR.history().revisions
    assert (old.number, old.status, old.values) == (9, "superseded", {})
    assert (new.number, new.status, new.chart, new.values) == (
        10,
        "deployed",
        "platform-0.1.0",
        values,
    )
    updated = datetime(2026, 11, 21, 14, 54, 50, tzinfo=UTC)
    assert new.updated.astimezone(UTC).replace(microsecond=0) == updated


def test_a_missing_release_has_an_empty_history_but_a_failure_is_an_error(fp: FakeProcess) -> None:
    register_history(fp)
    assert FOUR.history() == History()
    fp.register(["kubectl", fp.any()], returncode=1, stderr=["error: cluster unreachable"])
    with pytest.raises(CommandError):
        FOUR.history()


@pytest.mark.parametrize("stored", ["", "bm8=", "H4sI", "e30="])
def test_a_damaged_secret_is_named(fp: FakeProcess, stored: str) -> None:
    encoded = base64.b64encode(stored.encode()).decode()
    name = "sh.helm.release.v1.platform.v3"
    register_history(fp, {"metadata": {"name": name}, "data": {"release": encoded}})
    with pytest.raises(DeployError, match=f"cannot read the revision in the Secret {name}"):
        FOUR.history()


def test_a_preview_equals_the_manifest_of_the_same_revision(fp: FakeProcess) -> None:
    hook = {"path": "platform/templates/test.yaml", "manifest": f"{POD}\n"}
    rendered = {"manifest": f"{SERVICE}\n{NOTE}\n", "hooks": [hook]}
    template = ["helm", "template", "platform", "chart", "--values=a.yaml", "--dry-run=server"]
    template += ["--disable-openapi-validation", "--is-upgrade", *SCOPE]
    source = f"---\n# Source: platform/templates/test.yaml\n{POD}"
    fp.register(template, stdout=f"{SERVICE}\n{NOTE}\n{source}\n")
    register_history(fp, secret(3, "deployed", **rendered))
    preview = FOUR.preview(ChartFiles(Path("chart"), (Path("a.yaml"),)), is_upgrade=True)
    assert FOUR.history().revisions[0].manifest == preview
    assert preview == Manifest(f"{SERVICE}\n{NOTE}", source)


def test_a_preview_of_helm_3_asks_what_the_cluster_supports(fp: FakeProcess) -> None:
    template = ["helm", "template", "platform", "chart", "--dry-run=server"]
    fp.register([*template, "--disable-openapi-validation", "--validate", *SCOPE], stdout=SERVICE)
    preview = THREE.preview(ChartFiles(Path("chart"), ()), is_upgrade=False)
    assert preview == Manifest(SERVICE, "")


def test_reads_values_and_notes(fp: FakeProcess) -> None:
    values = ["helm", "get", "values", "platform", "--revision=3", "--all", "--output=json", *SCOPE]
    fp.register(values, stdout=['{"all": 1}'])
    fp.register(values, stdout=["null"])
    fp.register(["helm", "get", "notes", "platform", *SCOPE], stdout=["NOTES:", "Say hello."])
    assert FOUR.values(3) == {"all": 1}
    assert FOUR.values(3) == {}
    assert FOUR.notes() == "Say hello."


def test_the_users_helm_driver_has_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELM_DRIVER", "configmap")
    program = tmp_path / "helm"
    program.write_text('#!/bin/sh\necho "$HELM_DRIVER"\n')
    program.chmod(0o755)
    assert replace(FOUR, program=str(program)).notes() == "secret"


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
        return ""

    monkeypatch.setattr(process, "capture", run)
    monkeypatch.setattr(process, "stream", run)
    files = ChartFiles(Path("chart"), (Path("a.yaml"),), "password: secret\n")
    if command == "preview":
        FOUR.preview(files, is_upgrade=True)
    else:
        FOUR.upgrade(files, description="", seconds=90, watcher=QUIET)
    ((argv, text),) = runs
    assert argv.index("--values=a.yaml") < argv.index("--values=-")
    assert text == "password: secret\n"
    assert "secret" not in str(argv)
