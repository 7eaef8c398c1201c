"""A deploy repairs, compares, upgrades and reports, in this order; only then it rolls back."""

import dataclasses
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from delivery.deploy import follow
from delivery.deploy.history import describe
from delivery.deploy.leases import Holder
from delivery.deploy.locked_target import lock_target
from delivery.deploy.manifests import Manifest
from delivery.deploy.target import Options
from delivery.deploy.upgrade import Chart, upgrade, write_files
from delivery.errors import CommandError, DeclarationError, DeployError, LeaseLostError
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from tests.deploy.cluster import (
    CHART,
    NEW,
    NOW,
    OLD,
    Cluster,
    failed,
    labelled,
    lose_lease,
    packed,
    target,
    with_small_claim,
)


def deploy(
    cluster: Cluster,
    root: Path,
    *,
    rollback: bool = True,
    packed: bytes | None = None,
    contents: Contents | None = None,
    **declared: object,
) -> Deployment:
    local = target(cluster, "local", **declared)
    inputs = write_files(local, Chart(CHART, {"components": {}}, packed), root)
    deployment = local.deployment(Action.DEPLOY, contents or Contents(), Contents())
    with lock_target(local, Options(rollback=rollback)) as locked:
        return upgrade(locked, deployment, inputs, root)


def test_a_chart_is_rendered_for_an_upgrade_once_it_has_a_revision(
    cluster: Cluster, root: Path
) -> None:
    cluster.revisions = []
    deploy(cluster, root)
    deploy(cluster, root)
    assert cluster.previews == [False, True]


