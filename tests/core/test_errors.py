"""Every kind of error can be looked up."""

import pytest

from delivery.core import errors
from delivery.tools.files import ROOT

KINDS = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_is_documented_with_its_exit_code(kind: type[errors.DeliveryError]) -> None:
    rows = (ROOT / "docs" / "errors.md").read_text().splitlines()
    assert [row for row in rows if row.startswith(f"| {kind.exit_code} | `{kind.reference}` |")]


def test_references_are_each_ones_own() -> None:
    assert len({kind.reference for kind in KINDS}) == len(KINDS)
