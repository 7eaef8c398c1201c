"""Keys come from the files and the declaration alone."""

from pathlib import Path

from delivery.core.declaration import Declaration
from delivery.steps import plan as planning
from delivery.tools.registry import Registry
from tests.registries import MemoryRegistry, serving, sha256


def test_a_change_below_changes_what_stands_on_it(declaration: Declaration, house: Path) -> None:
    before = planning.keys(declaration, house)
    (house / "base-image" / "Dockerfile").write_text("FROM scratch\nUSER 1\n")
    after = planning.keys(declaration, house)
    assert before["base-image"] != after["base-image"]
    assert before["api-rest"] != after["api-rest"]


def test_a_change_above_leaves_what_is_below(declaration: Declaration, house: Path) -> None:
    before = planning.keys(declaration, house)
    (house / "api-rest" / "app.py").write_text("pass")
    after = planning.keys(declaration, house)
    assert before["base-image"] == after["base-image"]
    assert before["api-rest"] != after["api-rest"]


def test_another_upstream_image_changes_the_key(declaration: Declaration, house: Path) -> None:
    newer = declaration.upstream["debian"].model_copy(update={"image": "debian:forky-slim"})
    changed = declaration.model_copy(update={"upstream": {**declaration.upstream, "debian": newer}})
    assert planning.keys(changed, house)["base-image"] != planning.keys(declaration, house)["base-image"]


def test_asks_the_registry_one_question_an_image(declaration: Declaration, house: Path) -> None:
    registry = MemoryRegistry()
    keys = planning.keys(declaration, house)
    registry.manifests[keys["base-image"]] = b"manifest"
    with serving(registry) as (address, seen):
        plan = planning.look(declaration.at(address), Registry(address), house)
    assert [image.digest for image in plan.images] == [sha256(b"manifest"), ""]
    assert seen == [f"HEAD /v2/{name}/manifests/{key}" for name, key in keys.items()]
