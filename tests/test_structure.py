"""The structure of the repository: module names, programs, top level, line length."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

from delivery.project.files import ROOT

MODULES = [path for path in (ROOT / "delivery").rglob("*.py") if not path.stem.startswith("__")]


def aliases(text: str) -> list[str]:
    """The imports of delivery/ in a module that use another name."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            package = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            names += [
                f"{name.name} as {name.asname}"
                for name in node.names
                if name.asname and f"{package}{name.name}".startswith("delivery")
            ]
    return names


def test_module_names_are_unique() -> None:
    counted = Counter(path.stem for path in MODULES)
    assert [name for name, count in counted.items() if count > 1] == []


def test_no_import_uses_an_alias() -> None:
    assert aliases(
        "from delivery.host import engines as e\nimport delivery.errors as f\nimport os as o"
    ) == [
        "engines as e",
        "delivery.errors as f",
    ]
    renamed = {str(path): aliases(path.read_text(encoding="utf-8")) for path in python_files()}
    assert {path: names for path, names in renamed.items() if names} == {}


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [path for path in listed.split("\0") if path]


def python_files() -> list[Path]:
    folders = ("delivery", "tests", "ops/monitoring", "ops/bench")
    return [
        ROOT / "noxfile.py",
        ROOT / "tasks.py",
        *(path for name in folders for path in (ROOT / name).rglob("*.py")),
    ]


# The modules that may run a program.
TOOLS = {
    "apt-cache": {"host/debian.py"},
    "apt-get": {"host/debian.py"},
    "cosign": {"release/cosign.py"},
    # For builds and for compose; docker-py does everything else.
    "docker": {"host/buildx.py", "platform/compose.py"},
    "dockerd": {"host/dockerd.py"},
    "git": {"project/git.py"},
    "go": {"host/go_module.py"},
    "gitleaks": {"scan/gitleaks.py"},
    "helm": {"deploy/helm.py"},
    "iptables": {"host/bridges.py"},
    "kind": {"cluster/kind.py"},
    "kubectl": {"deploy/kubectl.py"},
    "osv-scanner": {"scan/osv_scanner.py"},
    "sops": {"deploy/sops.py"},
}


def programs_run(text: str) -> set[str]:
    """The programs that a module runs.

    A command line is a list that begins with a program's name, or with a variable of that name.
    """
    lists = [node.elts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.List)]
    first = [elements[0] for elements in lists if len(elements) > 1]
    return {name for node in first if (name := _program(node)) in TOOLS}


def _program(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(name)) | ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
    return ""


def test_a_program_is_run_by_one_module() -> None:
    text = "run(['git', 'log']); argv = [cluster.kubectl, *config]; names = ['docker']"
    assert programs_run(text) == {"git", "kubectl"}
    for path in MODULES:
        name = path.relative_to(ROOT / "delivery").as_posix()
        run = programs_run(path.read_text(encoding="utf-8"))
        wrong = {tool: sorted(TOOLS[tool]) for tool in run if name not in TOOLS[tool]}
        assert not wrong, f"{name}: these programs have other modules: {wrong}"


def test_the_top_level_has_at_most_22_entries() -> None:
    top = {path.partition("/")[0] for path in tracked()}
    assert len(top) <= 22, sorted(top)


COLUMNS = 100
GENERATED = re.compile(
    r"(^|/)(poetry\.lock|go\.sum|go\.mod)$|\.(svg|json|txt|lock|png|ico|gz|pub)$"
)


def test_lines_have_at_most_100_columns() -> None:
    long = []
    for path in tracked():
        if not GENERATED.search(path) and (ROOT / path).is_file():
            lines = (ROOT / path).read_text(encoding="utf-8", errors="replace").splitlines()
            numbers = [number for number, line in enumerate(lines, 1) if len(line) > COLUMNS]
            long += [f"{path}:{number}" for number in numbers]
    assert long == []
