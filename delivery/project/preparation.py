"""The files that `inv release.prepare` writes: the next versions, and the changelogs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from semver import Version as Number

from delivery.errors import DeclarationError, did_you_mean
from delivery.project import changelog
from delivery.project.chart import with_tags, with_versions
from delivery.project.declaration import Declaration
from delivery.project.facts import Facts
from delivery.project.gitflow import Decision, is_version
from delivery.project.versions import Checkout, Version, commits_since_tag

__all__ = [
    "Preparation",
    "check_branch",
    "check_versions",
    "develop_commands",
    "parse_versions",
    "prepare",
    "unprepared",
    "version_files",
]

_PROJECT_VERSION = re.compile(
    r"""
    (?P<before>^\[project\][^\n]*\n(?:(?!\[)[^\n]*\n)*?version[ \t]*=[ \t]*)
    (?P<quote>["'])[^"'\n]*(?P=quote)
    """,
    re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True)
class Preparation:
    """The changes that prepare a release."""

    versions: Mapping[str, Version]  # by subproject
    files: Mapping[str, Mapping[str, str]]  # by subproject: the new texts, by path

    @property
    def texts(self) -> dict[str, str]:
        """The new texts of all files that change, by path."""
        return {path: text for files in self.files.values() for path, text in files.items()}

    @property
    def subject(self) -> str:
        """The subject of the commit, if any file changes."""
        changed = [f"{name} {self.versions[name].next}" for name in self.files if self.files[name]]
        return f"chore(release): {', '.join(changed)}"

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """A table's rows: subproject, last version, next version, why, files that change."""
        return [
            (
                name,
                version.last or "-",
                version.next,
                version.because,
                " ".join(self.files[name]) or "-",
            )
            for name, version in self.versions.items()
        ]


def check_branch(declaration: Declaration, decision: Decision, branches: Collection[str]) -> None:
    """Raise DeclarationError unless a release may be prepared on this branch.

    branches are those of the clone and its remote, for the hint.
    """
    name, lines = decision.ref.name, declaration.gitflow
    if decision.ref.kind != "branch" or not decision.rules.prepares:
        problem = f"{name} is no branch for that" if name else "no branch is checked out"
        develop = next((each for each in lines.develop if each in branches), "")
        release = next((each for each in lines.release if each in branches), lines.release[0])
        make = ""
        if not develop:
            develop = lines.develop[0]
            make = (
                f"there is no {develop} branch: run `{develop_commands(develop, release)}`, then "
            )
        raise DeclarationError(
            f"cannot prepare a release: {problem}",
            hint=f"{make}run `git switch -c release/X.Y {develop}`,"
            f" or `git switch -c hotfix/X.Y.Z {release}`, then run it again",
        )


def develop_commands(develop: str, release: str) -> str:
    """The commands that create the develop branch from the release line."""
    return f"git switch -c {develop} {release} && git push -u origin {develop}"


def parse_versions(declaration: Declaration, arguments: Sequence[str]) -> dict[str, str]:
    """The versions that --subproject NAME=X.Y.Z sets; raises DeclarationError for other texts."""
    versions: dict[str, str] = {}
    for argument in arguments:
        name, _, version = argument.partition("=")
        problem, hint = "", ""
        if name not in declaration.subprojects:
            problem = f"{name!r} is no subproject"
            hint = did_you_mean(name, declaration.subprojects)
        elif not is_version(version):
            problem, hint = f"{version!r} is no version", f"pass X.Y.Z, as in {name}=1.2.0"
        elif versions.setdefault(name, version) != version:
            problem, hint = f"{name}={versions[name]} is given too", f"pass {name} once"
        if problem:
            message = f"cannot prepare a release: --subproject {argument}: {problem}"
            raise DeclarationError(message, hint=hint)
    return versions


def check_versions(versions: Mapping[str, Version], requested: Mapping[str, str]) -> None:
    """Raise DeclarationError if a requested version is too low.

    It has to be above the last version, and at least the version that the commits ask for.
    """
    for name, number in requested.items():
        version, least = versions[name], versions[name].next
        difference = Number.parse(number).compare(least)
        if difference > 0 or (difference == 0 and version.changed):
            continue
        problem, hint = f"{version.last} is released", f"pass a version above {version.last}"
        if version.changed:
            problem, hint = f"the commits ask for {least}", f"pass {least} or higher"
        doing = f"cannot prepare a release: --subproject {name}={number}"
        raise DeclarationError(f"{doing}: {problem}, and versions only go up", hint=hint)


def version_files(declaration: Declaration) -> list[str]:
    """The paths that may contain a version, and the changelogs; some may not exist."""
    paths = list[str]()
    for subproject in declaration.subprojects.values():
        for folder in subproject.folders:
            is_chart = folder == declaration.chart.folder
            names = ("Chart.yaml", "values.yaml") if is_chart else ("VERSION", "pyproject.toml")
            paths += [f"{folder}/{name}" for name in names]
        paths.append(subproject.changelog)
    return paths


def prepare(checkout: Checkout, texts: Mapping[str, str], day: str) -> Preparation:
    """The changes for a release; texts are those of `version_files`, day is for the changelogs.

    Raises DeclarationError if a file has no place for a version.
    """
    files: dict[str, dict[str, str]] = {}
    for name, version in checkout.versions.items():
        new = _subproject(checkout, version, texts, day) if version.changed else {}
        files[name] = {path: text for path, text in new.items() if text != texts[path]}
    return Preparation(checkout.versions, files)


def unprepared(versions: Mapping[str, Version], changelogs: Mapping[str, str]) -> list[str]:
    """The preparation that these versions lack, each as a clause; changelogs are by subproject."""
    clauses = list[str]()
    for name, version in versions.items():
        if version.changed and version.written != version.next:
            clauses.append(f"{name} needs {version.next}, and its files say {version.written}")
        elif version.changed and changelog.section(changelogs.get(name, ""), version.next) is None:
            clauses.append(f"the changelog of {name} has no section [{version.next}]")
    return clauses


def _subproject(
    checkout: Checkout, version: Version, texts: Mapping[str, str], day: str
) -> dict[str, str]:
    """The new texts of a subproject's files."""
    subproject = checkout.declaration.subprojects[version.subproject]
    new = {subproject.changelog: _changelog(checkout, version, texts, day)}
    for folder in subproject.folders:
        if folder == checkout.declaration.chart.folder:
            new |= _chart(checkout, version.next, texts)
        elif (path := f"{folder}/VERSION") in texts:
            new[path] = f"{version.next}\n"
        elif (path := f"{folder}/pyproject.toml") in texts:
            new[path] = _pyproject(texts[path], path, version.next)
        else:
            raise DeclarationError(
                f"cannot prepare {folder}: neither VERSION nor pyproject.toml has its version",
                hint="write it as project.version in pyproject.toml",
            )
    return new


def _chart(checkout: Checkout, version: str, texts: Mapping[str, str]) -> dict[str, str]:
    """The chart's new texts: its version, and the tags of the images."""
    declaration = checkout.declaration
    chart, values = (f"{declaration.chart.folder}/{name}.yaml" for name in ("Chart", "values"))
    if missing := [path for path in (chart, values) if path not in texts]:
        raise DeclarationError(
            f"cannot prepare the chart {version}: there is no {' and no '.join(missing)}",
            hint="correct chart.folder in delivery.toml",
        )
    tags = {
        name: checkout.versions[declaration.subproject_of(declaration.images[name].context)].next
        for name in declaration.components()
    }
    application = next(iter(tags.values()), "")
    return {
        chart: with_versions(texts[chart], version, application),
        values: with_tags(texts[values], tags),
    }


def _pyproject(text: str, path: str, version: str) -> str:
    """pyproject.toml's text with another project.version."""
    replacement = rf"\g<before>\g<quote>{version}\g<quote>"
    changed, count = _PROJECT_VERSION.subn(replacement, text, count=1)
    if not count or tomllib.loads(changed)["project"].get("version") != version:
        raise DeclarationError(
            f"cannot write {version} into {path}: it has no project.version",
            hint='write a line `version = "X.Y.Z"` into the table [project]',
        )
    return changed


def _changelog(checkout: Checkout, version: Version, texts: Mapping[str, str], day: str) -> str:
    """A subproject's changelog with its version's section."""
    subproject = checkout.declaration.subprojects[version.subproject]
    if subproject.changelog not in texts:
        raise DeclarationError(
            f"cannot prepare {version.subproject} {version.next}:"
            f" there is no {subproject.changelog}",
            hint="begin it with `# Changelog` and `## [Unreleased]`, or correct delivery.toml",
        )
    text = texts[subproject.changelog]
    verb = "Runs" if checkout.declaration.chart.folder in subproject.folders else "Built on"
    dependencies = [checkout.versions[name] for name in subproject.after]
    lines = {
        f"{verb} {other.subproject}": f"{verb} {other.subproject} {other.next}."
        for other in dependencies
        if other.changed
    }
    scopes = subproject.folders if len(subproject.folders) > 1 else ()
    commits = [
        commit
        for commit in commits_since_tag(checkout.facts, version.subproject)
        if commit.subject in version.commits
    ]
    entries = changelog.entries(commits, scopes=scopes)
    if not entries and not lines:
        because = version.because.rstrip(".")
        entries = {"Changed": [f"{because[:1].upper()}{because[1:]}."]}
    new = changelog.NewSection(
        version=version.next,
        day=day,
        default_entries=entries,
        dependency_lines=lines,
        superseded=_superseded(checkout.facts, version, text),
    )
    return changelog.add_release(text, new)


def _superseded(facts: Facts, version: Version, text: str) -> set[str]:
    """The versions of a changelog that were prepared since the last and never released."""
    tagged = {tag.version for tag in facts.tags if tag.subproject == version.subproject}
    untagged = set(filter(is_version, changelog.sections(text))) - tagged - {version.next}
    if not version.last:
        return untagged
    last = Number.parse(version.last)
    return {number for number in untagged if Number.parse(number) > last}
