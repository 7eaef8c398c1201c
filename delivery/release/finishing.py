"""Finish a release: tag its subprojects, all or none, and push the tags."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Finish:
    """The tags that finish a release."""

    tags: tuple[NewTag, ...]
    version: str
    existing: tuple[str, ...]
    """The tags that this commit has already."""
    branch: str
    """That of the release line, on a detached HEAD BRANCH_NAME."""

    @property
    def names(self) -> list[str]:
        """Every tag of the release, existing or new."""
        return [*self.existing, *(tag.name for tag in self.tags)]

    def show(self, remote: str) -> None:
        """Print the tags, and the remote to push them to, if any."""
        if self.tags:
            rows = [(tag.name, _first_line(tag.message)) for tag in self.tags]
            console.table(f"finish {self.version}", ("tag", "message"), rows)
        else:
            existing = ", ".join(self.existing) or "nothing changed since the last tags"
            console.say(f"nothing to tag: {existing}")
        if remote and self.names:
            console.say(f"to be pushed to {remote}: {', '.join(self.names)}")


def plan(declaration: Declaration, *, unpublished: bool = False, root: Path = ROOT) -> Finish:
    """The tags to make.

    Raises DeclarationError as tagging.new_tags does, and, unless unpublished, if the registry does
    not hold the release of these sources.
    """
    checkout = gather.load_checkout(declaration, root)
    version, branch = checkout.release, checkout.decision.ref.name
    tags = tagging.new_tags(checkout)
    if tags and not unpublished and (lines := differences(declaration, version)):
        raise DeclarationError(
            f"cannot finish the release: the registry's release {version} has other content",
            details="\n".join(lines),
            hint=f"let the pipeline of {branch} publish this commit first, or pass --unpublished",
        )
    head = checkout.facts.commit
    existing = tuple(tag.name for tag in checkout.facts.tags if tag.commit == head)
    return Finish(tags=tuple(tags), version=version, existing=existing, branch=branch)


def differences(declaration: Declaration, version: str) -> list[str]:
    """How the registry's release of a version differs from these sources, in a line each.

    Raises DeclarationError unless the registry holds the complete release.
    """
    registry = Registry(declaration.registry.address)
    try:
        release = catalog.require(declaration, registry, version)
    except DeclarationError as error:
        raise DeclarationError(
            f"cannot finish the release: {registry.address} holds no complete release {version}",
            details=error.reason,
            hint="run `./run inv push` first, or let the pipeline of this branch do it;"
            " --unpublished makes the tags without it",
        ) from error
    plan = planning.plan_checkout(declaration, registry)
    return list(
        problems.differences(release, problems.expected_content(plan, by_sources=True)).values()
    )


def make_tags(tags: Sequence[NewTag], root: Path = ROOT) -> None:
    """Make the tags; a failure removes those made before."""
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
    """The address of a remote, to show before a push; DeclarationError if it is unknown."""
    known = git.remotes(root)
    if remote not in known:
        raise DeclarationError(
            f"cannot push the tags to {remote}: it is not a remote",
            hint=f"choose from {', '.join(known)}" if known else "add it by `git remote add`",
        )
    return git.remote_address(root, remote)


def push_tags(names: Sequence[str], remote: str, root: Path = ROOT) -> None:
    """Push the release's tags, all or none; if that fails, they stay in this clone."""
    with console.step(f"push to {remote}") as step:
        git.push_tags(root, remote, names)
        step.done(", ".join(names))


def next_commands(
    declaration: Declaration, names: Sequence[str], branch: str, *, pushed: bool
) -> list[str]:
    """The commands that remain: push the tags, and merge the release into develop."""
    develop = declaration.gitflow.develop[0]
    pushing = [] if pushed or not names else [f"git push --atomic origin {' '.join(names)}"]
    merge = f"git switch {develop} && git merge --no-ff {branch} && git push origin {develop}"
    return [*pushing, merge]


def _first_line(message: str) -> str:
    """The first line of a changelog's section, without its title."""
    lines = message.splitlines()[1:]
    return next((line for line in lines if line and not line.startswith("#")), "")
