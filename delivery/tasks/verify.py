"""`inv verify`: whether what was deployed does its work."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from delivery import console
from delivery.build import planning
from delivery.deploy.deployment import Revision, seconds
from delivery.errors import DeclarationError
from delivery.project import files
from delivery.tasks.menu import item

__all__ = ["verify"]


@item(
    stage="verify",
    help={
        "environment": "local, develop, staging or production",
        "plan": "a plan that `inv plan --file FILE` wrote: verify where it deploys to",
        "context": "the kube context; without it the current one. It has to be one of the environment's",
        "timeout": "how long the tests may take: 90s, 10m",
        "lock-timeout": "how long to wait for a deploy that is at it",
        "rollback": "--no-rollback leaves a revision that fails in place",
    },
)
def verify(  # each is a flag
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
    from delivery.deploy import (
        serving,
        upgrade,
    )
    from delivery.records import recorder

    options = upgrade.Options(seconds(timeout, "--timeout"), seconds(lock_timeout, "--lock-timeout"), rollback)
    declaration = files.load_declaration()
    place = upgrade.target(declaration, _environment(environment, plan), context)
    with recorder.verifying(declaration) as recording:

        def taken_back(served: Revision, restored: Revision) -> None:
            if recorder.pipeline():  # the stage is recorded already
                return
            with recording.quietly():
                failed = serving.of_revision(declaration, place, served)
                earlier = serving.of_revision(declaration, place, restored)
                recording.begin(place.name, failed, unchanged=failed.same(earlier))

        upgrade.verify(place, options, taken_back=taken_back)
    console.say(f"{place}: verified")


def _environment(environment: str, plan: str) -> str:
    """The environment that is told, or that the plan in this file deploys to; they may not contradict each other."""
    if not plan:
        if not environment:
            raise DeclarationError("verify: no environment is told", hint="--environment NAME, or --plan FILE")
        return environment
    planned = planning.read(Path(plan)).decision
    if not planned.environment:
        raise DeclarationError(
            f"verify {plan}: {planned.because}; it is deployed nowhere", hint="--environment NAME, instead of --plan"
        )
    if environment not in {"", planned.environment}:
        raise DeclarationError(
            f"verify {environment}: the plan {plan} says {planned.environment}", hint="leave one of the two out"
        )
    return planned.environment
