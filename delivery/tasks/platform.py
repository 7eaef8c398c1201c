"""`inv up`, `dev`, `down`, `status`, `logs`, `doctor`: the platform on this machine."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.errors import DeclarationError
from delivery.tasks.decorator import task

__all__ = ["dev", "doctor", "down", "logs", "status", "up"]


@task(help={"monitoring": "also run Prometheus"})
def up(_context: Context, monitoring: bool = False) -> None:
    """Start the platform and check it.

    Starts an engine if none answers, gets upstream images, builds and pushes this project's, starts
    all services, sends an event through them. The ledger records a deployment to local.
    """
    from delivery.platform import startup
    from delivery.project import files

    startup.up(files.load_declaration(), monitoring=monitoring).say()


@task(
    help={
        "debug": "an app, such as api-rest, that waits for a debugger at localhost:5678",
        "kubernetes": "deploy to the local cluster instead, by images built again",
    }
)
def dev(_context: Context, debug: str = "", kubernetes: bool = False) -> None:
    """Start the platform and serve each saved source file at once.

    Shows the apps' logs. A changed lock or Dockerfile builds the image again; a file that cannot be
    imported is shown, and the app serves on as it was. Ctrl-C: the apps run as built again.
    """
    from delivery.platform import dev
    from delivery.project import files

    declaration = files.load_declaration()
    if not kubernetes:
        dev.develop(declaration, debug)
    elif debug:
        raise DeclarationError(
            "cannot debug in a cluster: --debug mounts sources, which only docker can",
            hint="omit --kubernetes or --debug",
        )
    else:
        dev.develop_in_cluster(declaration)


@task(
    help={
        "volumes": "also remove the data of all services, and the local registry's images",
        "registry": "stop the local registry even if a local cluster pulls from it",
        "yes": "remove the data without a confirmation",
    }
)
def down(
    _context: Context,
    volumes: bool = False,
    registry: bool = False,
    yes: bool = False,
) -> None:
    """Stop the platform; its data stays.

    The local registry stays up while a local cluster pulls from it.
    """
    from delivery.platform import shutdown
    from delivery.project import files

    shutdown.down(files.load_declaration(), volumes=volumes, registry=registry, yes=yes)


@task()
def status(_context: Context, json_: bool = False) -> None:
    """Show the engine, the images, the platform and the reachable environments.

    Fails if a service of the platform is down or behind.
    """
    from delivery.platform import overview
    from delivery.project import files

    current = overview.load_status(files.load_declaration())
    if json_:
        console.data(current.to_json())
    else:
        console.say(
            f"platform: {current.name}, registry {current.registry}\nengine: {current.engine}"
        )
        if current.shared:
            console.say(current.shared)
        for title, columns, rows in current.tables():
            console.say("")
            console.table(title, columns, rows)
        if current.ledger:
            console.say(f"\nledger: {current.ledger}")
        if not current.services:
            console.say("\nnothing is up; `./run inv up` starts the platform")
    current.check()


@task(
    help={
        "service": "api-rest, async-worker, kafka, database or prometheus; may be repeated",
        "follow": "also print new lines until interrupted",
        "tail": "how many of the last lines to print",
    },
    iterable=["service"],
)
def logs(_context: Context, service: list[str], follow: bool = False, tail: int = 50) -> None:
    """Show the logs of the platform's containers."""
    from delivery.host import engines
    from delivery.platform import lifecycle
    from delivery.project import files

    project = lifecycle.compose(engines.require(), files.load_declaration(), lifecycle.released())
    lifecycle.logs(project, service, follow=follow, tail=tail)


@task()
def doctor(_context: Context, json_: bool = False) -> None:
    """Show what this machine has and lacks, each with what to do.

    Changes nothing. Fails if something keeps the platform from running.
    """
    from delivery.platform import doctor
    from delivery.project import files

    report = doctor.examine(files.load_declaration())
    if json_:
        console.data(report.to_json())
    else:
        rows = [finding.row() for finding in report.findings]
        console.table("this machine", ("", "what", "found", "what to do"), rows)
    report.check()
