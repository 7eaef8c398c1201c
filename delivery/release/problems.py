"""What keeps a commit from being built and published: each problem with the command that solves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote

from semver import Version as Number

from delivery.build.plan import Plan, PlannedChart, PlannedImage
from delivery.errors import DeliveryError, Problem, RegistryError
from delivery.project.declaration import Declaration
from delivery.project.notices import hotfix_commands
from delivery.release.released import Release

__all__ = [
    "conflicting_release",
    "conflicting_tags",
    "differences",
    "expected_content",
    "hint_for_taken_version",
    "missing_release",
    "refusal",
]

# What the parts of a release are, by name: (version, key, digest), the digest "" while it is not known.
Content = Mapping[str, tuple[str, str, str]]


def refusal(plan: Plan, doing: str, *, shown: bool = False) -> DeliveryError | None:
    """The error that a run ends with; None when nothing is in the way. Its class is the first problem's.

    doing is "build" or "publish"; shown: the problems were printed before.
    """
    if not plan.problems:
        return None
    first, *others = plan.problems
    doing = f"{doing} {plan.version}"
    if not others and not shown:
        return first.error(doing)
    count = f"{len(plan.problems)} things are" if others else "one thing is"
    lines = [line for problem in plan.problems for line in problem.lines()]
    every = replace(
        first,
        message=f"{count} in the way",
        hint="settle what the lines above say; `./run inv plan` shows what is left",
        details="" if shown else "\n".join(lines),
    )
    return every.error(doing)


def expected_content(plan: Plan, *, by_sources: bool) -> Content:
    """What is known of a plan's release before anything is built.

    by_sources: no digest is known, since content of the registry is not taken for what they make.
    """
    parts: dict[str, PlannedImage | PlannedChart] = {image.name: image for image in plan.images.all}
    parts["chart"] = plan.chart
    return {
        name: (part.version, part.key, "" if by_sources else part.digest)
        for name, part in parts.items()
    }


def differences(held: Release, content: Content) -> dict[str, str]:
    """How the release that the registry holds differs: a line for each part that does, by name."""
    pairs = {
        name: (held.content.get(name), content.get(name)) for name in {**held.content, **content}
    }
    return {
        name: f"{name}: published is {_described(before)}, it is {_described(now)} now"
        for name, (before, now) in pairs.items()
        if _differ(before, now)
    }


def conflicting_release(plan: Plan, held: Release, content: Content) -> Problem | None:
    """The problem that the registry holds another release than this plan's, which has this content."""
    other = differences(held, content)
    if not other:
        return None
    return Problem(
        f"release {plan.version} is published with other content ({', '.join(other)}), from commit "
        f"{held.commit[:12]} by {held.builder}",
        hint_for_taken_version(plan, held),
        "\n".join(other.values()),
    )


def missing_release(declaration: Declaration, plan: Plan) -> Problem | None:
    """The problem that the registry lacks the release of what has not changed since; only its own line publishes it."""
    if plan.chart.tag or plan.decision.ref.kind == "tag":
        return None
    tag = f"{declaration.subproject_of(declaration.chart.folder)}-v{plan.version}"
    return Problem(
        f"nothing has changed since {plan.version}, but {declaration.registry.address} does not hold that release",
        f"its own line publishes it: `git switch --detach {tag} && TAG_NAME={tag} ./run inv push`",
    )


def conflicting_tags(
    plan: Plan, held: Mapping[str, str], digests: Mapping[str, str], skip: Sequence[str] = ()
) -> Problem | None:
    """The problem that version tags are other content's.

    held has by REPOSITORY:TAG the digest that the registry holds, "" for none; digests has by
    repository what is to be put. Without one, what is made from other sources is taken to be other
    content, since its key is not in the registry. skip are repositories that are not looked at.
    """
    lines = list[str]()
    for part in plan.parts:
        digest, expected = (
            held.get(f"{part.repository}:{part.tag}", ""),
            digests.get(part.repository, ""),
        )
        if part.tag and digest not in {"", expected} and part.repository not in skip:
            what = expected or f"made from {part.key}"
            lines.append(f"{part.repository}:{part.tag} is {digest}, not {what}")
    if not lines:
        return None
    return Problem(
        "the registry holds other content under version tags, and a version is never overwritten",
        hint_for_taken_version(plan),
        "\n".join(lines),
        RegistryError.reference,
    )


def hint_for_taken_version(plan: Plan, held: Release | None = None) -> str:
    """What to run where a version has other content, given its release, or None when it has none.

    A commit on the release line gets no new version before the last release is tagged.
    """
    ref = plan.decision.ref
    by_hand = _next(plan)
    if ref.kind != "branch" or not by_hand:
        return "a published version is never changed: a new commit gets a new version"
    if not plan.decision.rules.releases:
        return (
            "a published version is never changed: a new commit gets a new version, and"
            f" `./run inv release.prepare{by_hand}` a higher one"
        )
    commit, branch = held.commit[:12] if held else "COMMIT", quote(ref.name)
    there = f"git switch --detach {commit} && BRANCH_NAME={branch} ./run inv"
    hotfix = hotfix_commands(plan.version, branch, bump=True)
    if held is None:
        return (
            f"the release {plan.version} was cut off: `{there} push`, for the commit that put these"
            f" tags, finishes it; then push {branch} again. Where other sources put them,"
            f" `{hotfix}{by_hand}` gives the next version: merge that into {branch}"
        )
    return (
        f"{plan.version} is not tagged: `{there} release.finish --push origin` tags it;"
        f" `{hotfix}` gives what came after it"
        f" a version: merge that into {branch}. Where finish says that it was not prepared,"
        f" `{hotfix}{by_hand}` gives the next version instead"
    )


def _next(plan: Plan) -> str:
    """The options that give each changed subproject a version by hand, above the one that is published."""
    changed = [version for version in plan.versions if version.changed]
    return "".join(
        f" --subproject {one.subproject}={Number.parse(one.published).bump_patch()}"
        for one in changed
    )


def _differ(held: tuple[str, str, str] | None, expected: tuple[str, str, str] | None) -> bool:
    if held is None or expected is None:
        return True
    return held[:2] != expected[:2] or expected[2] not in {"", held[2]}


def _described(part: tuple[str, str, str] | None) -> str:
    """A part's version, digest and key: a change may give other keys and the same bytes."""
    if part is None:
        return "not there"
    version, key, digest = part
    return f"{version or 'of no version'}, {digest or 'not built yet'} by the key {key[:12]}"
