"""Deploy the chart: look, repair, compare, upgrade, follow; and tell why before anything is rolled back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from delivery import console
from delivery.deploy import follow, helm, kubectl
from delivery.deploy.deployment import (
    Deployment,
    Manifest,
    Revision,
    adrift,
    changes,
    check_context,
    deployed,
    deployed_images,
    describe,
    leftovers,
    objects,
    pending,
    read_deployment,
    rollback_target,
    versions_of,
)
from delivery.deploy.helm import Helm, Watcher
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.lock import Turn, hold
from delivery.errors import (
    CommandError,
    DeclarationError,
    DeliveryError,
    DeployError,
    LeaseLostError,
)
from delivery.host import programs
from delivery.project import files
from delivery.project.declaration import Declaration, Environment
from delivery.project.files import ROOT
from delivery.release import chart_package
from delivery.release.released import Release, ReleasedImage

__all__ = [
    "RELEASE",
    "Options",
    "Target",
    "deploy",
    "environment",
    "remove",
    "roll_back",
    "running",
    "target",
    "verify",
]

RELEASE = "platform"
# Not helm's own name: what helm adds to a manifest would count as taken away again.
_COMPARER = "delivery-platform-compare"
_ENFORCED = "pod-security.kubernetes.io/enforce"
# A helm that is not ours may be at work: it gets this long, from when it began, before its revision counts as cut off.
_FOREIGN_SECONDS = 600
_ROLLBACK_SECONDS = 300
_INSTANCE = f"app.kubernetes.io/instance={RELEASE}"
_DEPLOYMENT = "deployment.json"


@dataclass(frozen=True)
class Options:
    """How a deploy is done: the time for everything to be ready, for another deploy to end, and whether failure is undone."""

    seconds: int = 600
    lock_seconds: int = 1800
    rollback: bool = True


@dataclass(frozen=True)
class _CutOff:
    """A revision whose helm was killed: its objects as YAML; since when the cluster knows it."""

    objects: str
    began: datetime


@dataclass(frozen=True)
class Target:
    """Where to deploy: the environment, and the cluster's namespace by both of its programs."""

    name: str
    declared: Environment
    helm: Helm
    kubernetes: Kubernetes

    def __str__(self) -> str:
        return f"{self.name} ({self.kubernetes.context}, namespace {self.kubernetes.namespace})"


def environment(declaration: Declaration, name: str) -> Environment:
    """The environment of this name; raise DeclarationError when there is none."""
    try:
        return declaration.environments[name]
    except KeyError:
        raise DeclarationError(
            f"look for the environment {name}: delivery.toml has none of that name",
            hint=f"--environment takes one of {', '.join(declaration.environments) or 'none: it declares none'}",
        ) from None


def target(declaration: Declaration, name: str, context: str = "") -> Target:
    """The cluster of an environment, answering; the context is the one told, else the kubeconfig's current one."""
    declared = environment(declaration, name)
    program, client = programs.ensure("helm"), programs.ensure("kubectl")
    with console.step("cluster") as step:
        chosen = context or kubectl.current_context(client)
        check_context(name, declaration.contexts(name), chosen, kubectl.contexts(client))
        reached = Kubernetes(client, chosen, declared.namespace)
        version = json.loads(reached.reach())["gitVersion"]
        step.done(f"{chosen} answers, Kubernetes {version}; namespace {declared.namespace}")
    return Target(name, declared, Helm(program, helm.probe(program), chosen, declared.namespace), reached)


def running(place: Target) -> Release | None:
    """The images of ours that serve now, as the release's values name them; None when nothing is deployed."""
    history = place.helm.history(RELEASE)
    serving = deployed(history)
    if serving is None:
        return None
    versions = versions_of(serving, history)
    key = f"revision {serving.number}"
    images = {
        name: ReleasedImage(repository, key, digest, versions.get(name, ""))
        for name, (repository, digest) in deployed_images(place.helm.values(RELEASE, serving.number)).items()
    }
    return Release(images) if images else None


