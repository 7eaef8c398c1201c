"""`inv preview.list`, `open`, `remove`, `reap`: the environments of branches."""

from __future__ import annotations

from delivery import console
from delivery.tasks.decorator import load_declaration, task

__all__ = ["list_", "open_", "reap", "remove"]

_HELP = {
    "branch": "whose preview; default: the branch that is checked out",
    "context": "the kube context, of the contexts of previews; default: the current context",
    "lock-timeout": "how long to wait for a deploy to finish",
}


@task(name="list", help={"context": _HELP["context"]})
def list_(context: str = "") -> None:
    """Show the previews: branch, commit, expiry and pods of each."""
    from delivery.deploy import previews

    shown = previews.listed(load_declaration(), context)
    columns = ("environment", "branch", "commit", "expires", "pods")
    console.table("previews", columns, [each.row() for each in shown])


@task(
    name="open",
    help={
        "branch": _HELP["branch"],
        "context": _HELP["context"],
        "component": "a component with TLS; default: api-rest, the ledger",
        "port": "of this machine; default: any",
    },
)
def open_(
    branch: str = "",
    component: str = "api-rest",
    context: str = "",
    port: int = 0,
) -> None:
    """Open a preview at a port of this machine, until Ctrl-C; as `inv open`."""
    from delivery.deploy import opening, target

    declaration = load_declaration()
    name = target.preview_of(declaration, branch)
    opening.open_component(declaration, name, context, component, port)


@task(help=_HELP)
def remove(branch: str = "", context: str = "", lock_timeout: str = "10m") -> None:
    """Remove the preview of a branch with its namespace and data."""
    from delivery.deploy import previews, target

    options = target.parse_options("10m", lock_timeout)
    previews.remove(load_declaration(), branch, context, options)


@task(help={"context": _HELP["context"], "lock-timeout": _HELP["lock-timeout"]})
def reap(context: str = "", lock_timeout: str = "10m") -> None:
    """Remove the previews that have expired, or whose branch the remote `origin` has no more.

    A remote that does not answer removes nothing.
    """
    from delivery.deploy import previews, target

    options = target.parse_options("10m", lock_timeout)
    previews.reap(load_declaration(), context, options)
