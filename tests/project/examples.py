"""Facts and versions of a small project, for tests of what is decided from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from delivery.project.declaration import Declaration, parse
from delivery.project.facts import Commit, Facts, Ref, Tag
from delivery.project.gitflow import Decision, Line, rules
from delivery.project.versions import Checkout, Version
from tests.conftest import DECLARATION

__all__ = [
    "APPS",
    "BASE",
    "CHART",
    "NAMES",
    "PROJECT",
    "checkout",
    "commit",
    "decision",
    "facts",
    "version",
    "versions",
]

PROJECT = parse(DECLARATION, is_folder=lambda _: True, is_file=lambda _: True)
NAMES = ("base-image", "apps", "platform-chart")
# A path that users of each of them get.
BASE, APPS, CHART = "base-image/rootfs/x", "api-rest/src/x", "platform-chart/values.yaml"


def version(name: str, number: str = "1.0.0", **more: object) -> Version:
    """A version that has not changed, but for what is given."""
    same = dict.fromkeys(("last", "written", "next", "published"), number)
    plain = Version(subproject=name, bump="", because="", commits=(), **same)
    return replace(plain, **more)  # type: ignore[arg-type]


def versions(number: str = "1.0.0", **more: object) -> dict[str, Version]:
    """The same version of every subproject."""
    return {name: version(name, number, **more) for name in NAMES}


def decision(line: Line, branch: str, environment: str = "", *gates: str) -> Decision:
    """What a line decides for a branch, deployed to any environment."""
    return Decision(
        ref=Ref("branch", branch),
        line=line,
        because=f"{branch} is",
        pushes=rules(line).pushes,
        suffix=rules(line).suffix,
        environment=environment,
        gates=("checks", *gates),
    )


def checkout(
    declaration: Declaration, decided: Decision, versions: Mapping[str, Version], sha: str = "c"
) -> Checkout:
    """What is checked out, as decided."""
    return Checkout(declaration, Facts(ref=decided.ref, commit=sha), decided, versions)


def commit(number: int, message: str, *paths: str, merged_paths: Sequence[str] = ()) -> Commit:
    return Commit(f"c{number}", message, paths, tuple(merged_paths))


def facts(
    commits: Sequence[Commit] = (),
    branch: str = "develop",
    *,
    last: str = "1.0.0",
    written: str = "",
    lacking: Mapping[str, Sequence[Commit]] | None = None,
    **more: object,
) -> Facts:
    """Commits since everything was tagged with `last`, newest first.

    lacking has tags that HEAD lacks, with the commits that those lack.
    """
    tags = [Tag(f"{name}-v{last}", name, last, merged=True, commit="c0") for name in NAMES if last]
    since = {tag.name: frozenset(commit.sha for commit in commits) for tag in tags}
    for tag, lacks in (lacking or {}).items():
        subproject, _, number = tag.rpartition("-v")
        tags.append(Tag(tag, subproject, number, merged=False, commit="x"))
        since[tag] = frozenset(commit.sha for commit in lacks)
    plain = Facts(
        ref=Ref("branch", branch),
        commit="c9",
        tags=tuple(tags),
        commits_since=since,
        commits=tuple(commits),
        file_versions=dict.fromkeys(NAMES, written or last or "0.1.0"),
        published_paths={
            name: frozenset({path}) for name, path in zip(NAMES, (BASE, APPS, CHART), strict=True)
        },
    )
    return replace(plain, **more)  # type: ignore[arg-type]