def deploy(
    place: Target,
    values: dict[str, object],
    options: Options,
    chart: Path,
    packed: bytes | None = None,
    root: Path = ROOT,
    *,
    versions: Mapping[str, str] | None = None,
) -> bool:
    """Bring the chart with these values to the cluster; whether there was anything to do.

    chart is its folder in this clone, relative to the root; packed is a release's packaged one, which is deployed instead, with
    the environment's values as they were packaged with it. versions are what the revision says
    that it is made of.
    """
    file = files.output(f"values-{place.name}.json", root=root)
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    declared = _values_file(place, chart, packed, root)
    if packed is not None:
        unpacked = files.output(f"chart-{place.name}.tgz", root=root)
        unpacked.write_bytes(packed)
    source = root / chart if packed is None else unpacked
    work = _Work(place, source, (declared, file), options, versions or {})
    told = files.output(_DEPLOYMENT, root=root)
    told.unlink(missing_ok=True)
    with _turn(place, options) as turn:
        made = work.run(turn)
    told.write_text(made.to_json(), encoding="utf-8")
    return made.changed


def verify(
    place: Target,
    options: Options,
    root: Path = ROOT,
    *,
    taken_back: Callable[[Revision, Revision], None],
) -> None:
    """Run the chart's tests against what serves.

    When they fail, and what serves is what this clone's last deploy put there, the revision before
    serves again: taken_back then gets the revision that served, and that one.
    """
    with _turn(place, options) as turn:
        history = _history(place)
        serving = deployed(history)
        if serving is None:
            raise DeployError(f"verify {place}: nothing is deployed there", hint="`./run inv deploy` deploys")
        try:
            _test(place, turn, options)
        except DeployError as error:
            before = _before(place, serving, root)
            if before is None:
                raise DeployError(f"{error.message}; revision {serving.number} serves on", hint=error.hint) from error
            restored = next((one for one in history if one.number == before), None)
            try:
                _undo(place, restored, turn, options, error)
            except DeployError as undone:
                if undone.rolled_back and restored:
                    taken_back(serving, restored)
                raise


def _before(place: Target, serving: Revision, root: Path) -> int | None:
    """The revision that the last deploy from this clone replaced by the one that serves (0: none); None where it made another."""
    file = files.output(_DEPLOYMENT, root=root)
    if not file.exists():
        return None
    made = read_deployment(file.read_text(encoding="utf-8"), file=str(file))
    ours = (made.environment, made.context, made.namespace, made.revision)
    here = (place.name, place.kubernetes.context, place.kubernetes.namespace, serving.number)
    return made.before if made.changed and ours == here else None


def roll_back(place: Target, told: int, options: Options) -> None:
    """Deploy an earlier revision once more: the one told, or the last good one before the one that serves."""
    with _turn(place, options) as turn:
        _repair(place, turn)
        history = _history(place)
        chosen = rollback_target(history, told)
        serving = deployed(history)
        with _following(place, f"roll back to revision {chosen.number}", turn, options) as watcher:
            place.helm.rollback(RELEASE, chosen.number, seconds=options.seconds, watcher=watcher)
        versions = describe(versions_of(chosen, history))
        console.say(
            f"{place}: revision {chosen.number} serves again"
            + (f" in place of {serving.number}" if serving else "")
            + (f": {versions}" if versions else "")
        )


def remove(place: Target, options: Options, *, data: bool, may_delete: Callable[[list[str]], bool]) -> None:
    """Remove the release; its claims, and the Secrets that belong to them, stay unless data. What is not there is well."""
    if place.kubernetes.find("namespace", place.kubernetes.namespace) is None:
        console.say(f"{place}: there is no such namespace, so nothing to remove")
        return
    with _turn(place, options) as turn:
        with console.step("remove the release") as step:
            if place.helm.history(RELEASE):
                watcher = Watcher(on_line=step.line, tick=turn.check)
                place.helm.uninstall(RELEASE, seconds=options.seconds, watcher=watcher)
                step.done("gone")
            else:
                step.done("there is none")
        pods = [one["metadata"]["name"] for one in place.kubernetes.all("pods", _INSTANCE)]
        turn.check()
        place.kubernetes.delete("pods", pods)  # helm leaves those of its tests
        left = _data(place)
        names = [f"{kind}/{name}" for kind, one in left.items() for name in one]
        if not names:
            console.say("no data is left")
        elif not data:
            console.say(f"kept: {', '.join(names)}; --data removes them")
        elif may_delete(names):
            with console.step("remove the data") as step:
                for kind, one in left.items():
                    turn.check()
                    place.kubernetes.delete(kind, one)
                step.done(", ".join(names))


