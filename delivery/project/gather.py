"""Look at the clone: what git says that decisions on branches and versions are made from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

import yaml
from pydantic import ValidationError

from delivery import console
from delivery.errors import CommandError, DeclarationError
from delivery.machine import pipeline
from delivery.project import facts, files, git, ignores, versions
from delivery.project.declaration import Build, Declaration, Image, Upstream
from delivery.project.facts import Commit, Facts, Ref, Tag, ancestry
from delivery.project.files import ROOT
from delivery.project.git import Clone
from delivery.project.gitflow import Line, decide, is_version, line_of, version_tag
from delivery.project.versions import anchor, later, newest

__all__ = ["look"]

_History = dict[str, tuple[str, ...]]
_REMOTE = "refs/remotes/origin/"
_LOCAL = "refs/heads/"
_TAGS = "refs/tags/"
_SHOWN = 3  # so many examples make a sentence; the rest is counted
_RULES = (
    ".dockerignore",
    ".helmignore",
)  # these decide on other files, so a change of them may change what is published


def look(declaration: Declaration, root: Path = ROOT, branch: str = "", *, ask: bool = True) -> Facts:
    """The facts of a clone; branch is what the user says it is, else the CI server, else git.

    On a line that pushes the remote is asked for its version tags, unless `ask` is False, and the
    missing ones are fetched. A shallow clone is deepened when its history does not reach the tags
    that versions are counted from. Both are said. Raises DeclarationError when this is no clone,
    has no commit, its tags or history cannot be fetched, a tag is of another commit than the
    remote's, or its files do not say their versions.
    """
    if ask:
        _fetch_missing_tags(declaration, root, branch)
    clone, facts = _look(declaration, root, branch)
    if lacking := _lacking(declaration, clone, facts):
        _deepen(root, lacking)
        clone, facts = _look(declaration, root, branch)
        if still := _lacking(declaration, clone, facts):
            raise _cut_off(still, "nor does the remote's")
    return facts


def ref(root: Path = ROOT, branch: str = "") -> Ref:
    """What a decision is made for: what the user says, else the CI server, else git."""
    return _ref(git.look(root), branch)


def _ref(clone: Clone, branch: str) -> Ref:
    return facts.told(os.environ, branch) or _checked_out(clone)


def _look(declaration: Declaration, root: Path, branch: str) -> tuple[Clone, Facts]:
    clone = git.look(root)
    ref = _ref(clone, branch)
    history = git.history(clone, _starts(declaration, clone))
    tags = _tags(declaration, clone, history)
    lacks = {sha: _apart(clone, history, sha) for sha in {tag.commit for tag in _anchors(declaration, tags)}}
    whole = frozenset(_apart(clone, history))
    reached = {name: newest(tags, name) for name in declaration.subprojects}
    since = {name: lacks[tag.commit] if tag else whole for name, tag in reached.items()}
    wanted = set().union(*since.values(), *lacks.values())
    commits = git.commits(clone, history, [sha for sha in history if sha in wanted])
    facts = Facts(
        ref=ref,
        commit=clone.commit,
        tags=tags,
        since={name: tuple(commit for sha, commit in commits.items() if sha in shas) for name, shas in since.items()},
        written={name: _written(declaration, name, root) for name in declaration.subprojects},
        covered=_covered(declaration, root, {path for one in commits.values() for path in (*one.paths, *one.brought)}),
        declared_anew=_declared_anew(declaration, clone, tags),
        unmerged=_unmerged(declaration, clone, history, ref),
        uncommitted=tuple(git.changes(root)),
        checked_out=clone.branch,
        apart={tag.name: lacks[tag.commit] for tag in _anchors(declaration, tags)},
        commits=tuple(commits.values()),
        changelogs={name: _text(root / one.changelog) for name, one in declaration.subprojects.items()},
    )
    return clone, facts


def _text(file: Path) -> str:
    """A file's text, "" where there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _anchors(declaration: Declaration, tags: tuple[Tag, ...]) -> list[Tag]:
    """The tags that versions and their numbers may be counted from."""
    bases = [tag for name in declaration.subprojects for tag in (newest(tags, name), *later(tags, name)) if tag]
    return [anchor(tags, base, how) for base in bases for how in ("major", "minor", "patch")]


def _apart(clone: Clone, history: _History, tag: str = "") -> frozenset[str]:
    """The commits of HEAD's history that a tag's does not have."""
    return frozenset(ancestry(history, [clone.commit], ancestry(history, [tag])))


