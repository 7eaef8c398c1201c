"""Split the repository: each subproject with its own history and tags; and prove that each one stands alone."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

from delivery import console, process
from delivery.errors import DeclarationError, DeliveryError, EngineError
from delivery.host import docker_api, programs, trust
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.project import git
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.split import poetry, repositories, shell

__all__ = ["Finding", "check", "split"]

# Every test file is imported and every test found, and none is run.
_QUICK = {"PYTEST_ADDOPTS": "--collect-only --quiet"}
_SPLIT_ANEW = "`./run inv repos.split --to FOLDER`, an empty folder, splits what is committed now"


@dataclass(frozen=True)
class Finding:
    """What came of one proof: of which repository, what was proved, what was found, and whether that is well."""

    repository: str
    what: str
    found: str
    good: bool


@dataclass(frozen=True)
class _Place:
    """A repository that was split off: its subproject, its clone, and the paths that it has, with their new names."""

    name: str
    repository: Path
    clone: Path
    renames: Mapping[str, str]


def split(declaration: Declaration, to: Path, only: str = "", root: Path = ROOT) -> list[Path]:
    """Make a repository of each subproject under the folder `to`; this one stays as it is.

    Each has the commits that touch it, its own tags, and no remote. The same history gives the same commits, so a later split
    goes on where an earlier one ended. Raises DeclarationError for an unknown subproject, a folder that is not empty, and a
    shallow clone.
    """
    names = repositories.chosen(declaration, only)
    _refuse(to, root)
    clone = git.look(root)
    checked_out, refs = repositories.history_refs(declaration, clone.branch, clone.branch_refs())
    made = list[Path]()
    try:
        for name in names:
            made.append(to / name)
            with console.step(f"split {name}") as step:
                _split(declaration, name, to / name, root, checked_out, refs, step)
    except BaseException:
        for repository in made:
            shutil.rmtree(repository, ignore_errors=True)
        raise
    return made


def check(
    declaration: Declaration, to: Path | None = None, only: str = "", *, quick: bool = False, root: Path = ROOT
) -> list[Finding]:
    """Split into a clean folder, and prove of each repository that it stands alone, by what its READMEs say.

    Without `to` the folder is a temporary one and removed afterwards. Without an engine no image is built. quick only collects
    the tests, which costs their imports and no run. What fails becomes a finding, and the rest is proved all the same.
    """
    with _folder(to) as folder:
        repositories_made = split(declaration, folder / "repositories", only, root)
        found = docker_api.find()
        path = [poetry.ensure(lambda _line: None), Path(programs.ensure("helm")).parent]
        with _images(found) as images:
            findings = list[Finding]()
            for repository in repositories_made:
                name = repository.name
                place = _Place(name, repository, folder / "clones" / name, repositories.renames(declaration, name))
                findings += _prove(declaration, place, root, found, path, images, quick=quick)
        return findings


def _split(
    declaration: Declaration,
    name: str,
    repository: Path,
    root: Path,
    checked_out: str,
    refs: Mapping[str, str],
    step: console.Step,
) -> None:
    git.copy_history(root, repository, checked_out=checked_out, branches=refs, tags=f"{name}-v*")
    git.filter_history(repository, renames=repositories.renames(declaration, name), on_line=step.line)
    commits, tags = git.log(repository, "HEAD"), git.tags(repository)
    step.done(f"{repository}, {len(commits)} commits, {len(tags)} tags")


def _refuse(to: Path, root: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DeclarationError(
            f"split the repository: {to} is there and not empty", hint="name a folder that is new or empty"
        )
    if to.resolve().is_relative_to(root.resolve()):
        raise DeclarationError(f"split the repository: {to} is inside of this clone", hint="name a folder elsewhere")
    if git.look(root).ends:
        raise DeclarationError(
            "split the repository: this clone lacks a part of its history",
            hint="`git fetch --unshallow --tags`, and again",
        )
    if changed := git.changes(root):
        console.say(
            f"{len(changed)} files are not committed, and so in none of the repositories: {', '.join(changed[:3])}"
        )


def _prove(
    declaration: Declaration,
    place: _Place,
    root: Path,
    found: Engine | None,
    path: Sequence[Path],
    images: dict[str, str],
    *,
    quick: bool,
) -> list[Finding]:
    environment = _environment(found, quick=quick)

    def proofs() -> Iterator[tuple[str, Callable[[console.Step], str]]]:
        yield "clone", lambda _step: _cloned(place)
        yield "history", lambda _step: _history(place, root)
        yield "files", lambda _step: _files(place, root)
        yield "tags", lambda _step: _tags(place, root)
        yield "links", lambda _step: _links(place)
        yield "images", lambda step: _built(declaration, place, found, images, step)
        for readme in _readmes(place):
            if commands := repositories.commands_to_test(readme.read_text(encoding="utf-8")):
                where = readme.parent.relative_to(place.clone)
                title = "tests" if str(where) == "." else f"tests of {where}"
                yield title, partial(_tested, commands, readme.parent, environment, path)

    return [_finding(place.name, what, proof) for what, proof in proofs()]


def _finding(name: str, what: str, proof: Callable[[console.Step], str]) -> Finding:
    try:
        with console.step(f"{name}: {what}") as step:
            said = proof(step)
            step.done(said)
    except DeliveryError as error:
        console.error(error)
        return Finding(name, what, error.message, good=False)
    return Finding(name, what, said, good=True)


def _cloned(place: _Place) -> str:
    git.copy(place.repository, place.clone)
    if told := git.remotes(place.repository):
        raise DeliveryError(
            f"look at {place.name}: it has a remote ({', '.join(told)})",
            hint=f"`git -C {quote(str(place.repository))} remote remove NAME` removes it",
        )
    return f"on {git.look(place.clone).branch}"


def _history(place: _Place, root: Path) -> str:
    """Its commits are those of this repository that touch its files, each with its author, time and subject."""
    # Sorted: of commits in the same second on two branches, either may come first.
    here = sorted(git.log(root, "HEAD", [old.rstrip("/") for old in place.renames]))
    there = sorted(git.log(place.clone, "HEAD"))
    if here != there:
        missing = [line for line in here if line not in there]
        more = [line for line in there if line not in here]
        raise DeliveryError(
            f"compare the history of {place.name}: {len(there)} commits, and {len(here)} here touch its files",
            details="\n".join(
                [*(f"missing: {line}" for line in missing[:9]), *(f"too many: {line}" for line in more[:9])]
            ),
            hint=_SPLIT_ANEW,
        )
    return f"{len(there)} commits"


def _files(place: _Place, root: Path) -> str:
    return f"{_same_tree(place, root, 'HEAD')} files"


def _same_tree(place: _Place, root: Path, revision: str) -> int:
    """A commit has this repository's files, byte by byte, and no other."""
    moved = {repositories.moved(place.renames, path): entry for path, entry in git.tree(root, revision).items()}
    here = {path: entry for path, entry in moved.items() if path is not None}
    there = git.tree(place.clone, revision)
    if here != there:
        different = sorted(path for path in here.keys() | there.keys() if here.get(path) != there.get(path))
        raise DeliveryError(
            f"compare the files of {place.name} at {revision}: they differ",
            details="\n".join(different[:9]),
            hint=_SPLIT_ANEW,
        )
    return len(there)


