"""What the tests of delivery/tasks share."""

import pytest

from delivery.project import files
from delivery.project.declaration import Declaration


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> None:
    """Tasks read the declaration of the sample project."""
    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
