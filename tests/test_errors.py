"""Every kind of error can be looked up, and says what to do."""

import ast
from collections.abc import Iterator

import pytest

from delivery import errors
from delivery.project.files import ROOT

_ALL = [getattr(errors, name) for name in errors.__all__]
KINDS = [kind for kind in _ALL if isinstance(kind, type) and issubclass(kind, errors.DeliveryError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_is_documented_with_its_exit_code(kind: type[errors.DeliveryError]) -> None:
    rows = (ROOT / "docs" / "errors.md").read_text().splitlines()
    assert [row for row in rows if row.startswith(f"| {kind.exit_code} | `{kind.reference}` |")]


@pytest.mark.parametrize(
    "kind", [errors.DeclarationError, errors.RegistryError, errors.SignatureError]
)
def test_a_problem_becomes_the_error_that_it_was_made_of(kind: type[errors.DeliveryError]) -> None:
    error = errors.Problem.from_error(kind("m", hint="h", details="d")).error("do it")
    assert type(error) is kind
    assert (error.message, error.hint, error.details) == ("cannot do it: m", "h", "d")


def test_references_are_each_ones_own() -> None:
    assert len({kind.reference for kind in KINDS}) == len(KINDS)


def _without_hint() -> Iterator[str]:
    # What a program says explains a CommandError.
    names = {kind.__name__ for kind in KINDS} - {"CommandError"}
    for file in sorted((ROOT / "delivery").rglob("*.py")):
        nodes = ast.walk(ast.parse(file.read_text()))
        for call in (node for node in nodes if isinstance(node, ast.Call)):
            named = isinstance(call.func, ast.Name) and call.func.id in names
            if named and not {"hint", None} & {keyword.arg for keyword in call.keywords}:
                yield f"{file.relative_to(ROOT)}:{call.lineno}"


def test_every_error_says_what_to_do() -> None:
    assert list(_without_hint()) == []
