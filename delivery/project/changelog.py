"""Changelogs in the form of Keep a Changelog: a release turns Unreleased into a section."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from delivery.project.facts import Commit
from delivery.project.versions import bump_of

__all__ = ["NewSection", "add_release", "entries", "section", "sections"]

_UNRELEASED = "Unreleased"
_HEADING = re.compile(r"^## +\[?(?P<name>[^\]\s]+)\]?")
_GROUP = re.compile(r"^### +(?P<name>.+?)\s*$")
_LINK = re.compile(r"^\[[^\]]+\]: *\S")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_SUBJECT = re.compile(r"^(?P<type>[A-Za-z]+)(\((?P<scope>[^()]*)\))?!?: +(?P<text>.+)$")
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE: +(?P<text>.+(\n\S.*)*)", re.MULTILINE)
_GROUPS = {"feat": "Added", "fix": "Fixed", "security": "Security", "revert": "Removed"}
_RELEASE_COMMIT = "chore(release): "


@dataclass(frozen=True, kw_only=True)
class NewSection:
    """The new section of a version."""

    version: str
    day: str
    # By group: the lines that are written if nothing is unreleased.
    default_entries: Mapping[str, Sequence[str]]
    # The lines on what the version is built on, by their beginning; each replaces an older line.
    dependency_lines: Mapping[str, str]
    superseded: Collection[str] = ()  # versions that were prepared and never released


@dataclass
class _Part:
    """A heading and the text below it."""

    heading: str  # the whole line, "" before the first heading
    name: str
    body: str = ""


def sections(text: str) -> list[str]:
    """The names of a changelog's sections: Unreleased and versions."""
    return [part.name for part in _parse(text)[1]]


def section(text: str, version: str) -> str | None:
    """The text of a version's section, or None."""
    parts = _parse(text)[1]
    return next((part.body.strip("\n") for part in parts if part.name == version), None)


def entries(commits: Iterable[Commit], *, scopes: Collection[str] = ()) -> dict[str, list[str]]:
    """A changelog's lines for Conventional Commits, by group, the oldest first.

    A line begins with the commit's scope if `scopes` contains it.
    """
    groups: dict[str, list[str]] = {}
    for commit in commits:
        if commit.subject.startswith(_RELEASE_COMMIT):
            continue
        parts = _SUBJECT.match(commit.subject)
        line = _sentence(parts["text"] if parts else commit.subject)
        group = _GROUPS.get(parts["type"].lower() if parts else "", "Changed")
        if parts and parts["scope"] in scopes:
            line = f"{parts['scope']}: {line}"
        if bump_of(commit.message) == "major":
            footer = _BREAKING.search(commit.message)
            line = f"**Breaking** {line}" + (f" {_sentence(footer['text'])}" if footer else "")
            group = "Changed"
        lines = groups.setdefault(group, [])
        if line not in lines:
            lines.insert(0, line)
    return groups


def add_release(text: str, new: NewSection) -> str:
    """A changelog with a version's section, below an empty Unreleased.

    The section gets its own entries, the unreleased ones, and those of superseded versions;
    without any, `default_entries`. A changelog that has all of this does not change.
    """
    head, parts, links = _parse(text)
    own = [part.body for part in parts if part.name == new.version]
    merged = [part for part in parts if part.name in {_UNRELEASED, *new.superseded}]
    groups = _groups([*own, *(part.body for part in merged)])
    if not any(body.strip() for body in groups.values()):
        groups = {
            name: "".join(f"- {line}\n" for line in lines)
            for name, lines in new.default_entries.items()
        }
    groups = _with_dependency_lines(groups, new.dependency_lines)
    if own and groups == _groups(own) and [part.name for part in merged] == [_UNRELEASED]:
        return text
    body = "\n".join((f"### {name}\n\n" if name else "") + body for name, body in groups.items())
    replaced = {_UNRELEASED, new.version, *new.superseded}
    written = [
        _Part(f"## [{_UNRELEASED}]", _UNRELEASED),
        _Part(f"## [{new.version}] - {new.day}", new.version, body),
        *(part for part in parts if part.name not in replaced),
    ]
    blocks = [head, *(block for part in written for block in (part.heading, part.body)), links]
    changed = "\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"
    return changed.replace("\n", "\r\n" if "\r\n" in text else "\n")


def _parse(text: str) -> tuple[str, list[_Part], str]:
    """A changelog's head, its sections, and the links at its end."""
    lines = text.splitlines()
    end = len(lines)
    while end and (not lines[end - 1].strip() or _LINK.match(lines[end - 1])):
        end -= 1
    head, *parts = _split(lines[:end], _HEADING)
    return head.body, parts, "\n".join(lines[end:])


def _split(lines: Iterable[str], heading: re.Pattern[str]) -> Iterator[_Part]:
    """Lines split at their headings; the first part comes before any heading."""
    part, is_code = _Part("", ""), False
    for line in lines:
        is_code ^= bool(_FENCE.match(line))
        match = None if is_code else heading.match(line)
        if match:
            yield part
            part = _Part(line, match["name"])
        else:
            part.body += f"{line}\n"
    yield part


def _groups(bodies: Iterable[str]) -> dict[str, str]:
    """The groups of several sections, merged by name; "" has the lines before any group."""
    groups: dict[str, str] = {}
    for body in bodies:
        for part in _split(body.splitlines(), _GROUP):
            if lines := part.body.strip("\n"):
                groups[part.name] = f"{groups.get(part.name, '')}{lines}\n"
    return dict(sorted(groups.items(), key=lambda item: item[0] != ""))


def _with_dependency_lines(groups: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """The groups with these lines under Changed, instead of older lines of the same beginning."""
    added = [f"- {line}" for line in new.values()]
    older = [re.compile(rf"- {re.escape(start)} [0-9][^ ]*\.$") for start in new]
    lines = [
        line
        for line in groups.get("Changed", "").splitlines()
        if line in added or not any(pattern.match(line) for pattern in older)
    ]
    lines += [line for line in added if line not in lines]
    return {**groups, "Changed": "".join(f"{line}\n" for line in lines)} if lines else {**groups}


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    if not re.match(r"[a-z]+[A-Z_]", text):  # a name of code keeps its case
        text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith((".", "!", "?")) else f"{text}."
