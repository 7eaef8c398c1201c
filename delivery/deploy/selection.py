"""Which release a deploy is of: what was asked for, found in the registry, and fit for the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from delivery import prompt
from delivery.build import planning
from delivery.errors import DeclarationError, did_you_mean
from delivery.project.declaration import LOCAL, Declaration
from delivery.registry.client import Registry
from delivery.release import catalog, signing
from delivery.release.released import Release, read_release

__all__ = [
    "DOCKER",
    "KUBERNETES",
    "DeployRequest",
    "check_line",
    "choose_environment",
    "choose_platform",
    "choose_version",
    "environment_to_verify",
    "find_release",
    "resolve",
]

KUBERNETES, DOCKER = "kubernetes", "docker"
_PLATFORMS = {KUBERNETES: "the chart, in a cluster", DOCKER: "docker compose, on this machine"}
_UNRELEASED = (catalog.CURRENT, catalog.DEPLOYED)  # only `local` takes them


@dataclass(frozen=True)
class DeployRequest:
    """What a deploy was asked for: at most one of version, file (a release.json) and plan.

    environment: "" is the plan's, else local. context: "" is the kubeconfig's current one. signed:
    refuse what is not signed, wherever it goes. yes: ask nothing.
    """

    environment: str = ""
    version: str = ""
    file: str = ""
    plan: str = ""
    context: str = ""
    signed: bool = False
    yes: bool = False

    @property
    def may_ask(self) -> bool:
        """Whether somebody at a terminal can be asked what was not given."""
        return prompt.is_interactive() and not self.yes


def choose_platform(request: DeployRequest, platform: str) -> str:
    """The platform to deploy to: the given one, asked for where it may be docker, else kubernetes."""
    is_local = request.environment in {"", LOCAL}
    if not platform and is_local and not request.plan and request.may_ask:
        platform = prompt.choose("Which platform?", _PLATFORMS, KUBERNETES)
    platform = platform or KUBERNETES
    if platform not in _PLATFORMS:
        raise DeclarationError(
            f"deploy: --platform {platform} is not known",
            hint=did_you_mean(
                platform, _PLATFORMS, f"--platform takes one of {', '.join(_PLATFORMS)}"
            ),
        )
    if platform == DOCKER and not is_local:
        raise DeclarationError(
            f"deploy to {request.environment}: docker is for local only",
            hint="leave --platform out, or say kubernetes",
        )
    if platform == DOCKER and request.context:
        raise DeclarationError(
            "deploy: --context names a cluster, and docker is none",
            hint="leave --context out, or say --platform kubernetes",
        )
    return platform


def choose_environment(declaration: Declaration, request: DeployRequest, doing: str) -> str:
    """The environment for what has no default: the given one, or asked for on a terminal."""
    if not request.environment and request.may_ask:
        return prompt.choose("Which environment?", dict.fromkeys(declaration.environments, ""))
    if not request.environment:
        raise DeclarationError(
            f"cannot {doing}: no environment given",
            hint=f"--environment takes one of {', '.join(declaration.environments)}",
        )
    return request.environment


def environment_to_verify(environment: str, plan: str) -> str:
    """The given environment, or the one that the plan in this file deploys to; they may not contradict each other."""
    if not plan:
        if not environment:
            raise DeclarationError(
                "verify: no environment is told", hint="--environment NAME, or --plan FILE"
            )
        return environment
    planned = planning.read(Path(plan)).decision
    if not planned.environment:
        raise DeclarationError(
            f"verify {plan}: {planned.because}; it is deployed nowhere",
            hint="--environment NAME, instead of --plan",
        )
    if environment not in {"", planned.environment}:
        raise DeclarationError(
            f"verify {environment}: the plan {plan} says {planned.environment}",
            hint="leave one of the two out",
        )
    return planned.environment


def resolve(declaration: Declaration, request: DeployRequest) -> tuple[str, Release | None]:
    """The environment, and the release that a file or a plan names; None where a version is to be found."""
    if sum(map(bool, (request.file, request.plan, request.version))) > 1:
        raise DeclarationError(
            "deploy: --version, --release and --plan each say what is deployed",
            hint="give one of the three",
        )
    if request.plan:
        return _from_plan(declaration, request)
    environment = request.environment or LOCAL
    if request.file:
        registry = Registry(declaration.registry.address)
        return environment, catalog.check_file(
            declaration, registry, _read(request.file), request.file
        )
    return environment, None


def _from_plan(declaration: Declaration, request: DeployRequest) -> tuple[str, Release]:
    registry = Registry(declaration.registry.address)
    plan = planning.plan_checkout(declaration, registry)
    planning.check_unchanged(Path(request.plan), plan)
    environment = plan.decision.environment
    if not environment:
        raise DeclarationError(
            f"deploy {request.plan}: {plan.decision.because}; it is deployed nowhere",
            hint="--environment and --version deploy a release by hand",
        )
    if request.environment not in {"", environment}:
        raise DeclarationError(
            f"deploy {request.plan} to {request.environment}: the plan says {environment}",
            hint="leave --environment out, or give --version instead of --plan",
        )
    release = catalog.require(declaration, registry, plan.version)
    planned = {image.name: image.key for image in plan.images.all}
    if (published := {name: image.key for name, image in release.images.items()}) != planned:
        raise DeclarationError(
            f"deploy {request.plan}: the registry's release {plan.version} has other images ({published})",
            hint="plan anew",
        )
    return environment, release


def _read(file: str) -> Release:
    try:
        return read_release(Path(file).read_text(encoding="utf-8"), file=file)
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"read the release {file}: {error}",
            hint="`./run inv push` writes .delivery/release.json",
        ) from error


def find_release(
    declaration: Declaration,
    environment: str,
    release: Release | None,
    version: str,
    *,
    signed: bool,
) -> Release | None:
    """The release to deploy, fit for the environment; None for `current` and `deployed` (local only).

    release is one that a file or a plan named; without it, version is looked for in the registry.
    """
    if release is None and version in _UNRELEASED:
        if environment != LOCAL or signed:
            why = (
                "--signed, or the environment, asks for signatures"
                if signed
                else "only local takes what is none"
            )
            raise DeclarationError(
                f"deploy {version} to {environment}: that is no release, and {why}",
                hint="--version X.Y.Z, --release FILE, or --plan FILE",
            )
        return None
    registry = Registry(declaration.registry.address)
    release = release or catalog.require(declaration, registry, version)
    check_line(environment, release, declaration)
    if signed:
        signing.verify(declaration, catalog.references(registry, release))
    return release


def choose_version(
    declaration: Declaration, environment: str, deployed: dict[str, str], *, ask: bool
) -> str:
    """The version that is meant where none was given: asked for, or `current` for local.

    deployed is the answer that keeps what serves, with its meaning; empty where nothing does.
    """
    releases = dict.fromkeys(catalog.newest(declaration), "") if ask else {}
    if environment == LOCAL:
        answers = {catalog.CURRENT: "this clone's sources as they are", **deployed, **releases}
        return prompt.choose("Which version?", answers, catalog.CURRENT) if ask else catalog.CURRENT
    if not releases:
        raise DeclarationError(
            f"deploy to {environment}: no version is told",
            hint="--version X.Y.Z, --release FILE, or --plan FILE",
        )
    return prompt.choose("Which version?", releases, next(iter(releases)))


def check_line(environment: str, release: Release, declaration: Declaration) -> None:
    """Raise DeclarationError for a candidate where the release line is deployed: releases alone go there."""
    if environment == declaration.gitflow.deploys.get("release") and "-" in release.version:
        raise DeclarationError(
            f"deploy {release.version} to {environment}: it comes from the {release.line} line, "
            f"and {environment} takes releases",
            hint="merge it into the release branch, whose pipeline publishes the same images as a release",
        )
