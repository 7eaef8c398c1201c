"""A deploy looks, repairs, compares, upgrades and tells why, in this order; only then it rolls back."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from delivery.deploy import follow, leases, upgrade
from delivery.deploy.deployment import Manifest, Revision, describe, objects, versions_of
from delivery.deploy.helm import Helm, Watcher
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.lock import Turn
from delivery.deploy.upgrade import Options, Target
from delivery.errors import CommandError, DeclarationError, DeployError, LeaseLostError
from delivery.project.declaration import Environment
from delivery.project.keys import File
from delivery.release import chart_package
from tests import yaml_strict

OLD, NEW = Manifest("kind: Old\nmetadata:\n  name: old\n", ""), Manifest("kind: New\nmetadata:\n  name: new\n", "")
CHART = Path("platform-chart")
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
NOW = datetime.now(UTC).replace(microsecond=0)


class House:
    """Helm, a namespace and a lock in one; done is what was asked of them, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.revisions: list[Revision] = []
        self.manifests: dict[int, Manifest] = {}
        self.rendered = NEW
        self.fails: dict[str, CommandError | follow.HopelessError] = {}
        self.live_objects: list[dict[str, Any]] = []
        self.made: dict[tuple[str, str], dict[str, Any]] = {}
        self.left: dict[str, list[str]] = {}
        self.namespaces: dict[str, dict[str, Any]] = {"platform": labelled("pod-security.kubernetes.io/enforce")}
        self.dead: leases.Holding | None = None
        self.turn = Turn("platform-deploy", None)
        self.namespace = "platform"
        self.context = "kind-house"
        self.chart = Path()
        self.values_text = ""

    def add(self, status: str, manifest: Manifest, updated: datetime = LONG_AGO, description: str = "") -> None:
        number = len(self.revisions) + 1
        self.revisions.append(Revision(number, status, updated, "platform-0.1.0", description))
        self.manifests[number] = manifest

    # Helm
    def history(self, _release: str) -> tuple[Revision, ...]:
        return tuple(self.revisions)

    def manifest(self, _release: str, revision: int) -> Manifest:
        return self.manifests[revision]

    def preview(self, _release: str, _chart: Path, _values: Sequence[Path]) -> Manifest:
        self._may_fail("preview")
        return self.rendered

    def upgrade(  # as helm takes them
        self,
        _release: str,
        chart: Path,
        values: Sequence[Path],
        *,
        description: str,
        seconds: int,
        watcher: Watcher,
    ) -> None:
        assert seconds
        assert [file.name for file in values][1:] == ["values-local.json"]
        self.chart, self.values_text = chart, values[0].read_text()
        self.done.append("upgrade")
        error = self.fails.get("upgrade")
        killed = isinstance(error, CommandError) and error.returncode < 0
        status = "pending-upgrade" if killed else "failed" if error else "deployed"
        self.add(status, self.rendered, datetime.now(UTC), description)
        watcher.tick()
        self._may_fail("upgrade")

    def rollback(self, _release: str, revision: int, *, seconds: int, watcher: Watcher) -> None:
        assert seconds
        watcher.tick()
        self.done.append(f"rollback {revision}")
        self._may_fail("rollback")

    def uninstall(self, _release: str, *, seconds: int, watcher: Watcher) -> None:
        assert seconds
        watcher.tick()
        self.done.append("uninstall")

    def test(self, _release: str, *, seconds: int, watcher: Watcher) -> None:
        assert seconds
        self.done.append("test")
        watcher.on_line("Phase: Succeeded\n")
        self._may_fail("test")

    def notes(self, _release: str) -> str:
        return "Say hello."

    def values(self, _release: str, _revision: int) -> dict[str, object]:
        image = {"repository": "localhost:5001/api-rest", "digest": "sha256:a"}
        return {"components": {"api-rest": {"image": image}, "other": {}}}

    # Kubernetes
    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "secret":  # of helm's last revision
            assert name == f"sh.helm.release.v1.platform.v{self.revisions[-1].number}"
            return {"metadata": {"creationTimestamp": self.revisions[-1].updated.isoformat()}}
        return self.namespaces.get(name)

    def make(self, manifest: str, at: datetime, annotations: dict[str, str]) -> None:
        """Put a manifest's objects into the cluster."""
        for kind, name in objects(manifest):
            found = {"name": name, "creationTimestamp": at.isoformat(), "annotations": annotations}
            self.made[kind, name] = {"kind": kind, "metadata": found}

    def create(self, made: dict[str, Any]) -> None:
        self.done.append(f"create {made['metadata']['name']} {made['metadata']['labels']}")

    def delete(self, kind: str, names: list[str]) -> None:
        if names:
            self.done.append(f"delete {kind} {' '.join(names)}")
        if kind == "secret":
            assert names == [f"sh.helm.release.v1.platform.v{self.revisions[-1].number}"]
            self.revisions.pop()

    def would_be(self, _manifest: str, _manager: str) -> list[dict[str, Any]]:
        return [{"kind": "Service", "metadata": {"name": "web"}}]

    def live(self, manifest: str) -> list[dict[str, Any]]:
        documents = yaml_strict.load_all(manifest)
        named = [(one["kind"], one["metadata"]["name"]) for one in documents]
        return [*self.live_objects, *(self.made[one] for one in named if one in self.made)]

    def all(self, kind: str, _selector: str = "") -> list[dict[str, Any]]:
        return [{"metadata": {"name": name}} for name in self.left.get(kind, [])]

    def _may_fail(self, what: str) -> None:
        if error := self.fails.pop(what, None):
            raise error


