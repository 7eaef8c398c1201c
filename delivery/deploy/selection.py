"""Select the release to deploy: as requested, in the registry, and allowed in the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from delivery import prompt
from delivery.build import planning
from delivery.build.plan import hint_for_new_plan
from delivery.errors import DeclarationError, did_you_mean
from delivery.project.declaration import LOCAL, Declaration
from delivery.project.files import read_text
from delivery.project.gitflow import Decision
from delivery.registry.client import Registry
from delivery.release import attesting, catalog, signing
from delivery.release.released import Release, read_release

__all__ = [
    "DOCKER",
    "KUBERNETES",
    "DeployRequest",
    "check_comparable",
    "choose_environment",
    "choose_platform",
    "choose_version",
    "environment_to_verify",
    "find_release",
    "is_allowed",
    "resolve",
]

KUBERNETES, DOCKER = "kubernetes", "docker"
_PLATFORMS = {KUBERNETES: "the chart, in a cluster", DOCKER: "docker compose, on this machine"}
_UNRELEASED = (catalog.CURRENT, catalog.DEPLOYED)  # versions that only `local` takes
_VERSION_HINT = "pass --version, --release or --plan"


@dataclass(frozen=True)
class DeployRequest:
    """The flags of `inv deploy`; `rollback` and `undeploy` take three of them."""

    environment: str = ""  # "": the plan's, else local
    version: str = ""  # at most one of version, file and plan is given
    file: str = ""  # a release.json
    plan: str = ""  # a plan that `inv plan --file` wrote
    context: str = ""  # the kube context; "": the current context of the kubeconfig
    signed: bool = False  # refuse what is not signed, whatever the environment says
    yes: bool = False  # ask nothing
    dry_run: bool = False  # decide what to deploy, and change nothing
    override: str = ""  # why to deploy although the environment is frozen

    @property
    def is_interactive(self) -> bool:
        """Whether a user at a terminal can be asked for what is missing."""
        return prompt.is_interactive() and not self.yes


def choose_platform(request: DeployRequest, platform: str) -> str:
    """The given platform, else the user's choice where docker is possible, else kubernetes."""
    is_local = request.environment in {"", LOCAL}
    if not platform and is_local and not request.plan and request.is_interactive:
        platform = prompt.choose("Which platform?", _PLATFORMS, KUBERNETES)
    platform = platform or KUBERNETES
    if platform not in _PLATFORMS:
        known = f"--platform takes one of {', '.join(_PLATFORMS)}"
        raise DeclarationError(
            f"cannot deploy: --platform {platform} is unknown",
            hint=did_you_mean(platform, _PLATFORMS, known),
        )
    if platform == DOCKER and not is_local:
        raise DeclarationError(
            f"cannot deploy to {request.environment}: docker is for local only",
            hint="omit --platform, or pass --platform kubernetes",
        )
    if platform == DOCKER and request.context:
        raise DeclarationError(
            "cannot deploy: --context names a cluster, but docker uses none",
            hint="omit --context, or pass --platform kubernetes",
        )
    return platform


def check_comparable(platform: str) -> None:
    """Raise DeclarationError if a dry run is requested for docker."""
    if platform == DOCKER:
        raise DeclarationError(
            "cannot compare: only a cluster can say what a deploy would change",
            hint="omit --platform, or --dry-run",
        )


def choose_environment(declaration: Declaration, request: DeployRequest, action: str) -> str:
    """The given environment, else the user's choice, for an action without a default."""
    if request.environment:
        return request.environment
    if request.is_interactive:
        return prompt.choose("Which environment?", dict.fromkeys(declaration.environments, ""))
    raise _no_environment(declaration, action)


def _no_environment(declaration: Declaration, action: str, otherwise: str = "") -> DeclarationError:
    names = ", ".join(declaration.environments)
    return DeclarationError(
        f"cannot {action}: no environment given",
        hint=f"pass --environment with one of {names}{otherwise}",
    )


def environment_to_verify(declaration: Declaration, environment: str, plan: str) -> str:
    """The given environment, or the plan's; they must not differ."""
    if plan:
        return _planned_environment(planning.read(Path(plan)).decision, plan, environment, "verify")
    if not environment:
        raise _no_environment(declaration, "verify", ", or --plan")
    return environment


