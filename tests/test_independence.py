"""Subprojects are independent: no import and no path leads out of their repository."""

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
    folder: name
    for name, subproject in DECLARATION.subprojects.items()
    for folder in subproject.folders
}
IGNORED = {".venv", ".nox", ".hypothesis", "__pycache__"}
# The folders with modules, by the subprojects' settings of pytest and mypy.
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
    """The names of the modules and packages of a folder."""
    roots = [ROOT / folder / name for name in PATHS]
    packages = {path.parent.name for root in roots for path in root.glob("*/__init__.py")}
    return packages | {path.stem for root in roots for path in root.glob("*.py")}


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level name of each imported module; "." for a relative import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else str(node.module).partition(".")[0]
        elif isinstance(node, ast.Call):
            function = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if function in {"__import__", "import_module"}:
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    yield str(name.value).partition(".")[0]


def climbs(tree: ast.AST) -> Iterator[int]:
    """How many folders up each Path(__file__).parents[…] or .parent.parent goes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "parent":
            steps, value = 0, node.value
            while isinstance(value, ast.Attribute) and value.attr == "parent":
                steps, value = steps + 1, value.value
            yield steps
        if isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") == "parents":
            index = node.slice
            if isinstance(index, ast.Constant) and isinstance(index.value, int):
                yield index.value


MODULES = {
    "ops/bench": {"ops"},
    "delivery": {"delivery", "noxfile", "tasks", "tests"},
    **{folder: modules(folder) for folder in FOLDERS},
}


def test_every_folder_has_modules() -> None:
    assert {folder: bool(sources(folder)) for folder in FOLDERS} == dict.fromkeys(FOLDERS, True)
    assert {"api_rest", "conftest"} <= modules("api-rest")
    assert "rootfs" in modules("base-image")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_subproject_imports_no_other_part(folder: str) -> None:
    # The apps are one repository, and one of the worker's tests compares both.
    siblings = {sibling for sibling, name in FOLDERS.items() if name == FOLDERS[folder]}
    own = MODULES[folder] | ({"api_rest"} if "api-rest" in siblings else set())
    others = set().union(*(names for part, names in MODULES.items() if part != folder)) - own
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(folder)
        for name in imported(parsed(path))
        if name in others
    }
    assert wrong == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_one_test_of_the_worker_imports_the_api(folder: str) -> None:
    other = {"api-rest": "async_worker", "async-worker": "api_rest"}.get(folder, "api_rest")
    importing = {path.name for path in sources(folder) if other in imported(parsed(path))}
    assert importing == ({"test_contract.py"} if folder == "async-worker" else set())


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_path_leads_out_of_the_split_repository(folder: str) -> None:
    above = len(DECLARATION.subprojects[FOLDERS[folder]].folders) > 1
    wrong = {
        str(path.relative_to(ROOT))
        for path in sources(folder)
        for steps in climbs(parsed(path))
        if steps > len(path.relative_to(ROOT / folder).parts) - 1 + above
    }
    assert wrong == set()


def test_every_path_of_a_split_repository_exists() -> None:
    paths = {path for name in DECLARATION.subprojects for path in renames(DECLARATION, name)}
    former = {
        ".editorconfig",
        "docker-compose.apps.yaml",
        *(f"repos/{name}/" for name in DECLARATION.subprojects),
    }
    assert {path for path in paths if not (ROOT / path).exists()} <= former


@pytest.mark.parametrize("file", ["platform-chart/pyproject.toml", "ops/repos/apps/ruff.toml"])
def test_split_repositories_have_the_same_lint_rules(file: str) -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    ignores = rules["lint"]["per-file-ignores"]
    rules["lint"]["per-file-ignores"] = {
        path: codes for path, codes in ignores.items() if not path.startswith("delivery/")
    }
    settings: dict[str, Any] = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))
    assert settings.get("tool", {}).get("ruff", settings) == rules
