"""Read what environments run, and their logs, changing nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from delivery import console
from delivery.deploy import follow, inventory
from delivery.deploy.helm import SELECTOR
from delivery.deploy.rollout import Workload, progress
from delivery.deploy.target import Target, connect, reachable
from delivery.errors import DeclarationError, DeliveryError, DeployError, did_you_mean
from delivery.host import programs
from delivery.project.declaration import Declaration

__all__ = ["COLUMNS", "EnvironmentStatus", "load", "print_logs", "status"]

COLUMNS = ("environment", "context", "revision", "versions", "pods", "deployed (UTC)")  # of a row
_SECONDS = 5.0  # how long a cluster may take to answer


@dataclass(frozen=True)
class EnvironmentStatus:
    """What is deployed to an environment in a context."""

    name: str
    context: str
    revision: int = 0  # 0 when nothing is deployed
    versions: tuple[tuple[str, str], ...] = ()
    pods: str = ""
    deployed_at: str = ""
    note: str = ""  # why the rest is not known
    workloads: tuple[Workload, ...] = ()
    table: str = ""  # of the pods, as kubectl prints it

    def check(self) -> None:
        """Raise DeployError unless something is deployed, and all of it is ready."""
        waiting = [each.name for each in self.workloads if not each.is_ready]
        if self.revision and not waiting and not self.note:
            return
        reason = self.note or ", ".join(f"{name} is not ready" for name in waiting)
        command = "logs" if reason else "deploy"
        raise DeployError(
            f"cannot use all of {self.name}: {reason or 'nothing is deployed'}",
            hint=f"run `./run inv {command} --environment {self.name}`",
        )

    def to_json(self) -> dict[str, object]:
        """The environment as JSON."""
        return {key: value for key, value in asdict(self).items() if key != "table"}

    def row(self) -> tuple[str, ...]:
        """The environment for people."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions)
        return (
            self.name,
            self.context,
            str(self.revision or "-"),
            self.note or versions or "nothing is deployed",
            self.pods or "-",
            self.deployed_at or "-",
        )


def status(declaration: Declaration) -> tuple[EnvironmentStatus, ...]:
    """Every environment whose context is in the kubeconfig; empty without kubectl or helm."""
    kubectl, helm = programs.find("kubectl"), programs.find("helm")
    if kubectl is None or helm is None:
        return ()
    try:
        # `inv preview.list` shows previews.
        names = [name for name in declaration.environments if name != declaration.preview]
        by_name = reachable(declaration, names, helm, kubectl)
    except DeliveryError:
        return ()
    targets = [target for targets in by_name.values() for target in targets]
    if not targets:
        return ()
    with ThreadPoolExecutor(len(targets)) as pool:
        return tuple(pool.map(lambda target: _status(declaration, target), targets))


def load(declaration: Declaration, name: str, context: str = "") -> EnvironmentStatus:
    """What an environment runs, with its pods."""
    target = connect(declaration, name, context)
    return replace(_status(declaration, target), table=target.kubernetes.table("pods", SELECTOR))


def print_logs(target: Target, component: str, *, follow: bool, tail: int) -> None:
    """Print the last lines of the pods of a component ("": of all), each after its container."""
    label = "app.kubernetes.io/name"
    pods = target.kubernetes.all("pods", SELECTOR)
    names = sorted({pod["metadata"]["labels"].get(label, "") for pod in pods})
    if component and component not in names:
        raise DeclarationError(
            f"cannot show the logs: {target} has no pod of {component}",
            hint=did_you_mean(component, names),
        )
    selector = f"{SELECTOR},{label}={component}" if component else SELECTOR
    with suppress(KeyboardInterrupt):  # ends --follow
        target.kubernetes.logs(selector, _print_line, follow=follow, tail=tail)


def _print_line(line: str) -> None:
    source, _, text = line.rstrip("\n").partition(" ")
    console.log_line(source.strip("[]").removeprefix("pod/"), text)


def _status(declaration: Declaration, target: Target) -> EnvironmentStatus:
    kubernetes = target.kubernetes.within(_SECONDS)
    context = kubernetes.context
    try:
        kubernetes.reach()
        deployed = inventory.read_deployed(declaration, target)
        if deployed is None:
            return EnvironmentStatus(target.name, context)
        workloads = follow.workloads(kubernetes)
        return EnvironmentStatus(
            target.name,
            context,
            deployed.revision.number,
            tuple(deployed.contents.versions.items()),
            progress(workloads),
            f"{deployed.revision.updated:%Y-%m-%d %H:%M:%S}",
            workloads=tuple(workloads),
        )
    except DeliveryError as error:
        return EnvironmentStatus(target.name, context, note=f"not known: {error.message}")
