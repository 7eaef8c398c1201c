"""Finish a release: tags for what is prepared and published, all or none, and their push."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from delivery import console
from delivery.build import planning
from delivery.errors import CommandError, DeclarationError
from delivery.project import gather, git
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry.client import Registry
from delivery.release import catalog, problems, tagging
from delivery.release.tagging import NewTag

__all__ = [
    "Finish",
    "differences",
    "make_tags",
    "next_commands",
    "plan",
    "push_tags",
    "remote_address",
]

_UNPUBLISHED = "publish this commit first, or say --unpublished"


@dataclass(frozen=True)
class Finish:
    """What is left of a release."""

    tags: tuple[NewTag, ...]  # to be made
    version: str
    there: tuple[str, ...]  # the tags of this commit that are made already
    branch: str  # the release line's, also where BRANCH_NAME says it of a detached HEAD

    @property
    def names(self) -> list[str]:
        """Every tag of the release, made or to be made."""
        return [*self.there, *(tag.name for tag in self.tags)]

    def say(self, remote: str) -> None:
        """Print the tags, and the remote that they are pushed to, if any."""
        if self.tags:
            rows = [(tag.name, _first_line(tag.message)) for tag in self.tags]
            console.table(f"finish {self.version}", ("tag", "says"), rows)
        else:
            existing = ", ".join(self.there) or "nothing changed since the last tags"
            console.say(f"nothing to tag: {existing}")
        if remote and self.names:
            console.say(f"to be pushed to {remote}: {', '.join(self.names)}")


def plan(
    declaration: Declaration,
    *,
    compare: Callable[[Declaration, str], list[str]] | None,
    root: Path = ROOT,
) -> Finish:
    """What is to be tagged.

    compare says how the registry's release of a version differs from these sources, and raises
    where there is none; None asks no registry. Raises DeclarationError as tagging.new_tags does,
    and when the release there is another one.
    """
    checkout = gather.load_checkout(declaration, root)
    version, branch = checkout.release, checkout.decision.ref.name
    wanted = tagging.new_tags(checkout)
    if wanted and compare and (different := compare(declaration, version)):
        raise DeclarationError(
            f"cannot finish the release: the registry's release {version} is another one",
            details="\n".join(different),
            hint=f"let the pipeline of {branch} {_UNPUBLISHED}",
        )
    head = checkout.facts.commit
    there = tuple(tag.name for tag in checkout.facts.tags if tag.commit == head)
    return Finish(tags=tuple(wanted), version=version, there=there, branch=branch)


def differences(declaration: Declaration, version: str) -> list[str]:
    """How the registry's release of a version differs from these sources.

    Raises DeclarationError where it holds none.
    """
    registry = Registry(declaration.registry.address)
    try:
        release = catalog.require(declaration, registry, version)
    except DeclarationError as error:
        raise DeclarationError(
            f"cannot finish the release: {registry.address} holds no whole release {version}",
            details=error.message,
            hint=f"let the pipeline of this branch {_UNPUBLISHED}",
        ) from error
    plan = planning.plan_checkout(declaration, registry)
    return list(
        problems.differences(release, problems.expected_content(plan, by_sources=True)).values()
    )


def make_tags(tags: Sequence[NewTag], root: Path = ROOT) -> None:
    """Make the tags; when one cannot be made, those made before are removed again."""
    made = list[str]()
    with console.step("tag") as step:
        try:
            for tag in tags:
                git.tag(root, tag.name, tag.message)
                made.append(tag.name)
        except BaseException:
            with suppress(CommandError):
                git.remove_tags(root, made)
            raise
        step.done(", ".join(made))


def remote_address(remote: str, root: Path = ROOT) -> str:
    """Where a remote leads, to be shown before a push; raise DeclarationError for no remote."""
    known = git.remotes(root)
    if remote not in known:
        raise DeclarationError(
            f"cannot push the tags to {remote}: it is no remote",
            hint=f"one of: {', '.join(known) or 'there is none'}",
        )
    return git.remote_address(root, remote)


def push_tags(names: Sequence[str], remote: str, root: Path = ROOT) -> None:
    """Push the release's tags, all of them or none; they stay in this clone when that fails."""
    with console.step(f"push to {remote}") as step:
        git.push_tags(root, remote, names)
        step.done(", ".join(names))


def next_commands(
    declaration: Declaration, names: Sequence[str], branch: str, *, pushed: bool
) -> list[str]:
    """What is left to be done by hand: push the tags, and bring the release back into develop."""
    develop = declaration.gitflow.develop[0]
    pushing = [] if pushed or not names else [f"git push --atomic origin {' '.join(names)}"]
    back = f"git switch {develop} && git merge --no-ff {branch} && git push origin {develop}"
    return [*pushing, back]


def _first_line(message: str) -> str:
    """What a changelog's section begins with."""
    lines = message.splitlines()[1:]
    return next((line for line in lines if line and not line.startswith("#")), "")
