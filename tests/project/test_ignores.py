"""A path is ignored as a build or a package ignores the file.

tests/integration/test_ignores.py compares the rules of charts with `helm package`.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery.errors import DeclarationError
from delivery.project import ignores
from delivery.project.files import context_files

FILES = [
    "a",
    "a.py",
    "src/a.py",
    "src/deep/a.py",
    "src/deep/b",
    "src/__pycache__/a.pyc",
    "tests/a.py",
    ".hidden",
    "Dockerfile",
]
PATTERNS = [
    "*",
    "!src",
    "src",
    "!src/deep",
    "src/*",
    "**/__pycache__",
    "*.py",
    "!a.py",
    "**/*.py",
    "!**/b",
    "/a",
    "tests/",
]
PATTERN = st.sampled_from([*PATTERNS, "#a", "Dockerfile"])


@given(patterns=st.lists(PATTERN, max_size=5))
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_paths_are_ignored_as_in_a_build(tmp_path: Path, patterns: list[str]) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".dockerignore").write_text("\n".join(patterns))
    ignored = ignores.for_image(tmp_path)
    kept = {path for path in [*FILES, ".dockerignore"] if not ignored(path)}
    assert kept == {file.path for file in context_files(tmp_path)}


def test_without_rules_nothing_is_ignored(tmp_path: Path) -> None:
    assert not ignores.for_image(tmp_path)("x")
    assert not ignores.for_chart(tmp_path)("x")


@pytest.mark.parametrize(
    ("rules", "path", "out"),
    [
        ("*.pyc", "deep/down/x.pyc", True),
        ("*.pyc", "x.pycc", False),
        ("tests", "tests/x.py", True),
        ("tests/", "tests/x.py", True),
        ("tests/", "deep/tests/x.py", True),
        ("tests/", "tests", False),
        ("tests/", "tests/", True),
        ("tests/", "deep/tests/", True),
        ("!tests", "tests/", False),
        ("/tests/", "tests/x.py", True),
        ("/tests/", "deep/tests/x.py", False),
        ("/x.py", "x.py", True),
        ("/x.py", "deep/x.py", False),
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", True),
        ("a/b", "z/a/b", False),
        ("a/*", "a/b/c", True),
        ("a*c", "a/c", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("[^a]b/c", "a/b/c", False),
        (r"\*x", "*x", True),
        (r"\*x", "ax", False),
        ("a.b", "axb", False),
        ("# x\n\n  x  ", "x", True),
        ("#x", "#x", False),
        ("!keep", "keep", False),
        ("!keep", "other", True),
        ("", "templates/.x", True),
        ("", "templates/x", False),
        ("", "deep/templates/.x", False),
        ("", ".x", False),
    ],
)
def test_a_path_is_ignored_as_helm_does(
    tmp_path: Path, rules: str, path: str, *, out: bool
) -> None:
    (tmp_path / ".helmignore").write_text(rules)
    assert ignores.for_chart(tmp_path)(path) is out


@pytest.mark.parametrize("line", ["**/x", "[a", "[]", "x\\"])
def test_a_rule_that_helm_refuses_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / ".helmignore").write_text(f"x\n{line}\n")
    with pytest.raises(DeclarationError, match=rf"{tmp_path.name}/\.helmignore: Helm refuses"):
        ignores.for_chart(tmp_path)
