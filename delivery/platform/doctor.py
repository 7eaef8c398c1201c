"""What this machine has and lacks for `inv up`, builds and deploys, each with what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from delivery import cache
from delivery.deploy import kubectl
from delivery.errors import DeliveryError
from delivery.host import docker_api, engines, programs, trust
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.project.declaration import Declaration, is_local
from delivery.project.files import ROOT
from delivery.registry import client
from delivery.words import plural

__all__ = ["Finding", "Report", "examine"]

OK, LATER, PROBLEM = "ok", "later", "problem"
_GIGABYTE = 1_000_000_000
# The engine's data after `inv up` is 4 GB, and as much again after `inv cluster.up`.
_DISK = 6 * _GIGABYTE, 12 * _GIGABYTE
_MEMORY = 2 * _GIGABYTE, 4 * _GIGABYTE
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Finding:
    """One thing that this machine has or lacks."""

    subject: str
    state: str  # "ok"; "later": only some tasks need it, or they install it; "problem"
    text: str  # what there is
    hint: str = ""  # what to do

    def row(self) -> tuple[str, ...]:
        """The finding for people."""
        marks = {OK: "✓", LATER: "…", PROBLEM: "✗"}
        return marks[self.state], self.subject, self.text, self.hint or "-"


@dataclass(frozen=True)
class Report:
    """All findings about this machine."""

    findings: tuple[Finding, ...]

    @property
    def problems(self) -> list[Finding]:
        """What keeps the platform from running."""
        return [finding for finding in self.findings if finding.state == PROBLEM]

    def to_json(self) -> dict[str, object]:
        """The report as JSON."""
        return {
            "problems": len(self.problems),
            "findings": [asdict(each) for each in self.findings],
        }

    def check(self) -> None:
        """Raise DeliveryError if there is a problem."""
        if self.problems:
            subjects = ", ".join(finding.subject for finding in self.problems)
            raise DeliveryError(
                f"cannot run the platform on this machine: {plural(len(self.problems), 'problem')}"
                f" ({subjects})",
                hint="do what stands beside each ✗",
            )


def examine(declaration: Declaration, root: Path = ROOT) -> Report:
    """Look at this machine; nothing is started, installed or changed."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        lambda: _engine(declaration, root),
        _disk,
        _certificates,
        lambda: _registry(declaration),
        lambda: _contexts(declaration),
        _programs,
    )
    with ThreadPoolExecutor(len(checks)) as pool:
        findings = pool.map(lambda check: tuple(check()), checks)
        return Report(tuple(finding for each in findings for finding in each))


def _python() -> Iterator[Finding]:
    yield Finding("Python", OK, f"{platform.python_version()} at {sys.executable}")
    if git := shutil.which("git"):
        yield Finding("Git", OK, git)
    else:
        yield Finding("Git", PROBLEM, "not on PATH", "install git")


def _engine(declaration: Declaration, root: Path) -> Iterator[Finding]:
    try:
        engine = docker_api.find()
        if engine is None:
            engines.check_can_start()
            yield Finding("engine", LATER, "none answers", "`./run inv up` installs and starts one")
            return
    except DeliveryError as error:
        yield Finding("engine", PROBLEM, error.message, error.hint)
        return
    yield Finding("engine", OK, engine.describe())
    yield _plugins(engine)
    yield _memory(engine.memory())
    yield _ports(engine, declaration, root)


def _plugins(engine: Engine) -> Finding:
    if not (missing := engines.missing_plugins(engine)):
        return Finding("BuildKit", OK, "the docker command line has buildx and compose")
    try:
        engines.check_can_start()
    except DeliveryError as error:
        return Finding("BuildKit", PROBLEM, f"{', '.join(missing)} missing", error.hint)
    return Finding("BuildKit", LATER, f"{', '.join(missing)} missing", "`./run inv up` installs it")


def _memory(size: int) -> Finding:
    hint = "give the engine more (Docker Desktop: Settings, Resources)"
    return _room(Finding("memory", OK, f"{size / _GIGABYTE:.1f} GB", hint), size, _MEMORY)


