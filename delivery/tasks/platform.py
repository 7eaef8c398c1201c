"""`inv up`, `dev`, `down`, `status`, `logs`, `open`, `doctor`: what runs here, or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery import console
from delivery.errors import DeclarationError
from delivery.tasks.decorator import load_declaration, task

if TYPE_CHECKING:
    from delivery.platform.overview import Status
    from delivery.project.declaration import Declaration

__all__ = ["dev", "doctor", "down", "logs", "open_", "status", "up"]

_ENVIRONMENT_HELP = {
    "environment": "one of delivery.toml, on Kubernetes; default: the platform on this machine",
    "context": "the kube context, of the environment's contexts; default: the current context",
}


@task(help={"monitoring": "also run Prometheus"})
def up(monitoring: bool = False) -> None:
    """Start the platform and check it.

    Starts an engine if none answers, gets upstream images, builds and pushes this project's, starts
    all services, sends an event through them. The ledger records a deployment to local.
    """
    from delivery.platform import startup

    startup.up(load_declaration(), monitoring=monitoring).say()


@task(
    help={
        "debug": "an app, such as api-rest, that waits for a debugger at localhost:5678",
        "kubernetes": "deploy to the local cluster instead, by images built again",
    }
)
def dev(debug: str = "", kubernetes: bool = False) -> None:
    """Start the platform and serve each saved source file at once.

    Shows the apps' logs. A changed lock or Dockerfile builds the image again; a file that cannot be
    imported is shown, and the app serves on as it was. Ctrl-C: the apps run as built again.
    """
    from delivery.platform import dev

    declaration = load_declaration()
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
    volumes: bool = False,
    registry: bool = False,
    yes: bool = False,
) -> None:
    """Stop the platform; its data stays.

    The local registry stays up while a local cluster pulls from it.
    """
    from delivery.platform import shutdown

    shutdown.down(load_declaration(), volumes=volumes, registry=registry, yes=yes)


@task(help=_ENVIRONMENT_HELP)
def status(environment: str = "", context: str = "", json_: bool = False) -> None:
    """Show the engine, the images, the platform and the reachable environments; or one of them.

    Fails if a service of the platform is down or behind, or a pod of the environment is not ready.
    """
    declaration = load_declaration()
    if environment:
        _show_environment(declaration, environment, context, as_json=json_)
        return
    from delivery.platform import overview

    current = overview.load_status(declaration)
    if json_:
        console.data(current.to_json())
    else:
        _show_platform(current)
    current.check()


def _show_environment(
    declaration: Declaration, environment: str, context: str, *, as_json: bool
) -> None:
    from delivery.deploy import environments

    deployed = environments.load(declaration, environment, context)
    if as_json:
        console.data(deployed.to_json())
    else:
        console.table("on Kubernetes", environments.COLUMNS, [deployed.row()])
        console.say(f"\n{deployed.table}")
    deployed.check()


def _show_platform(current: Status) -> None:
    console.say(f"platform: {current.name}, registry {current.registry}\nengine: {current.engine}")
    if current.shared:
        console.say(current.shared)
    for title, columns, rows in current.tables():
        console.say("")
        console.table(title, columns, rows)
    if current.ledger:
        console.say(f"\nledger: {current.ledger}")
    if not current.services:
        console.say("\nnothing is up; `./run inv up` starts the platform")


@task(
    help={
        **_ENVIRONMENT_HELP,
        "service": "api-rest, async-worker, kafka, database or prometheus; may be repeated",
        "component": "of the environment; default: all",
        "follow": "also print new lines until interrupted",
        "tail": "how many of the last lines to print",
    },
    iterable=["service"],
)
def logs(
    service: list[str],
    environment: str = "",
    component: str = "",
    context: str = "",
    follow: bool = False,
    tail: int = 50,
) -> None:
    """Show the logs of the platform's containers, or of an environment's pods."""
    declaration = load_declaration()
    if environment:
        from delivery.deploy import environments, target

        deployed = target.connect(declaration, environment, context)
        environments.print_logs(deployed, component, follow=follow, tail=tail)
        return
    if component:
        raise DeclarationError(
            f"cannot show the logs of the component {component}: no environment is named",
            hint=f"pass --environment, or --service {component} for the platform on this machine",
        )
    from delivery.host import engines
    from delivery.platform import lifecycle

    project = lifecycle.compose(engines.require(), declaration, lifecycle.released())
    lifecycle.logs(project, service, follow=follow, tail=tail)


@task(
    name="open",
    help={
        **_ENVIRONMENT_HELP,
        "environment": "one of delivery.toml; default: local",
        "component": "a component with TLS; default: api-rest, the ledger",
        "port": "of this machine; default: any",
    },
)
def open_(
    environment: str = "local",
    component: str = "api-rest",
    context: str = "",
    port: int = 0,
) -> None:
    """Open an environment's ledger at a port of this machine, until Ctrl-C.

    The connection to the pod is TLS, verified with the environment's CA; browsers need no
    certificate.
    """
    from delivery.deploy import opening

    opening.open_component(load_declaration(), environment, context, component, port)


@task()
def doctor(json_: bool = False) -> None:
    """Show what this machine has and lacks, each with what to do.

    Changes nothing. Fails if something keeps the platform from running.
    """
    from delivery.platform import doctor

    report = doctor.examine(load_declaration())
    if json_:
        console.data(report.to_json())
    else:
        rows = [finding.row() for finding in report.findings]
        console.table("this machine", ("", "what", "found", "what to do"), rows)
    report.check()
