"""Changelogs in the form of Keep a Changelog: what is unreleased becomes a version's section."""

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
_SUBJECT = re.compile(r"^(?P<type>[A-Za-z]+)(\((?P<scope>[^()]*)\))?!?: +(?P<what>.+)$")
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE: +(?P<what>.+(\n\S.*)*)", re.MULTILINE)
_GROUPS = {"feat": "Added", "fix": "Fixed", "security": "Security", "revert": "Removed"}
_OURS = "chore(release): "


@dataclass(frozen=True, kw_only=True)
class NewSection:
    """What a changelog is to say of a version."""

    version: str
    day: str
    default_entries: Mapping[str, Sequence[str]]  # by group: its lines, where nothing is unreleased
    # Lines that belong into it, each by how it begins: an older one that begins so is replaced.
    dependency_lines: Mapping[str, str]
    superseded: Collection[str] = ()  # versions that were prepared and never released


@dataclass
class _Part:
    """A heading and what is below it."""

    heading: str  # the whole line, "" for what comes before the first heading
    name: str
    body: str = ""


def sections(text: str) -> list[str]:
    """The names of a changelog's sections as it has them, Unreleased and versions."""
    return [part.name for part in _sections(text)[1]]


def section(text: str, version: str) -> str | None:
    """What a changelog says of a version, or None where it has no section of it."""
    parts = _sections(text)[1]
    return next((part.body.strip("\n") for part in parts if part.name == version), None)


def entries(commits: Iterable[Commit], *, scopes: Collection[str] = ()) -> dict[str, list[str]]:
    """What Conventional Commits say to users, by group, the oldest first.

    A scope is kept where it is one of `scopes`.
    """
    found: dict[str, list[str]] = {}
    for commit in commits:
        if commit.subject.startswith(_OURS):
            continue
        parts = _SUBJECT.match(commit.subject)
        line = _sentence(parts["what"] if parts else commit.subject)
        group = _GROUPS.get(parts["type"].lower() if parts else "", "Changed")
        if parts and parts["scope"] in scopes:
            line = f"{parts['scope']}: {line}"
        if bump_of(commit.message) == "major":
            footer = _BREAKING.search(commit.message)
            line = f"**Breaking** {line}" + (f" {_sentence(footer['what'])}" if footer else "")
            group = "Changed"
        lines = found.setdefault(group, [])
        if line not in lines:
            lines.insert(0, line)
    return found


def add_release(text: str, news: NewSection) -> str:
    """A changelog with a section of a version, under an empty Unreleased.

    The section has what it had itself, what is unreleased, and what pending versions have; where
    all of that says nothing, `otherwise`. A changelog that says it all already stays as it is, with
    the day that it has.
    """
    head, parts, links = _sections(text)
    own = [part.body for part in parts if part.name == news.version]
    newer = [part for part in parts if part.name in {_UNRELEASED, *news.superseded}]
    groups = _groups([*own, *(part.body for part in newer)])
    if not any(body.strip() for body in groups.values()):
        lines = {
            name: [f"- {line}\n" for line in lines] for name, lines in news.default_entries.items()
        }
        groups = {name: "".join(each) for name, each in lines.items()}
    groups = _with_standing(groups, news.dependency_lines)
    if own and groups == _groups(own) and [part.name for part in newer] == [_UNRELEASED]:
        return text
    body = "\n".join((f"### {name}\n\n" if name else "") + body for name, body in groups.items())
    gone = {_UNRELEASED, news.version, *news.superseded}
    made = [
        _Part(f"## [{_UNRELEASED}]", _UNRELEASED),
        _Part(f"## [{news.version}] - {news.day}", news.version, body),
        *(part for part in parts if part.name not in gone),
    ]
    blocks = [head, *(block for part in made for block in (part.heading, part.body)), links]
    after = "\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"
    return after.replace("\n", "\r\n" if "\r\n" in text else "\n")


def _sections(text: str) -> tuple[str, list[_Part], str]:
    """A changelog's head, its sections, and the links at its end."""
    lines = text.splitlines()
    end = len(lines)
    while end and (not lines[end - 1].strip() or _LINK.match(lines[end - 1])):
        end -= 1
    head, *parts = _split(lines[:end], _HEADING)
    return head.body, parts, "\n".join(lines[end:])


def _split(lines: Iterable[str], heading: re.Pattern[str]) -> Iterator[_Part]:
    """Lines cut at their headings; the first part is what comes before any."""
    part, is_code = _Part("", ""), False
    for line in lines:
        is_code ^= bool(_FENCE.match(line))
        found = None if is_code else heading.match(line)
        if found:
            yield part
            part = _Part(line, found["name"])
        else:
            part.body += f"{line}\n"
    yield part


def _groups(bodies: Iterable[str]) -> dict[str, str]:
    """The groups of several sections as those of one; "" has what stands before any group."""
    groups: dict[str, str] = {}
    for body in bodies:
        for part in _split(body.splitlines(), _GROUP):
            if lines := part.body.strip("\n"):
                groups[part.name] = f"{groups.get(part.name, '')}{lines}\n"
    return dict(sorted(groups.items(), key=lambda item: item[0] != ""))


def _with_standing(groups: Mapping[str, str], standing: Mapping[str, str]) -> dict[str, str]:
    """The groups with these lines under Changed, instead of older ones that begin in the same way."""
    wanted = [f"- {line}" for line in standing.values()]
    older = [re.compile(rf"- {re.escape(start)} [0-9][^ ]*\.$") for start in standing]
    lines = [
        line
        for line in groups.get("Changed", "").splitlines()
        if line in wanted or not any(pattern.match(line) for pattern in older)
    ]
    lines += [line for line in wanted if line not in lines]
    return {**groups, "Changed": "".join(f"{line}\n" for line in lines)} if lines else {**groups}


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    if not re.match(r"[a-z]+[A-Z_]", text):  # a name in code stays as it is
        text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith((".", "!", "?")) else f"{text}."
