"""Where to deploy: an environment of delivery.toml, and its namespace in a cluster that answers."""

from __future__ import annotations

import base64
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
_TOKEN_SECONDS = 5
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Options:
    """How to change a release."""

    timeout: int = 600  # seconds for everything to become ready
    lock_timeout: int = 1800  # seconds to wait for another deploy to finish
    rollback: bool = True  # whether a failure is rolled back


@dataclass(frozen=True)
class Target:
    """An environment in a cluster, with helm and kubectl for its namespace."""

    name: str
    environment: Environment
    helm: Helm
    kubernetes: Kubernetes

    def __str__(self) -> str:
        return f"{self.name} ({self.kubernetes.context}, namespace {self.kubernetes.namespace})"

    def deployment(self, action: Action, contents: Contents, previous: Contents) -> Deployment:
        """A deployment to this target that starts now."""
        return Deployment(
            action=action,
            environment=self.name,
            context=self.kubernetes.context,
            namespace=self.kubernetes.namespace,
            contents=contents,
            previous_contents=previous,
        )

    def ledger_token(self) -> str:
        """The token that may write to the release's ledger; "" if it has none."""
        kubernetes = self.kubernetes.within(_TOKEN_SECONDS)
        secret = kubernetes.find("secret", f"{helm.RELEASE}-token") or {}
        return base64.b64decode(secret.get("data", {}).get("token", "")).decode()


def parse_options(timeout: str, lock_timeout: str, *, rollback: bool = True) -> Options:
    """The options of these flags; raise DeclarationError for an invalid duration."""
    return Options(
        _parse_seconds(timeout, "--timeout"),
        _parse_seconds(lock_timeout, "--lock-timeout"),
        rollback,
    )


def _parse_seconds(text: str, flag: str) -> int:
    match = _DURATION.fullmatch(text.strip())
    if not match or not int(match[1]):
        raise DeclarationError(
            f"cannot read {flag}: {text!r} is not a duration",
            hint="write seconds, or a duration such as 90s, 10m or 1h",
        )
    return int(match[1]) * _SECONDS[match[2]]


def find_environment(
    declaration: Declaration, name: str, *, flag: str = "--environment"
) -> Environment:
    """The environment of this name, given by a flag; raise DeclarationError if it is unknown."""
    try:
        return declaration.environments[name]
    except KeyError:
        known = ", ".join(declaration.environments) or "none: it declares none"
        raise DeclarationError(
            f"cannot find the environment {name}: delivery.toml does not declare it",
            hint=did_you_mean(name, declaration.environments, f"{flag} takes one of {known}"),
        ) from None


def connect(declaration: Declaration, name: str, context: str = "") -> Target:
    """The target of an environment, after its cluster has answered.

    context has to be one of the environment's kube contexts; "" is the current context.
    """
    environment = find_environment(declaration, name)
    helm_program, kubectl_program = programs.ensure("helm"), programs.ensure("kubectl")
    with console.step("cluster") as step:
        existing, current = kubectl.contexts(kubectl_program)
        context = context or current
        _check_context(name, declaration.contexts(name), context, existing)
        kubernetes = Kubernetes(kubectl_program, context, environment.namespace)
        version = json.loads(kubernetes.reach())["gitVersion"]
        namespace = environment.namespace
        step.done(f"{context} answers, Kubernetes {version}; namespace {namespace}")
    program = Helm(helm_program, helm.probe(helm_program), context, namespace)
    return Target(name, environment, program, kubernetes)


def reachable(
    declaration: Declaration, names: Collection[str], helm_program: str, kubectl_program: str
) -> dict[str, list[Target]]:
    """The targets of each environment: its contexts in the kubeconfig.

    No cluster is asked.
    """
    version, (existing, _) = helm.probe(helm_program), kubectl.contexts(kubectl_program)
    targets: dict[str, list[Target]] = {}
    for name in names:
        environment = declaration.environments[name]
        targets[name] = [
            Target(
                name,
                environment,
                Helm(helm_program, version, context, environment.namespace),
                Kubernetes(kubectl_program, context, environment.namespace),
            )
            for context in declaration.contexts(name)
            if context in existing
        ]
    return targets


def _check_context(
    name: str, contexts: Sequence[str], context: str, existing: Collection[str]
) -> None:
    """Raise DeclarationError unless the context is the environment's, and exists."""
    problem = f"cannot use the cluster of {name}"
    usable = [each for each in contexts if each in existing]
    hint = f"pass --context {_any_of(usable)}" if usable else _no_context_hint(name, contexts)
    if not context:
        raise DeclarationError(
            f"{problem}: no context given, and the kubeconfig has no current context", hint=hint
        )
    if context not in contexts:
        allowed = ", ".join(contexts)
        raise DeclarationError(
            f"{problem}: the context {context} is not one of this environment's ({allowed})",
            hint=hint,
        )
    if context not in existing:
        raise DeclarationError(f"{problem}: the kubeconfig has no context {context}", hint=hint)


def _no_context_hint(name: str, contexts: Sequence[str]) -> str:
    up = "make the local cluster with `./run inv cluster.up`; else " if name == LOCAL else ""
    add = (
        f"add one of {', '.join(contexts)} to the kubeconfig and pass it as --context"
        if len(contexts) > 1
        else f"add the context {contexts[0]} to the kubeconfig and pass --context {contexts[0]}"
    )
    return f"{up}{add}, or add your context to environments.{name}.contexts in delivery.toml"


def _any_of(contexts: Sequence[str]) -> str:
    return contexts[0] if len(contexts) == 1 else f"with one of {', '.join(contexts)}"