def _tags(place: _Place, root: Path) -> str:
    here, there = git.tags(root, f"{place.name}-v*"), git.tags(place.clone)
    if here != there:
        raise DeliveryError(
            f"compare the tags of {place.name}: it has {', '.join(there)}, not {', '.join(here)}",
            hint=_SPLIT_ANEW,
        )
    for tag in there:
        _same_tree(place, root, tag)
    return ", ".join(there) or "none yet"


def _links(place: _Place) -> str:
    paths = list(git.tree(place.clone, "HEAD"))
    pages = {path: (place.clone / path).read_text(encoding="utf-8") for path in paths if path.endswith(".md")}
    if broken := repositories.broken_links(pages, paths):
        raise DeliveryError(
            f"follow the links of {place.name}: {len(broken)} lead nowhere",
            details="\n".join(broken),
            hint="a relative link has to stay in its repository; link to others by their URL",
        )
    return f"{len(pages)} pages"


def _built(
    declaration: Declaration, place: _Place, found: Engine | None, images: dict[str, str], step: console.Step
) -> str:
    """Its READMEs' `docker build` commands, from its root folder; the images get names of their own, and go afterwards."""
    if found is None:
        return "not built: no engine was asked"
    folders = declaration.subprojects[place.name].folders
    ours = [name for name, image in declaration.images.items() if image.context in folders]
    done: dict[str, list[str]] = {}
    for readme in _readmes(place):
        told = repositories.build_commands(
            readme.read_text(encoding="utf-8"),
            tags={name: f"{images['']}/{name}" for name in ours},
            arguments=_arguments(declaration, ours, images),
            extra=[f"--secret=id={name},src={path}" for name, path in trust.secrets().items()],
        )
        done = {**told, **done}
    if sorted(done) != sorted(ours):
        says = ", ".join(done) or "nothing"
        raise DeliveryError(
            f"build {place.name}: its READMEs build {says}, and its images are {', '.join(ours)}",
            hint="each image's README needs its own `docker build` command",
        )
    for name, one in done.items():
        process.stream(one, doing=f"build {name}", on_line=step.line, cwd=place.clone, env=found.environment)
        images[name] = f"{images['']}/{name}"
    return ", ".join(done) or "none of its own"


