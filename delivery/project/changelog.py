"""Changelogs in the form of Keep a Changelog: what is unreleased becomes the section of a version."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from delivery.project.facts import Commit
from delivery.project.versions import level

__all__ = ["entries", "released", "section", "sections"]

_UNRELEASED = "Unreleased"
_HEADING = re.compile(r"^## +\[?(?P<name>[^\]\s]+)\]?(?P<rest>.*)$")
_GROUP = re.compile(r"^### +(?P<name>.+?)\s*$")
_LINK = re.compile(r"^\[[^\]]+\]: *\S")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_SUBJECT = re.compile(r"^(?P<type>[A-Za-z]+)(\((?P<scope>[^()]*)\))?!?: +(?P<what>.+)$")
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE: +(?P<what>.+(\n\S.*)*)", re.MULTILINE)
_GROUPS = {"feat": "Added", "fix": "Fixed", "security": "Security", "revert": "Removed"}
_OURS = "chore(release): "


@dataclass(frozen=True)
class _Section:
    heading: str
    name: str
    body: str


@dataclass(frozen=True)
class _Changelog:
    head: str
    sections: tuple[_Section, ...]
    links: str


def sections(text: str) -> list[str]:
    """The names of a changelog's sections as it has them, Unreleased and versions."""
    return [one.name for one in _parse(text).sections]


def section(text: str, version: str) -> str | None:
    """What a changelog says of a version, or None where it has no section of it."""
    return next((one.body.strip("\n") for one in _parse(text).sections if one.name == version), None)


def entries(commits: Iterable[Commit], *, scopes: Collection[str] = ()) -> dict[str, list[str]]:
    """What Conventional Commits say to users, by group; the oldest first. A scope is kept where it is one of those."""
    found: dict[str, list[str]] = {}
    for commit in commits:
        if commit.subject.startswith(_OURS):
            continue
        parts = _SUBJECT.match(commit.subject)
        footer = _BREAKING.search(commit.message)
        breaking = level(commit.message) == "major"
        kind = parts["type"].lower() if parts else ""
        what = _sentence(parts["what"] if parts else commit.subject)
        if parts and parts["scope"] in scopes:
            what = f"{parts['scope']}: {what}"
        if breaking:
            what = f"**Breaking** {what}" + (f" {_sentence(footer['what'])}" if footer else "")
        group = found.setdefault("Changed" if breaking else _GROUPS.get(kind, "Changed"), [])
        if what not in group:
            group.insert(0, what)
    return found


def released(
    text: str,
    version: str,
    day: str,
    *,
    otherwise: Mapping[str, Sequence[str]],
    standing: Mapping[str, str],
    pending: Collection[str] = (),
) -> str:
    """A changelog with a section of this version, dated with the day, under an empty Unreleased.

    The section has what is unreleased, what it had itself, and the sections of the pending versions, which never were released;
    where all of that says nothing, what `otherwise` has by group. standing are lines that belong into it, each by how it begins:
    an older one that begins so is replaced. A changelog that says it all already stays as it is, with the day that it has.
    """
    changelog = _parse(text)
    by_name = {one.name: one for one in changelog.sections}
    mine = by_name.get(version)
    newer = [one.body for one in changelog.sections if one.name == _UNRELEASED or one.name in pending]
    own = _merged([mine.body] if mine else [])
    groups = _merged([*([mine.body] if mine else []), *newer])
    if not _says_anything(groups):
        groups = {group: "".join(f"- {line}\n" for line in lines) for group, lines in otherwise.items()}
    groups = _with(groups, standing)
    if mine and groups == own and _UNRELEASED in by_name and not set(pending) & set(by_name):
        return text
    gone = {_UNRELEASED, version, *pending}
    made = (
        _Section(f"## [{_UNRELEASED}]", _UNRELEASED, ""),
        _Section(f"## [{version}] - {day}", version, _written(groups)),
    )
    head = f"{changelog.head.rstrip()}\n\n" if changelog.head.strip() else ""
    kept = tuple(one for one in changelog.sections if one.name not in gone)
    return _text(replace(changelog, head=head, sections=(*made, *kept)), newline="\r\n" if "\r\n" in text else "\n")


def _parse(text: str) -> _Changelog:
    head: list[str] = []
    found: list[tuple[str, str, list[str]]] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= bool(_FENCE.match(line))
        heading = None if fenced else _HEADING.match(line)
        if heading:
            found.append((line, heading["name"], []))
        else:
            (found[-1][2] if found else head).append(line)
    last = found[-1][2] if found else head
    links: list[str] = []
    while last and (not last[-1].strip() or _LINK.match(last[-1])):
        links.insert(0, last.pop())
    if not any(line.strip() for line in links):
        links = []
    parsed = tuple(_Section(heading, name, "".join(f"{line}\n" for line in body)) for heading, name, body in found)
    return _Changelog("".join(f"{line}\n" for line in head), parsed, "\n".join(links).strip("\n"))


def _text(changelog: _Changelog, *, newline: str) -> str:
    parts = [changelog.head, *(f"{one.heading}\n\n{_spaced(one.body)}" for one in changelog.sections)]
    text = "".join(parts).rstrip("\n") + "\n"
    if changelog.links:
        text += f"\n{changelog.links}\n"
    return text.replace("\n", newline)


def _spaced(body: str) -> str:
    """A section's body with one empty line after it; nothing where there is nothing."""
    bare = body.strip("\n")
    return f"{bare}\n\n" if bare else ""


def _merged(bodies: Iterable[str]) -> dict[str, str]:
    """The groups of several sections as those of one; what stands before any group is of the group ""."""
    groups: dict[str, str] = {}
    for body in bodies:
        group, lines, fenced = "", list[str](), False
        for line in [*body.splitlines(), None]:
            heading = None if line is None or fenced else _GROUP.match(line)
            if line is None or heading:
                if bare := "".join(f"{each}\n" for each in lines).strip("\n"):
                    groups[group] = f"{groups[group]}{bare}\n" if group in groups else f"{bare}\n"
                group, lines = heading["name"] if heading else "", []
                continue
            fenced ^= bool(_FENCE.match(line))
            lines.append(line)
    return dict(sorted(groups.items(), key=lambda item: item[0] != ""))


def _says_anything(groups: Mapping[str, str]) -> bool:
    return any(text.strip() for text in groups.values())


def _with(groups: Mapping[str, str], standing: Mapping[str, str]) -> dict[str, str]:
    """The groups with these lines under Changed, in place of older ones that begin in the same way."""
    lines = [
        line
        for line in groups.get("Changed", "").splitlines()
        if line in {f"- {kept}" for kept in standing.values()}
        or not any(re.match(rf"- {re.escape(start)} [0-9][^ ]*\.$", line) for start in standing)
    ]
    lines += [f"- {line}" for line in standing.values() if f"- {line}" not in lines]
    return {**groups, "Changed": "".join(f"{line}\n" for line in lines)} if lines else dict(groups)


def _written(groups: Mapping[str, str]) -> str:
    return "\n".join((f"### {name}\n\n" if name else "") + text for name, text in groups.items())


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    if not re.match(r"[a-z]+[A-Z_]", text):  # a name in code stays as it is
        text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith((".", "!", "?")) else f"{text}."
