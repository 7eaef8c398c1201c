"""Every kind of error can be looked up."""

import pytest

from delivery.core import errors
from delivery.tools.files import ROOT

_ALL = [getattr(errors, name) for name in errors.__all__]
KINDS = [kind for kind in _ALL if issubclass(kind, errors.DeliveryError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_is_documented_with_its_exit_code(kind: type[errors.DeliveryError]) -> None:
    rows = (ROOT / "docs" / "errors.md").read_text().splitlines()
    assert [row for row in rows if row.startswith(f"| {kind.exit_code} | `{kind.reference}` |")]


@pytest.mark.parametrize("kind", [errors.DeclarationError, errors.RegistryError, errors.SignatureError])
def test_a_problem_becomes_the_error_that_it_was_made_of(kind: type[errors.DeliveryError]) -> None:
    error = errors.Problem.of(kind("m", hint="h", details="d")).error("do it")
    assert type(error) is kind
    assert (error.message, error.hint, error.details) == ("cannot do it: m", "h", "d")


def test_references_are_each_ones_own() -> None:
    assert len({kind.reference for kind in KINDS}) == len(KINDS)
