"""`inv deploy`, `rollback`, `undeploy`: a release in an environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from delivery import console, prompt
from delivery.build import planning
from delivery.deploy.deployment import chart_values, check_line, seconds
from delivery.errors import DeclarationError
from delivery.host import engines
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.project.declaration import LOCAL, Declaration, is_local
from delivery.registry import local_registry
from delivery.registry.client import Registry
from delivery.release import catalog, chart_package, releasing, signing
from delivery.release.contents import Contents
from delivery.release.released import Release, read_release
from delivery.tasks import platform
from delivery.tasks.menu import item

if TYPE_CHECKING:  # a command that does not need them starts sooner
    from delivery.deploy.upgrade import Options, Target
    from delivery.records.recorder import Deploy

__all__ = ["deploy", "rollback", "undeploy"]

_SOURCES = (catalog.CURRENT, catalog.DEPLOYED)  # what is no release
_PLATFORMS = {
    "kubernetes": "the chart, in a cluster",
    "docker": "docker compose, on this machine",
}
_HELP = {
    "environment": "local (the default), develop, staging or production",
    "context": "the kube context; without it the current one. It has to be one of the environment's",
    "yes": "do not ask",
    "timeout": "how long everything may take to be ready: 90s, 10m",
    "lock-timeout": "how long to wait for another deploy that is at it",
}


@item(
    help={
        **_HELP,
        "platform": "kubernetes (the default) or docker",
        "version": "a release that the registry holds; for local also current: this clone's sources, deployed: what runs now",
        "release": "a release.json; the registry has to hold that very release",
        "signed": "refuse what is not signed for signing.public_key, also where the environment does not",
        "plan": "a plan that `inv plan --file FILE` wrote: deploy it to where it says, or nothing",
        "rollback": "--no-rollback leaves a failed revision in place",
    }
)
def deploy(  # noqa: PLR0913, PLR0917  # each is a flag
    _context: Context,
    environment: str = "",
    platform: str = "",
    version: str = "",
    release: str = "",
    plan: str = "",
    signed: bool = False,
    context: str = "",
    yes: bool = False,
    timeout: str = "10m",
    lock_timeout: str = "30m",
    rollback: bool = True,
) -> None:
    """Deploy a version and wait until it serves.

    On a terminal it asks what is not said. A version that does not become ready is rolled back, after its pods were shown.
    """
    from delivery.deploy import upgrade
    from delivery.records import recorder

    options = upgrade.Options(seconds(timeout, "--timeout"), seconds(lock_timeout, "--lock-timeout"), rollback)
    declaration = files.load_declaration()
    with recorder.deploying(declaration, "deploy") as recording:
        environment, told = _told(declaration, environment, release, plan, version)
        upgrade.environment(declaration, environment)
        ask = prompt.someone() and not yes
        platform = platform or (_ask_platform() if ask and environment == LOCAL else "kubernetes")
        _check_platform(platform, environment, context)
        if platform == "docker":
            version = version or ("" if told else _version_for_docker(declaration, ask=ask))
            _on_docker(declaration, told, version, recording)
            return
        place = upgrade.target(declaration, environment, context)
        _on_kubernetes(declaration, place, options, _Wish(told, version, signed=signed, ask=ask, yes=yes), recording)


@dataclass(frozen=True)
class _Wish:
    """What is to be deployed: the release that a file or a plan tells of, else a version; whether it may be asked for."""

    told: Release | None
    version: str
    signed: bool
    ask: bool
    yes: bool


def _on_kubernetes(declaration: Declaration, place: Target, options: Options, wish: _Wish, recording: Deploy) -> None:
    from delivery.deploy import (
        serving,
        upgrade,
    )
    from delivery.registry import mirroring

    environment, declared, version = place.name, place.declared, wish.version
    now = upgrade.running(place)
    if wish.told is None and not version:
        version = _ask_version(declaration, environment, _deployed(now)) if wish.ask else _default(environment)
    registry = Registry(declaration.registry.address)
    chosen = _release(declaration, registry, environment, wish.told, version, signed=wish.signed or declared.signed)
    if declared.confirm:
        _confirm(f"deploy {chosen.version if chosen else version} to {place}", environment, yes=wish.yes)
    images, engine = (chosen, None) if chosen else _unreleased(declaration, version, now)
    named = Contents({})
    with recording.quietly():
        named, unchanged = serving.to_deploy(declaration, place, now, images)
        recording.begin(environment, named, images, unchanged=unchanged)
    if engine is None and is_local(declaration.registry.address):
        engine = engines.ensure()
    mirrored = mirroring.mirror(engine, declaration, registry) if engine else {}
    values = chart_values(images, declaration.components(), mirrored)
    packed = (
        chart_package.fetch(registry, chosen.chart.repository, chosen.chart.digest) if chosen and chosen.chart else None
    )
    folder = Path(declaration.chart.folder)
    if not upgrade.deploy(place, values, options, folder, packed, versions=named.versions):
        recording.unchanged()


@item(
    help={
        **_HELP,
        "revision": "the one to go back to, as `helm history` numbers it; without it the last good one before",
    }
)
def rollback(  # each is a flag
    _context: Context,
    environment: str = LOCAL,
    revision: int = 0,
    context: str = "",
    yes: bool = False,
    timeout: str = "10m",
    lock_timeout: str = "30m",
) -> None:
    """Go back to an earlier revision of a deployment."""
    from delivery.deploy import (
        serving,
        upgrade,
    )
    from delivery.records import recorder

    options = upgrade.Options(seconds(timeout, "--timeout"), seconds(lock_timeout, "--lock-timeout"))
    declaration = files.load_declaration()
    declared = upgrade.environment(declaration, environment)
    place = upgrade.target(declaration, environment, context)
    if declared.confirm:
        _confirm(f"roll back {place}", environment, yes=yes)
    with recorder.deploying(declaration, "rollback") as recording:
        with recording.quietly():
            back, served = serving.going_back(declaration, place, revision)
            recording.begin_going_back(environment, back, served)
        upgrade.roll_back(place, revision, options)


@item(help={**_HELP, "data": "also remove the claims, and so Kafka's and the database's data"})
def undeploy(  # each is a flag
    _context: Context,
    environment: str = LOCAL,
    data: bool = False,
    context: str = "",
    yes: bool = False,
    timeout: str = "10m",
    lock_timeout: str = "30m",
) -> None:
    """Remove a deployment; its data stays."""
    from delivery.deploy import (
        serving,
        upgrade,
    )
    from delivery.records import recorder

    options = upgrade.Options(seconds(timeout, "--timeout"), seconds(lock_timeout, "--lock-timeout"))
    declaration = files.load_declaration()
    declared = upgrade.environment(declaration, environment)
    if data and not yes and not prompt.someone():
        raise DeclarationError("remove the data: nobody is here to be asked", hint="say it with --yes")
    place = upgrade.target(declaration, environment, context)
    if declared.confirm:
        _confirm(f"remove {place}", environment, yes=yes)
    with recorder.removing(declaration, "undeploy") as recording:
        with recording.quietly():
            served = serving.current(declaration, place)
            if served.versions:
                recording.begin(environment, served)
        upgrade.remove(place, options, data=data, may_delete=_may_delete(environment, yes=yes))


def _may_delete(environment: str, *, yes: bool) -> Callable[[list[str]], bool]:
    def ask(names: list[str]) -> bool:
        if yes:
            return True
        console.say("these would be deleted, with all that is in them:")
        for name in names:
            console.say(f"  {name}")
        if prompt.typed(f"type {environment} to delete them:", environment):
            return True
        console.say("they stay")
        return False

    return ask


def _check_platform(platform: str, environment: str, context: str) -> None:
    if platform not in _PLATFORMS:
        raise DeclarationError(
            f"deploy: --platform {platform} is not known", hint=f"--platform takes one of {', '.join(_PLATFORMS)}"
        )
    if platform == "docker" and environment != LOCAL:
        raise DeclarationError(
            f"deploy to {environment}: docker is for local only", hint="leave --platform out, or say kubernetes"
        )
    if platform == "docker" and context:
        raise DeclarationError(
            "deploy: --context names a cluster, and docker is none",
            hint="leave --context out, or say --platform kubernetes",
        )


def _told(declaration: Declaration, environment: str, file: str, plan: str, version: str) -> tuple[str, Release | None]:
    """The environment, and the release that a file or a plan tells of; they may not contradict each other."""
    if sum(map(bool, (file, plan, version))) > 1:
        raise DeclarationError(
            "deploy: --version, --release and --plan each say what is deployed", hint="give one of the three"
        )
    if not file and not plan:
        return environment or LOCAL, None
    registry = Registry(declaration.registry.address)
    if file:
        return environment or LOCAL, catalog.check(declaration, registry, _read(file), file)
    found = planning.look(declaration, registry)
    planning.keep_to(Path(plan), found)
    if not found.decision.environment:
        raise DeclarationError(
            f"deploy {plan}: {found.decision.because}; it is deployed nowhere",
            hint="--environment and --version deploy a release by hand",
        )
    if environment and environment != found.decision.environment:
        raise DeclarationError(
            f"deploy {plan} to {environment}: the plan says {found.decision.environment}",
            hint="leave --environment out, or give --version instead of --plan",
        )
    release = catalog.held(declaration, registry, found.version)
    planned = {image.name: image.key for image in found.images.all}
    if (other := {name: image.key for name, image in release.images.items()}) != planned:
        raise DeclarationError(
            f"deploy {plan}: the registry's release {found.version} has other images ({other})", hint="plan anew"
        )
    return found.decision.environment, release


def _release(
    declaration: Declaration, registry: Registry, environment: str, told: Release | None, version: str, *, signed: bool
) -> Release | None:
    """The release to deploy, fit for the environment; None for what is none, which only local takes."""
    if told is None and version in _SOURCES:
        if environment != LOCAL or signed:
            why = "--signed, or the environment, asks for signatures" if signed else "only local takes what is none"
            raise DeclarationError(
                f"deploy {version} to {environment}: that is no release, and {why}",
                hint="--version X.Y.Z, --release FILE, or --plan FILE",
            )
        return None
    release = told or catalog.held(declaration, registry, version)
    check_line(environment, release, declaration)
    if signed:
        signing.verify(declaration, catalog.pins(registry, release))
    return release


def _read(file: str) -> Release:
    try:
        return read_release(Path(file).read_text(encoding="utf-8"), file=file)
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"read the release {file}: {error}", hint="`./run inv push` writes .delivery/release.json"
        ) from error


def _default(environment: str) -> str:
    """The version that is meant when nobody says one and nobody can be asked."""
    if environment == LOCAL:
        return catalog.CURRENT
    raise DeclarationError(
        f"deploy to {environment}: no version is told", hint="--version X.Y.Z, --release FILE, or --plan FILE"
    )


def _ask_platform() -> str:
    return prompt.choose("Which platform?", _PLATFORMS, "kubernetes")


def _deployed(now: Release | None) -> dict[str, str]:
    """The answer that leaves the version as it is, if something runs."""
    if now is None:
        return {}
    images = ", ".join(f"{name} {image.version or image.digest[7:19]}" for name, image in now.images.items())
    return {catalog.DEPLOYED: f"what runs now: {next(iter(now.images.values())).key}, {images}"}


def _ask_version(declaration: Declaration, environment: str, now: dict[str, str]) -> str:
    there = dict.fromkeys(catalog.offered(declaration), "")
    if environment == LOCAL:
        answers = {catalog.CURRENT: "this clone's sources as they are", **now, **there}
        return prompt.choose("Which version?", answers, catalog.CURRENT)
    if not there:
        return _default(environment)
    return prompt.choose("Which version?", there, next(iter(there)))


def _version_for_docker(declaration: Declaration, *, ask: bool) -> str:
    return _ask_version(declaration, LOCAL, {}) if ask else catalog.CURRENT


def _confirm(doing: str, environment: str, *, yes: bool) -> None:
    if yes:
        return
    if not prompt.someone():
        raise DeclarationError(f"{doing}: nobody is here to confirm it", hint="say it with --yes")
    if not prompt.typed(f"{doing}? type {environment} to go on:", environment):
        raise DeclarationError(f"{doing}: not confirmed", hint=f"type {environment}, or say --yes")


def _unreleased(declaration: Declaration, version: str, now: Release | None) -> tuple[Release, Engine | None]:
    """What this clone's sources make, or what is deployed; the engine too, where making it took one."""
    if version == catalog.CURRENT:
        engine = engines.ensure()
        return releasing.make(engine, declaration), engine
    if now is None:
        raise DeclarationError("deploy what is deployed: nothing is", hint=f"--version {catalog.CURRENT}, or X.Y.Z")
    if missing := [name for name in declaration.components() if name not in now.images]:
        raise DeclarationError(
            f"cannot deploy what is deployed: it has no {', '.join(missing)}, which delivery.toml declares",
            hint=f"--version {catalog.CURRENT} builds this clone's sources, --version X.Y.Z is a release",
        )
    return now, None


def _on_docker(declaration: Declaration, told: Release | None, version: str, recording: Deploy) -> None:
    def make(engine: Engine) -> Release:
        if told is not None:
            return told
        if version == catalog.CURRENT:
            return releasing.make(engine, declaration)
        return catalog.held(declaration, local_registry.ensure(engine, declaration), version)

    platform.bring_up(declaration, make, recording)