def _data(place: Target) -> dict[str, list[str]]:
    """What an uninstalled release leaves: claims, and the Secrets that the chart keeps for them, by kind."""
    kinds = ("persistentvolumeclaims", "secrets", "configmaps")
    return {kind: [one["metadata"]["name"] for one in place.kubernetes.all(kind, _INSTANCE)] for kind in kinds}


@contextmanager
def _turn(place: Target, options: Options) -> Iterator[Turn]:
    _have_namespace(place)
    with hold(place.kubernetes, f"{RELEASE}-deploy", seconds=options.lock_seconds) as turn:
        yield turn


def _have_namespace(place: Target) -> None:
    name = place.kubernetes.namespace
    found = place.kubernetes.find("namespace", name)
    if found is None:
        labels = {_ENFORCED: "restricted"}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        with console.step(f"namespace {name}") as step:
            place.kubernetes.create(made)
            step.done("made; it enforces Pod Security restricted")
    elif _ENFORCED not in found["metadata"].get("labels", {}):
        console.say(
            f"the namespace {name} enforces no Pod Security; `kubectl label namespace {name} {_ENFORCED}=restricted`"
        )


def _values_file(place: Target, chart: Path, packed: bytes | None, root: Path) -> Path:
    """The environment's values: of the packaged chart where they are in the chart's folder, else this clone's."""
    told = Path(place.declared.values)
    if packed is None or not told.is_relative_to(chart):
        if not (root / told).is_file():
            raise _no_values(place, "")
        return root / told
    text = chart_package.read_file(packed, told.relative_to(chart).as_posix())
    if text is None:
        raise _no_values(place, " in the packaged chart")
    file = files.output(f"declared-{place.name}.yaml", root=root)
    file.write_text(text, encoding="utf-8")
    return file


def _no_values(place: Target, where: str) -> DeclarationError:
    return DeclarationError(
        f"read environments.{place.name}.values: there is no file {place.declared.values}{where}",
        hint="correct it in delivery.toml",
    )


def _history(place: Target) -> tuple[Revision, ...]:
    return place.helm.history(RELEASE)


def _repair(place: Target, turn: Turn, *, ours: bool = False) -> _CutOff | None:
    """Clear a revision whose helm was killed; return it, for what it may have left behind.

    While we have the turn no other deploy of this project is at work. A helm that somebody runs by hand may be: its revision is
    cleared only once it is too old for that.
    """
    told = False
    while stuck := pending(_history(place)):
        age = datetime.now(UTC) - stuck.updated
        ours = ours or (turn.dead is not None and turn.dead.covers(stuck.updated))
        if ours or age > timedelta(seconds=_FOREIGN_SECONDS):
            with console.step(f"repair revision {stuck.number}") as step:
                left = _cut_off(place, stuck)
                turn.check()
                place.kubernetes.delete("secret", [_stored(stuck)])
                step.done(
                    f"it was {stuck.status} since {stuck.updated:%H:%M:%S} with nobody at it; taken out of the history"
                )
            return left
        if not told:
            until = stuck.updated + timedelta(seconds=_FOREIGN_SECONDS)
            console.say(
                f"… revision {stuck.number} is {stuck.status} since {stuck.updated:%H:%M:%S}, and not by `inv deploy`; "
                f"waiting for it to end, until {until:%H:%M:%S} at most"
            )
            told = True
        turn.check()
        time.sleep(2)
    return None


def _cut_off(place: Target, stuck: Revision) -> _CutOff | None:
    stored = place.kubernetes.find("secret", _stored(stuck))
    if stored is None:
        return None
    # By the cluster's clock, as the objects' creationTimestamp; helm's may be another machine's.
    began = datetime.fromisoformat(stored["metadata"]["creationTimestamp"])
    return _CutOff(place.helm.manifest(RELEASE, stuck.number).objects, began)


