"""`inv deploy`, `diff`, `drift`, `render`, `rollback`, `undeploy`, `verify`: releases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from delivery import console
from delivery.tasks.decorator import load_declaration, task

if TYPE_CHECKING:
    from delivery.deploy.comparison import Comparison

__all__ = ["deploy", "diff", "drift", "render", "rollback", "undeploy", "verify"]

_CHANGED = 3  # the exit code of a comparison that finds a difference

_HELP = {
    "environment": "local, develop, staging or production; default: ask at a terminal",
    "context": "the kube context, of the environment's contexts; default: the current context",
    "yes": "do not ask",
    "timeout": "how long to wait until everything is ready: 90s, 10m",
    "lock-timeout": "how long to wait for another deploy to finish",
}
# What is deployed, and where to.
_REQUEST_HELP = {
    "environment": "local (the default), develop, staging, production, preview or a preview's name",
    "version": "X.Y.Z; for local also current (the sources) or deployed (what runs)",
    "release": "a release.json; the registry must have this release",
    "signed": "require signatures, even if the environment does not",
    "plan": "the file of `inv plan --file FILE`: what it says, in the environment that it says",
    "context": _HELP["context"],
}


@task(
    help={
        **_HELP,
        **_REQUEST_HELP,
        "platform": "kubernetes (the default) or docker",
        "soak": "how long to watch the new version, and roll it back for trouble: 10m, 0 for not",
        "rollback": "--no-rollback keeps a failed revision",
        "dry-run": "change nothing: show what `inv diff` shows, with its exit code",
        "override": "why to deploy although the environment is frozen; it is recorded",
    }
)
def deploy(
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
    soak: str = "",
    rollback: bool = True,
    dry_run: bool = False,
    override: str = "",
) -> None:
    """Deploy a version and wait until it is ready.

    Asks for missing flags at a terminal. If the version does not become ready, shows its pods and
    rolls it back.
    """
    from delivery.deploy import deploying, selection, target

    options = target.parse_options(timeout, lock_timeout, rollback=rollback, soak=soak)
    request = selection.DeployRequest(
        environment, version, release, plan, context, signed=signed, yes=yes, override=override
    )
    declaration = load_declaration()
    if dry_run:
        from delivery.deploy import comparing

        selection.check_comparable(platform)
        comparison = comparing.compare(declaration, request)
        console.diff(comparison.lines())
        _exit(comparison)
    elif selection.choose_platform(request, platform) == selection.DOCKER:
        from delivery.platform import startup

        startup.deploy(declaration, request).say()
    else:
        deploying.deploy(declaration, request, options)


@task(
    help={
        **_REQUEST_HELP,
        "to": "another environment: compare what both run",
        "file": "also write it to this file, as text or (with --json) as JSON",
    }
)
def diff(
    environment: str = "",
    to: str = "",
    version: str = "",
    release: str = "",
    plan: str = "",
    signed: bool = False,
    context: str = "",
    file: str = "",
    json_: bool = False,
) -> None:
    """Show what a deploy would change: versions, commits and objects; change nothing.

    Exits with 3 if something would change. Asks the cluster by a dry run. Secrets are masked.
    """
    from delivery.deploy import comparing, selection
    from delivery.project import files

    request = selection.DeployRequest(environment, version, release, plan, context, signed=signed)
    declaration = load_declaration()
    if to:
        comparison = comparing.compare_environments(declaration, request, to)
    else:
        comparison = comparing.compare(declaration, request)
    if file:
        files.write_text(Path(file), comparison.text(as_json=json_), "the comparison")
    if json_:
        console.data(comparison.to_json())
    else:
        console.diff(comparison.lines())
    _exit(comparison)


def _exit(comparison: Comparison) -> None:
    """Exit with _CHANGED if something would change."""
    if comparison.is_changed:
        raise Exit(code=_CHANGED)


@task(help={"environment": _HELP["environment"], "context": _HELP["context"]})
def drift(environment: str = "", context: str = "", json_: bool = False) -> None:
    """Show how live objects differ from what was deployed, who changed them, and when.

    Exits with 3 if something differs. `inv deploy` sets back what was changed or deleted.
    """
    from dataclasses import asdict

    from delivery.deploy import drifting, selection

    request = selection.DeployRequest(environment, context=context)
    found = drifting.find_drift(load_declaration(), request)
    if json_:
        console.data([asdict(each) for each in found])
    elif found:
        console.table("drift", drifting.COLUMNS, drifting.rows(found))
    if found:
        raise Exit(code=_CHANGED)


@task(help=_REQUEST_HELP)
def render(
    environment: str = "",
    version: str = "",
    release: str = "",
    plan: str = "",
    signed: bool = False,
    context: str = "",
) -> None:
    """Print the manifests that a deploy would apply, and change nothing.

    Only they go to stdout. Hooks, such as the chart's tests, come last. Secrets are in them.
    """
    from delivery.deploy import comparing, selection

    request = selection.DeployRequest(environment, version, release, plan, context, signed=signed)
    with console.to_stderr():
        manifest = comparing.render(load_declaration(), request).manifest
    console.data(f"{manifest.objects}\n{manifest.hooks}")


@task(
    help={
        **_HELP,
        "revision": "of `helm history`, to return to; default: the last good revision",
    }
)
def rollback(
    environment: str = "",
    revision: int = 0,
    context: str = "",
    yes: bool = False,
    timeout: str = "10m",
    lock_timeout: str = "30m",
) -> None:
    """Return to an earlier revision of a deployment."""
    from delivery.deploy import reverting, selection, target

    options = target.parse_options(timeout, lock_timeout)
    request = selection.DeployRequest(environment, context=context, yes=yes)
    reverting.roll_back(load_declaration(), request, revision, options)


@task(
    help={**_HELP, "data": "also remove the volume claims, and so Kafka's and the database's data"}
)
def undeploy(
    environment: str = "",
    data: bool = False,
    context: str = "",
    yes: bool = False,
    timeout: str = "10m",
    lock_timeout: str = "30m",
) -> None:
    """Remove a deployment; its data stays."""
    from delivery.deploy import removal, selection, target

    options = target.parse_options(timeout, lock_timeout)
    request = selection.DeployRequest(environment, context=context, yes=yes)
    removal.remove(load_declaration(), request, options, data=data)


@task(
    stage="verify",
    help={
        "environment": "local, develop, staging or production",
        "plan": "the file of `inv plan --file FILE`: verify the environment that it deploys to",
        "context": _HELP["context"],
        "lock-timeout": _HELP["lock-timeout"],
        "timeout": "how long the tests may take: 90s, 10m",
        "rollback": "--no-rollback keeps a revision that fails",
    },
)
def verify(
    environment: str = "",
    plan: str = "",
    context: str = "",
    timeout: str = "10m",
    lock_timeout: str = "10m",
    rollback: bool = True,
) -> None:
    """Run the chart's tests in an environment: TLS, and an event from end to end.

    If they fail for the revision of this clone's last deploy, rolls back to the previous revision.
    """
    from delivery.deploy import reverting, selection, target

    options = target.parse_options(timeout, lock_timeout, rollback=rollback)
    declaration = load_declaration()
    environment = selection.environment_to_verify(declaration, environment, plan)
    verified = reverting.verify(declaration, environment, context, options)
    console.say(f"{verified}: verified")
