"""`inv deploy`, `rollback`, `undeploy`: a release in an environment."""

from __future__ import annotations

from collections.abc import Callable

from invoke.context import Context

from delivery.core.declaration import Declaration
from delivery.core.deployment import chart_values, seconds
from delivery.core.errors import DeclarationError
from delivery.core.release import Release
from delivery.steps import deploy as deploys
from delivery.steps import engine as engines
from delivery.steps import mirror as mirrors
from delivery.steps import registry as registries
from delivery.steps import release as releases
from delivery.steps import versions
from delivery.tasks import platform as platforms
from delivery.tasks import questions
from delivery.tasks.menu import item
from delivery.tools import files, screen
from delivery.tools.engine import Engine
from delivery.tools.registry import Registry, is_local

__all__ = ["deploy", "rollback", "undeploy"]

_LOCAL = "local"
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
        "version": "a tag that the registry holds for every component; current: this clone's sources; deployed: what runs now",
        "rollback": "--no-rollback leaves a failed revision in place",
    }
)
def deploy(  # each is a flag
    _context: Context,
    environment: str = _LOCAL,
    platform: str = "",
    version: str = "",
    context: str = "",
    yes: bool = False,  # noqa: FBT001, FBT002  # how invoke declares a flag
    timeout: str = "10m",
    lock_timeout: str = "30m",
    rollback: bool = True,  # noqa: FBT001, FBT002
) -> None:
    """Deploy a version and wait until it serves.

    On a terminal it asks what is not said. A version that does not become ready is rolled back, after its pods were shown.
    """
    options = deploys.Options(seconds(timeout, "--timeout"), seconds(lock_timeout, "--lock-timeout"), rollback)
    declaration = files.load_declaration()
    declared = deploys.environment(declaration, environment)
    ask = questions.someone() and not yes
    platform = platform or (_ask_platform() if ask and environment == _LOCAL else "kubernetes")
    _check_platform(platform, environment, context)
    if platform == "docker":
        _on_docker(declaration, version or (_ask_version(declaration, {}) if ask else versions.CURRENT))
        return
    place = deploys.target(declaration, environment, context)
    now = deploys.running(place)
    version = version or (_ask_version(declaration, _deployed(now)) if ask else _default(environment))
    if version == versions.CURRENT and declared.confirm:
        versions.refuse_changes(environment)
    if declared.confirm:
        _confirm(f"deploy {version} to {place}", environment, yes=yes)
    release, engine = _release(declaration, version, now)
    registry = Registry(declaration.registry.address)
    if engine is None and is_local(declaration.registry.address):
        engine = engines.ensure()
    mirrored = mirrors.mirror(engine, declaration, registry) if engine else {}
    deploys.deploy(place, chart_values(release, versions.components(declaration), mirrored), options)


@item(
    help={
        **_HELP,
        "revision": "the one to go back to, as `helm history` numbers it; without it the last good one before",
    }
)
def rollback(  # each is a flag
    _context: Context,
    environment: str = _LOCAL,
    revision: int = 0,
    context: str = "",
    yes: bool = False,  # noqa: FBT001, FBT002
    timeout: str = "10m",
    lock_timeout: str = "30m",
) -> None:
    """Go back to an earlier revision of a deployment."""
    options = deploys.Options(seconds(timeout, "--timeout"), seconds(lock_timeout, "--lock-timeout"))
    declaration = files.load_declaration()
    declared = deploys.environment(declaration, environment)
    place = deploys.target(declaration, environment, context)
    if declared.confirm:
        _confirm(f"roll back {place}", environment, yes=yes)
    deploys.roll_back(place, revision, options)


