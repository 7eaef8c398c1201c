"""The tree of delivery/: every name stands for one module, and is used as it is."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from delivery.project.files import ROOT

MODULES = [path for path in (ROOT / "delivery").rglob("*.py") if not path.stem.startswith("__")]


def aliases(text: str) -> list[str]:
    """What a module imports of ours under another name."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            package = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            found += [
                f"{name.name} as {name.asname}"
                for name in node.names
                if name.asname and f"{package}{name.name}".startswith("delivery")
            ]
    return found


def test_no_two_modules_have_one_name() -> None:
    counted = Counter(path.stem for path in MODULES)
    assert [name for name, count in counted.items() if count > 1] == []


def test_no_module_of_ours_is_imported_under_another_name() -> None:
    assert aliases("from delivery.host import engines as e\nimport delivery.errors as f\nimport os as o") == [
        "engines as e",
        "delivery.errors as f",
    ]
    found = {str(path): aliases(path.read_text(encoding="utf-8")) for path in python_files()}
    assert {path: names for path, names in found.items() if names} == {}


def python_files() -> list[Path]:
    folders = ("delivery", "tests", "monitoring", "bench")
    return [ROOT / "noxfile.py", ROOT / "tasks.py", *(path for name in folders for path in (ROOT / name).rglob("*.py"))]
