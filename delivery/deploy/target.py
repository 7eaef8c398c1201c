"""Where to deploy: an environment of delivery.toml, and its namespace in a cluster that answers."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from delivery import console
from delivery.deploy import helm, kubectl
from delivery.deploy.helm import Helm
from delivery.deploy.kubectl import Kubernetes
from delivery.errors import DeclarationError, did_you_mean
from delivery.host import programs
from delivery.project.declaration import LOCAL, Declaration, Environment
from delivery.records.deployment import Action, Contents, Deployment

__all__ = ["Options", "Target", "connect", "find_environment", "parse_options", "reachable"]

_DURATION = re.compile(r"(\d+)([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Options:
    """How a release is changed.

    seconds: for everything to be ready. lock_seconds: to wait for another deploy. rollback: whether
    a failure is undone.
    """

    seconds: int = 600
    lock_seconds: int = 1800
    rollback: bool = True


@dataclass(frozen=True)
class Target:
    """An environment in a cluster: its name and declaration, and both programs for its namespace."""

    name: str
    declared: Environment
    helm: Helm
    kubernetes: Kubernetes

    def __str__(self) -> str:
        return f"{self.name} ({self.kubernetes.context}, namespace {self.kubernetes.namespace})"

    def deployment(self, action: Action, contents: Contents, before: Contents) -> Deployment:
        """A deployment that starts here now."""
        return Deployment(
            action=action,
            environment=self.name,
            context=self.kubernetes.context,
            namespace=self.kubernetes.namespace,
            contents=contents,
            before=before,
        )


def parse_options(timeout: str, lock_timeout: str, *, rollback: bool = True) -> Options:
    """The options that these flags mean; raise DeclarationError for what is no duration."""
    return Options(
        _seconds(timeout, "--timeout"), _seconds(lock_timeout, "--lock-timeout"), rollback
    )


def _seconds(text: str, flag: str) -> int:
    """The seconds of a duration such as 90, 90s, 10m or 1h."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise DeclarationError(
            f"read {flag}: {text!r} is no duration", hint="seconds, or as in 90s, 10m, 1h"
        )
    return int(found[1]) * _SECONDS[found[2]]


def find_environment(declaration: Declaration, name: str) -> Environment:
    """The environment of this name; raise DeclarationError when there is none."""
    try:
        return declaration.environments[name]
    except KeyError:
        known = ", ".join(declaration.environments) or "none: it declares none"
        raise DeclarationError(
            f"look for the environment {name}: delivery.toml has none of that name",
            hint=did_you_mean(
                name, declaration.environments, f"--environment takes one of {known}"
            ),
        ) from None


def connect(declaration: Declaration, name: str, context: str = "") -> Target:
    """The target of an environment, whose cluster answers.

    context: the kube context; "" is the kubeconfig's current one. It has to be one of the
    environment's.
    """
    declared = find_environment(declaration, name)
    program, client = programs.ensure("helm"), programs.ensure("kubectl")
    with console.step("cluster") as step:
        chosen = context or kubectl.current_context(client)
        _check_context(name, declaration.contexts(name), chosen, kubectl.contexts(client))
        kubernetes = Kubernetes(client, chosen, declared.namespace)
        version = json.loads(kubernetes.reach())["gitVersion"]
        step.done(f"{chosen} answers, Kubernetes {version}; namespace {declared.namespace}")
    return Target(
        name, declared, Helm(program, helm.probe(program), chosen, declared.namespace), kubernetes
    )


def reachable(
    declaration: Declaration, names: Collection[str], program: str, client: str
) -> dict[str, list[Target]]:
    """The targets of each of these environments, one a context that the kubeconfig has; none is asked.

    program and client are helm and kubectl.
    """
    version, known = helm.probe(program), kubectl.contexts(client)
    return {
        name: [
            Target(
                name,
                declaration.environments[name],
                Helm(program, version, context, declaration.environments[name].namespace),
                Kubernetes(client, context, declaration.environments[name].namespace),
            )
            for context in declaration.contexts(name)
            if context in known
        ]
        for name in names
    }


def _check_context(
    name: str, contexts: Sequence[str], context: str, known: Collection[str]
) -> None:
    """Raise DeclarationError unless this context may be used for the environment, and exists."""
    allowed = ", ".join(contexts)
    doing = f"cannot use the cluster of {name}"
    if not context:
        raise DeclarationError(
            f"{doing}: no context is told, and the kubeconfig has no current one",
            hint=f"--context takes one of {allowed}; `./run inv cluster.up` makes the local one",
        )
    if context not in contexts:
        usable = [one for one in contexts if one in known]
        raise DeclarationError(
            f"{doing}: the context {context} is not one of this environment's ({allowed})",
            hint=f"--context {usable[0]}" if usable else _no_context(name, allowed),
        )
    if context not in known:
        raise DeclarationError(
            f"{doing}: the kubeconfig has no context {context}", hint=_no_context(name, allowed)
        )


def _no_context(name: str, allowed: str) -> str:
    up = "`./run inv cluster.up` makes the local one; else " if name == LOCAL else ""
    return f"{up}add one of {allowed} to the kubeconfig, or list yours as environments.{name}.contexts in delivery.toml"
