"""The repositories that this one splits into: which paths each gets, and what proves that it stands alone."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration, image_variable

__all__ = [
    "argument",
    "broken_links",
    "build_commands",
    "chosen",
    "commands_to_test",
    "history_refs",
    "moved",
    "renames",
]

# What every repository has from the root of this one.
_COMMON = (".editorconfig", ".gitignore", "LICENSE")
# Where the files are that a repository has at its root and this one has elsewhere: repos/NAME/.
_ROOTS = "repos"
_COMPOSE = ("docker-compose.apps.yaml", "docker-compose.yaml")
_BLOCK = re.compile(r"^```sh\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)[^)]*\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def chosen(declaration: Declaration, only: str) -> list[str]:
    """The subprojects to split off: all, or the one that --only names; raise DeclarationError when there is no such one."""
    if only and only not in declaration.subprojects:
        raise DeclarationError(
            f"split the repository: --only {only} is no subproject", hint=f"one of {', '.join(declaration.subprojects)}"
        )
    return [only] if only else declaration.subprojects_in_order()


def renames(declaration: Declaration, name: str) -> dict[str, str]:
    """The paths that a subproject's repository gets, each with its new name; a folder ends with a slash, "" is the root.

    A subproject of one folder has it as its root; one of several keeps them beside each other.
    """
    folders = declaration.subprojects[name].folders
    if len(folders) == 1:
        return {**{path: path for path in _COMMON}, f"{folders[0]}/": ""}
    beside = {f"{folder}/": f"{folder}/" for folder in folders}
    return {**{path: path for path in (*_COMMON, *_COMPOSE)}, f"{_ROOTS}/{name}/": "", **beside}


def moved(renamed: Mapping[str, str], path: str) -> str | None:
    """Where a path of this repository is in the other one; None when it is not there."""
    for old, new in renamed.items():
        if path == old or (old.endswith("/") and path.startswith(old)):
            return new + path.removeprefix(old)
    return None


def history_refs(declaration: Declaration, current: str, branches: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The branch that a new repository has checked out, and the branches that it gets, each with the ref it comes from.

    It is what is checked out here, and beside it the develop and release lines as far as they are there. branches are those of
    this clone with their refs; without a branch checked out, the commit goes by the release line's name.
    """
    flow = declaration.gitflow
    kept = {name: branches[name] for name in (*flow.develop, *flow.release) if name in branches}
    name = current or next((each for each in flow.release if each in branches), flow.release[0])
    return name, {**kept, name: "HEAD"}


def commands_to_test(readme: str) -> str:
    """The commands in the first shell block under a README's heading "## Test"; "" when it has none."""
    _, _, below = readme.partition("\n## Test\n")
    block = _BLOCK.search(re.split(r"^## ", below, maxsplit=1, flags=re.MULTILINE)[0])
    return block["commands"] if block else ""


def build_commands(
    readme: str, *, tags: Mapping[str, str], arguments: Mapping[str, str], extra: Sequence[str]
) -> dict[str, list[str]]:
    """The `docker build` commands of a README by their tags, with those tags changed, and build arguments and options added.

    Of commands for the same tag the first counts: those that follow only say more about it.
    """
    found: dict[str, list[str]] = {}
    for block in _BLOCK.finditer(readme):
        for line in block["commands"].replace("\\\n", " ").splitlines():
            if not line.startswith("docker build "):
                continue
            words = shlex.split(line, comments=True)
            place = next(index for index, word in enumerate(words) if word in {"-t", "--tag"}) + 1
            tag = words[place]
            given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
            found.setdefault(tag, [*words[:place], tags.get(tag, tag), *given, *extra, *words[place + 1 :]])
    return found


def argument(name: str) -> str:
    """The build argument that names the image of this name in our Dockerfiles: BASE_IMAGE, DEBIAN_IMAGE."""
    return image_variable(name.removesuffix("-image"))


def broken_links(texts: Mapping[str, str], paths: Iterable[str]) -> list[str]:
    """The relative links of these pages (text by path) that lead to none of the paths, nor to a folder, as "page: link"."""
    there = set(paths)
    there |= {posixpath.dirname(path) for path in there} | {""}
    there |= {folder for path in set(there) for folder in _above(path)}
    return [
        f"{page}: {link}"
        for page, text in texts.items()
        for link in _LINK.findall(_FENCE.sub("", text))
        if _target(page, link) not in there
    ]


def _target(page: str, link: str) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return "" if path == "." else path


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