def test_a_new_version_is_deployed_and_tested(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(cluster, root, test=True).outcome is Outcome.SUCCEEDED
    assert cluster.done == ["upgrade", "test"]
    printed = capsys.readouterr().out
    assert "helm test: 1 passed" in printed
    assert printed.rstrip().endswith("Say hello.")


def test_a_deployed_version_is_not_deployed_again(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.rendered = OLD
    assert deploy(cluster, root, test=True).outcome is Outcome.UNCHANGED
    assert cluster.done == []
    assert "nothing to do: revision 1 has the same contents" in capsys.readouterr().out


def test_a_changed_hook_is_deployed(cluster: Cluster, root: Path) -> None:
    cluster.rendered = Manifest(OLD.objects, "kind: Job\nmetadata: {name: job}")
    deploy(cluster, root)
    assert cluster.done == ["upgrade"]


def test_a_change_in_the_cluster_is_corrected(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.rendered, cluster.live_objects = OLD, []
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == ["upgrade"]
    assert "changed in the cluster since: Service/web" in capsys.readouterr().out


def test_an_unchanged_release_that_is_not_ready_is_an_error_without_a_new_revision(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_self: object) -> bool:
        raise follow.RolloutError("web-1 restarted 3 times")

    monkeypatch.setattr(follow.Watch, "check", check)
    cluster.rendered = OLD
    with pytest.raises(
        DeployError, match="revision 1 has the same contents, but web-1 restarted 3"
    ):
        deploy(cluster, root)
    assert cluster.done == ["report"]


def test_a_first_install_that_the_chart_refuses_says_why(cluster: Cluster, root: Path) -> None:
    cluster.revisions = []
    cluster.fails["preview"] = failed(
        "Error: UPGRADE FAILED: execution error at (platform/templates/values.yaml:5:4): \n"
        "\n2 mistakes in the values:\n\n  - a: b\n  - c: d\n\n\n"
        "Use --debug flag to render out invalid YAML"
    )
    with pytest.raises(DeployError, match="the chart refuses the values") as caught:
        deploy(cluster, root)
    assert caught.value.details == "2 mistakes in the values:\n\n  - a: b\n  - c: d"
    assert cluster.done == []


@pytest.fixture
def growing(cluster: Cluster) -> Cluster:
    return with_small_claim(cluster)


def test_claims_are_enlarged_before_the_upgrade(growing: Cluster, root: Path) -> None:
    deploy(growing, root)
    change = '{"spec": {"resources": {"requests": {"storage": "10Gi"}}}}'
    patch = f"patch persistentvolumeclaim data-platform-kafka-0 {change}"
    assert growing.done == [patch, "upgrade"]


def test_a_class_that_enlarges_no_claim_ends_the_deploy(growing: Cluster, root: Path) -> None:
    growing.fails["patch"] = failed("only dynamically provisioned pvc can be resized")
    with pytest.raises(DeployError, match="only dynamically provisioned pvc") as caught:
        deploy(growing, root)
    assert "8Gi again" in caught.value.hint
    assert "upgrade" not in growing.done


REPAIRED = "delete secret sh.helm.release.v1.platform.v2"
AGAIN = ".*; revision 1 is deployed again"
BY_HAND = r"nothing is rolled back; `\./run inv rollback --environment local --revision 1`"


@pytest.mark.parametrize(
    ("error", "message", "done"),
    [
        (failed(), f"UPGRADE FAILED: oh no{AGAIN}", ["rollback 1"]),
        (
            failed("Error: context deadline exceeded"),
            f"not ready after 600 s{AGAIN}",
            ["rollback 1"],
        ),
        (follow.RolloutError("web-1 restarted"), f"web-1 restarted{AGAIN}", ["rollback 1"]),
        # The revision of a killed helm is pending.
        (failed(returncode=-9), f"ended by signal 9{AGAIN}", [REPAIRED, "rollback 1"]),
    ],
)
def test_a_failure_is_reported_and_then_rolled_back(
    cluster: Cluster,
    root: Path,
    error: CommandError | follow.RolloutError,
    message: str,
    done: list[str],
) -> None:
    cluster.fails["upgrade"] = error
    with pytest.raises(DeployError, match=message) as caught:
        deploy(cluster, root)
    assert cluster.done == ["upgrade", "report", *done]
    assert caught.value.exit_code == 8
    assert "run the same command again" in caught.value.hint


def test_a_failure_stays_with_no_rollback_and_without_an_earlier_revision(
    cluster: Cluster, root: Path
) -> None:
    cluster.fails["test"] = failed()
    with pytest.raises(DeployError, match=BY_HAND):
        deploy(cluster, root, rollback=False, test=True)
    cluster.revisions, cluster.fails["test"] = [], failed()
    with pytest.raises(DeployError, match="nothing was deployed before"):
        deploy(cluster, root, test=True)
    assert cluster.done == ["upgrade", "test", "report"] * 2


NOT_RESTORED = (
    r"^cannot upgrade on local \(kind-sample, namespace platform\): Error: UPGRADE FAILED: oh no; "
    r"rolling back to revision 1 failed too: "
)


def test_a_rollback_that_fails_does_not_hide_the_reason(cluster: Cluster, root: Path) -> None:
    cluster.fails = {"upgrade": failed(), "rollback": failed("Error: no such revision")}
    with pytest.raises(DeployError, match=f"{NOT_RESTORED}.*no such revision") as caught:
        deploy(cluster, root)
    assert cluster.done == ["upgrade", "report", "rollback 1", "report"]
    assert not caught.value.rolled_back
    assert "`./run inv rollback --environment local --revision 1`" in caught.value.hint


def test_a_rollback_that_cannot_begin_does_not_hide_the_reason(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the cluster has stopped answering, neither the error nor its exit code is lost."""
    cluster.fails["upgrade"] = failed()

    def pod_uids(*_: object) -> frozenset[str]:
        if "upgrade" in cluster.done:
            raise CommandError("cannot list pods", argv=["kubectl"], returncode=1, tail="refused")
        return frozenset()

    monkeypatch.setattr(follow, "pod_uids", pod_uids)
    with pytest.raises(DeployError, match=f"{NOT_RESTORED}cannot list pods$") as caught:
        deploy(cluster, root)
    assert caught.value.details == "refused"
    assert cluster.done == ["upgrade", "report"]


@pytest.mark.parametrize("fails", [False, True])
def test_the_watch_ends_with_its_step(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    monkeypatch.setattr(follow.Watch, "end", lambda _watch: cluster.done.append("end"))
    if fails:
        cluster.fails["upgrade"] = failed()
    with pytest.raises(DeployError) if fails else nullcontext():
        deploy(cluster, root)
    assert cluster.done[:3] == ["upgrade", "end", *(["report"] if fails else [])]


@pytest.mark.parametrize("successor", ["", "you@there pid 7"])
def test_a_lost_lease_is_reported_once(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch, successor: str
) -> None:
    def tick(_watch: object) -> None:
        cluster.lock.lost.set()
        try:
            cluster.lock.check()
        finally:  # a later renewal may learn who has it
            cluster.lock.successor = successor

    monkeypatch.setattr(follow.Watch, "tick", tick)
    with pytest.raises(LeaseLostError) as caught:
        deploy(cluster, root)
    assert caught.value.message.count("keep the lease") == 1
    assert cluster.done == ["upgrade"]


SECRET = "kind: Secret\nmetadata:\n  name: platform-data\n"


def cut_off(cluster: Cluster, manifest: str) -> None:
    """Revision 2 is of a deploy that was killed just now, after it had created its objects."""
    cluster.dead_holder = Holder("you", NOW - timedelta(seconds=30), "1")
    cluster.add("pending-upgrade", Manifest(manifest, ""), NOW)
    cluster.create_objects(manifest)


def test_a_dead_deploys_revision_is_repaired_at_once(cluster: Cluster, root: Path) -> None:
    cluster.rendered = OLD
    cut_off(cluster, NEW.objects)
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    # Its changes are overwritten, and what only it created is deleted.
    assert cluster.done == [REPAIRED, "upgrade", "delete New new"]


def test_the_new_revisions_objects_are_no_leftovers(cluster: Cluster, root: Path) -> None:
    cut_off(cluster, NEW.objects)
    cluster.rendered = Manifest(OLD.objects, NEW.objects)
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == [REPAIRED, "upgrade"]


@pytest.mark.parametrize("status", ["superseded", "failed"])
@pytest.mark.parametrize("as_hook", [False, True])
def test_an_earlier_revisions_objects_are_no_leftovers(
    cluster: Cluster, root: Path, status: str, *, as_hook: bool
) -> None:
    cluster.revisions = []
    cluster.add(status, Manifest("", SECRET) if as_hook else Manifest(SECRET, ""))
    cluster.add("deployed", OLD)
    cut_off(cluster, SECRET)
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == ["delete secret sh.helm.release.v1.platform.v3", "upgrade"]


def test_a_foreign_pending_revision_is_repaired_when_it_is_old(
    cluster: Cluster, root: Path
) -> None:
    cluster.revisions = []
    cluster.add("pending-install", NEW, datetime.now(UTC) - timedelta(seconds=601))
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == ["delete secret sh.helm.release.v1.platform.v1", "upgrade"]


def test_a_foreign_helm_is_waited_for(
    cluster: Cluster,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster.add("pending-upgrade", NEW, datetime.now(UTC))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            cluster.revisions.pop()
            cluster.add("deployed", NEW, datetime.now(UTC))

    monkeypatch.setattr(time, "sleep", sleep)
    assert deploy(cluster, root).outcome is Outcome.UNCHANGED
    assert (len(waited), cluster.done) == (3, [])
    assert capsys.readouterr().out.count("and not by `inv deploy`") == 1


def test_a_deploy_that_lost_the_lease_deletes_no_revision(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = cluster.find

    def find_late(kind: str, name: str) -> dict[str, Any] | None:
        if kind == "secret":
            lose_lease(monkeypatch)
        return find(kind, name)

    cut_off(cluster, NEW.objects)
    monkeypatch.setattr(cluster, "find", find_late)
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        deploy(cluster, root)
    assert cluster.done == []


@pytest.mark.parametrize("rollback", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_deploy_that_lost_the_lease_says_so_and_rolls_nothing_back(
    cluster: Cluster,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    rollback: bool,
    is_first: bool,
) -> None:
    if is_first:
        cluster.revisions = []
    monkeypatch.setattr(follow, "report", lambda *_: lose_lease(monkeypatch))
    cluster.fails["upgrade"] = failed()
    with pytest.raises(DeployError, match="nothing is rolled back, the next deploy rep") as caught:
        deploy(cluster, root, rollback=rollback)
    assert cluster.done == ["upgrade"]
    assert not caught.value.rolled_back


def test_a_deploy_that_lost_the_lease_deletes_no_leftovers(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(cluster, SECRET)
    monkeypatch.setattr(cluster, "test", lambda *_, **__: lose_lease(monkeypatch))
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        deploy(cluster, root, test=True)
    assert cluster.done == [REPAIRED, "upgrade"]


def test_a_missing_namespace_is_created_with_pod_security(cluster: Cluster, root: Path) -> None:
    cluster.namespaces = {}
    deploy(cluster, root)
    assert cluster.done[0] == "create platform {'pod-security.kubernetes.io/enforce': 'restricted'}"


def test_an_existing_namespace_is_not_changed(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.namespaces = {"platform": labelled()}
    deploy(cluster, root)
    assert cluster.done == ["upgrade"]
    assert "enforces no Pod Security" in capsys.readouterr().out


def test_missing_values_are_an_error(cluster: Cluster, root: Path) -> None:
    (root / "platform-chart" / "values-local.yaml").unlink()
    with pytest.raises(DeclarationError, match=r"environments\.local\.values: there is no file"):
        deploy(cluster, root)
    assert cluster.done == []


def test_a_clones_chart_is_deployed_with_the_clones_values(cluster: Cluster, root: Path) -> None:
    deploy(cluster, root)
    assert (cluster.chart, cluster.values_text) == (root / CHART, "")


def test_a_packaged_chart_is_deployed_with_its_packaged_values(
    cluster: Cluster, root: Path
) -> None:
    release = packed(root, "values-local.yaml")
    deploy(cluster, root, packed=release)
    assert cluster.chart.read_bytes() == release
    assert cluster.values_text == "of: the package\n"


def test_a_packaged_chart_without_the_environments_values_is_refused(
    cluster: Cluster, root: Path
) -> None:
    message = r"there is no file platform-chart/values-local\.yaml in the packaged chart"
    with pytest.raises(DeclarationError, match=message):
        deploy(cluster, root, packed=packed(root))
    assert cluster.done == []


def test_values_outside_the_chart_are_always_the_clones(cluster: Cluster, root: Path) -> None:
    (root / "chosen.yaml").write_text("of: the clone\n")
    deploy(cluster, root, packed=packed(root), values="chosen.yaml")
    assert cluster.values_text == "of: the clone\n"


def test_a_deploy_prints_its_changes_and_helm_keeps_its_versions(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = {"api-rest": "0.2.0", "async-worker": "0.2.0", "platform-chart": "0.2.0"}
    cluster.revisions[0] = dataclasses.replace(cluster.revisions[0], description=describe(versions))
    contents = Contents(versions={**versions, "api-rest": "0.2.1"})
    done = deploy(cluster, root, contents=contents)
    assert (
        "differs from revision 1: api-rest 0.2.0 → 0.2.1, New/new (new), Old/old (gone)"
        in capsys.readouterr().out
    )
    assert (done.revision, done.previous_revision, done.outcome) == (2, 1, Outcome.SUCCEEDED)
    assert cluster.history().versions(cluster.revisions[-1]) == contents.versions
