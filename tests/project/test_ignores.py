"""A path is ignored as a build or a package ignores the file."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize(("path", "out"), [("tests/x", True), ("values.yaml", False)])
def test_a_charts_rules_are_read(tmp_path: Path, path: str, *, out: bool) -> None:
    (tmp_path / ".helmignore").write_text("/tests/\n")
    assert ignores.for_chart(tmp_path)(path) is out