@item(help={**_HELP, "data": "also remove the claims, and so Kafka's and the database's data"})
def undeploy(  # each is a flag
    _context: Context,
    environment: str = _LOCAL,
    data: bool = False,  # noqa: FBT001, FBT002
    context: str = "",
    yes: bool = False,  # noqa: FBT001, FBT002
    timeout: str = "10m",
    lock_timeout: str = "30m",
) -> None:
    """Remove a deployment; its data stays."""
    options = deploys.Options(seconds(timeout, "--timeout"), seconds(lock_timeout, "--lock-timeout"))
    declaration = files.load_declaration()
    declared = deploys.environment(declaration, environment)
    if data and not yes and not questions.someone():
        raise DeclarationError("remove the data: nobody is here to be asked", hint="say it with --yes")
    place = deploys.target(declaration, environment, context)
    if declared.confirm:
        _confirm(f"remove {place}", environment, yes=yes)
    deploys.remove(place, options, data=data, may_delete=_may_delete(environment, yes=yes))


def _may_delete(environment: str, *, yes: bool) -> Callable[[list[str]], bool]:
    def ask(names: list[str]) -> bool:
        if yes:
            return True
        screen.say("these would be deleted, with all that is in them:")
        for name in names:
            screen.say(f"  {name}")
        if questions.typed(f"type {environment} to delete them:", environment):
            return True
        screen.say("they stay")
        return False

    return ask


def _check_platform(platform: str, environment: str, context: str) -> None:
    if platform not in _PLATFORMS:
        raise DeclarationError(
            f"deploy: --platform {platform} is not known", hint=f"--platform takes one of {', '.join(_PLATFORMS)}"
        )
    if platform == "docker" and environment != _LOCAL:
        raise DeclarationError(
            f"deploy to {environment}: docker is for local only", hint="leave --platform out, or say kubernetes"
        )
    if platform == "docker" and context:
        raise DeclarationError(
            "deploy: --context names a cluster, and docker is none",
            hint="leave --context out, or say --platform kubernetes",
        )


def _default(environment: str) -> str:
    """The version that is meant when nobody says one and nobody can be asked."""
    if environment == _LOCAL:
        return versions.CURRENT
    raise DeclarationError(
        f"deploy to {environment}: no version is told",
        hint=f"--version X.Y.Z, or --version {versions.CURRENT} for this clone's sources",
    )


def _ask_platform() -> str:
    return questions.choose("Which platform?", _PLATFORMS, "kubernetes")


def _deployed(now: Release | None) -> dict[str, str]:
    """The answer that leaves the version as it is, if something runs."""
    if now is None:
        return {}
    images = ", ".join(f"{name} {image.digest[7:19]}" for name, image in now.images.items())
    return {versions.DEPLOYED: f"what runs now: {next(iter(now.images.values())).key}, {images}"}


def _ask_version(declaration: Declaration, now: dict[str, str]) -> str:
    there = versions.offered(declaration)
    answers = {versions.CURRENT: "this clone's sources as they are", **now, **dict.fromkeys(there, "")}
    return questions.choose("Which version?", answers, versions.CURRENT)


def _confirm(doing: str, environment: str, *, yes: bool) -> None:
    if yes:
        return
    if not questions.someone():
        raise DeclarationError(f"{doing}: nobody is here to confirm it", hint="say it with --yes")
    if not questions.typed(f"{doing}? type {environment} to go on:", environment):
        raise DeclarationError(f"{doing}: not confirmed", hint=f"type {environment}, or say --yes")


def _release(declaration: Declaration, version: str, now: Release | None) -> tuple[Release, Engine | None]:
    """The release of a version; the engine too, where making it took one."""
    if version == versions.CURRENT:
        engine = engines.ensure()
        return releases.make(engine, declaration), engine
    if version == versions.DEPLOYED:
        if now is None:
            raise DeclarationError(
                "deploy what is deployed: nothing is", hint=f"--version {versions.CURRENT}, or X.Y.Z"
            )
        return now, None
    return versions.held(declaration, Registry(declaration.registry.address), version), None


def _on_docker(declaration: Declaration, version: str) -> None:
    def make(engine: Engine) -> Release:
        if version == versions.CURRENT:
            return releases.make(engine, declaration)
        return versions.held(declaration, registries.ensure(engine, declaration), version)

    platforms.bring_up(declaration, make)
