"""Look for everything that would keep a plan from being built and published, before anything is done.

Nothing is changed: the registry is only asked, and nothing is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from delivery.build import planning
from delivery.build.plan import Plan, PlannedChart, PlannedImage
from delivery.errors import DeliveryError, Problem, RegistryError
from delivery.project import chart
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry import local_registry
from delivery.registry.client import Registry
from delivery.release import catalog, problems, publishing, signing
from delivery.release.released import Release, released_images

__all__ = ["checked_plan"]


@dataclass
class _Found:
    """The problems of a plan, in the order in which a run meets them, and what could not be looked at."""

    problems: list[Problem] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def add(self, problem: Problem | None) -> None:
        if problem:
            self.problems.append(problem)


def checked_plan(
    declaration: Declaration, registry: Registry | None, branch: str = "", root: Path = ROOT
) -> Plan:
    """The plan as `build.planning` makes it, with all problems that a build or a push of it would meet.

    None is a registry that does not answer. One that refuses to answer is a problem, not an error.
    """
    found = _Found()
    try:
        plan = planning.plan_checkout(declaration, registry, branch, root)
        silent = "" if registry else f"the registry {declaration.registry.address} does not answer"
    except RegistryError as error:
        found.add(Problem.from_error(error))
        silent = f"the registry {declaration.registry.address} refuses to answer"
        plan = planning.plan_checkout(declaration, None, branch, root, reason=silent)
        registry = None
    if silent and not found.problems:
        found.add(local_registry.unreachable_problem(declaration))
    if plan.decision.pushes:
        _look_at_files(declaration, plan, root, found)
        if registry:
            _look_at_registry(declaration, plan, registry, found)
        else:
            found.unchecked += [
                f"{what}: {silent}" for what in ("taken versions", "the login to push with")
            ]
    return replace(plan, problems=tuple(found.problems), unchecked=tuple(found.unchecked))


def _look_at_files(declaration: Declaration, plan: Plan, root: Path, found: _Found) -> None:
    """What git, the chart's files and the key say against it."""
    found.problems += plan.problems
    problem, unchecked = signing.key_problem(declaration, plan.decision.environment, root)
    found.add(problem)
    found.unchecked += [unchecked] if unchecked else []
    found.problems += _of_chart(declaration, plan, root)


def _of_chart(declaration: Declaration, plan: Plan, root: Path) -> list[Problem]:
    folder = root / declaration.chart.folder
    repositories = {
        name: f"{declaration.registry.address}/{name}" for name in declaration.components()
    }
    try:
        described, values = (
            publishing.chart_text(folder, name) for name in ("Chart.yaml", "values.yaml")
        )
        if wrong := chart.problems(described, values, repositories):
            return wrong
        # The digests of what is not built yet change nothing about whether it can be packaged.
        images = released_images(plan.images, {image.name: "" for image in plan.images.missing})
        publishing.package_chart(declaration, plan, images, root)
    except DeliveryError as error:
        return [Problem.from_error(error)]
    return []


def _look_at_registry(
    declaration: Declaration, plan: Plan, registry: Registry, found: _Found
) -> None:
    """What the registry has against it: no login, and versions that have other content."""
    try:
        found.add(local_registry.login_problem(declaration))
        held = catalog.find(registry, plan.version)
        signs = signing.has_key()
        if held:  # who signs makes content of the registry again, and compares that
            other = problems.conflicting_release(
                plan, held, problems.expected_content(plan, by_sources=signs)
            )
        else:
            other = problems.missing_release(declaration, plan)
        found.add(other)
        if held is None or other or signs:
            _look_at_tags(declaration, plan, registry, held, found)
    except DeliveryError as error:
        found.add(Problem.from_error(error))


def _look_at_tags(
    declaration: Declaration, plan: Plan, registry: Registry, held: Release | None, found: _Found
) -> None:
    """Version tags of other content; those of a release of other content say nothing new."""
    tags = publishing.version_tags(registry, plan)
    parts = {part.repository: part for part in held.parts} if held else {}
    digests, skip = dict[str, str](), list[str]()
    for part in plan.parts:
        existing = tags.get(f"{part.repository}:{part.tag}", "")
        released = parts.get(part.repository)
        if released and released.digest == existing:
            skip.append(part.repository)
        elif part.digest:
            digests[part.repository] = part.digest
        elif existing and not _is_changed(declaration, plan, part):
            skip.append(part.repository)
            found.unchecked.append(
                f"whether {part.repository}:{part.tag} is what these sources make: it has to be built first"
            )
    found.add(problems.conflicting_tags(plan, tags, digests, skip))


def _is_changed(declaration: Declaration, plan: Plan, part: PlannedImage | PlannedChart) -> bool:
    folder = (
        declaration.images[part.name].context
        if isinstance(part, PlannedImage)
        else declaration.chart.folder
    )
    subproject = declaration.subproject_of(folder)
    return any(one.changed for one in plan.versions if one.subproject == subproject)