def _checked_out(clone: Clone) -> Ref:
    return Ref("branch", clone.branch) if clone.branch else Ref("", "")


def _starts(declaration: Declaration, clone: Clone) -> list[str]:
    """The commits whose history is asked for: those of version tags, and the ends of the develop and release lines."""
    tags = [sha for name, sha in clone.refs.items() if _version_of(declaration, name)]
    lines = [sha for line in (Line.DEVELOP, Line.RELEASE) for sha in _ends(declaration, clone, line).values()]
    return sorted({*tags, *lines})


def _version_of(declaration: Declaration, ref: str) -> tuple[str, str] | None:
    return version_tag(ref.removeprefix(_TAGS), declaration) if ref.startswith(_TAGS) else None


def _ends(declaration: Declaration, clone: Clone, line: Line) -> dict[str, str]:
    """The branches of a line with their commits, local and of the remote."""
    named = {name: name.removeprefix(_LOCAL).removeprefix(_REMOTE) for name in clone.refs if not name.startswith(_TAGS)}
    return {name: clone.refs[name] for name, short in named.items() if line_of(short, declaration)[0] is line}


def _tags(declaration: Declaration, clone: Clone, history: _History) -> tuple[Tag, ...]:
    found = {ref: told for ref in clone.refs if (told := _version_of(declaration, ref))}
    here = ancestry(history, [clone.commit])
    own = _own(clone, history, ancestry(history, [clone.refs[ref] for ref in found], here))
    lacked = {ref: ancestry(history, [clone.refs[ref]], here) for ref in found}
    return tuple(
        Tag(ref.removeprefix(_TAGS), *told, reached=lacked[ref].isdisjoint(own), commit=clone.refs[ref])
        for ref, told in found.items()
    )


def _own(clone: Clone, history: _History, shas: Iterable[str]) -> dict[str, Commit]:
    """Those of these commits that changed something themselves: all but merges without a change of their own, newest first."""
    wanted = set(shas)
    found = git.commits(clone, history, [sha for sha in history if sha in wanted])
    return {sha: commit for sha, commit in found.items() if commit.paths or len(history[sha]) <= 1}


def _lacking(declaration: Declaration, clone: Clone, facts: Facts) -> list[str]:
    """The subprojects whose version cannot be told for sure from a shallow clone's history."""
    if not clone.ends:
        return []
    decided = versions.decide(declaration, facts, decide(facts.ref, declaration))
    return [name for name in declaration.subprojects if _is_cut(clone, facts, name, decided[name].bump)]


def _is_cut(clone: Clone, facts: Facts, name: str, bump: str) -> bool:
    reached, highest = newest(facts.tags, name), newest(facts.tags, name, reached=False)
    if not reached or highest != reached:  # a tag that HEAD does not seem to have may be in the part that is not here
        return True
    first = anchor(facts.tags, reached, bump)
    # A series begins with a zero; where that tag is not here, it may be with the history that is not here.
    known = first.version.endswith({"major": ".0.0", "minor": ".0"}.get(bump, ""))
    return not known or not clone.ends.isdisjoint(facts.apart[first.name])


def _fetch_missing_tags(declaration: Declaration, root: Path, branch: str) -> None:
    """Fetch the version tags that the remote has and this clone lacks, where it would be published.

    Raises DeclarationError when a tag differs or cannot be fetched, or when the remote cannot be
    asked. By hand, in a clone that has tags, the last is only said.
    """
    clone = git.look(root)
    if not decide(_ref(clone, branch), declaration).pushes or not git.has_remote(root):
        return
    try:
        tags = git.remote_tags(root)
    except CommandError as error:
        _require_tags(declaration, clone, error)
        reason = (error.tail or error.message).partition("\n")[0]
        console.say(f"… the remote cannot be asked for version tags, and those of this clone count: {reason}")
        return
    _check_tags(declaration, clone, tags)
    if not (missing := _missing_tags(declaration, clone, tags)):
        return
    console.say(f"… this clone {_lacks_tags(missing)}: `{' '.join(git.FETCH_TAGS)}`")
    details = ""
    try:
        git.fetch_tags(root)
    except CommandError as error:  # for which one tag is enough that is another here
        details = error.tail
    if missing := _missing_tags(declaration, git.look(root), tags):
        raise DeclarationError(
            f"cannot decide on versions: this clone {_lacks_tags(missing)}",
            hint=f"`{' '.join(git.FETCH_TAGS)}`, or clone with tags (Jenkins: cloneOption, noTags false)",
            details=details,
        )


