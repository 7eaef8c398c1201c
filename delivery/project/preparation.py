"""What `inv release.prepare` writes: each changed subproject's next version into its files, and its changelog."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semver import Version as Number

from delivery.errors import DeclarationError
from delivery.project import changelog
from delivery.project.chart import with_tags, with_versions
from delivery.project.declaration import Declaration
from delivery.project.facts import Facts
from delivery.project.gitflow import Decision, Line, is_version
from delivery.project.versions import Version

__all__ = ["Preparation", "prepare", "raised", "refuse_branch", "sources", "told", "unprepared"]

_PROJECT_VERSION = re.compile(
    r"""(?P<before>^\[project\][^\n]*\n(?:(?!\[)[^\n]*\n)*?version[ \t]*=[ \t]*)(?P<quote>["'])[^"'\n]*(?P=quote)""",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Preparation:
    """The versions of a release to come, the files that do not say so yet with what they are to say, and the commit's subject."""

    versions: Mapping[str, Version]
    texts: Mapping[str, str]
    subject: str
    files: Mapping[str, tuple[str, ...]]

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """What a person is shown: subproject, last version, next one, why, and the files that change."""
        return [
            (name, one.last or "-", one.next, one.because, " ".join(self.files[name]) or "-")
            for name, one in self.versions.items()
        ]


def refuse_branch(declaration: Declaration, decision: Decision) -> None:
    """Raise DeclarationError unless releases are prepared on this branch: one of the develop or the candidate line."""
    if decision.ref.kind == "branch" and decision.line in {Line.DEVELOP, Line.CANDIDATE}:
        return
    where = f"{decision.ref.name} is no branch for that" if decision.ref.name else "no branch is checked out"
    raise DeclarationError(
        f"prepare a release: {where}",
        hint=f"`git switch -c release/X.Y` off {declaration.gitflow.develop[0]}, or `git switch -c hotfix/X.Y.Z` off "
        f"{declaration.gitflow.release[0]}, then run it again",
    )


def told(declaration: Declaration, arguments: Sequence[str]) -> dict[str, str]:
    """The versions that --subproject NAME=X.Y.Z sets by hand; raise DeclarationError for what is no such thing."""
    found: dict[str, str] = {}
    for argument in arguments:
        name, _, version = argument.partition("=")
        doing = f"prepare a release: --subproject {argument}"
        if name not in declaration.subprojects:
            known = ", ".join(declaration.subprojects)
            raise DeclarationError(f"{doing}: {name!r} is no subproject", hint=f"one of {known}, as in apps=1.2.0")
        if not is_version(version):
            raise DeclarationError(f"{doing}: {version!r} is no version", hint=f"X.Y.Z, as in {name}=1.2.0")
        if found.setdefault(name, version) != version:
            raise DeclarationError(f"{doing}: {name} is told to be {found[name]} too", hint="say one of them")
    return found


def raised(versions: Mapping[str, Version], wanted: Mapping[str, str]) -> None:
    """Raise DeclarationError when a version set by hand is not above the last one, and at least what the commits ask for."""
    for name, version in wanted.items():
        least, last = versions[name].next, versions[name].last
        if Number.parse(version) < Number.parse(least) or (last and Number.parse(version) <= Number.parse(last)):
            above = f"the commits make it {least}" if versions[name].changed else f"{last} is released"
            raise DeclarationError(
                f"prepare a release: --subproject {name}={version}: {above}, and versions only go up",
                hint=f"{least} or higher" if versions[name].changed else f"a version higher than {last}",
            )


def sources(declaration: Declaration) -> list[str]:
    """The paths that may say a version, as far as they exist, and the changelogs."""
    found = list[str]()
    for subproject in declaration.subprojects.values():
        for folder in subproject.folders:
            names = ["VERSION", "pyproject.toml"]
            if folder == declaration.chart.folder:
                names = ["Chart.yaml", "values.yaml"]
            found += [f"{folder}/{name}" for name in names]
        found.append(subproject.changelog)
    return found


def prepare(
    declaration: Declaration, facts: Facts, versions: Mapping[str, Version], texts: Mapping[str, str], day: str
) -> Preparation:
    """What is to be written for these versions; texts are the files of `sources` that there are, day dates the changelogs.

    Raises DeclarationError when a file has no place for a version.
    """
    files: dict[str, tuple[str, ...]] = {}
    changed: dict[str, str] = {}
    for name, version in versions.items():
        wanted = _of_subproject(declaration, facts, versions, name, texts, day) if version.changed else {}
        differing = {path: text for path, text in wanted.items() if text != texts[path]}
        files[name] = tuple(differing)
        changed |= differing
    said = ", ".join(f"{name} {versions[name].next}" for name, paths in files.items() if paths)
    return Preparation(versions, changed, f"chore(release): {said}" if said else "", files)


def unprepared(versions: Mapping[str, Version], changelogs: Mapping[str, str]) -> list[str]:
    """What the files do not say yet of the versions to be released, each as a clause; changelogs are by subproject."""
    found = list[str]()
    for name, version in versions.items():
        if not version.changed:
            continue
        if version.written != version.next:
            found.append(f"{name} is to be {version.next}, and its files say {version.written}")
        elif changelog.section(changelogs[name], version.next) is None:
            found.append(f"the changelog of {name} has no section [{version.next}]")
    return found


def _of_subproject(
    declaration: Declaration,
    facts: Facts,
    versions: Mapping[str, Version],
    name: str,
    texts: Mapping[str, str],
    day: str,
) -> dict[str, str]:
    subproject, version = declaration.subprojects[name], versions[name]
    wanted: dict[str, str] = {}
    for folder in subproject.folders:
        if folder == declaration.chart.folder:
            wanted |= _chart(declaration, versions, folder, version.next, texts)
        else:
            path = _version_file(folder, texts)
            wanted[path] = (
                f"{version.next}\n" if path.endswith("/VERSION") else _project(texts[path], path, version.next)
            )
    if subproject.changelog not in texts:
        raise DeclarationError(
            f"prepare {name} {version.next}: there is no {subproject.changelog}",
            hint="begin one with `# Changelog` and `## [Unreleased]`, or correct delivery.toml",
        )
    wanted[subproject.changelog] = _changelog(declaration, facts, versions, name, texts[subproject.changelog], day)
    return wanted


def _chart(
    declaration: Declaration, versions: Mapping[str, Version], folder: str, version: str, texts: Mapping[str, str]
) -> dict[str, str]:
    subprojects = {
        name: declaration.subproject_of(declaration.images[name].context) for name in declaration.components()
    }
    tags = {name: versions[subproject].next for name, subproject in subprojects.items()}
    chart, values = f"{folder}/Chart.yaml", f"{folder}/values.yaml"
    if missing := [path for path in (chart, values) if path not in texts]:
        raise DeclarationError(
            f"prepare the chart {version}: there is no {' and no '.join(missing)}",
            hint="correct chart.folder in delivery.toml",
        )
    application = next(iter(tags.values()), "")
    return {chart: with_versions(texts[chart], version, application), values: with_tags(texts[values], tags)}


def _version_file(folder: str, texts: Mapping[str, str]) -> str:
    for name in ("VERSION", "pyproject.toml"):
        if (path := f"{folder}/{name}") in texts:
            return path
    raise DeclarationError(
        f"prepare {folder}: neither VERSION nor pyproject.toml says its version",
        hint="write it as project.version in pyproject.toml",
    )


def _project(text: str, path: str, version: str) -> str:
    """pyproject.toml's text with another project.version, and everything else as it was."""
    changed, found = _PROJECT_VERSION.subn(rf"\g<before>\g<quote>{version}\g<quote>", text, count=1)
    if not found or tomllib.loads(changed)["project"].get("version") != version:
        raise DeclarationError(
            f"write {version} into {path}: project.version cannot be found there",
            hint='a line `version = "X.Y.Z"` in the table [project] is needed',
        )
    return changed


def _changelog(
    declaration: Declaration, facts: Facts, versions: Mapping[str, Version], name: str, text: str, day: str
) -> str:
    subproject, version = declaration.subprojects[name], versions[name]
    verb = "Runs" if declaration.chart.folder in subproject.folders else "Built on"
    standing = {
        f"{verb} {before}": f"{verb} {before} {versions[before].next}."
        for before in subproject.after
        if versions[before].changed
    }
    scopes = subproject.folders if len(subproject.folders) > 1 else ()
    counting = [commit for commit in facts.since[name] if commit.subject in version.commits]
    found = changelog.entries(counting, scopes=scopes)
    if not found and not standing:
        found = {"Changed": [f"{version.because[:1].upper()}{version.because[1:].rstrip('.')}."]}
    return changelog.released(
        text, version.next, day, otherwise=found, standing=standing, pending=_pending(facts, name, version, text)
    )


def _pending(facts: Facts, name: str, version: Version, text: str) -> set[str]:
    """The versions that the changelog has a section of, and that were prepared since the last one and never released."""
    tagged = {tag.version for tag in facts.tags if tag.subproject == name}
    found = [one for one in changelog.sections(text) if is_version(one) and one not in tagged | {version.next}]
    return {one for one in found if not version.last or Number.parse(one) > Number.parse(version.last)}