def _stored(revision: Revision) -> str:
    """The Secret in which helm keeps a revision; it is made before the revision's objects are."""
    return f"sh.helm.release.v1.{RELEASE}.v{revision.number}"


@contextmanager
def _following(place: Target, title: str, turn: Turn, options: Options) -> Iterator[Watcher]:
    """Follow a helm command; when it fails, tell why, and raise DeployError."""
    since = datetime.now(UTC).replace(microsecond=0)
    before = follow.uids(place.kubernetes, RELEASE)
    try:
        with console.step(title) as step:
            watch = follow.Watch(place.kubernetes, RELEASE, step, turn, before)
            try:
                yield Watcher(on_line=lambda _line: None, tick=watch.tick)
            finally:
                watch.end()
            step.done(f"all ready on {place}")
    except (CommandError, follow.HopelessError) as error:
        follow.report(place.kubernetes, RELEASE, since)
        raise DeployError(f"{title} on {place}: {_reason(error, options)}", hint=error.hint or _hint(error)) from error


def _hint(error: CommandError | follow.HopelessError) -> str:
    if isinstance(error, CommandError) and error.returncode < 0:
        return "it was not the release's fault: run the same command again"
    return "mend what the lines above say, and run the same command again"


def _reason(error: CommandError | follow.HopelessError, options: Options) -> str:
    if isinstance(error, follow.HopelessError):
        return error.message
    if error.returncode < 0:
        return f"helm was ended by signal {-error.returncode}"
    said = [line for line in error.tail.splitlines() if line.startswith("Error")]
    reason = said[-1] if said else error.message
    return f"not ready after {options.seconds} s ({reason})" if "deadline" in reason else reason


@dataclass(frozen=True)
class _Work:
    """One deploy: the chart and its values, in this order, the later before the earlier.

    versions are what it is made of.
    """

    place: Target
    chart: Path
    values: tuple[Path, ...]
    options: Options
    versions: Mapping[str, str] = field(default_factory=dict)

    def run(self, turn: Turn) -> Deployment:
        """Do it; what it came to."""
        left = _repair(self.place, turn)
        history = _history(self.place)
        serving = deployed(history)
        if serving and not left and self._unchanged(serving, versions_of(serving, history), turn):
            return self._came_to(serving, serving)
        try:
            self._upgrade(serving, turn)
            if self.place.declared.test:
                _test(self.place, turn, self.options)
        except DeployError as error:
            _undo(self.place, serving, turn, self.options, error)
        self._tidy(left, turn)
        console.say("")
        console.say(self.place.helm.notes(RELEASE))
        return self._came_to(deployed(_history(self.place)), serving)

    def _came_to(self, after: Revision | None, before: Revision | None) -> Deployment:
        where = (self.place.name, self.place.kubernetes.context, self.place.kubernetes.namespace)
        return Deployment(*where, after.number if after else 0, before.number if before else 0)

    def _unchanged(self, serving: Revision, versions: Mapping[str, str], turn: Turn) -> bool:
        """Whether the cluster has already what would be deployed. What is not ready then is waited for."""
        with console.step("compare") as step:
            wanted = self._render()
            current = self.place.helm.manifest(RELEASE, serving.number)
            if wanted != current:
                changed = changes(current, wanted, versions, self.versions)
                step.done(f"not what revision {serving.number} is{changed and f': {changed}'}")
                return False
            drifted = adrift(
                self.place.kubernetes.would_be(wanted.objects, _COMPARER), self.place.kubernetes.live(wanted.objects)
            )
            if drifted:
                step.done(f"revision {serving.number}, but changed in the cluster since: {', '.join(drifted)}")
                return False
            step.done(f"nothing to do: revision {serving.number} is this already")
        since = datetime.now(UTC) - timedelta(minutes=10)
        try:
            with console.step("ready") as step:
                follow.Watch(self.place.kubernetes, RELEASE, step, turn).wait(self.options.seconds)
                step.done(f"all ready on {self.place}")
        except follow.HopelessError as error:
            follow.report(self.place.kubernetes, RELEASE, since)
            raise DeployError(
                f"deploy to {self.place}: revision {serving.number} is this already, but {error.message}",
                hint=error.hint
                or "mend what the lines above say; `./run inv rollback` goes back to the revision before",
            ) from error
        return True

    def _render(self) -> Manifest:
        try:
            return self.place.helm.preview(RELEASE, self.chart, self.values)
        except CommandError as error:
            raise DeployError(
                f"render {self.chart.name} for {self.place}: the chart refuses it",
                details=error.tail,
                hint=f"correct {self.place.declared.values}; nothing was changed in the cluster",
            ) from error

    def _upgrade(self, serving: Revision | None, turn: Turn) -> None:
        title = "upgrade" if serving else "install"
        with _following(self.place, title, turn, self.options) as watcher:
            self.place.helm.upgrade(
                RELEASE,
                self.chart,
                self.values,
                description=describe(self.versions),
                seconds=self.options.seconds,
                watcher=watcher,
            )

    def _tidy(self, left: _CutOff | None, turn: Turn) -> None:
        """Delete what the cut-off revision alone made; never what is kept or holds data."""
        if left is None:
            return
        history = _history(self.place)
        serving = deployed(history)
        if serving is None:
            return
        manifests = {one.number: self.place.helm.manifest(RELEASE, one.number) for one in history}
        texts = [text for one in manifests.values() for text in (one.objects, one.hooks)]
        needed = {named for text in texts for named in objects(text)}
        # What serves now has to stay, however it is written: kubectl reads any YAML.
        current = self.place.kubernetes.live(manifests[serving.number].objects)
        needed |= {(one["kind"], one["metadata"]["name"]) for one in current}
        for kind, name in leftovers(self.place.kubernetes.live(left.objects), needed, left.began):
            turn.check()
            self.place.kubernetes.delete(kind, [name])