def _require_tags(declaration: Declaration, clone: Clone, error: CommandError) -> None:
    """Raise DeclarationError when the clone may lack tags of the remote, which cannot be asked."""
    if git.is_without_tags(clone.root):
        reason = "this clone was made without tags"
    elif pipeline() and not any(_version_of(declaration, name) for name in clone.refs):
        reason = "in a pipeline a clone without a version tag does not count"
    else:
        return
    raise DeclarationError(
        f"cannot decide on versions: the remote cannot be asked for version tags, and {reason}",
        hint="give this stage credentials for git, and clone with tags (Jenkins: cloneOption, noTags false);"
        f" by hand: `{' '.join(git.FETCH_TAGS)}`, and `git config --unset remote.origin.tagOpt`"
        " in a clone that was made without tags",
        details=error.tail or error.message,
    ) from error


def _check_tags(declaration: Declaration, clone: Clone, tags: Mapping[str, str]) -> None:
    """Raise DeclarationError when a version tag is of another commit here than at the remote."""
    pairs = {name: (clone.refs.get(f"{_TAGS}{name}"), sha) for name, sha in tags.items()}
    differing = sorted(
        name for name, (ours, theirs) in pairs.items() if ours not in {None, theirs} and version_tag(name, declaration)
    )
    if not differing:
        return
    count = "1 version tag differs" if len(differing) == 1 else f"{len(differing)} version tags differ"
    raise DeclarationError(
        f"cannot decide on versions: {count} from the remote's ({_shortened(differing)})",
        hint="`git fetch --tags --force origin` takes the remote's tags, if those are right; "
        "a version tag is never moved, so find out who moved it",
        details="\n".join(
            f"{name}: {(pairs[name][0] or '')[:12]} here, {pairs[name][1][:12]} at the remote" for name in differing
        ),
    )


def _missing_tags(declaration: Declaration, clone: Clone, tags: Iterable[str]) -> list[str]:
    ours = (name for name in tags if version_tag(name, declaration))
    return sorted(name for name in ours if f"{_TAGS}{name}" not in clone.refs)


def _lacks_tags(missing: list[str]) -> str:
    tags = "1 version tag" if len(missing) == 1 else f"{len(missing)} version tags"
    return f"lacks {tags} of the remote ({_shortened(missing)})"


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _deepen(root: Path, lacking: list[str]) -> None:
    """Fetch what a shallow clone lacks, and say so."""
    names = ", ".join(lacking)
    console.say(
        f"… this clone is shallow, and its history does not reach the last version of {names}: `{' '.join(git.DEEPEN)}`"
    )
    try:
        git.deepen(root)
    except CommandError as error:
        raise _cut_off(lacking, "and the rest cannot be fetched", error.tail) from error


def _cut_off(lacking: list[str], why: str, details: str = "") -> DeclarationError:
    return DeclarationError(
        f"find the last version of {', '.join(lacking)}: the history of this shallow clone does not reach it, {why}",
        hint=f"`{' '.join(git.DEEPEN)}`, or clone with the whole history and its tags (fetch-depth: 0, GIT_DEPTH: 0)",
        details=details,
    )


def _unmerged(declaration: Declaration, clone: Clone, history: _History, ref: Ref) -> tuple[str, ...]:
    """What the release line has and develop lacks; on the candidate line: what the next release would lack.

    A branch counts wherever it is, here or at the remote: what either release branch has is looked for in all that develop has.
    """
    if ref.kind != "branch":
        return ()
    match decide(ref, declaration).line:
        case Line.FEATURE:
            return ()
        case Line.DEVELOP | Line.CANDIDATE:
            ahead, behind = list(_ends(declaration, clone, Line.RELEASE).values()), [clone.commit]
        case Line.RELEASE:
            ahead, behind = [clone.commit], list(_ends(declaration, clone, Line.DEVELOP).values())
            if not behind:
                return ()
        case line:
            assert_never(line)
    missing = ancestry(history, ahead, ancestry(history, behind))
    if clone.ends:  # what seems to be missing may be in the part of the history that is not here
        return ()
    return tuple(f"{sha} {commit.subject}" for sha, commit in _own(clone, history, missing).items())


