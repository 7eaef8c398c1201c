"""A Kubernetes cluster by `kubectl`: one context and namespace, named on every command line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from delivery import process
from delivery.deploy.leases import STOP_SECONDS
from delivery.errors import CommandError, DeployError

__all__ = ["Kubernetes", "Object", "contexts", "current_context", "view_context"]

Object = dict[str, Any]  # one Kubernetes object as its API has it

# A pod that cannot be asked now is asked again soon; a cluster that does not answer is no reason to wait for a minute.
_REQUEST_SECONDS = 20


def contexts(kubectl: str) -> list[str]:
    """The contexts of the kubeconfig."""
    return process.capture(
        [kubectl, "config", "get-contexts", "--output=name"], doing="list the contexts"
    ).split()


def current_context(kubectl: str) -> str:
    """The current context of the kubeconfig, "" when there is none."""
    try:
        return process.capture(
            [kubectl, "config", "current-context"], doing="read the current context"
        ).strip()
    except CommandError as error:
        if "not set" in error.tail:
            return ""
        raise


def view_context(kubectl: str, context: str, kubeconfig: Path | None = None) -> Object:
    """What a kubeconfig, else the user's own, says of one context: its cluster and its user."""
    argv = [kubectl, *([f"--kubeconfig={kubeconfig}"] if kubeconfig else []), "config", "view"]
    argv += ["--raw", "--minify", "--output=json", f"--context={context}"]
    return cast("Object", json.loads(process.capture(argv, doing="read the kubeconfig")))


@dataclass(frozen=True)
class Kubernetes:
    """A namespace of the cluster that a context leads to.

    kubeconfig is the file to read, else the user's own; seconds is how long one command may take,
    with all the requests that it makes.
    """

    kubectl: str
    context: str
    namespace: str
    kubeconfig: Path | None = None
    seconds: float = 120

    def within(self, seconds: float) -> Kubernetes:
        """The same, for commands that may take this long at most."""
        return replace(self, seconds=min(seconds, self.seconds))

    def reach(self) -> str:
        """The cluster's version; raise DeployError when it does not answer."""
        try:
            return self._run(["get", "--raw", "/version"], f"reach the cluster of {self.context}")
        except CommandError as error:
            raise DeployError(
                f"reach the cluster of the context {self.context}: it does not answer",
                details=error.tail,
                hint="`./run inv cluster.up` starts the local one; for another: is it up, and are you logged in?",
            ) from error

    def find(self, kind: str, name: str) -> Object | None:
        """One object, or None."""
        printed = self._run(
            ["get", kind, name, "--ignore-not-found", "--output=json"],
            f"look for the {kind.lower()} {name}",
        )
        return cast("Object", json.loads(printed)) if printed.strip() else None

    def all(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind, or those that a label selector chooses."""
        chosen = [f"--selector={selector}"] if selector else []
        printed = self._run(["get", kind, *chosen, "--output=json"], f"list the {kind.lower()}")
        return cast("list[Object]", json.loads(printed)["items"])

    def create(self, made: Object) -> Object:
        """Create an object; raise CommandError when there is one of this name."""
        return self._put("create", made)

    def replace(self, changed: Object) -> Object:
        """Replace an object; raise CommandError when it is not the version any more that `changed` was made from."""
        return self._put("replace", changed)

    def delete(self, kind: str, names: Iterable[str]) -> None:
        """Delete objects by name; those that are missing are ignored.

        It ends before somebody else may have the lease of whoever deletes.
        """
        if told := list(names):
            argv = ["delete", kind, *told, "--ignore-not-found", "--wait=false"]
            self._run(argv, f"delete the {kind.lower()} {told[0]}", limit=STOP_SECONDS)

    def live(self, manifest: str) -> list[Object]:
        """The objects of a manifest as the cluster has them; those that it lacks are left out."""
        printed = self._run(
            ["get", "--filename=-", "--ignore-not-found", "--output=json"],
            "read what is deployed",
            text=manifest,
        )
        return _items(printed)

    def would_be(self, manifest: str, manager: str) -> list[Object]:
        """The objects of a manifest as the cluster would have them if a field manager applied it now."""
        argv = [
            "apply",
            "--server-side",
            "--dry-run=server",
            "--force-conflicts",
            f"--field-manager={manager}",
        ]
        return _items(
            self._run(
                [*argv, "--filename=-", "--output=json"], "compare with the cluster", text=manifest
            )
        )

    def log(self, pod: str, container: str, *, lines: int, previous: bool = False) -> str:
        """The last lines of a container's log, of the one that ran before it when asked; why not, where there is none."""
        before = ["--previous"] if previous else []
        argv = ["logs", pod, f"--container={container}", f"--tail={lines}", *before]
        try:
            return self._run(argv, f"read the log of {pod}")
        except CommandError as error:
            return f"({error.tail or error.message})"

    def _put(self, verb: str, thing: Object) -> Object:
        doing = f"{verb} the {thing['kind'].lower()} {thing['metadata']['name']}"
        printed = self._run([verb, "--filename=-", "--output=json"], doing, text=json.dumps(thing))
        return cast("Object", json.loads(printed))

    def _run(
        self, argv: Sequence[str], doing: str, text: str | None = None, limit: float = math.inf
    ) -> str:
        config = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        seconds = min(self.seconds, limit)
        timeout = f"--request-timeout={min(seconds, _REQUEST_SECONDS):.0f}s"
        scope = [f"--context={self.context}", f"--namespace={self.namespace}", timeout]
        # A user's own preferences (kuberc) may add flags to kubectl's commands.
        return process.capture(
            [self.kubectl, *config, *scope, *argv],
            doing=doing,
            options=process.Options(env={"KUBERC": "off"}),
            text=text,
            timeout=seconds,
        )


def _items(printed: str) -> list[Object]:
    """The objects that kubectl prints: one, or a list of them, or nothing."""
    if not printed.strip():
        return []
    found = json.loads(printed)
    return cast("list[Object]", found["items"] if found["kind"] == "List" else [found])
