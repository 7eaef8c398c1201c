"""An upstream image is taken from the engine, else pulled, else built from its recipe."""

from pathlib import Path
from typing import cast

import pytest

from delivery.errors import RegistryError, UpstreamError
from delivery.host import buildx, debian, upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration


class FakeEngine:
    """The images of an engine; published: whether pulls succeed."""

    def __init__(self, *, published: bool = False) -> None:
        self.images: dict[str, dict[str, str]] = {"debian:trixie-slim": {}}
        self.published = published
        self.pulled: list[str] = []

    def image_labels(self, reference: str) -> dict[str, str] | None:
        return self.images.get(reference)

    def pull(self, reference: str, _on_line: object) -> None:
        self.pulled.append(reference)
        if not self.published:
            raise RegistryError(f"cannot pull {reference}: no such host")
        self.images[reference] = {}


Graph = list[buildx.Target]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The recipes that were built, by graph."""
    calls: list[Graph] = []

    def bake(engine: FakeEngine, targets: Graph, **_options: object) -> None:
        engine.images |= {target.tag: dict(target.labels) for target in targets}
        calls.append(targets)

    monkeypatch.setattr(buildx, "bake", bake)
    return calls


def ensure(
    engine: FakeEngine, declaration: Declaration, sample: Path, name: str = "registry"
) -> str:
    return upstreams.ensure(cast("Engine", engine), declaration, [name], sample)[name]


def test_an_image_in_the_engine_is_used(declaration: Declaration, sample: Path) -> None:
    engine = FakeEngine()
    engine.images["registry:2.8.3"] = {"maintainer": "somebody"}
    assert ensure(engine, declaration, sample) == "already there"
    assert engine.pulled == []


def test_a_published_image_is_pulled(
    declaration: Declaration, sample: Path, built: list[Graph]
) -> None:
    assert ensure(FakeEngine(published=True), declaration, sample) == "pulled"
    assert built == []


def test_without_a_registry_the_recipe_is_built(
    declaration: Declaration,
    sample: Path,
    built: list[Graph],
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = FakeEngine()
    assert ensure(engine, declaration, sample) == "built from its recipe"
    assert built[0][0].arguments == {"DEBIAN_IMAGE": "debian:trixie-slim"}
    assert (
        "to be built from ops/upstream/registry (no pull: no such host)" in capsys.readouterr().out
    )
    assert ensure(engine, declaration, sample) == "already there"
    assert len(built) == 1


def test_a_changed_recipe_is_built_without_a_pull(
    declaration: Declaration, sample: Path, built: list[Graph]
) -> None:
    engine = FakeEngine()
    ensure(engine, declaration, sample)
    (sample / "ops" / "upstream" / "registry" / "Dockerfile").write_text("FROM scratch\nUSER 1\n")
    assert ensure(engine, declaration, sample) == "built from its recipe"
    assert len(built) == 2
    assert len(engine.pulled) == 1


def test_a_changed_base_rebuilds_what_is_built_on_it(
    declaration: Declaration, sample: Path, built: list[Graph]
) -> None:
    engine = FakeEngine()
    ensure(engine, declaration, sample)
    (sample / "ops" / "upstream" / "debian" / "Dockerfile").write_text("FROM scratch\nUSER 1\n")
    ensure(engine, declaration, sample)
    assert len(built) == 2


def more_upstream(declaration: Declaration, **images: dict[str, object]) -> Declaration:
    """The declaration with more upstream images, made from the registry's."""
    registry = declaration.upstream["registry"]
    more = {name: registry.model_copy(update=update) for name, update in images.items()}
    return declaration.model_copy(update={"upstream": {**declaration.upstream, **more}})


def test_the_base_comes_first_and_the_others_are_built_side_by_side(
    declaration: Declaration, sample: Path, built: list[Graph]
) -> None:
    more = more_upstream(declaration, kafka={"image": "apache/kafka:1"})
    engine = FakeEngine()
    del engine.images["debian:trixie-slim"]
    upstreams.ensure(cast("Engine", engine), more, upstreams.needed(more), sample)
    assert [[image.tag for image in graph] for graph in built] == [
        ["debian:trixie-slim"],
        ["apache/kafka:1", "registry:2.8.3"],
    ]


def test_neither_the_image_of_the_clusters_nodes_nor_an_optional_one_is_needed(
    declaration: Declaration,
) -> None:
    more = more_upstream(declaration, prometheus={"image": "prom/prometheus:1", "optional": True})
    assert more.cluster.node in more.upstream
    assert upstreams.needed(more) == ["debian", "registry"]


def test_a_root_file_system_needs_root_on_debian(
    declaration: Declaration, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sample / "ops" / "upstream" / "debian" / "build").touch()
    engine = FakeEngine()
    engine.images.clear()
    monkeypatch.setattr(debian, "can_install", lambda: False)
    with pytest.raises(UpstreamError, match="its recipe needs root on Debian"):
        ensure(engine, declaration, sample, "debian")