def _test(place: Target, turn: Turn, options: Options) -> None:
    """Run the chart's tests; raise DeployError, after their output and the pods were shown, when one fails."""
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        step.line(line)

    since = datetime.now(UTC).replace(microsecond=0)
    try:
        with console.step("helm test") as step:
            watcher = Watcher(on_line=on_line, tick=turn.check)
            place.helm.test(RELEASE, seconds=options.seconds, watcher=watcher)
            step.done(f"{sum(line.startswith('Phase:') for line in lines)} passed")
    except CommandError as error:
        console.say("".join(lines))
        follow.report(place.kubernetes, RELEASE, since)
        raise DeployError(
            f"test {place}: the chart's tests failed",
            hint="mend what the lines above say, and run the same command again",
        ) from error


def _undo(place: Target, serving: Revision | None, turn: Turn, options: Options, error: DeployError) -> None:
    """Go back to what served before, then raise what happened; beside it, why that failed."""
    if isinstance(error, LeaseLostError):  # the release is another deploy's now
        raise error
    try:
        state, rolled_back = _go_back(place, serving, turn, options)
    except DeliveryError as failure:
        again = f"`./run inv rollback --revision {serving.number}` goes back; " if serving else ""
        to = f" to revision {serving.number}" if serving else ""
        raise DeployError(
            f"{error.message}; going back{to} failed too: {failure.message}",
            details=failure.details,
            hint=f"{again}{error.hint}",
        ) from error
    told = f"{error.message}; {state}"
    raise DeployError(told, hint=error.hint, rolled_back=rolled_back) from error


def _go_back(
    place: Target,
    serving: Revision | None,
    turn: Turn,
    options: Options,
) -> tuple[str, bool]:
    """Go back to what served before, if that may be; what serves now, and whether that is it."""
    turn.check()
    _repair(place, turn, ours=True)
    if serving is None:
        stays = "nothing served before, so what came of it stays to be looked at"
        return f"{stays}; `./run inv undeploy` removes it", False
    if not options.rollback:
        back = f"`./run inv rollback --revision {serving.number}` does it"
        return f"nothing is rolled back; {back}", False
    with _following(place, f"roll back to revision {serving.number}", turn, options) as watcher:
        place.helm.rollback(RELEASE, serving.number, seconds=_ROLLBACK_SECONDS, watcher=watcher)
    return f"revision {serving.number} serves on", True
