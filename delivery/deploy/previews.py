"""Previews: an environment for each branch, in a namespace of its own that is removed again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from delivery import console
from delivery.deploy import follow, preview_labels, removal
from delivery.deploy.helm import RELEASE
from delivery.deploy.kubectl import Kubernetes, Object
from delivery.deploy.locked_target import ENFORCED, LOCK, lock_target
from delivery.deploy.preview_labels import Preview
from delivery.deploy.rollout import progress
from delivery.deploy.target import Options, Target, preview_of, reach
from delivery.errors import CommandError, DeclarationError, DeliveryError, DeployError
from delivery.project import gather, git
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.records import recorder
from delivery.records.deployment import Action, Outcome

__all__ = ["Shown", "listed", "mark", "reap", "remove", "targets"]

_RBAC = "rbac.authorization.k8s.io"
_BINDING = f"{RELEASE}-preview"
_SECONDS = 10  # until the API server knows new rights, at most


@dataclass(frozen=True)
class Shown:
    """A preview, and how its pods are."""

    preview: Preview
    pods: str

    def row(self) -> tuple[str, ...]:
        """The preview for people."""
        preview = self.preview
        expires = f"{preview.expires:%Y-%m-%d %H:%M} UTC"
        return (preview.environment, preview.branch, preview.commit[:12], expires, self.pods)


def mark(declaration: Declaration, target: Target) -> None:
    """Make the namespace of a preview, or label it anew: its branch, its commit, its expiry.

    A namespace of this name that is not a preview's is an error.
    """
    kubernetes, clone = target.kubernetes, git.load_clone(ROOT)
    decision = gather.load_decision(declaration, ROOT)
    branch = decision.ref.name
    if decision.environment != target.name:
        raise DeclarationError(
            f"cannot deploy to {target.name}: it is not the preview of this branch, {branch}",
            hint="check out its branch, as `./run inv preview.list` shows it",
        )
    expires = preview_labels.expiry(target.environment.days, datetime.now(UTC))
    preview = Preview(target.name, kubernetes.namespace, branch, clone.commit, expires)
    try:
        _mark(declaration, kubernetes, preview)
    except CommandError:  # another deploy of the branch may have made or labelled it meanwhile
        _mark(declaration, kubernetes, preview)


def _mark(declaration: Declaration, kubernetes: Kubernetes, preview: Preview) -> None:
    namespace = kubernetes.find("namespace", preview.namespace)
    if namespace is None:
        metadata = {"name": preview.namespace, "labels": {ENFORCED: "restricted"}}
        new = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        kubernetes.create(preview_labels.labelled(new, declaration.name, preview))
    elif preview_labels.read_preview(namespace, declaration.name) is None:
        raise DeployError(
            f"cannot use the namespace {preview.namespace}: it is being removed, or is not a "
            f"preview's of {declaration.name}",
            hint="wait until it is gone, or remove it by hand",
        )
    else:
        kubernetes.replace(preview_labels.labelled(namespace, declaration.name, preview))
    _ensure_binding(declaration, kubernetes)


def _ensure_binding(declaration: Declaration, kubernetes: Kubernetes) -> None:
    """Bind the declared role, if any, in the namespace of a preview, in the place of another."""
    declared = declaration.environments[declaration.preview]
    if not declared.role:
        return
    binding = kubernetes.find("rolebinding", _BINDING)
    if binding and binding["roleRef"]["name"] == declared.role:
        return
    if binding:  # Kubernetes changes no roleRef
        kubernetes.delete("rolebinding", [_BINDING])
    _bind(kubernetes, declared.role, declared.namespace)


def _bind(kubernetes: Kubernetes, role: str, accounts: str) -> None:
    """Give the service accounts of a namespace the rights of a ClusterRole in this one."""
    group = {"apiGroup": _RBAC, "kind": "Group", "name": f"system:serviceaccounts:{accounts}"}
    kubernetes.create(
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": _BINDING},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [group],
        }
    )
    for _ in range(_SECONDS):
        try:
            kubernetes.find("Lease", LOCK)
        except CommandError:  # the API server's watch has not seen the binding yet
            time.sleep(1)
        else:
            return


def listed(declaration: Declaration, context: str) -> list[Shown]:
    """The previews in a cluster, each with the state of its pods."""
    return [
        Shown(preview, progress(follow.workloads(target.kubernetes)) or "nothing is deployed")
        for preview, target in _all(declaration, _base(declaration, context))
    ]


def targets(declaration: Declaration, base: Target) -> list[Target]:
    """The targets of the previews in the cluster of the environment that they are made of."""
    return [target for _, target in _all(declaration, base)]


def remove(declaration: Declaration, branch: str, context: str, options: Options) -> None:
    """Remove the preview of a branch ("": of the one that is checked out), with its data."""
    name = preview_of(declaration, branch)
    for preview, target in _all(declaration, _base(declaration, context)):
        if preview.environment == name:
            _remove(declaration, preview, target, options)
            return
    console.say(f"{name}: there is no such preview; nothing to remove")


def reap(
    declaration: Declaration, context: str, options: Options, root: Path = ROOT
) -> Sequence[Preview]:
    """Remove the previews that have expired, or whose branch the remote no longer has.

    Nothing is removed unless the remote answers.
    """
    try:
        branches = git.remote_branches(root)
    except CommandError as error:
        raise DeclarationError(
            "cannot reap previews: the remote does not answer; nothing is removed",
            hint="give git credentials for the remote `origin`, and run it again",
            details=error.tail or error.message,
        ) from error
    found = dict(_all(declaration, _base(declaration, context)))
    due = preview_labels.due([*found], branches, datetime.now(UTC))
    failures = {}
    for preview, reason in due:
        console.say(f"{preview.environment} of {preview.branch}: {reason}")
        try:
            _remove(declaration, preview, found[preview], options)
        except DeliveryError as error:  # the others are removed nevertheless
            failures[preview.environment] = error
    console.say(f"{len(found) - len(due)} of {len(found)} previews stay")
    if failures:
        first, *_ = failures.values()
        raise DeployError(
            f"cannot remove {', '.join(failures)}: {first.reason}",
            details=first.details,
            hint=first.hint or "run it again",
        ) from first
    return [preview for preview, _ in due]


def _base(declaration: Declaration, context: str) -> Target:
    if not declaration.preview:
        raise DeclarationError(
            "cannot find previews: delivery.toml declares no gitflow.deploys.preview",
            hint='see docs/operations.md, "Previews"',
        )
    return reach(declaration, declaration.preview, context)


def _all(declaration: Declaration, base: Target) -> list[tuple[Preview, Target]]:
    namespaces = base.kubernetes.all("namespaces", preview_labels.selector(declaration.name))
    previews = (preview_labels.read_preview(each, declaration.name) for each in namespaces)
    return [(preview, _target(base, preview)) for preview in previews if preview]


def _target(base: Target, preview: Preview) -> Target:
    kubernetes = replace(base.kubernetes, namespace=preview.namespace)
    return Target(
        preview.environment,
        base.environment.model_copy(update={"namespace": preview.namespace}),
        replace(base.helm, kubernetes=kubernetes),
    )


def _remove(declaration: Declaration, preview: Preview, target: Target, options: Options) -> None:
    """Remove a namespace under its lock, unless it was deployed to again; record the removal."""
    name = preview.namespace
    if _read(declaration, target, name) is None:  # to lock it would make the namespace anew
        console.say(f"{preview.environment}: it is being removed already")
        return
    _ensure_binding(declaration, target.kubernetes)  # an interrupted deploy may have left none
    with lock_target(target, options) as locked:
        namespace = target.kubernetes.find("namespace", name)
        if namespace is None or preview_labels.read_preview(namespace, declaration.name) != preview:
            console.say(f"{preview.environment}: it was deployed to again, and stays")
            return
        with recorder.deployment(declaration, "preview.remove", Action.REMOVE) as recording:
            recording.read_token = target.ledger_token
            deployment = removal.start(declaration, target, recording)
            with console.step(f"remove {preview.environment}") as step:
                locked.lock.check()
                _delete(target, namespace)
                step.done(f"the namespace {name}, with its data")
            recording.finish(deployment.ended(Outcome.SUCCEEDED))


def _delete(target: Target, namespace: Object) -> None:
    """Delete the namespace of a preview as it was read: a deploy labels it before it locks it."""
    try:
        target.kubernetes.delete_namespace(namespace)
    except CommandError as error:
        name = namespace["metadata"]["name"]
        if target.kubernetes.find("namespace", name) == namespace:
            raise
        raise DeployError(
            f"cannot remove {target.name}: it has changed meanwhile, and stays",
            details=error.tail,
            hint="run it again",
        ) from error


def _read(declaration: Declaration, target: Target, name: str) -> Preview | None:
    namespace = target.kubernetes.find("namespace", name)
    return preview_labels.read_preview(namespace, declaration.name)
