"""Looking changes nothing, and says what does not answer."""

from pathlib import Path

import pytest

from delivery.core.declaration import Declaration
from delivery.steps import plan as planning
from delivery.steps import status
from delivery.tools import engine
from delivery.tools.compose import Service
from tests.registries import MemoryRegistry, serving, sha256


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find", lambda: None)


def test_without_engine_and_registry_says_so(declaration: Declaration, house: Path) -> None:
    found = status.look(declaration.at("localhost:1"), house)
    assert found.engine.startswith("none answers")
    assert {image.registry for image in found.images} == {"the registry does not answer"}
    assert found.services == ()


def test_says_what_the_registry_holds(declaration: Declaration, house: Path) -> None:
    registry = MemoryRegistry()
    registry.manifests[planning.keys(declaration, house)["base-image"]] = b"manifest"
    with serving(registry) as (address, _):
        found = status.look(declaration.at(address), house)
    assert [image.registry for image in found.images] == [sha256(b"manifest"), "not built yet"]


def test_tables_name_images_as_people_compare_them() -> None:
    pinned = f"localhost:5001/api-rest@{sha256(b'manifest')}"
    found = status.Status("an engine", (), (), (Service("api-rest", "c1", "running", "", pinned, (8000,)),))
    (*_, (_, _, rows)) = found.tables()
    assert rows == [("api-rest", "running", "-", "8000", f"api-rest@{sha256(b'manifest')[:19]}")]
