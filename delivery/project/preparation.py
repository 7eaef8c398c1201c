"""What `inv release.prepare` writes: next versions into the files, and changelogs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
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
    """A release to come."""

    versions: Mapping[str, Version]  # by subproject
    texts: Mapping[str, str]  # by path: what the files are to say that do not say it yet
    subject: str  # the commit's, "" where there is nothing to write
    files: Mapping[str, tuple[str, ...]]  # by subproject: its paths in `texts`

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """What a person is shown: subproject, last version, next one, why, files that change."""
        return [
            (name, one.last or "-", one.next, one.because, " ".join(self.files[name]) or "-")
            for name, one in self.versions.items()
        ]


def check_branch(declaration: Declaration, decision: Decision) -> None:
    """Raise DeclarationError unless releases are prepared on this branch."""
    name, lines = decision.ref.name, declaration.gitflow
    if decision.ref.kind != "branch" or not decision.rules.prepares:
        where = f"{name} is no branch for that" if name else "no branch is checked out"
        raise DeclarationError(
            f"cannot prepare a release: {where}",
            hint=f"`git switch -c release/X.Y` off {lines.develop[0]}, or `git switch -c"
            f" hotfix/X.Y.Z` off {lines.release[0]}, then run it again",
        )


def parse_versions(declaration: Declaration, arguments: Sequence[str]) -> dict[str, str]:
    """The versions that --subproject NAME=X.Y.Z sets; raise DeclarationError for anything else."""
    found: dict[str, str] = {}
    for argument in arguments:
        name, _, version = argument.partition("=")
        problem, hint = "", ""
        if name not in declaration.subprojects:
            problem = f"{name!r} is no subproject"
            known = declaration.subprojects
            hint = did_you_mean(name, known, f"one of {', '.join(known)}, as in apps=1.2.0")
        elif not is_version(version):
            problem, hint = f"{version!r} is no version", f"X.Y.Z, as in {name}=1.2.0"
        elif found.setdefault(name, version) != version:
            problem, hint = f"{name} is told to be {found[name]} too", "say one of them"
        if problem:
            doing = f"cannot prepare a release: --subproject {argument}"
            raise DeclarationError(f"{doing}: {problem}", hint=hint)
    return found


def check_versions(versions: Mapping[str, Version], wanted: Mapping[str, str]) -> None:
    """Raise DeclarationError when a version set by hand is too low.

    It is above the last one, and at least what the commits ask for.
    """
    for name, version in wanted.items():
        one, number = versions[name], Number.parse(version)
        least = Number.parse(one.next)
        if number > least or (one.changed and number == least):
            continue
        what, hint = f"{one.last} is released", f"a version higher than {one.last}"
        if one.changed:
            what, hint = f"the commits make it {least}", f"{least} or higher"
        doing = f"cannot prepare a release: --subproject {name}={version}"
        raise DeclarationError(f"{doing}: {what}, and versions only go up", hint=hint)


def version_files(declaration: Declaration) -> list[str]:
    """The paths that may say a version, and the changelogs; some may not exist."""
    found = list[str]()
    for subproject in declaration.subprojects.values():
        for folder in subproject.folders:
            is_chart = folder == declaration.chart.folder
            names = ("Chart.yaml", "values.yaml") if is_chart else ("VERSION", "pyproject.toml")
            found += [f"{folder}/{name}" for name in names]
        found.append(subproject.changelog)
    return found


def prepare(checkout: Checkout, texts: Mapping[str, str], day: str) -> Preparation:
    """What is to be written; texts are the files of `sources`, day dates the changelogs.

    Raises DeclarationError when a file has no place for a version.
    """
    files: dict[str, tuple[str, ...]] = {}
    changed: dict[str, str] = {}
    for name, version in checkout.versions.items():
        wanted = _of_subproject(checkout, version, texts, day) if version.changed else {}
        differing = {path: text for path, text in wanted.items() if text != texts[path]}
        files[name] = tuple(differing)
        changed |= differing
    said = [f"{name} {checkout.versions[name].next}" for name, paths in files.items() if paths]
    subject = f"chore(release): {', '.join(said)}" if said else ""
    return Preparation(versions=checkout.versions, texts=changed, subject=subject, files=files)


def unprepared(versions: Mapping[str, Version], changelogs: Mapping[str, str]) -> list[str]:
    """What the files do not say yet of versions to be released, each as a clause.

    changelogs are by subproject.
    """
    found = list[str]()
    for name, version in versions.items():
        if version.changed and version.written != version.next:
            found.append(f"{name} is to be {version.next}, and its files say {version.written}")
        elif version.changed and changelog.section(changelogs.get(name, ""), version.next) is None:
            found.append(f"the changelog of {name} has no section [{version.next}]")
    return found


def _of_subproject(
    checkout: Checkout, version: Version, texts: Mapping[str, str], day: str
) -> dict[str, str]:
    """A subproject's files as they are to be."""
    subproject = checkout.declaration.subprojects[version.subproject]
    wanted = {subproject.changelog: _changelog(checkout, version, texts, day)}
    for folder in subproject.folders:
        if folder == checkout.declaration.chart.folder:
            wanted |= _chart(checkout, version.next, texts)
        elif (path := f"{folder}/VERSION") in texts:
            wanted[path] = f"{version.next}\n"
        elif (path := f"{folder}/pyproject.toml") in texts:
            wanted[path] = _project(texts[path], path, version.next)
        else:
            raise DeclarationError(
                f"cannot prepare {folder}: neither VERSION nor pyproject.toml says its version",
                hint="write it as project.version in pyproject.toml",
            )
    return wanted


