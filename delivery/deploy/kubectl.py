"""A Kubernetes cluster by `kubectl`; every command names its context and namespace."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from delivery import process
from delivery.deploy.leases import STOP_SECONDS
from delivery.errors import CommandError, DeployError

__all__ = ["Kubernetes", "Object", "contexts", "view_context"]

Object = dict[str, Any]  # a Kubernetes object as its API has it

# Callers retry, so a cluster that does not answer is given up soon.
_REQUEST_SECONDS = 20
_LOG_LINES = 15
_LOGS = 100  # containers whose logs are followed at most
# A user's own preferences (kuberc) may add flags to kubectl's commands. GOGC: as for helm.
_OPTIONS = process.Options(env={"KUBERC": "off", "GOGC": "400"})
_FORWARDING = re.compile(r"^Forwarding from 127\.0\.0\.1:([0-9]+) ")


def contexts(kubectl: str) -> tuple[list[str], str]:
    """The contexts of the kubeconfig, and the name of the current context ("" without)."""
    argv = [kubectl, "config", "view", "--output=json"]
    kubeconfig = json.loads(process.capture(argv, doing="read the kubeconfig"))
    names = [context["name"] for context in kubeconfig.get("contexts") or ()]
    return names, kubeconfig.get("current-context", "")


def view_context(kubectl: str, context: str, kubeconfig: Path | None = None) -> Object:
    """The cluster and user of a context, from this kubeconfig (None: the user's own)."""
    argv = [kubectl, *([f"--kubeconfig={kubeconfig}"] if kubeconfig else []), "config", "view"]
    argv += ["--raw", "--minify", "--output=json", f"--context={context}"]
    return cast("Object", json.loads(process.capture(argv, doing="read the kubeconfig")))


@dataclass(frozen=True)
class Kubernetes:
    """A namespace of the cluster that a context leads to."""

    kubectl: str
    context: str
    namespace: str
    kubeconfig: Path | None = None  # None: the user's own
    seconds: float = 120  # how long a command may take, with all its requests

    def within(self, seconds: float) -> Kubernetes:
        """The same namespace, for commands that may take this long at most."""
        return replace(self, seconds=min(seconds, self.seconds))

    def reach(self) -> str:
        """The cluster's version; raise DeployError when it does not answer."""
        try:
            return self._run(["get", "--raw", "/version"], f"reach the cluster of {self.context}")
        except CommandError as error:
            raise DeployError(
                f"cannot reach the cluster of the context {self.context}: it does not answer",
                details=error.tail,
                hint="start the local cluster with `./run inv cluster.up`; "
                "for another, check that it is up and that you are logged in",
            ) from error

    def find(self, kind: str, name: str) -> Object | None:
        """The object of this name, or None."""
        argv = ["get", kind, name, "--ignore-not-found", "--output=json"]
        printed = self._run(argv, f"look for the {kind.lower()} {name}")
        return cast("Object", json.loads(printed)) if printed.strip() else None

    def all(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind, or those that a label selector matches."""
        argv = ["get", kind, *([f"--selector={selector}"] if selector else []), "--output=json"]
        printed = self._run(argv, f"list the {kind.lower()}")
        return cast("list[Object]", json.loads(printed)["items"])

    def secrets(self, selector: str, doing: str) -> list[Object]:
        """The Secrets that a label selector matches, as the API sends them.

        kubectl would take longer than the API to write large ones anew.
        """
        path = f"/api/v1/namespaces/{self.namespace}/secrets?labelSelector={quote(selector)}"
        printed = self._run(["get", "--raw", path], doing)
        return cast("list[Object]", json.loads(printed)["items"])

    def table(self, kind: str, selector: str) -> str:
        """The objects that a label selector matches, as kubectl prints them for people."""
        argv = ["get", kind, f"--selector={selector}", "--output=wide"]
        return self._run(argv, f"show the {kind}").rstrip()

    def create(self, resource: Object) -> Object:
        """Create an object; raise CommandError when the name is taken."""
        return self._put("create", resource)

    def replace(self, resource: Object) -> Object:
        """Replace an object; raise CommandError when it has changed since `resource` was read."""
        return self._put("replace", resource)

    def patch(self, kind: str, name: str, change: Object) -> None:
        """Merge a change into an object."""
        argv = ["patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}"]
        self._run(argv, f"change the {kind} {name}")

    def delete(self, kind: str, names: Iterable[str]) -> None:
        """Delete objects by name; missing ones are ignored.

        The time limit is short, so that a caller is done before another deploy may take its lease.
        """
        if listed := list(names):
            argv = ["delete", kind, *listed, "--ignore-not-found", "--wait=false"]
            self._run(argv, f"delete the {kind.lower()} {listed[0]}", limit=STOP_SECONDS)

    def delete_namespace(self, namespace: Object) -> None:
        """Delete a namespace; raise CommandError when it has changed since it was read."""
        name, version = (namespace["metadata"][key] for key in ("name", "resourceVersion"))
        options = {"kind": "DeleteOptions", "preconditions": {"resourceVersion": version}}
        argv = ["delete", f"--raw=/api/v1/namespaces/{name}", "--filename=-"]
        text = json.dumps({"apiVersion": "v1", **options})
        self._run(argv, f"delete the namespace {name}", text=text, limit=STOP_SECONDS)

    def live(self, manifest: str, *, managed: bool = False) -> list[Object]:
        """The objects of a manifest as the cluster has them, without missing ones.

        managed: with metadata.managedFields, which say who set a field.
        """
        argv = ["get", "--filename=-", "--ignore-not-found", "--output=json"]
        argv += ["--show-managed-fields"] if managed else []
        return _items(self._run(argv, "read the deployed objects", text=manifest))

    def dry_run(self, manifest: str, manager: str, *, validate: bool = True) -> list[Object]:
        """The objects of a manifest as they would be if this field manager applied it now.

        validate: refuse unknown fields. kubectl reads the API's schemas for that: most of its time.
        """
        argv = ["apply", "--server-side", "--dry-run=server", "--force-conflicts"]
        argv += [] if validate else ["--validate=false"]
        argv += [f"--field-manager={manager}", "--filename=-", "--output=json"]
        return _items(self._run(argv, "compare with the cluster", text=manifest))

    def log(self, pod: str, container: str, *, previous: bool = False) -> str:
        """The last lines of a container's log, or, in parentheses, why it has none.

        previous: of the container before its last restart.
        """
        argv = ["logs", pod, f"--container={container}", f"--tail={_LOG_LINES}"]
        try:
            return self._run(
                [*argv, *(["--previous"] if previous else [])], f"read the log of {pod}"
            )
        except CommandError as error:
            return f"({error.tail or error.message})"

    def logs(
        self, selector: str, on_line: Callable[[str], None], *, follow: bool, tail: int
    ) -> None:
        """Pass the last lines of all containers of these pods on; with follow also later ones."""
        argv = ["logs", f"--selector={selector}", "--all-containers", "--prefix", f"--tail={tail}"]
        argv += ["--ignore-errors", f"--max-log-requests={_LOGS}"]
        process.stream(
            self._argv([*argv, *(["--follow"] if follow else [])]),
            doing="show the logs",
            on_line=on_line,
            options=_OPTIONS,
            timer=process.Timer(),
        )

    @contextmanager
    def forwarded(self, target: str, port: int | str, local: int = 0) -> Iterator[int]:
        """A port of this machine (0: any) that leads to a port of a target such as pod/NAME.

        It reaches pods past their network policies, as the kubelet does.
        """
        argv = ["port-forward", target, f"{local or ''}:{port}", "--address=127.0.0.1"]
        doing = f"forward a port to {target}"
        with process.running(self._argv(argv), doing=doing, ready=_FORWARDING) as match:
            yield int(match[1])

    def _put(self, verb: str, resource: Object) -> Object:
        doing = f"{verb} the {resource['kind'].lower()} {resource['metadata']['name']}"
        argv = [verb, "--filename=-", "--output=json"]
        return cast("Object", json.loads(self._run(argv, doing, text=json.dumps(resource))))

    def _run(
        self, argv: Sequence[str], doing: str, text: str | None = None, limit: float = math.inf
    ) -> str:
        seconds = min(self.seconds, limit)
        timeout = f"--request-timeout={min(seconds, _REQUEST_SECONDS):.0f}s"
        return process.capture(
            self._argv([timeout, *argv]),
            doing=doing,
            options=replace(_OPTIONS, text=text),
            timeout=seconds,
        )

    def _argv(self, argv: Sequence[str]) -> list[str]:
        config = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        scope = [f"--context={self.context}", f"--namespace={self.namespace}"]
        return [self.kubectl, *config, *scope, *argv]


def _items(printed: str) -> list[Object]:
    """The objects that kubectl prints: an object, a list of objects, or nothing."""
    if not printed.strip():
        return []
    document = json.loads(printed)
    return cast("list[Object]", document["items"] if document["kind"] == "List" else [document])
