"""The tree of delivery/: every name stands for one module, and is used as it is."""

from __future__ import annotations

import ast
import subprocess
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
    assert aliases(
        "from delivery.host import engines as e\nimport delivery.errors as f\nimport os as o"
    ) == [
        "engines as e",
        "delivery.errors as f",
    ]
    found = {str(path): aliases(path.read_text(encoding="utf-8")) for path in python_files()}
    assert {path: names for path, names in found.items() if names} == {}


def python_files() -> list[Path]:
    folders = ("delivery", "tests", "ops/monitoring", "ops/bench")
    return [
        ROOT / "noxfile.py",
        ROOT / "tasks.py",
        *(path for name in folders for path in (ROOT / name).rglob("*.py")),
    ]


# Which files may run a program: the one that knows how to talk to it, and how it fails.
TOOLS = {
    "apt-cache": {"host/debian.py"},
    "apt-get": {"host/debian.py"},
    "cosign": {"release/cosign.py"},
    # Its builds, and the platform's containers; everything else is asked of the engine by docker-py.
    "docker": {"host/buildx.py", "platform/compose.py"},
    "dockerd": {"host/dockerd.py"},
    "git": {"project/git.py"},
    "gitleaks": {"scan/gitleaks.py"},
    "helm": {"deploy/helm.py"},
    "iptables": {"host/bridges.py"},
    "kind": {"cluster/kind.py"},
    "kubectl": {"deploy/kubectl.py"},
}


def programs_run(text: str) -> set[str]:
    """The programs that a module's command lines begin with, by a literal or by what holds its path.

    A command line is a list that begins with a program's name, or with a variable or attribute of that name.
    """
    lists = [node.elts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.List)]
    first = [elements[0] for elements in lists if len(elements) > 1]
    return {name for node in first if (name := _program(node)) in TOOLS}


def _program(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(name)) | ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
    return ""


def test_a_program_is_run_by_the_one_module_that_knows_it() -> None:
    text = "run(['git', 'log']); argv = [cluster.kubectl, *config]; names = ['docker']"
    assert programs_run(text) == {"git", "kubectl"}
    for path in MODULES:
        name = path.relative_to(ROOT / "delivery").as_posix()
        strange = {
            tool
            for tool in programs_run(path.read_text(encoding="utf-8"))
            if name not in TOOLS[tool]
        }
        assert not strange, (
            f"{name} runs {strange}: ask {[sorted(TOOLS[tool]) for tool in strange]} for it"
        )


def test_the_top_level_has_at_most_22_entries() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    top = {path.partition("/")[0] for path in listed.split("\0") if path}
    assert len(top) <= 22, sorted(top)