def _chart(checkout: Checkout, version: str, texts: Mapping[str, str]) -> dict[str, str]:
    """The chart's files, with its version and the tags of our images."""
    declaration = checkout.declaration
    chart, values = (f"{declaration.chart.folder}/{name}.yaml" for name in ("Chart", "values"))
    if missing := [path for path in (chart, values) if path not in texts]:
        raise DeclarationError(
            f"cannot prepare the chart {version}: there is no {' and no '.join(missing)}",
            hint="correct chart.folder in delivery.toml",
        )
    contexts = {name: declaration.images[name].context for name in declaration.components()}
    tags = {
        name: checkout.versions[declaration.subproject_of(context)].next
        for name, context in contexts.items()
    }
    application = next(iter(tags.values()), "")
    return {
        chart: with_versions(texts[chart], version, application),
        values: with_tags(texts[values], tags),
    }


def _project(text: str, path: str, version: str) -> str:
    """pyproject.toml's text with another project.version, and everything else as it was."""
    new = rf"\g<before>\g<quote>{version}\g<quote>"
    changed, found = _PROJECT_VERSION.subn(new, text, count=1)
    if not found or tomllib.loads(changed)["project"].get("version") != version:
        raise DeclarationError(
            f"cannot write {version} into {path}: project.version cannot be found there",
            hint='a line `version = "X.Y.Z"` in the table [project] is needed',
        )
    return changed


def _changelog(checkout: Checkout, version: Version, texts: Mapping[str, str], day: str) -> str:
    """A subproject's changelog with the section of its version."""
    facts = checkout.facts
    subproject = checkout.declaration.subprojects[version.subproject]
    if subproject.changelog not in texts:
        raise DeclarationError(
            f"cannot prepare {version.subproject} {version.next}: there is no {subproject.changelog}",
            hint="begin one with `# Changelog` and `## [Unreleased]`, or correct delivery.toml",
        )
    text = texts[subproject.changelog]
    verb = "Runs" if checkout.declaration.chart.folder in subproject.folders else "Built on"
    below = [checkout.versions[name] for name in subproject.after]
    starts = {f"{verb} {one.subproject}": one.next for one in below if one.changed}
    scopes = subproject.folders if len(subproject.folders) > 1 else ()
    commits = commits_since_tag(facts, version.subproject)
    counting = [commit for commit in commits if commit.subject in version.commits]
    lines = changelog.entries(counting, scopes=scopes)
    if not lines and not starts:
        because = version.because.rstrip(".")
        lines = {"Changed": [f"{because[:1].upper()}{because[1:]}."]}
    new = changelog.NewSection(
        version=version.next,
        day=day,
        default_entries=lines,
        dependency_lines={start: f"{start} {number}." for start, number in starts.items()},
        superseded=_pending(facts, version, text),
    )
    return changelog.add_release(text, new)


def _pending(facts: Facts, version: Version, text: str) -> set[str]:
    """The versions of a changelog that were prepared since the last one, and never released."""
    tagged = {tag.version for tag in facts.tags if tag.subproject == version.subproject}
    pending = set(filter(is_version, changelog.sections(text))) - tagged - {version.next}
    last = Number.parse(version.last or "0.0.0")
    return {one for one in pending if not version.last or Number.parse(one) > last}
