"""`inv deploy`, `rollback`, `undeploy`, `verify`: releases in environments."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.tasks.decorator import task

__all__ = ["deploy", "rollback", "undeploy", "verify"]

_HELP = {
    "environment": "local, develop, staging or production; default: ask at a terminal",
    "context": "the kube context, of the environment's contexts; default: the current context",
    "yes": "do not ask",
    "timeout": "how long to wait until everything is ready: 90s, 10m",
    "lock-timeout": "how long to wait for another deploy to finish",
}


@task(
    help={
        **_HELP,
        "environment": "local (the default), develop, staging or production",
        "platform": "kubernetes (the default) or docker",
        "version": "X.Y.Z; for local also current (the sources) or deployed (what runs)",
        "release": "a release.json; the registry must have this release",
        "signed": "require signatures, even if the environment does not",
        "plan": "the file of `inv plan --file FILE`: deploy what it says to where it says",
        "rollback": "--no-rollback keeps a failed revision",
    }
)
def deploy(
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
    """Deploy a version and wait until it is ready.

    Asks for missing flags at a terminal. If the version does not become ready, shows its pods and
    rolls it back.
    """
    from delivery.deploy import deploying, selection, target
    from delivery.project import files

    options = target.parse_options(timeout, lock_timeout, rollback=rollback)
    request = selection.DeployRequest(
        environment, version, release, plan, context, signed=signed, yes=yes
    )
    declaration = files.load_declaration()
    if selection.choose_platform(request, platform) == selection.DOCKER:
        from delivery.platform import startup

        startup.deploy(declaration, request).say()
    else:
        deploying.deploy(declaration, request, options)


@task(
    help={
        **_HELP,
        "revision": "of `helm history`, to return to; default: the last good revision",
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
    """Return to an earlier revision of a deployment."""
    from delivery.deploy import reverting, selection, target
    from delivery.project import files

    options = target.parse_options(timeout, lock_timeout)
    request = selection.DeployRequest(environment, context=context, yes=yes)
    reverting.roll_back(files.load_declaration(), request, revision, options)


@task(
    help={**_HELP, "data": "also remove the volume claims, and so Kafka's and the database's data"}
)
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
    from delivery.project import files

    options = target.parse_options(timeout, lock_timeout)
    request = selection.DeployRequest(environment, context=context, yes=yes)
    removal.remove(files.load_declaration(), request, options, data=data)


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
    _context: Context,
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
    from delivery.project import files

    options = target.parse_options(timeout, lock_timeout, rollback=rollback)
    environment = selection.environment_to_verify(environment, plan)
    verified = reverting.verify(files.load_declaration(), environment, context, options)
    console.say(f"{verified}: verified")
