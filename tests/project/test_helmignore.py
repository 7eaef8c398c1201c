"""Helm's ignore rules; tests/integration/test_ignores.py compares them with `helm package`."""

import pytest

from delivery.errors import DeclarationError
from delivery.project.helmignore import is_ignored, parse


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
def test_a_path_is_ignored_as_helm_does(rules: str, path: str, *, out: bool) -> None:
    assert is_ignored(parse(rules), path) is out


@pytest.mark.parametrize("line", ["**/x", "[a", "[]", "x\\"])
def test_a_rule_that_helm_refuses_is_refused(line: str) -> None:
    with pytest.raises(DeclarationError, match=r"cannot read chart/\.helmignore: Helm refuses"):
        parse(f"x\n{line}\n", file="chart/.helmignore")
