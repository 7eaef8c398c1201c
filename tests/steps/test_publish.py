"""What is missing is pushed, and release.json says what there is then."""

from pathlib import Path
from typing import cast

import pytest

from delivery.core.declaration import Declaration
from delivery.core.errors import RegistryError
from delivery.core.plan import Plan, make_plan
from delivery.core.release import read_release
from delivery.steps.publish import publish
from delivery.tools.engine import Engine
from delivery.tools.registry import Registry
from tests.registries import MemoryRegistry, failing, serving, sha256, write_layout

HELD = "sha256:" + "a" * 64


class LayoutEngine:
    """An engine whose builder writes OCI layouts."""

    oci_layouts = True


class ClassicEngine:
    """An engine that pushes by itself, and says that it sent this digest."""

    oci_layouts = False

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def push(self, _reference: str, _on_line: object, **_: object) -> str:
        return self.digest


def planned(declaration: Declaration, address: str) -> Plan:
    return make_plan(declaration.at(address), {"base-image": "k1", "api-rest": "k2"}, {"base-image": HELD})


def test_writes_down_what_is_deployed_from_then_on(declaration: Declaration, tmp_path: Path) -> None:
    built = write_layout(tmp_path / "layout")
    with serving(MemoryRegistry()) as (address, _):
        release = publish(
            cast("Engine", LayoutEngine()),
            Registry(address),
            planned(declaration, address),
            {"api-rest": tmp_path / "layout"},
            tmp_path,
        )
    assert {name: image.digest for name, image in release.images.items()} == {"base-image": HELD, "api-rest": built}
    file = tmp_path / ".delivery" / "release.json"
    assert read_release(file.read_text(), file="release.json") == release


def test_a_failed_push_leaves_the_last_release(declaration: Declaration, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout")
    fault = failing(1, "PUT", "/manifests/", (403, {}, b""))
    with serving(MemoryRegistry(), fault) as (address, _), pytest.raises(RegistryError):
        publish(
            cast("Engine", LayoutEngine()),
            Registry(address),
            planned(declaration, address),
            {"api-rest": tmp_path / "layout"},
            tmp_path,
        )
    assert not (tmp_path / ".delivery" / "release.json").exists()


@pytest.mark.parametrize("honest", [True, False])
def test_the_engines_own_word_for_a_push_is_not_believed(
    declaration: Declaration, tmp_path: Path, *, honest: bool
) -> None:
    registry = MemoryRegistry()
    registry.manifests["k2"] = b"manifest"
    engine = cast("Engine", ClassicEngine(sha256(b"manifest" if honest else b"another")))
    with serving(registry) as (address, _):
        client, plan = Registry(address), planned(declaration, address)
        if honest:
            assert publish(engine, client, plan, {"api-rest": tmp_path}, tmp_path).images["api-rest"].digest
        else:
            with pytest.raises(RegistryError, match="was sent"):
                publish(engine, client, plan, {"api-rest": tmp_path}, tmp_path)
