"""`inv deploy`, `rollback`, `undeploy`, `verify`: a release in an environment."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.project import files
from delivery.tasks.decorator import task

__all__ = ["deploy", "rollback", "undeploy", "verify"]

_HELP = {
    "environment": "local, develop, staging or production; asked for on a terminal",
    "context": "the kube context; without it the current one. It has to be one of the environment's",
    "yes": "do not ask",
    "timeout": "how long everything may take to be ready: 90s, 10m",
    "lock-timeout": "how long to wait for another deploy to finish",
}


@task(
    help={
        **_HELP,
        "environment": "local (the default), develop, staging or production",
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
    from delivery.deploy import deploying, selection, target

    options = target.parse_options(timeout, lock_timeout, rollback=rollback)
    request = selection.DeployRequest(
        environment, version, release, plan, context, signed=signed, yes=yes
    )
    declaration = files.load_declaration()
    if selection.choose_platform(request, platform) == selection.DOCKER:
        from delivery.platform import bringing_up

        bringing_up.deploy(declaration, request).say()
    else:
        deploying.deploy(declaration, request, options)


@task(
    help={
        **_HELP,
        "revision": "the one to go back to, as `helm history` numbers it; without it the last good one before",
    }
)
def rollback(
    _context: Context,
    environment: str = "",
    revision: int = 0,
    context: str = "",
    yes: bool = False,
    timeout: str = "10m",
    lock_timeout: str = "30m",
) -> None:
    """Go back to an earlier revision of a deployment."""
    from delivery.deploy import reverting, selection, target

    options = target.parse_options(timeout, lock_timeout)
    request = selection.DeployRequest(environment, context=context, yes=yes)
    reverting.roll_back(files.load_declaration(), request, revision, options)


@task(help={**_HELP, "data": "also remove the claims, and so Kafka's and the database's data"})
def undeploy(
    _context: Context,
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
    removal.remove(files.load_declaration(), request, options, data=data)


@task(
    stage="verify",
    help={
        "environment": "local, develop, staging or production",
        "plan": "a plan that `inv plan --file FILE` wrote: verify where it deploys to",
        "context": _HELP["context"],
        "lock-timeout": _HELP["lock-timeout"],
        "timeout": "how long the tests may take: 90s, 10m",
        "rollback": "--no-rollback leaves a revision that fails in place",
    },
)
def verify(
    _context: Context,
    environment: str = "",
    plan: str = "",
    context: str = "",
    timeout: str = "10m",
    lock_timeout: str = "10m",
    rollback: bool = True,
) -> None:
    """Run the chart's tests where a release is deployed: TLS, and an event from end to end.

    When they fail, and this clone's last deploy put there what serves, the revision before serves again.
    """
    from delivery.deploy import reverting, selection, target

    options = target.parse_options(timeout, lock_timeout, rollback=rollback)
    environment = selection.environment_to_verify(environment, plan)
    verified = reverting.verify(files.load_declaration(), environment, context, options)
    console.say(f"{verified}: verified")
