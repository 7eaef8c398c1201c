"""Each subproject stands on itself: its code and its tests import, and reach for, nothing outside of their repository-to-be."""

import ast
import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from delivery.project import files
from delivery.project.files import ROOT
from delivery.split.splitting import renames

DECLARATION = files.load_declaration()
FOLDERS = {folder: name for name, one in DECLARATION.subprojects.items() for folder in one.folders}
IGNORED = {".venv", ".nox", ".hypothesis", "__pycache__"}
# Where Python looks for modules, by each subproject's own pytest and mypy settings.
PATHS = ("src", "scripts", "tests")


def sources(folder: str) -> list[Path]:
    return [
        path
        for path in sorted((ROOT / folder).rglob("*.py"))
        if IGNORED.isdisjoint(path.relative_to(ROOT).parts)
    ]


@functools.cache
def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def modules(folder: str) -> set[str]:
    """The names by which what is in a folder can be imported."""
    found = {path.stem for place in PATHS for path in (ROOT / folder / place).glob("*.py")}
    return found | {
        path.parent.name
        for place in PATHS
        for path in (ROOT / folder / place).glob("*/__init__.py")
    }


def imported(tree: ast.AST) -> Iterator[str]:
    """The first part of the name of each module that is imported; "." for one of the package's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else str(node.module).partition(".")[0]
        elif isinstance(node, ast.Call) and getattr(
            node.func, "id", getattr(node.func, "attr", "")
        ) in {
            "__import__",
            "import_module",
        }:
            told = node.args[0]
            if isinstance(told, ast.Constant):
                yield str(told.value).partition(".")[0]


def climbs(tree: ast.AST) -> Iterator[int]:
    """How many folders above its own each Path(__file__).parents[…] or .parent.parent goes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "parent":
            steps, value = 0, node.value
            while isinstance(value, ast.Attribute) and value.attr == "parent":
                steps, value = steps + 1, value.value
            yield steps
        if isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") == "parents":
            place = node.slice
            if isinstance(place, ast.Constant) and isinstance(place.value, int):
                yield place.value


EVERY = {
    "ops/bench": {"ops"},
    "delivery": {"delivery", "noxfile", "tasks", "tests"},
    **{folder: modules(folder) for folder in FOLDERS},
}


def test_there_are_modules_in_every_folder() -> None:
    assert {folder: bool(sources(folder)) for folder in FOLDERS} == dict.fromkeys(FOLDERS, True)
    assert {"api_rest", "conftest"} <= modules("api-rest")
    assert "rootfs" in modules("base-image")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_subproject_imports_nothing_of_another_part_of_the_house(folder: str) -> None:
    # The apps are one repository, and one of the worker's tests holds the contract between both.
    ours = {one for one, name in FOLDERS.items() if name == FOLDERS[folder]}
    near = EVERY[folder] | ({"api_rest"} if "api-rest" in ours else set())
    elsewhere = set().union(*(names for part, names in EVERY.items() if part != folder)) - near
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(folder)
        for name in imported(parsed(path))
        if name in elsewhere
    }
    assert found == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_that_one_test_of_the_worker_knows_the_api(folder: str) -> None:
    other = {"api-rest": "async_worker", "async-worker": "api_rest"}.get(folder, "api_rest")
    knowing = {path.name for path in sources(folder) if other in imported(parsed(path))}
    assert knowing == ({"test_contract.py"} if folder == "async-worker" else set())


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_path_climbs_out_of_the_repository_to_be(folder: str) -> None:
    above = len(DECLARATION.subprojects[FOLDERS[folder]].folders) > 1
    found = {
        str(path.relative_to(ROOT))
        for path in sources(folder)
        for steps in climbs(parsed(path))
        if steps > len(path.relative_to(ROOT / folder).parts) - 1 + above
    }
    assert found == set()


def test_every_path_that_a_repository_is_to_have_is_there() -> None:
    wanted = {path for name in DECLARATION.subprojects for path in renames(DECLARATION, name)}
    former = {
        ".editorconfig",
        "docker-compose.apps.yaml",
        *(f"repos/{name}/" for name in DECLARATION.subprojects),
    }
    assert {path for path in wanted if not (ROOT / path).exists()} <= former


@pytest.mark.parametrize("file", ["platform-chart/pyproject.toml", "ops/repos/apps/ruff.toml"])
def test_a_repository_to_be_is_linted_by_the_same_rules(file: str) -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    ignores = rules["lint"]["per-file-ignores"]
    rules["lint"]["per-file-ignores"] = {
        path: codes for path, codes in ignores.items() if not path.startswith("delivery/")
    }
    told: dict[str, Any] = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))
    assert told.get("tool", {}).get("ruff", told) == rules