def _arguments(declaration: Declaration, ours: Sequence[str], images: Mapping[str, str]) -> dict[str, str]:
    """The images below: one that was just built from its own repository, else what this clone released last."""
    told: dict[str, str] = {}
    released = lifecycle.released()
    for image in (declaration.images[name] for name in ours):
        for below in filter(None, (image.base, image.builder)):
            if below in declaration.upstream:
                told[repositories.argument(below)] = declaration.upstream[below].image
            elif below in images:
                told[repositories.argument(below)] = images[below]
            elif released and below in released.images:
                told[repositories.argument(below)] = released.images[below].pinned
    return told


def _tested(commands: str, folder: Path, env: Mapping[str, str], path: Sequence[Path], step: console.Step) -> str:
    """A README's test commands, from its folder; what its tests say in the end."""
    counted = list[str]()

    def line(text: str) -> None:
        step.line(text)
        if re.search(r"\b[0-9]+ passed\b|\btests? collected\b", text):
            counted.append(text.strip(" =\n"))

    shell.run(
        commands, doing=f"run the commands of {folder.name}/README.md", cwd=folder, on_line=line, path=path, env=env
    )
    return "; ".join(counted)


def _environment(found: Engine | None, *, quick: bool) -> dict[str, str]:
    """What the commands are told: where the engine is, the authorities that builds trust, and how much to test."""
    told = dict(found.environment) if found else {}
    bundle = trust.secrets().get("build-ca")
    return {**told, **({"BUILD_CA": str(bundle)} if bundle else {}), **(_QUICK if quick else {})}


def _readmes(place: _Place) -> list[Path]:
    return [place.clone / path for path in git.tree(place.clone, "HEAD") if Path(path).name == "README.md"]


@contextmanager
def _folder(to: Path | None) -> Iterator[Path]:
    """The folder to work in: an empty one that is told and stays, or a temporary one."""
    if to is not None:
        if to.exists() and any(to.iterdir()):
            raise DeclarationError(
                f"check the repositories: {to} is not empty", hint="name a folder that is new or empty"
            )
        to.mkdir(parents=True, exist_ok=True)
        yield to.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="repos-check-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


@contextmanager
def _images(found: Engine | None) -> Iterator[dict[str, str]]:
    """The images that are built, by name; under "" the name that stands before theirs. They are removed in the end."""
    images = {"": f"repos-check-{secrets.token_hex(4)}"}
    try:
        yield images
    finally:
        if found is not None and len(images) > 1:
            for tag in (tag for name, tag in images.items() if name):
                with suppress(EngineError):
                    found.remove_images([tag])
