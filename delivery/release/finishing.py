"""Finish a release: tags for what is prepared and published, all of them or none, pushed when that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from delivery import console
from delivery.build import planning
from delivery.errors import CommandError, DeclarationError
from delivery.project import gather, git_write, gitflow, versions
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry.client import Registry
from delivery.release import catalog, preparing, tagging
from delivery.release.tagging import NewTag

__all__ = ["Finish", "address", "look", "make", "next_commands", "published", "push"]


@dataclass(frozen=True)
class Finish:
    """The tags to be made, the release's version, and the tags of this commit that are there already.

    branch is the release line's, also where BRANCH_NAME says it of a detached HEAD.
    """

    tags: tuple[NewTag, ...]
    version: str
    there: tuple[str, ...]
    branch: str

    @property
    def names(self) -> list[str]:
        """Every tag of the release, made or to be made."""
        return [*self.there, *(tag.name for tag in self.tags)]


def look(
    declaration: Declaration, *, published: Callable[[Declaration, str], list[str]] | None, root: Path = ROOT
) -> Finish:
    """What is to be tagged.

    published says how the registry's release of a version differs from these sources, and raises where there is none; None does
    without a release. Raises DeclarationError as finishing.new_tags does, and when the release there is another one.
    """
    facts = gather.look(declaration, root)
    decision = gitflow.decide(facts.ref, declaration)
    decided = versions.decide(declaration, facts, decision)
    texts = preparing.texts(declaration, root)
    changelogs = {name: texts.get(one.changelog, "") for name, one in declaration.subprojects.items()}
    wanted = tagging.new_tags(declaration, facts, decision, decided, changelogs)
    version = tagging.chart_version(declaration, decided)
    if wanted and published is not None and (different := published(declaration, version)):
        raise DeclarationError(
            f"finish the release: the registry's release {version} is another one",
            details="\n".join(different),
            hint=f"let the pipeline of {decision.ref.name} publish this commit first, or say --unpublished",
        )
    ours = {tag.name for tag in facts.tags}
    there = tuple(name for name in git_write.tags_here(root) if name in ours)
    return Finish(tuple(wanted), version, there, facts.ref.name)


def published(declaration: Declaration, version: str) -> list[str]:
    """How the registry's release of this version differs from these sources; raise DeclarationError where it holds none."""
    registry = Registry(declaration.registry.address)
    try:
        release = catalog.held(declaration, registry, version)
    except DeclarationError as error:
        raise DeclarationError(
            f"finish the release: {registry.address} holds no whole release {version}",
            details=error.message,
            hint="let the pipeline of this branch publish it first, or say --unpublished",
        ) from error
    plan = planning.look(declaration, registry)
    planned = {image.name: (image.version, image.key) for image in plan.images.all}
    return tagging.differences(release, {**planned, "chart": (plan.chart.version, plan.chart.key)})


def make(tags: Sequence[NewTag], root: Path = ROOT) -> None:
    """Make the tags; when one cannot be made, those made before are removed again."""
    made = list[str]()
    with console.step("tag") as step:
        try:
            for tag in tags:
                git_write.tag(root, tag.name, tag.message)
                made.append(tag.name)
        except BaseException:
            with suppress(CommandError):
                git_write.remove_tags(root, made)
            raise
        step.done(", ".join(made))


def address(remote: str, root: Path = ROOT) -> str:
    """Where a remote leads, to be shown before anything is pushed there; raise DeclarationError when there is no such remote."""
    known = git_write.remotes(root)
    if remote not in known:
        raise DeclarationError(
            f"push the tags to {remote}: it is no remote", hint=f"one of: {', '.join(known) or 'there is none'}"
        )
    return git_write.remote_address(root, remote)


def push(names: Sequence[str], remote: str, root: Path = ROOT) -> None:
    """Push the release's tags, all of them or none; they stay in this clone when that fails."""
    with console.step(f"push to {remote}") as step:
        git_write.push_tags(root, remote, names)
        step.done(", ".join(names))


def next_commands(declaration: Declaration, names: Sequence[str], branch: str, *, pushed: bool) -> list[str]:
    """What is left to be done by hand, as commands: push the tags, and bring the release back into develop."""
    develop = declaration.gitflow.develop[0]
    pushing = [] if pushed or not names else [f"git push --atomic origin {' '.join(names)}"]
    return [*pushing, f"git switch {develop} && git merge --no-ff {branch} && git push origin {develop}"]