def _room(found: Finding, size: int, needed: tuple[int, int]) -> Finding:
    """What is found, judged by the bytes that the platform and a cluster beside it need."""
    platform_needs, cluster_needs = needed
    if size < platform_needs:
        return replace(found, state=PROBLEM)
    if size < cluster_needs:
        return replace(found, state=LATER, text=f"{found.text}, too little for a cluster")
    return replace(found, hint="")


def _ports(engine: Engine, declaration: Declaration, root: Path) -> Finding:
    try:
        project = lifecycle.compose(engine, declaration, lifecycle.released(root), root)
        lifecycle.check_ports(project)
        ports = ", ".join(f"{port} ({service})" for service, port in project.ports())
    except DeliveryError as error:
        return Finding("ports", PROBLEM, error.message, error.hint)
    return Finding("ports", OK, f"{ports}: free, or this platform's")


def _disk() -> Iterator[Finding]:
    folder = cache.cache_home()
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    text = f"{free / _GIGABYTE:.0f} GB free at {folder}"
    yield _room(Finding("disk", OK, text, "`./run inv cache.clean` frees some"), free, _DISK)
    if not os.access(existing, os.W_OK):
        hint = "set XDG_CACHE_HOME to a writable folder"
        yield Finding("cache", PROBLEM, f"{existing} is not writable", hint)


def _certificates() -> Iterator[Finding]:
    names = (name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.lower()))
    proxies = ", ".join(names)
    yield Finding("proxy", OK, f"by {proxies}" if proxies else "none is set")
    try:
        bundle = trust.secrets().get("build-ca")
    except DeliveryError as error:
        yield Finding("CA bundle", PROBLEM, error.message, error.hint)
        return
    if bundle:
        yield Finding("CA bundle", OK, f"{bundle}, which builds get")
    else:
        hint = "install ca-certificates; behind a proxy that intercepts TLS set DELIVERY_BUILD_CA"
        yield Finding("CA bundle", LATER, "this machine has none", hint)


def _registry(declaration: Declaration) -> Iterator[Finding]:
    address = declaration.registry.address
    problem: DeliveryError | None
    try:
        problem = client.missing_login(address)
    except DeliveryError as error:
        problem = error
    if problem:
        yield Finding("registry", PROBLEM, problem.reason, problem.hint)
    elif client.is_reachable(address):
        yield Finding("registry", OK, f"{address} answers")
    elif is_local(address):
        yield Finding("registry", LATER, f"{address} does not answer", "`./run inv up` starts it")
    else:
        hint = "check the address in delivery.toml or DELIVERY_REGISTRY, the network and the proxy"
        yield Finding("registry", PROBLEM, f"{address} does not answer", hint)


def _contexts(declaration: Declaration) -> Iterator[Finding]:
    if (program := programs.find("kubectl")) is None:
        yield Finding("contexts", LATER, "not read: kubectl is missing", _when_needed("kubectl"))
        return
    try:
        existing, current = kubectl.contexts(program)
    except DeliveryError as error:
        yield Finding("contexts", LATER, error.reason, "correct the kubeconfig")
        return
    known = {name: declaration.contexts(name) for name in declaration.environments}
    usable = [name for name, contexts in known.items() if {*contexts} & {*existing}]
    text = f"environments in the kubeconfig: {', '.join(usable) or 'none'}"
    text += f"; the current context is {current}" if current else ""
    if missing := [name for name in known if name not in usable]:
        hint = f"deploys to {', '.join(missing)} need a context: see docs/operations.md"
        yield Finding("contexts", LATER, text, hint)
    else:
        yield Finding("contexts", OK, text)


def _programs() -> Iterator[Finding]:
    for name in programs.PROGRAMS:
        try:
            path = programs.find(name)
        except DeliveryError as error:
            yield Finding(name, PROBLEM, error.reason, error.hint)
            continue
        if path:
            yield Finding(name, OK, path)
        else:
            yield Finding(name, LATER, "not found", _when_needed(name))


def _when_needed(name: str) -> str:
    if programs.can_install(name):
        return "installed by the task that needs it"
    return programs.hint(name)
