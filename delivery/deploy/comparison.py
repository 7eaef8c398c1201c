"""What a deploy would change: versions, commits and objects, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from delivery.deploy.object_diffs import ObjectDiff
from delivery.project.facts import OneSided
from delivery.records.deployment import Contents
from delivery.words import plural

__all__ = ["SHA_SHOWN", "Commits", "Comparison", "group"]

SHA_SHOWN = 10  # digits of a commit


@dataclass(frozen=True)
class Commits:
    """The commits that one of two releases has and the other lacks."""

    by_component: Mapping[str, Sequence[OneSided]]
    others: int = 0  # how many change no component
    note: str = ""  # why they are not known


@dataclass(frozen=True)
class Comparison:
    """What an environment runs, beside what it would run."""

    previous: str  # the environment, with its revision
    requested: str  # the release, or another environment
    contents: tuple[Contents, Contents]  # previous, then requested
    commits: Commits
    objects: Sequence[ObjectDiff]
    makes_revision: bool = False  # a deploy would, even if no object differs
    unknown: str = ""  # why the objects could not be compared

    @property
    def is_changed(self) -> bool:
        """Whether a deploy would change something, or may."""
        return bool(self.objects or self.makes_revision or self.unknown)

    @property
    def versions(self) -> list[tuple[str, str, str]]:
        """The (component, previous version, requested version), "" for none."""
        previous, requested = (each.versions for each in self.contents)
        return [
            (name, previous.get(name, ""), requested.get(name, ""))
            for name in {**requested, **previous}
        ]

    def lines(self) -> list[str]:
        """The comparison for people: a diff, after the versions and the commits."""
        lines = [f"from {self.previous}", f"to   {self.requested}", "", "versions"]
        unchanged = self.contents[1].unchanged_from(self.contents[0])
        for name, old, new in self.versions:
            same = " (the same bytes)" if name in unchanged and old != new else ""
            versions = old if old == new else f"{old or 'none'} → {new or 'none'}{same}"
            lines.append(f"  {name}: {versions}")
        lines += ["", "commits", *self._commit_lines(), "", "objects"]
        for each in self.objects:
            lines += [f"  {each.name}: {each.change}", *each.lines]
        if self.unknown:
            lines.append(f"  not known: {self.unknown}")
        elif not self.objects:
            only = "; a deploy makes a new revision of the same" if self.makes_revision else ""
            lines.append(f"  none differs{only}")
        return lines

    def text(self, *, as_json: bool) -> str:
        """The comparison for a file."""
        text = json.dumps(self.to_json(), indent=2) if as_json else "\n".join(self.lines())
        return f"{text}\n"

    def to_json(self) -> dict[str, object]:
        """The comparison as JSON."""
        return {
            "changed": self.is_changed,
            "from": self.previous,
            "to": self.requested,
            "versions": [
                {"component": name, "from": old, "to": new} for name, old, new in self.versions
            ],
            "commits": {
                "by_component": {
                    name: [asdict(each) for each in commits]
                    for name, commits in self.commits.by_component.items()
                },
                "others": self.commits.others,
                "note": self.commits.note,
            },
            "unknown": self.unknown,
            "objects": [
                {"name": each.name, "change": each.change, "diff": "\n".join(each.lines)}
                for each in self.objects
            ],
        }

    def _commit_lines(self) -> list[str]:
        lines = []
        for name, commits in self.commits.by_component.items():
            lines.append(f"  {name}")
            for each in commits:
                sign = "+" if each.is_added else "-"
                lines.append(f"{sign}   {each.sha[:SHA_SHOWN]} {each.subject} ({each.author})")
        if self.commits.others:
            lines.append(f"  {plural(self.commits.others, 'commit')} to none of them")
        note = self.commits.note or ("" if lines else "none")
        return [*lines, *([f"  {note}"] if note else [])]


def group(commits: Iterable[OneSided], folders: Mapping[str, Sequence[str]]) -> Commits:
    """The commits by component: those that change a file in one of its folders."""
    by_component: dict[str, list[OneSided]] = {}
    others = 0
    for commit in commits:
        names = [name for name, paths in folders.items() if _touches(commit, paths)]
        for name in names:
            by_component.setdefault(name, []).append(commit)
        others += not names
    ordered = {name: by_component[name] for name in folders if name in by_component}
    return Commits(ordered, others)


def _touches(commit: OneSided, folders: Sequence[str]) -> bool:
    return any(
        folder == "." or path.startswith(f"{folder.rstrip('/')}/")
        for path in commit.paths
        for folder in folders
    )