def labelled(*labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": dict.fromkeys(labels, "restricted")}}


def failed(tail: str = "Error: UPGRADE FAILED: oh no", returncode: int = 1) -> CommandError:
    return CommandError("deploy platform", argv=["helm"], returncode=returncode, tail=tail)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    """A namespace where revision 1 serves, nothing has drifted, and everything is ready."""
    made = House()
    made.add("deployed", OLD)
    made.live_objects = made.would_be("", "")

    @contextmanager
    def hold(*_arguments: object, **_options: object) -> Iterator[Turn]:
        made.turn = Turn("platform-deploy", made.dead)
        yield made.turn

    monkeypatch.setattr(upgrade, "hold", hold)
    monkeypatch.setattr(follow, "report", lambda *_: made.done.append("report"))
    monkeypatch.setattr(follow.Watch, "look", lambda _self: True)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clone with a chart."""
    (tmp_path / "platform-chart").mkdir()
    (tmp_path / "platform-chart" / "values-local.yaml").touch()
    return tmp_path


def place(house: House, *, test: bool = False) -> Target:
    values = "platform-chart/values-local.yaml"
    declared = Environment(contexts=("kind-house",), namespace="platform", values=values, test=test)
    return Target("local", declared, cast("Helm", house), cast("Kubernetes", house))


def deploy(house: House, root: Path, *, test: bool = False, rollback: bool = True, packed: bytes | None = None) -> bool:
    return upgrade.deploy(place(house, test=test), {"components": {}}, Options(rollback=rollback), CHART, packed, root)


def test_a_new_version_is_upgraded_to_and_tested(house: House, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy(house, root, test=True)
    assert house.done == ["upgrade", "test"]
    printed = capsys.readouterr().out
    assert "helm test: 1 passed" in printed
    assert printed.rstrip().endswith("Say hello.")


def test_what_is_deployed_already_is_left_alone(house: House, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    house.rendered = OLD
    assert not deploy(house, root, test=True)
    assert house.done == []
    assert "nothing to do: revision 1 is this already" in capsys.readouterr().out


def test_a_deploy_says_what_it_changes_and_helm_keeps_what_it_is_made_of(
    house: House, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_of = {"api-rest": "0.2.0", "async-worker": "0.2.0", "platform-chart": "0.2.0"}
    house.revisions[0] = dataclasses.replace(house.revisions[0], description=describe(made_of))
    made_of["api-rest"] = "0.2.1"
    target = place(house)
    upgrade.deploy(target, {"components": {}}, Options(), CHART, None, root, versions=made_of)
    said = "not what revision 1 is: api-rest 0.2.0 → 0.2.1, New/new (new), Old/old (gone)"
    assert said in capsys.readouterr().out
    assert versions_of(house.revisions[-1], house.revisions) == made_of


def test_going_back_says_to_what(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.revisions[0] = dataclasses.replace(house.revisions[0], status="superseded", description="api-rest 0.2.0")
    house.add("deployed", NEW)
    upgrade.roll_back(place(house), 0, Options())
    assert "revision 1 serves again in place of 2: api-rest 0.2.0" in capsys.readouterr().out


def test_another_hook_is_another_release(house: House, root: Path) -> None:
    house.rendered = Manifest(OLD.objects, "kind: Job")
    assert deploy(house, root)


def test_what_somebody_changed_in_the_cluster_is_mended(
    house: House, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house.rendered, house.live_objects = OLD, []
    assert deploy(house, root)
    assert house.done == ["upgrade"]
    assert "changed in the cluster since: Service/web" in capsys.readouterr().out


def test_an_unchanged_release_that_is_not_ready_is_an_error_without_a_new_revision(
    house: House, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_self: object) -> bool:
        raise follow.HopelessError("web-1 died 3 times")

    monkeypatch.setattr(follow.Watch, "look", look)
    house.rendered = OLD
    with pytest.raises(DeployError, match="revision 1 is this already, but web-1 died 3 times"):
        deploy(house, root)
    assert house.done == ["report"]


def test_a_chart_that_refuses_changes_nothing(house: House, root: Path) -> None:
    house.fails["preview"] = failed("Error: execution error at validate.yaml: tls wants one of …")
    with pytest.raises(DeployError, match="the chart refuses it") as caught:
        deploy(house, root)
    assert "tls wants one of" in caught.value.details
    assert house.done == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (failed(), "UPGRADE FAILED: oh no"),
        (failed("Error: UPGRADE FAILED: context deadline exceeded"), "not ready after 600 s"),
        (follow.HopelessError("web-1 died 3 times"), "web-1 died 3 times"),
    ],
)
def test_a_failure_is_told_before_it_is_rolled_back(
    house: House, root: Path, error: CommandError | follow.HopelessError, said: str
) -> None:
    house.fails["upgrade"] = error
    with pytest.raises(DeployError, match=f"{said}.*; revision 1 serves on") as caught:
        deploy(house, root)
    assert house.done == ["upgrade", "report", "rollback 1"]
    assert caught.value.exit_code == 8


def test_a_failure_may_be_left_in_place(house: House, root: Path) -> None:
    house.fails["upgrade"] = failed()
    with pytest.raises(DeployError, match=r"nothing is rolled back; `\./run inv rollback --revision 1`"):
        deploy(house, root, rollback=False)
    assert house.done == ["upgrade", "report"]


def test_a_first_install_that_fails_stays_to_be_looked_at(house: House, root: Path) -> None:
    house.revisions = []
    house.fails["upgrade"] = failed()
    with pytest.raises(DeployError, match="nothing served before"):
        deploy(house, root)
    assert house.done == ["upgrade", "report"]


def test_a_version_that_fails_its_test_is_rolled_back(house: House, root: Path) -> None:
    house.fails["test"] = failed()
    with pytest.raises(DeployError, match="the chart's tests failed; revision 1 serves on"):
        deploy(house, root, test=True)
    assert house.done == ["upgrade", "test", "report", "rollback 1"]


NO_WAY_BACK = (
    r"^upgrade on local \(kind-house, namespace platform\): Error: UPGRADE FAILED: oh no; "
    r"going back to revision 1 failed too: "
)


def test_a_rollback_that_fails_does_not_hide_why(house: House, root: Path) -> None:
    house.fails = {"upgrade": failed(), "rollback": failed("Error: no such revision")}
    with pytest.raises(DeployError, match=f"{NO_WAY_BACK}.*no such revision") as caught:
        deploy(house, root)
    assert house.done == ["upgrade", "report", "rollback 1", "report"]
    assert not caught.value.rolled_back
    assert "`./run inv rollback --revision 1`" in caught.value.hint


def test_a_rollback_that_cannot_begin_does_not_hide_why(
    house: House, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the cluster has gone away: neither the error nor its exit code is lost."""
    house.fails["upgrade"] = failed()

    def uids(*_: object) -> frozenset[str]:
        if "upgrade" in house.done:
            raise CommandError("list the pods", argv=["kubectl"], returncode=1, tail="refused")
        return frozenset()

    monkeypatch.setattr(follow, "uids", uids)
    with pytest.raises(DeployError, match=f"{NO_WAY_BACK}list the pods$") as caught:
        deploy(house, root)
    assert caught.value.details == "refused"
    assert house.done == ["upgrade", "report"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_look_ends_with_its_step_whatever_comes_of_that(
    house: House, root: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    monkeypatch.setattr(follow.Watch, "end", lambda _watch: house.done.append("end"))
    if fails:
        house.fails["upgrade"] = failed()
    with pytest.raises(DeployError) if fails else nullcontext():
        deploy(house, root)
    assert house.done[:3] == ["upgrade", "end", *(["report"] if fails else [])]


@pytest.mark.parametrize("successor", ["", "you@there pid 7"])
def test_a_lost_lease_is_told_once(house: House, root: Path, monkeypatch: pytest.MonkeyPatch, successor: str) -> None:
    def tick(_watch: object) -> None:
        house.turn.lost.set()
        try:
            house.turn.check()
        finally:  # who has it may be known only after it was found to be lost
            house.turn.successor = successor

    monkeypatch.setattr(follow.Watch, "tick", tick)
    with pytest.raises(LeaseLostError) as caught:
        deploy(house, root)
    assert caught.value.message.count("keep the lease") == 1
    assert house.done == ["upgrade"]


def verify(house: House, root: Path, *, rollback: bool = True) -> None:
    def taken_back(served: Revision, restored: Revision) -> None:
        house.done.append(f"took {served.number} back for {restored.number}")

    upgrade.verify(place(house), Options(rollback=rollback), root, taken_back=taken_back)


def test_what_serves_is_verified(house: House, root: Path) -> None:
    verify(house, root)
    assert house.done == ["test"]


def test_what_a_deploy_put_there_is_taken_back_when_it_fails_later(house: House, root: Path) -> None:
    deploy(house, root)
    house.fails["test"] = failed()
    with pytest.raises(DeployError, match="the chart's tests failed; revision 1 serves on") as caught:
        verify(house, root)
    assert house.done == ["upgrade", "test", "report", "rollback 1", "took 2 back for 1"]
    assert caught.value.rolled_back


def test_what_cannot_be_taken_back_is_not_said_to_be(house: House, root: Path) -> None:
    deploy(house, root)
    house.fails = {"test": failed(), "rollback": failed()}
    with pytest.raises(DeployError, match="tests failed; going back to revision 1 failed"):
        verify(house, root)
    assert house.done == ["upgrade", "test", "report", "rollback 1", "report"]


@pytest.mark.parametrize("what", ["nothing deployed here", "nothing changed", "deployed since", "another place"])
def test_what_others_put_there_stays_though_it_fails(house: House, root: Path, what: str) -> None:
    if what != "nothing deployed here":
        house.rendered = OLD if what == "nothing changed" else NEW
        deploy(house, root)
    if what == "deployed since":
        house.add("deployed", NEW)
    if what == "another place":
        house.context = "kind-other"
    house.fails["test"] = failed()
    before = list(house.done)
    with pytest.raises(DeployError, match=f"revision {len(house.revisions)} serves on") as caught:
        verify(house, root)
    assert house.done == [*before, "test", "report"]
    assert not caught.value.rolled_back


def test_a_failed_deploy_leaves_nothing_for_a_later_verify_to_take_back(house: House, root: Path) -> None:
    deploy(house, root)
    house.fails["preview"] = failed("Error: no")
    with pytest.raises(DeployError):
        deploy(house, root)
    house.fails["test"] = failed()
    with pytest.raises(DeployError, match="revision 2 serves on"):
        verify(house, root)
    assert "rollback 1" not in house.done


def test_a_first_install_that_fails_later_stays_to_be_looked_at(house: House, root: Path) -> None:
    house.revisions = []
    deploy(house, root)
    house.fails["test"] = failed()
    with pytest.raises(DeployError, match="nothing served before"):
        verify(house, root)


def test_one_that_fails_later_may_be_left_in_place(house: House, root: Path) -> None:
    deploy(house, root)
    house.fails["test"] = failed()
    with pytest.raises(DeployError, match="nothing is rolled back"):
        verify(house, root, rollback=False)


def test_there_has_to_be_something_to_verify(house: House, root: Path) -> None:
    house.revisions = []
    with pytest.raises(DeployError, match="nothing is deployed there"):
        verify(house, root)
    assert house.done == []


def test_a_helm_that_is_killed_leaves_nothing_stuck(house: House, root: Path) -> None:
    house.fails["upgrade"] = failed(returncode=-9)
    with pytest.raises(DeployError, match="helm was ended by signal 9; revision 1 serves on") as caught:
        deploy(house, root)
    assert house.done == ["upgrade", "report", "delete secret sh.helm.release.v1.platform.v2", "rollback 1"]
    assert "run the same command again" in caught.value.hint


def cut_off(house: House, made: str, at: datetime = NOW, policy: str = "") -> None:
    """A deploy that was killed just now; its revision's objects are in the cluster since `at`."""
    house.dead = leases.Holding("you", NOW - timedelta(seconds=30), datetime.now(UTC), "1")
    house.add("pending-upgrade", Manifest(made, ""), NOW)
    house.make(made, at, {"helm.sh/resource-policy": policy} if policy else {})


REPAIRED = "delete secret sh.helm.release.v1.platform.v2"


def test_a_revision_that_a_dead_deploy_left_is_repaired_at_once(house: House, root: Path) -> None:
    house.rendered = OLD
    cut_off(house, NEW.objects)
    assert deploy(house, root)
    # What it may have changed is applied anew, what only it made is deleted.
    assert house.done == [REPAIRED, "upgrade", "delete New new"]


def test_what_the_new_revision_has_too_stays(house: House, root: Path) -> None:
    cut_off(house, NEW.objects)
    house.rendered = Manifest(OLD.objects, NEW.objects)
    assert deploy(house, root)
    assert house.done == [REPAIRED, "upgrade"]


def test_what_serves_now_stays_however_it_is_written(house: House, root: Path) -> None:
    cut_off(house, NEW.objects)
    house.rendered = Manifest("{metadata: {name: new}, kind: New}\n", "")
    assert deploy(house, root)
    assert house.done == [REPAIRED, "upgrade"]


def thing(kind: str) -> str:
    return f"kind: {kind}\nmetadata:\n  name: platform-data\n"


@pytest.mark.parametrize(
    "kind",
    ["PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"],
)
def test_what_holds_data_is_never_tidied_away(house: House, root: Path, kind: str) -> None:
    cut_off(house, thing(kind))
    assert deploy(house, root)
    assert house.done == [REPAIRED, "upgrade"]


def test_what_the_chart_keeps_is_never_tidied_away(house: House, root: Path) -> None:
    cut_off(house, thing("Secret"), policy="keep")
    assert deploy(house, root)
    assert house.done == [REPAIRED, "upgrade"]


def test_what_is_older_than_a_killed_revision_is_not_tidied_away(house: House, root: Path) -> None:
    """An earlier revision made it, though the history may not go back so far."""
    cut_off(house, thing("Secret"), NOW - timedelta(seconds=1))
    assert deploy(house, root)
    assert house.done == [REPAIRED, "upgrade"]


@pytest.mark.parametrize("status", ["superseded", "failed"])
@pytest.mark.parametrize("as_hook", [False, True])
def test_what_an_earlier_revision_had_is_never_tidied_away(
    house: House, root: Path, status: str, *, as_hook: bool
) -> None:
    """Whether that went well or not, and whatever the clocks say."""
    text = thing("Secret")
    house.revisions = []
    house.add(status, Manifest("", text) if as_hook else Manifest(text, ""))
    house.add("deployed", OLD)
    cut_off(house, text)
    assert deploy(house, root)
    assert house.done == ["delete secret sh.helm.release.v1.platform.v3", "upgrade"]


def test_one_that_is_too_old_for_anybody_to_be_at_it_is_repaired(house: House, root: Path) -> None:
    house.revisions = []
    house.add("pending-install", NEW, datetime.now(UTC) - timedelta(seconds=601))
    assert deploy(house, root)
    assert house.done == ["delete secret sh.helm.release.v1.platform.v1", "upgrade"]


def test_a_helm_that_is_not_ours_is_waited_for(
    house: House, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house.add("pending-upgrade", NEW, datetime.now(UTC))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            house.revisions.pop()
            house.add("deployed", NEW, datetime.now(UTC))

    monkeypatch.setattr(time, "sleep", sleep)
    assert not deploy(house, root)
    assert (len(waited), house.done) == (3, [])
    assert capsys.readouterr().out.count("and not by `inv deploy`") == 1


def lose_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so much time pass without a renewal that the lease is lost."""
    now = time.monotonic() + leases.RENEW_DEADLINE_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: now)


def test_who_lost_the_lease_deletes_no_revision(house: House, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    house.dead = leases.Holding("you", now - timedelta(seconds=30), now, "1")
    house.add("pending-upgrade", NEW, now)

    def manifest(_release: str, _revision: int) -> Manifest:
        lose_lease(monkeypatch)
        return NEW

    monkeypatch.setattr(house, "manifest", manifest)
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        deploy(house, root)
    assert house.done == []


def test_who_lost_the_lease_rolls_nothing_back(house: House, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "report", lambda *_: lose_lease(monkeypatch))
    house.fails["upgrade"] = failed()
    with pytest.raises(DeployError, match="nothing is rolled back, the next deploy rep") as caught:
        deploy(house, root)
    assert house.done == ["upgrade"]
    assert not caught.value.rolled_back


def test_who_lost_the_lease_deletes_nothing_that_was_left(
    house: House, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(house, thing("Secret"))
    monkeypatch.setattr(house, "test", lambda *_, **__: lose_lease(monkeypatch))
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        deploy(house, root, test=True)
    assert house.done == [REPAIRED, "upgrade"]


def test_a_namespace_is_made_that_enforces_pod_security(house: House, root: Path) -> None:
    house.namespaces = {}
    deploy(house, root)
    assert house.done[0] == "create platform {'pod-security.kubernetes.io/enforce': 'restricted'}"


def test_a_namespace_that_is_there_is_left_as_it_is(
    house: House, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house.namespaces = {"platform": labelled()}
    deploy(house, root)
    assert house.done == ["upgrade"]
    assert "enforces no Pod Security" in capsys.readouterr().out


def test_values_that_are_not_there_are_named(house: House, root: Path) -> None:
    (root / "platform-chart" / "values-local.yaml").unlink()
    with pytest.raises(DeclarationError, match=r"environments\.local\.values: there is no file"):
        deploy(house, root)
    assert house.done == []


def packed(root: Path, *names: str) -> bytes:
    """A packaged chart whose files say that they are of the package."""
    folder = root / "package"
    folder.mkdir()
    (folder / "Chart.yaml").write_text("name: platform\nversion: 1.0.0\n")
    for name in names:
        (folder / name).write_text("of: the package\n")
    return chart_package.package(folder, [File(name, "644", "") for name in ("Chart.yaml", *names)], {}, epoch=0)


def test_a_clones_chart_is_deployed_with_the_clones_values(house: House, root: Path) -> None:
    deploy(house, root)
    assert (house.chart, house.values_text) == (root / CHART, "")


def test_a_releases_chart_is_deployed_with_the_values_that_it_was_packaged_with(house: House, root: Path) -> None:
    release = packed(root, "values-local.yaml")
    deploy(house, root, packed=release)
    assert house.chart.read_bytes() == release
    assert house.values_text == "of: the package\n"


def test_a_releases_chart_without_the_environments_values_is_refused(house: House, root: Path) -> None:
    with pytest.raises(
        DeclarationError, match=r"there is no file platform-chart/values-local\.yaml in the packaged chart"
    ):
        deploy(house, root, packed=packed(root))
    assert house.done == []


def test_values_beside_the_chart_are_the_clones_also_for_a_release(house: House, root: Path) -> None:
    (root / "chosen.yaml").write_text("of: the clone\n")
    declared = place(house).declared.model_copy(update={"values": "chosen.yaml"})
    chosen = dataclasses.replace(place(house), declared=declared)
    upgrade.deploy(chosen, {"components": {}}, Options(), CHART, packed(root), root)
    assert house.values_text == "of: the clone\n"


def test_goes_back_to_the_revision_before(house: House) -> None:
    house.revisions = []
    house.add("superseded", OLD)
    house.add("deployed", NEW)
    upgrade.roll_back(place(house), 0, Options())
    assert house.done == ["rollback 1"]


def remove(house: House, *, data: bool, may: Callable[[list[str]], bool] = lambda _names: True) -> None:
    upgrade.remove(place(house), Options(), data=data, may_delete=may)


def test_removing_keeps_the_data(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.left = {"persistentvolumeclaims": ["data-kafka-0"]}
    remove(house, data=False)
    assert house.done == ["uninstall"]
    assert "kept: persistentvolumeclaims/data-kafka-0; --data removes them" in capsys.readouterr().out


def test_the_data_goes_when_told_and_allowed(house: House) -> None:
    house.left = {"persistentvolumeclaims": ["data-kafka-0"], "secrets": ["platform-database"]}
    asked: list[list[str]] = []

    def refuse(names: list[str]) -> bool:
        asked.append(names)
        return False

    remove(house, data=True, may=refuse)
    assert house.done == ["uninstall"]
    assert asked == [["persistentvolumeclaims/data-kafka-0", "secrets/platform-database"]]
    house.left.pop("secrets")
    remove(house, data=True)
    assert house.done == ["uninstall", "uninstall", "delete persistentvolumeclaims data-kafka-0"]


def test_removing_takes_the_pods_of_tests_along(house: House) -> None:
    house.left = {"pods": ["platform-test"]}
    remove(house, data=False)
    assert house.done == ["uninstall", "delete pods platform-test"]


@pytest.mark.parametrize("when", ["uninstalled", "asked"])
def test_who_lost_the_lease_removes_nothing_more(house: House, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    house.left = {"pods": ["platform-test"], "persistentvolumeclaims": ["data-kafka-0"]}

    def uninstall(*_arguments: object, **_options: object) -> None:
        if when == "uninstalled":
            lose_lease(monkeypatch)

    def allow(_names: list[str]) -> bool:
        lose_lease(monkeypatch)
        return True

    monkeypatch.setattr(house, "uninstall", uninstall)
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        remove(house, data=True, may=allow)
    assert house.done == ([] if when == "uninstalled" else ["delete pods platform-test"])


def test_removing_what_is_not_there_is_well(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.revisions = []
    remove(house, data=False)
    house.namespaces = {}
    remove(house, data=True)
    assert house.done == []
    assert "there is no such namespace" in capsys.readouterr().out


def test_reads_what_runs_now(house: House) -> None:
    release = upgrade.running(place(house))
    assert release is not None
    assert {name: image.pinned for name, image in release.images.items()} == {
        "api-rest": "localhost:5001/api-rest@sha256:a"
    }
    house.revisions = []
    assert upgrade.running(place(house)) is None
