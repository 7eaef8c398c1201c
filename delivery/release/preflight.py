"""The problems that a build or push of a plan would meet, before anything is done.

Changes nothing: the registry is only read, and nothing is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from delivery.build import planning
from delivery.build.plan import Plan, PlannedChart, PlannedImage
from delivery.errors import DeliveryError, Problem, RegistryError
from delivery.project import chart, git
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry import local_registry
from delivery.registry.client import Registry, missing_login
from delivery.release import catalog, problems, publishing, signing
from delivery.release.released import Release, released_images

__all__ = ["checked_plan"]


@dataclass
class _Checks:
    """The problems of a plan, in the order in which a run meets them."""

    problems: list[Problem] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """What could not be checked, and why."""

    def add(self, found: Problem | DeliveryError | None) -> None:
        if isinstance(found, DeliveryError):
            found = Problem.from_error(found)
        if found:
            self.problems.append(found)


def checked_plan(
    declaration: Declaration, registry: Registry | None, branch: str = "", root: Path = ROOT
) -> Plan:
    """The plan of `build.planning`, with all problems that a build or push of it would meet.

    Nothing else is checked while files are not committed.
    registry: None if it does not answer. A registry that refuses a request is a problem.
    """
    checks = _Checks()
    reason = ""
    if registry is None:
        reason = f"the registry {declaration.registry.address} does not answer"
        checks.add(local_registry.refusal(declaration))
    try:
        plan = planning.plan_checkout(declaration, registry, branch, root, reason=reason)
    except RegistryError as error:
        checks.add(error)
        reason = f"the registry {declaration.registry.address} refuses to answer"
        plan = planning.plan_checkout(declaration, None, branch, root, reason=reason)
    if plan.problems and git.changes(root):
        # Versions, content and chart are those of a commit that is still to be made.
        return replace(plan, unchecked=("everything else: files are not committed",))
    if plan.decision.pushes:
        _check_files(declaration, plan, root, checks)
        if registry and not reason:
            _check_registry(declaration, plan, registry, checks)
        else:
            unchecked = ("taken versions", "the login to push with")
            checks.unchecked += [f"{subject}: {reason}" for subject in unchecked]
    return replace(plan, problems=tuple(checks.problems), unchecked=tuple(checks.unchecked))


def _check_files(declaration: Declaration, plan: Plan, root: Path, checks: _Checks) -> None:
    """Check Git, the signing key and the chart."""
    checks.problems += plan.problems
    problem, unchecked = signing.key_problem(declaration, plan.decision.environment, root)
    checks.add(problem)
    checks.unchecked += [unchecked] if unchecked else []
    checks.problems += _chart_problems(declaration, plan, root)


def _chart_problems(declaration: Declaration, plan: Plan, root: Path) -> list[Problem]:
    folder, address = root / declaration.chart.folder, declaration.registry.address
    repositories = {name: f"{address}/{name}" for name in declaration.components()}
    try:
        metadata = publishing.chart_text(folder, "Chart.yaml")
        values = publishing.chart_text(folder, "values.yaml")
        if mistakes := chart.problems(metadata, values, repositories):
            return mistakes
        if plan.chart.digest:  # it was packaged, and pushed
            return []
        # Any digest does to see whether the chart can be packaged.
        images = released_images(plan.images, {image.name: "" for image in plan.images.missing})
        publishing.package_chart(declaration, plan, images, root)
    except DeliveryError as error:
        return [Problem.from_error(error)]
    return []


def _check_registry(
    declaration: Declaration, plan: Plan, registry: Registry, checks: _Checks
) -> None:
    """Check for a missing login, and for versions that have other content."""
    try:
        checks.add(missing_login(declaration.registry.address))
        published = catalog.find(registry, plan.version)
        # With a key, content of the registry is made here again, and compared then.
        signs = signing.has_key()
        if published:
            content = problems.expected_content(plan, by_sources=signs)
            conflict = problems.conflicting_release(plan, published, content)
        else:
            conflict = problems.missing_release(declaration, plan)
        checks.add(conflict)
        if published is None or conflict or signs:
            _check_tags(declaration, plan, registry, published, checks)
    except DeliveryError as error:
        checks.add(error)


def _check_tags(
    declaration: Declaration,
    plan: Plan,
    registry: Registry,
    published: Release | None,
    checks: _Checks,
) -> None:
    """Check for version tags with other content, apart from those of the published release."""
    existing = publishing.version_tags(registry, plan)
    released = {part.pinned for part in published.parts} if published else set()
    digests, skip = dict[str, str](), list[str]()
    for part in plan.parts:
        tag = f"{part.repository}:{part.tag}"
        digest = existing.get(tag, "")
        if f"{part.repository}@{digest}" in released:
            skip.append(part.repository)
        elif part.digest:
            digests[part.repository] = part.digest
        elif digest and not _is_changed(declaration, plan, part):
            skip.append(part.repository)
            checks.unchecked.append(
                f"whether {tag} has the content of these sources: they have to be built first"
            )
    checks.add(problems.conflicting_tags(plan, existing, digests, skip))


def _is_changed(declaration: Declaration, plan: Plan, part: PlannedImage | PlannedChart) -> bool:
    folder = declaration.chart.folder
    if isinstance(part, PlannedImage):
        folder = declaration.images[part.name].context
    subproject = declaration.subproject_of(folder)
    return any(version.changed for version in plan.versions if version.subproject == subproject)
