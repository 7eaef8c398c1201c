"""Where to deploy: an environment of delivery.toml, and its namespace in a cluster that answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from delivery import console, process
from delivery.deploy import helm, kubectl
from delivery.deploy.helm import Helm
from delivery.deploy.kubectl import Kubernetes
from delivery.errors import DeclarationError, did_you_mean
from delivery.host import programs
from delivery.project import gather
from delivery.project.declaration import LOCAL, Declaration, Environment
from delivery.project.files import ROOT
from delivery.project.gitflow import Line
from delivery.records.deployment import Action, Contents, Deployment

__all__ = [
    "Options",
    "Target",
    "connect",
    "connect_beside",
    "find_environment",
    "parse_options",
    "parse_seconds",
    "preview_of",
    "reach",
    "reachable",
]

_DURATION = re.compile(r"(\d+)([smh]?)")
_TOKEN_SECONDS = 5
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Options:
    """How to change a release."""

    timeout: int = 600  # seconds for everything to become ready
    lock_timeout: int = 1800  # seconds to wait for another deploy to finish
    rollback: bool = True  # whether a failure is rolled back
    soak: int | None = None  # seconds to watch a new version; None: as the environment declares


@dataclass(frozen=True)
class Target:
    """An environment in a cluster, with helm and kubectl for its namespace."""

    name: str
    environment: Environment
    helm: Helm
    _tokens: list[str] = field(default_factory=list, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.kubernetes.context}, namespace {self.kubernetes.namespace})"

    @property
    def kubernetes(self) -> Kubernetes:
        """Its namespace, by kubectl."""
        return self.helm.kubernetes

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
        """The token that may write to the release's ledger, read once; "" if it has none."""
        if self._tokens:
            return self._tokens[0]
        kubernetes = self.kubernetes.within(_TOKEN_SECONDS)
        secret = kubernetes.find("secret", f"{helm.RELEASE}-token") or {}
        if token := base64.b64decode(secret.get("data", {}).get("token", "")).decode():
            self._tokens.append(token)
        return token


def parse_options(
    timeout: str, lock_timeout: str, *, rollback: bool = True, soak: str = ""
) -> Options:
    """The options of these flags; raise DeclarationError for an invalid duration."""
    return Options(
        parse_seconds(timeout, "--timeout"),
        parse_seconds(lock_timeout, "--lock-timeout"),
        rollback,
        parse_seconds(soak, "--soak", least=0) if soak else None,
    )


def parse_seconds(text: str, flag: str, *, least: int = 1) -> int:
    """The seconds of a duration such as 90, 90s, 10m or 1h."""
    match = _DURATION.fullmatch(text.strip())
    if not match or int(match[1]) < least:
        raise DeclarationError(
            f"cannot read {flag}: {text!r} is not a duration",
            hint="write seconds, or a duration such as 90s, 10m or 1h",
        )
    return int(match[1]) * _SECONDS[match[2]]


def find_environment(
    declaration: Declaration, name: str, *, flag: str = "--environment"
) -> Environment:
    """The environment of this name, given by a flag; raise DeclarationError if it is unknown."""
    if environment := declaration.environment(name):
        return environment
    known = ", ".join(declaration.environments) or "none: it declares none"
    raise DeclarationError(
        f"cannot find the environment {name}: delivery.toml does not declare it",
        hint=did_you_mean(name, declaration.environments, f"{flag} takes one of {known}"),
    )


def connect(declaration: Declaration, name: str, context: str = "") -> Target:
    """The target of an environment, after its cluster has answered.

    The environment of previews is that of the branch that is checked out. context has to be one of
    the environment's kube contexts; "" is the current context.
    """
    if name and name == declaration.preview:
        name = preview_of(declaration)
    return reach(declaration, name, context)


def preview_of(declaration: Declaration, branch: str = "") -> str:
    """The preview of a branch, "" for the one that is checked out."""
    decision = gather.load_decision(declaration, ROOT, branch)
    if decision.line is not Line.PREVIEW or not decision.environment:
        raise DeclarationError(
            f"cannot find a preview: {decision.because}",
            hint="check out a branch that gitflow.preview has, or name its environment: "
            "`./run inv preview.list` shows them",
        )
    return decision.environment


def reach(declaration: Declaration, name: str, context: str = "") -> Target:
    """As `connect`, where the environment of previews is none of a branch."""
    environment = find_environment(declaration, name)
    helm_program, kubectl_program = programs.ensure("helm"), programs.ensure("kubectl")
    with console.step("cluster") as step, process.side_by_side() as pool:
        helm_version = pool.submit(helm.probe, helm_program)
        existing, current = kubectl.contexts(kubectl_program)
        context = context or current
        declared = declaration.declared_name(name)
        _check_context(declared, declaration.contexts(name), context, existing)
        kubernetes = Kubernetes(kubectl_program, context, environment.namespace)
        version = json.loads(kubernetes.reach())["gitVersion"]
        namespace = environment.namespace
        step.done(f"{context} answers, Kubernetes {version}; namespace {namespace}")
    program = Helm(helm_program, helm_version.result(), kubernetes)
    return Target(name, environment, program)


def connect_beside(declaration: Declaration, name: str, other: Target) -> Target:
    """The target of an environment in another's context, else in its first of the kubeconfig."""
    find_environment(declaration, name, flag="--to")
    targets = reachable(declaration, [name], other.helm.program, other.kubernetes.kubectl)[name]
    contexts = [target.kubernetes.context for target in targets] or [*declaration.contexts(name)]
    context = other.kubernetes.context
    return connect(declaration, name, context if context in contexts else contexts[0])


def reachable(
    declaration: Declaration, names: Collection[str], helm_program: str, kubectl_program: str
) -> dict[str, list[Target]]:
    """The targets of each environment: its contexts in the kubeconfig.

    No cluster is asked.
    """
    version, (existing, _) = helm.probe(helm_program), kubectl.contexts(kubectl_program)
    targets: dict[str, list[Target]] = {}
    for name in names:
        environment = find_environment(declaration, name)
        clusters = [
            Kubernetes(kubectl_program, context, environment.namespace)
            for context in declaration.contexts(name)
            if context in existing
        ]
        targets[name] = [
            Target(name, environment, Helm(helm_program, version, cluster)) for cluster in clusters
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
