"""A deploy looks, repairs, compares, upgrades and tells why, in this order; only then it rolls back."""

import dataclasses
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from delivery.deploy import follow, leases
from delivery.deploy.history import describe
from delivery.deploy.locked_target import hold
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
    place = target(cluster, "local", **declared)
    given = write_files(place, Chart(CHART, {"components": {}}, packed), root)
    with hold(place, Options(rollback=rollback)) as held:
        return upgrade(
            held, place.deployment(Action.DEPLOY, contents or Contents(), Contents()), given, root
        )


def test_a_new_version_is_upgraded_to_and_tested(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(cluster, root, test=True).outcome is Outcome.SUCCEEDED
    assert cluster.done == ["upgrade", "test"]
    printed = capsys.readouterr().out
    assert "helm test: 1 passed" in printed
    assert printed.rstrip().endswith("Say hello.")


def test_what_is_deployed_already_is_left_alone(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.rendered = OLD
    assert deploy(cluster, root, test=True).outcome is Outcome.UNCHANGED
    assert cluster.done == []
    assert "nothing to do: revision 1 is this already" in capsys.readouterr().out


def test_another_hook_is_another_release(cluster: Cluster, root: Path) -> None:
    cluster.rendered = Manifest(OLD.objects, "kind: Job")
    deploy(cluster, root)
    assert cluster.done == ["upgrade"]


def test_what_somebody_changed_in_the_cluster_is_mended(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.rendered, cluster.live_objects = OLD, []
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == ["upgrade"]
    assert "changed in the cluster since: Service/web" in capsys.readouterr().out


def test_an_unchanged_release_that_is_not_ready_is_an_error_without_a_new_revision(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_self: object) -> bool:
        raise follow.HopelessError("web-1 died 3 times")

    monkeypatch.setattr(follow.Watch, "look", look)
    cluster.rendered = OLD
    with pytest.raises(DeployError, match="revision 1 is this already, but web-1 died 3 times"):
        deploy(cluster, root)
    assert cluster.done == ["report"]


def test_a_chart_that_refuses_changes_nothing(cluster: Cluster, root: Path) -> None:
    cluster.fails["preview"] = failed("Error: execution error at validate.yaml: tls wants one of …")
    with pytest.raises(DeployError, match="the chart refuses it") as caught:
        deploy(cluster, root)
    assert "tls wants one of" in caught.value.details
    assert cluster.done == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (failed(), "UPGRADE FAILED: oh no"),
        (failed("Error: UPGRADE FAILED: context deadline exceeded"), "not ready after 600 s"),
        (follow.HopelessError("web-1 died 3 times"), "web-1 died 3 times"),
    ],
)
def test_a_failure_is_told_before_it_is_rolled_back(
    cluster: Cluster, root: Path, error: CommandError | follow.HopelessError, said: str
) -> None:
    cluster.fails["upgrade"] = error
    with pytest.raises(DeployError, match=f"{said}.*; revision 1 serves on") as caught:
        deploy(cluster, root)
    assert cluster.done == ["upgrade", "report", "rollback 1"]
    assert caught.value.exit_code == 8


def test_a_failure_may_be_left_in_target(cluster: Cluster, root: Path) -> None:
    cluster.fails["upgrade"] = failed()
    with pytest.raises(
        DeployError,
        match=r"nothing is rolled back; `\./run inv rollback --environment local --revision 1`",
    ):
        deploy(cluster, root, rollback=False)
    assert cluster.done == ["upgrade", "report"]


def test_a_first_install_that_fails_stays_to_be_looked_at(cluster: Cluster, root: Path) -> None:
    cluster.revisions = []
    cluster.fails["upgrade"] = failed()
    with pytest.raises(DeployError, match="nothing served before"):
        deploy(cluster, root)
    assert cluster.done == ["upgrade", "report"]


def test_a_version_that_fails_its_test_is_rolled_back(cluster: Cluster, root: Path) -> None:
    cluster.fails["test"] = failed()
    with pytest.raises(DeployError, match="the chart's tests failed; revision 1 serves on"):
        deploy(cluster, root, test=True)
    assert cluster.done == ["upgrade", "test", "report", "rollback 1"]


NO_WAY_BACK = (
    r"^upgrade on local \(kind-sample, namespace platform\): Error: UPGRADE FAILED: oh no; "
    r"going back to revision 1 failed too: "
)


def test_a_rollback_that_fails_does_not_hide_why(cluster: Cluster, root: Path) -> None:
    cluster.fails = {"upgrade": failed(), "rollback": failed("Error: no such revision")}
    with pytest.raises(DeployError, match=f"{NO_WAY_BACK}.*no such revision") as caught:
        deploy(cluster, root)
    assert cluster.done == ["upgrade", "report", "rollback 1", "report"]
    assert not caught.value.rolled_back
    assert "`./run inv rollback --environment local --revision 1`" in caught.value.hint


def test_a_rollback_that_cannot_begin_does_not_hide_why(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the cluster has gone away: neither the error nor its exit code is lost."""
    cluster.fails["upgrade"] = failed()

    def uids(*_: object) -> frozenset[str]:
        if "upgrade" in cluster.done:
            raise CommandError("list the pods", argv=["kubectl"], returncode=1, tail="refused")
        return frozenset()

    monkeypatch.setattr(follow, "uids", uids)
    with pytest.raises(DeployError, match=f"{NO_WAY_BACK}list the pods$") as caught:
        deploy(cluster, root)
    assert caught.value.details == "refused"
    assert cluster.done == ["upgrade", "report"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_look_ends_with_its_step_whatever_comes_of_that(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    monkeypatch.setattr(follow.Watch, "end", lambda _watch: cluster.done.append("end"))
    if fails:
        cluster.fails["upgrade"] = failed()
    with pytest.raises(DeployError) if fails else nullcontext():
        deploy(cluster, root)
    assert cluster.done[:3] == ["upgrade", "end", *(["report"] if fails else [])]


@pytest.mark.parametrize("successor", ["", "you@there pid 7"])
def test_a_lost_lease_is_told_once(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch, successor: str
) -> None:
    def tick(_watch: object) -> None:
        cluster.turn.lost.set()
        try:
            cluster.turn.check()
        finally:  # who has it may be known only after it was found to be lost
            cluster.turn.successor = successor

    monkeypatch.setattr(follow.Watch, "tick", tick)
    with pytest.raises(LeaseLostError) as caught:
        deploy(cluster, root)
    assert caught.value.message.count("keep the lease") == 1
    assert cluster.done == ["upgrade"]


def test_a_helm_that_is_killed_leaves_nothing_stuck(cluster: Cluster, root: Path) -> None:
    cluster.fails["upgrade"] = failed(returncode=-9)
    with pytest.raises(
        DeployError, match="helm was ended by signal 9; revision 1 serves on"
    ) as caught:
        deploy(cluster, root)
    assert cluster.done == [
        "upgrade",
        "report",
        "delete secret sh.helm.release.v1.platform.v2",
        "rollback 1",
    ]
    assert "run the same command again" in caught.value.hint


def cut_off(cluster: Cluster, made: str, at: datetime = NOW, policy: str = "") -> None:
    """A deploy that was killed just now; its revision's objects are in the cluster since `at`."""
    cluster.dead = leases.Holding("you", NOW - timedelta(seconds=30), datetime.now(UTC), "1")
    cluster.add("pending-upgrade", Manifest(made, ""), NOW)
    cluster.make(made, at, {"helm.sh/resource-policy": policy} if policy else {})


REPAIRED = "delete secret sh.helm.release.v1.platform.v2"


def test_a_revision_that_a_dead_deploy_left_is_repaired_at_once(
    cluster: Cluster, root: Path
) -> None:
    cluster.rendered = OLD
    cut_off(cluster, NEW.objects)
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    # What it may have changed is applied anew, what only it made is deleted.
    assert cluster.done == [REPAIRED, "upgrade", "delete New new"]


def test_what_the_new_revision_has_too_stays(cluster: Cluster, root: Path) -> None:
    cut_off(cluster, NEW.objects)
    cluster.rendered = Manifest(OLD.objects, NEW.objects)
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == [REPAIRED, "upgrade"]


def test_what_serves_now_stays_however_it_is_written(cluster: Cluster, root: Path) -> None:
    cut_off(cluster, NEW.objects)
    cluster.rendered = Manifest("{metadata: {name: new}, kind: New}\n", "")
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == [REPAIRED, "upgrade"]


def thing(kind: str) -> str:
    return f"kind: {kind}\nmetadata:\n  name: platform-data\n"


@pytest.mark.parametrize(
    "kind",
    ["PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"],
)
def test_what_holds_data_is_never_tidied_away(cluster: Cluster, root: Path, kind: str) -> None:
    cut_off(cluster, thing(kind))
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == [REPAIRED, "upgrade"]


def test_what_the_chart_keeps_is_never_tidied_away(cluster: Cluster, root: Path) -> None:
    cut_off(cluster, thing("Secret"), policy="keep")
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == [REPAIRED, "upgrade"]


def test_what_is_older_than_a_killed_revision_is_not_tidied_away(
    cluster: Cluster, root: Path
) -> None:
    """An earlier revision made it, though the history may not go back so far."""
    cut_off(cluster, thing("Secret"), NOW - timedelta(seconds=1))
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == [REPAIRED, "upgrade"]


@pytest.mark.parametrize("status", ["superseded", "failed"])
@pytest.mark.parametrize("as_hook", [False, True])
def test_what_an_earlier_revision_had_is_never_tidied_away(
    cluster: Cluster, root: Path, status: str, *, as_hook: bool
) -> None:
    """Whether that went well or not, and whatever the clocks say."""
    text = thing("Secret")
    cluster.revisions = []
    cluster.add(status, Manifest("", text) if as_hook else Manifest(text, ""))
    cluster.add("deployed", OLD)
    cut_off(cluster, text)
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == ["delete secret sh.helm.release.v1.platform.v3", "upgrade"]


def test_one_that_is_too_old_for_anybody_to_be_at_it_is_repaired(
    cluster: Cluster, root: Path
) -> None:
    cluster.revisions = []
    cluster.add("pending-install", NEW, datetime.now(UTC) - timedelta(seconds=601))
    assert deploy(cluster, root).outcome is Outcome.SUCCEEDED
    assert cluster.done == ["delete secret sh.helm.release.v1.platform.v1", "upgrade"]


def test_a_helm_that_is_not_ours_is_waited_for(
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


def test_who_lost_the_lease_deletes_no_revision(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    cluster.dead = leases.Holding("you", now - timedelta(seconds=30), now, "1")
    cluster.add("pending-upgrade", NEW, now)

    def manifest(_revision: int) -> Manifest:
        lose_lease(monkeypatch)
        return NEW

    monkeypatch.setattr(cluster, "manifest", manifest)
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        deploy(cluster, root)
    assert cluster.done == []


def test_who_lost_the_lease_rolls_nothing_back(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "report", lambda *_: lose_lease(monkeypatch))
    cluster.fails["upgrade"] = failed()
    with pytest.raises(DeployError, match="nothing is rolled back, the next deploy rep") as caught:
        deploy(cluster, root)
    assert cluster.done == ["upgrade"]
    assert not caught.value.rolled_back


def test_who_lost_the_lease_deletes_nothing_that_was_left(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(cluster, thing("Secret"))
    monkeypatch.setattr(cluster, "test", lambda *_, **__: lose_lease(monkeypatch))
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        deploy(cluster, root, test=True)
    assert cluster.done == [REPAIRED, "upgrade"]


def test_a_namespace_is_made_that_enforces_pod_security(cluster: Cluster, root: Path) -> None:
    cluster.namespaces = {}
    deploy(cluster, root)
    assert cluster.done[0] == "create platform {'pod-security.kubernetes.io/enforce': 'restricted'}"


def test_a_namespace_that_is_there_is_left_as_it_is(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.namespaces = {"platform": labelled()}
    deploy(cluster, root)
    assert cluster.done == ["upgrade"]
    assert "enforces no Pod Security" in capsys.readouterr().out


def test_values_that_are_not_there_are_named(cluster: Cluster, root: Path) -> None:
    (root / "platform-chart" / "values-local.yaml").unlink()
    with pytest.raises(DeclarationError, match=r"environments\.local\.values: there is no file"):
        deploy(cluster, root)
    assert cluster.done == []


def test_a_clones_chart_is_deployed_with_the_clones_values(cluster: Cluster, root: Path) -> None:
    deploy(cluster, root)
    assert (cluster.chart, cluster.values_text) == (root / CHART, "")


def test_a_releases_chart_is_deployed_with_the_values_that_it_was_packaged_with(
    cluster: Cluster, root: Path
) -> None:
    release = packed(root, "values-local.yaml")
    deploy(cluster, root, packed=release)
    assert cluster.chart.read_bytes() == release
    assert cluster.values_text == "of: the package\n"


def test_a_releases_chart_without_the_environments_values_is_refused(
    cluster: Cluster, root: Path
) -> None:
    with pytest.raises(
        DeclarationError,
        match=r"there is no file platform-chart/values-local\.yaml in the packaged chart",
    ):
        deploy(cluster, root, packed=packed(root))
    assert cluster.done == []


def test_a_deploy_says_what_it_changes_and_helm_keeps_what_it_is_made_of(
    cluster: Cluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {"api-rest": "0.2.0", "async-worker": "0.2.0", "platform-chart": "0.2.0"}
    cluster.revisions[0] = dataclasses.replace(cluster.revisions[0], description=describe(before))
    contents = Contents(versions={**before, "api-rest": "0.2.1"})
    done = deploy(cluster, root, contents=contents)
    assert (
        "not what revision 1 is: api-rest 0.2.0 → 0.2.1, New/new (new), Old/old (gone)"
        in capsys.readouterr().out
    )
    assert (done.revision, done.previous, done.outcome) == (2, 1, Outcome.SUCCEEDED)
    assert cluster.history().versions(cluster.revisions[-1]) == contents.versions


def test_values_beside_the_chart_are_the_clones_also_for_a_release(
    cluster: Cluster, root: Path
) -> None:
    (root / "chosen.yaml").write_text("of: the clone\n")
    deploy(cluster, root, packed=packed(root), values="chosen.yaml")
    assert cluster.values_text == "of: the clone\n"
