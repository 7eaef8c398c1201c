"""Problems that keep a plan from being built and published, each with a command that solves it."""

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

# The parts of a release by name: (version, key, digest), where an unknown digest is "".
Content = Mapping[str, tuple[str, str, str]]


def refusal(plan: Plan, action: str, *, shown: bool = False) -> DeliveryError | None:
    """The error for a plan with problems, of the class of the first; None without problems.

    action: "build" or "publish". shown: the problems were printed before.
    """
    if not plan.problems:
        return None
    first, *others = plan.problems
    action = f"{action} {plan.version}"
    if not others and not shown:
        return first.error(action)
    lines = [line for problem in plan.problems for line in problem.lines()]
    together = replace(
        first,
        message=f"{len(plan.problems)} problems" if others else "1 problem",
        hint="solve the problems above; `./run inv plan` shows those that remain",
        details="" if shown else "\n".join(lines),
    )
    return together.error(action)


def expected_content(plan: Plan, *, by_sources: bool) -> Content:
    """The content of a plan's release, as far as it is known before a build.

    by_sources: without the digests in the registry, whose content is then compared after a build.
    """
    parts: dict[str, PlannedImage | PlannedChart] = {image.name: image for image in plan.images.all}
    parts["chart"] = plan.chart
    return {
        name: (part.version, part.key, "" if by_sources else part.digest)
        for name, part in parts.items()
    }


def differences(published: Release, content: Content) -> dict[str, str]:
    """How the published release differs from this content: a line for each part, by name."""
    lines = {}
    for name in {**published.content, **content}:
        old, new = published.content.get(name), content.get(name)
        if _differ(old, new):
            lines[name] = f"{name}: published as {_describe(old)}, is {_describe(new)} now"
    return lines


def conflicting_release(plan: Plan, published: Release, content: Content) -> Problem | None:
    """The problem that the published release of this version has other content than the plan's."""
    lines = differences(published, content)
    if not lines:
        return None
    return Problem(
        f"release {plan.version} is published with other content ({', '.join(lines)}), from commit "
        f"{published.commit[:12]} by {published.builder}",
        hint_for_taken_version(plan, published),
        "\n".join(lines.values()),
    )


def missing_release(declaration: Declaration, plan: Plan) -> Problem | None:
    """The problem that the registry has no release of an unchanged version.

    Only the line of that version publishes it.
    """
    if plan.chart.tag or plan.decision.ref.kind == "tag":
        return None
    tag = f"{declaration.subproject_of(declaration.chart.folder)}-v{plan.version}"
    return Problem(
        f"nothing has changed since {plan.version}, but {declaration.registry.address} does not "
        "hold that release",
        f"publish it by `git switch --detach {tag} && TAG_NAME={tag} ./run inv push`",
    )


def conflicting_tags(
    plan: Plan, existing: Mapping[str, str], digests: Mapping[str, str], skip: Sequence[str] = ()
) -> Problem | None:
    """The problem that version tags of the plan have other content.

    existing: the digest of each tag in the registry, or "", by REPOSITORY:TAG. digests: those to
    put, by repository; a part without a digest is changed, so that any existing tag is a conflict.
    skip: repositories that are not checked.
    """
    lines = list[str]()
    for part in plan.parts:
        digest = existing.get(f"{part.repository}:{part.tag}", "")
        expected = digests.get(part.repository, "")
        if part.tag and digest not in {"", expected} and part.repository not in skip:
            content = expected or f"made from {part.key}"
            lines.append(f"{part.repository}:{part.tag} is {digest}, not {content}")
    if not lines:
        return None
    return Problem(
        "version tags in the registry have other content, and a version is never overwritten",
        hint_for_taken_version(plan),
        "\n".join(lines),
        RegistryError.reference,
    )


def hint_for_taken_version(plan: Plan, published: Release | None = None) -> str:
    """The hint for a version that has other content: that of a release, or of single tags.

    A commit on the release line gets no new version before the last release is tagged.
    """
    ref = plan.decision.ref
    next_versions = _next_versions(plan)
    if ref.kind != "branch" or not next_versions:
        return "make a new commit, which gets a new version: a published version is never changed"
    if not plan.decision.rules.releases:
        return (
            "make a new commit, which gets a new version, or run"
            f" `./run inv release.prepare{next_versions}` for a higher version: a published version"
            " is never changed"
        )
    commit, branch = published.commit[:12] if published else "COMMIT", quote(ref.name)
    at_commit = f"git switch --detach {commit} && BRANCH_NAME={branch} ./run inv"
    hotfix = hotfix_commands(plan.version, branch, bump=True)
    if published is None:
        return (
            f"finish the interrupted release {plan.version} by `{at_commit} push`, at the commit"
            f" that put these tags, then push {branch} again; if other sources put them, make the"
            f" next version by `{hotfix}{next_versions}` and merge it into {branch}"
        )
    return (
        f"tag {plan.version} by `{at_commit} release.finish --push origin`, make the next version"
        f" by `{hotfix}` and merge it into {branch}; if release.finish finds {plan.version} not"
        f" prepared, make the next version by `{hotfix}{next_versions}` instead"
    )


def _next_versions(plan: Plan) -> str:
    """The options that set a higher version than published for each changed subproject."""
    return "".join(
        f" --subproject {version.subproject}={Number.parse(version.published).bump_patch()}"
        for version in plan.versions
        if version.changed
    )


def _differ(old: tuple[str, str, str] | None, new: tuple[str, str, str] | None) -> bool:
    if old is None or new is None:
        return True
    return old[:2] != new[:2] or new[2] not in {"", old[2]}


def _describe(part: tuple[str, str, str] | None) -> str:
    """A part's version, digest and key: another key may give the same digest."""
    if part is None:
        return "nothing"
    version, key, digest = part
    return f"{version or 'no version'}, {digest or 'not built yet'} from content key {key[:12]}"
