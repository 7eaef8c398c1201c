"""Each subproject works alone: its code and tests use nothing outside of its split repository."""

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
FOLDERS = {
    folder: subproject
    for subproject in DECLARATION.subprojects.values()
    for folder in subproject.folders
}
APPS = ("api-rest", "async-worker")
IGNORED = {".venv", ".nox", ".hypothesis", "__pycache__"}
# Where each subproject's pytest and mypy look for modules.
PATHS = ("src", "scripts", "tests")
# The apps share a repository, and this test compares their contracts.
EXPECTED = {"async-worker/tests/test_contract.py: api_rest"}
# The library of the apps, and modules of its tests.
SHARED = {"ledger", "secure_kafka", "secure_database", "captured_logs"}


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
    """The modules and packages of a folder, by the names that imports use."""
    roots = [ROOT / folder / path for path in PATHS]
    files = {path.stem for root in roots for path in root.glob("*.py")}
    return files | {path.parent.name for root in roots for path in root.glob("*/__init__.py")}


def imported(tree: ast.AST) -> Iterator[str]:
    """The first part of each name that is imported by a statement or by importlib."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module.partition(".")[0]
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield module.partition(".")[0]


def climbs(tree: ast.AST) -> Iterator[int]:
    """How many folders each Path(__file__).parents[…] or .parent.parent goes up."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="parent", value=value):
                steps = 0
                while isinstance(value, ast.Attribute) and value.attr == "parent":
                    steps, value = steps + 1, value.value
                yield steps
            case ast.Subscript(
                value=ast.Attribute(attr="parents"), slice=ast.Constant(value=int(steps))
            ):
                yield steps


MODULES = {
    "ops/bench": {"ops"},
    "delivery": {"delivery", "noxfile", "tasks", "tests"},
    **{folder: modules(folder) for folder in FOLDERS},
}


def test_every_folder_has_modules() -> None:
    assert {folder: bool(sources(folder)) for folder in FOLDERS} == dict.fromkeys(FOLDERS, True)
    assert {"api_rest", "conftest"} <= modules("api-rest")
    assert "rootfs" in modules("base-image")


def test_a_subproject_imports_no_other_part_of_this_repository() -> None:
    imports = set[str]()
    for folder in FOLDERS:
        others = set().union(*(names for part, names in MODULES.items() if part != folder))
        imports |= {
            f"{path.relative_to(ROOT)}: {name}"
            for path in sources(folder)
            for name in imported(parsed(path))
            if name in others - MODULES[folder] - (SHARED if folder in APPS else set())
        }
    assert imports == EXPECTED


def test_no_path_leaves_the_split_repository() -> None:
    leaving = {
        str(path.relative_to(ROOT))
        for folder, subproject in FOLDERS.items()
        for path in sources(folder)
        for steps in climbs(parsed(path))
        if steps >= len(path.relative_to(ROOT / folder).parts) + (len(subproject.folders) > 1)
    }
    assert leaving == set()


def test_every_path_of_a_split_repository_exists() -> None:
    paths = {path for name in DECLARATION.subprojects for path in renames(DECLARATION, name)}
    assert {path for path in paths if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("file", ["platform-chart/pyproject.toml", "ops/repos/apps/ruff.toml"])
def test_a_split_repository_is_linted_by_the_same_rules(file: str) -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    ignores = rules["lint"]["per-file-ignores"]
    rules["lint"]["per-file-ignores"] = {
        path: codes for path, codes in ignores.items() if not path.startswith("delivery/")
    }
    if file.startswith("platform-chart"):
        del rules["lint"]["flake8-tidy-imports"]  # only the apps import kafka-python
    split: dict[str, Any] = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))
    assert split.get("tool", {}).get("ruff", split) == rules