def _written(declaration: Declaration, name: str, root: Path) -> str:
    """The version that a subproject's files say: of its folders, the same in each."""
    said = {folder: _version(declaration, folder, root) for folder in declaration.subprojects[name].folders}
    if len(set(said.values())) > 1:
        told = ", ".join(f"{folder} says {version}" for folder, version in said.items())
        raise DeclarationError(
            f"read the version of {name}: its folders do not agree: {told}",
            hint="one version is for all of them: `./run inv release.prepare` writes it, or correct it by hand",
        )
    version = next(iter(said.values()))
    if not is_version(version):
        raise DeclarationError(
            f"read the version of {name}: {version!r} is no version", hint="write it as X.Y.Z, as in 1.2.0"
        )
    return version


def _version(declaration: Declaration, folder: str, root: Path) -> str:
    return _of_chart(root / folder) if folder == declaration.chart.folder else files.version(root / folder)


def _of_chart(folder: Path) -> str:
    try:
        return str(yaml.safe_load((folder / "Chart.yaml").read_text(encoding="utf-8"))["version"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"read the version of {folder.name}: Chart.yaml does not say it ({error})",
            hint="write it there as `version: X.Y.Z`",
        ) from error


def _covered(declaration: Declaration, root: Path, paths: Collection[str]) -> dict[str, frozenset[str]]:
    """By subproject, which of these paths are in what it publishes."""
    return {
        name: frozenset().union(*(_covered_in(declaration, root, folder, paths) for folder in one.folders))
        for name, one in declaration.subprojects.items()
    }


def _covered_in(declaration: Declaration, root: Path, folder: str, paths: Collection[str]) -> set[str]:
    inside = {path.removeprefix(f"{folder}/"): path for path in paths if path.startswith(f"{folder}/")}
    if folder == declaration.chart.folder:
        ignored = ignores.of_chart(root / folder)
    elif any(image.context == folder for image in declaration.images.values()):
        inside.pop("VERSION", None)  # a build argument, which release.prepare writes: no content
        ignored = ignores.of_image(root / folder)
    else:
        return set(inside.values())
    return {whole for path, whole in inside.items() if path in _RULES or not ignored(path)}


def _declared_anew(declaration: Declaration, clone: Clone, tags: tuple[Tag, ...]) -> dict[str, str]:
    """What delivery.toml says otherwise of how images are built than at the last tag, by subproject."""
    found: dict[str, str] = {}
    texts: dict[str, str | None] = {}
    for name in declaration.subprojects:
        if tag := newest(tags, name):
            if tag.commit not in texts:
                texts[tag.commit] = git.text_at(clone, tag.commit, "delivery.toml")
            if changed := _changed(declaration, texts[tag.commit], _images(declaration, name)):
                found[name] = changed.format(tag=tag.name)
    return found


def _images(declaration: Declaration, name: str) -> list[str]:
    """The images of a subproject and of all that it is made from."""
    below = [image for one in declaration.subprojects[name].after for image in _images(declaration, one)]
    own = declaration.subprojects[name].folders
    return [*below, *(image for image, one in declaration.images.items() if one.context in own)]


def _changed(declaration: Declaration, text: str | None, images: Sequence[str]) -> str:
    """How an older delivery.toml builds these images otherwise, as a clause about {tag}; "" when it does not."""
    if text is None:
        return "there was no delivery.toml at {tag}"
    try:
        before = _as_declared(declaration, tomllib.loads(text))
        if new := [name for name in images if name not in before.images]:
            return f"{', '.join(new)} {'is' if len(new) == 1 else 'are'} new in delivery.toml since {{tag}}"
        if differing := [name for name in images if before.arguments(name) != declaration.arguments(name)]:
            return f"delivery.toml has changed the build arguments of {', '.join(differing)}"
    except (tomllib.TOMLDecodeError, ValidationError, KeyError, TypeError, AttributeError):
        return "delivery.toml does not say at {tag} how the images were built"
    return ""


def _as_declared(declaration: Declaration, raw: Mapping[str, Any]) -> Declaration:
    """Today's declaration with an older one's tables on builds, so far as they say what today's code asks for."""
    upstream = {name: Upstream.model_validate(_known(table, Upstream)) for name, table in raw["upstream"].items()}
    images = {name: Image.model_validate(_known(table, Image)) for name, table in raw["images"].items()}
    build = Build.model_validate(_known(raw["build"], Build))
    return declaration.model_copy(update={"build": build, "upstream": upstream, "images": images})


def _known(table: Mapping[str, Any], model: type[Build | Image | Upstream]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key in model.model_fields}