def _planned_environment(decision: Decision, file: str, environment: str, action: str) -> str:
    """The environment of a plan; raise DeclarationError if it is missing or differs."""
    if not decision.environment:
        raise DeclarationError(
            f"cannot {action} {file}: {decision.because}; it is deployed nowhere",
            hint="omit --plan, and pass --environment"
            + (" and --version" if action == "deploy" else ""),
        )
    if environment not in {"", decision.environment}:
        raise DeclarationError(
            f"cannot {action}: the plan {file} is for {decision.environment}, not {environment}",
            hint="omit --environment or --plan",
        )
    return decision.environment


def resolve(declaration: Declaration, request: DeployRequest) -> tuple[str, Release | None]:
    """The environment, and the release of a file or plan; None where neither is given."""
    if sum(map(bool, (request.file, request.plan, request.version))) > 1:
        raise DeclarationError(
            "cannot deploy: --version, --release and --plan each name what to deploy",
            hint="pass only one of them",
        )
    if request.plan:
        return _resolve_plan(declaration, request)
    environment = request.environment or LOCAL
    if not request.file:
        return environment, None
    registry, release = Registry(declaration.registry.address), _read_release(request.file)
    return environment, catalog.check_file(declaration, registry, release, request.file)


def _resolve_plan(declaration: Declaration, request: DeployRequest) -> tuple[str, Release | None]:
    registry = Registry(declaration.registry.address)
    plan = planning.plan_checkout(declaration, registry)
    planning.check_unchanged(Path(request.plan), plan)
    environment = _planned_environment(plan.decision, request.plan, request.environment, "deploy")
    if declaration.is_preview(environment):
        return environment, None
    publish = "publish it by `./run inv build push`"
    release = catalog.require(declaration, registry, plan.version, publish)
    planned = {image.name: image.key for image in plan.images.all}
    if (published := {name: image.key for name, image in release.images.items()}) != planned:
        raise DeclarationError(
            f"cannot deploy {request.plan}: "
            f"the registry's release {plan.version} has other images ({published})",
            hint=hint_for_new_plan(request.plan),
        )
    return environment, release


def _read_release(file: str) -> Release:
    hint = "write .delivery/release.json with `./run inv push`"
    return read_release(read_text(Path(file), "the release", hint), file=file)


def find_release(
    declaration: Declaration,
    environment: str,
    release: Release | None,
    version: str,
    *,
    signed: bool,
) -> Release | None:
    """The release to deploy; None for `current` and `deployed`, which are no releases.

    `release` comes from a file or a plan; without it, the version is looked up in the registry.
    Raises DeclarationError when the environment does not take it, or SignatureError.
    """
    if release is None and version in _UNRELEASED:
        if not _takes_sources(declaration, environment) or signed:
            reason = "signatures are required" if signed else "only local and previews take it"
            raise DeclarationError(
                f"cannot deploy {version} to {environment}: it is no release, and {reason}",
                hint=_VERSION_HINT,
            )
        return None
    registry = Registry(declaration.registry.address)
    release = release or catalog.require(declaration, registry, version)
    if not is_allowed(environment, release, declaration):
        raise DeclarationError(
            f"cannot deploy {release.version} to {environment}: it comes from the {release.line} "
            f"line, and {environment} takes releases only",
            hint="merge it into the release branch, whose pipeline publishes the same images",
        )
    if signed:
        builders = signing.builders_for(declaration, environment)
        signing.verify(declaration, catalog.references(registry, release), builders=builders)
        attesting.verify(declaration, release.images.values(), builders=builders)
    return release


def choose_version(
    declaration: Declaration, environment: str, deployed: dict[str, str], *, ask: bool
) -> str:
    """The version to deploy where none is given: the user's choice, or `current` for local.

    For a preview it is always `current`. deployed is the answer that keeps the deployed images,
    with its meaning; empty without any.
    """
    if declaration.is_preview(environment):
        return catalog.CURRENT
    releases = dict.fromkeys(catalog.newest(declaration), "") if ask else {}
    if environment == LOCAL:
        answers = {catalog.CURRENT: "this clone's sources", **deployed, **releases}
        return prompt.choose("Which version?", answers, catalog.CURRENT) if ask else catalog.CURRENT
    if not releases:
        raise DeclarationError(
            f"cannot deploy to {environment}: no version given", hint=_VERSION_HINT
        )
    return prompt.choose("Which version?", releases, next(iter(releases)))


def _takes_sources(declaration: Declaration, environment: str) -> bool:
    return environment == LOCAL or declaration.is_preview(environment)


def is_allowed(environment: str, release: Release, declaration: Declaration) -> bool:
    """Whether the environment takes this release; the release line's takes no candidates."""
    release_environment = declaration.gitflow.deploys.get("release")
    return environment != release_environment or "-" not in release.version
