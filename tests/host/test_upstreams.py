"""An upstream image is taken where it is, else pulled, else built from its recipe; and which it was is said."""

from pathlib import Path
from typing import cast

import pytest

from delivery.errors import RegistryError, UpstreamError
from delivery.host import buildx, debian, upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration


class Shelf:
    """An engine as far as its images go; gives says which pulls succeed."""

    def __init__(self, *, gives: bool = False) -> None:
        self.images: dict[str, dict[str, str]] = {"debian:trixie-slim": {}}
        self.gives = gives
        self.pulled: list[str] = []

    def image_labels(self, reference: str) -> dict[str, str] | None:
        return self.images.get(reference)

    def pull(self, reference: str, _on_line: object) -> None:
        self.pulled.append(reference)
        if not self.gives:
            raise RegistryError(f"pull {reference}: no such host")
        self.images[reference] = {}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[buildx.Single]:
    """The recipes that were built, which here only puts the image on the shelf."""
    calls: list[buildx.Single] = []

    def build(engine: Engine, image: buildx.Single, _on_line: object) -> None:
        cast("Shelf", engine).images[image.tag] = dict(image.labels)
        calls.append(image)

    monkeypatch.setattr(buildx, "build", build)
    return calls


def ensure(shelf: Shelf, declaration: Declaration, sample: Path, name: str = "registry") -> str:
    return upstreams.ensure(cast("Engine", shelf), declaration, name, sample)


def test_what_the_engine_has_is_taken(declaration: Declaration, sample: Path) -> None:
    shelf = Shelf()
    shelf.images["registry:2.8.3"] = {"maintainer": "somebody"}
    assert ensure(shelf, declaration, sample) == "already there"
    assert shelf.pulled == []


def test_what_is_published_is_pulled(
    declaration: Declaration, sample: Path, built: list[buildx.Single]
) -> None:
    assert ensure(Shelf(gives=True), declaration, sample) == "pulled"
    assert built == []


def test_where_no_registry_answers_the_recipe_is_built(
    declaration: Declaration,
    sample: Path,
    built: list[buildx.Single],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shelf = Shelf()
    assert ensure(shelf, declaration, sample) == "built from its recipe"
    assert built[0].arguments == {"DEBIAN_IMAGE": "debian:trixie-slim"}
    assert "built from ops/upstream/registry (no pull: no such host)" in capsys.readouterr().out
    assert ensure(shelf, declaration, sample) == "already there"
    assert len(built) == 1


def test_a_changed_recipe_is_built_anew_and_not_asked_for(
    declaration: Declaration, sample: Path, built: list[buildx.Single]
) -> None:
    shelf = Shelf()
    ensure(shelf, declaration, sample)
    (sample / "ops" / "upstream" / "registry" / "Dockerfile").write_text("FROM scratch\nUSER 1\n")
    assert ensure(shelf, declaration, sample) == "built from its recipe"
    assert len(built) == 2
    assert len(shelf.pulled) == 1


def test_a_changed_root_changes_what_is_built_on_it(
    declaration: Declaration, sample: Path, built: list[buildx.Single]
) -> None:
    shelf = Shelf()
    ensure(shelf, declaration, sample)
    (sample / "ops" / "upstream" / "debian" / "Dockerfile").write_text("FROM scratch\nUSER 1\n")
    ensure(shelf, declaration, sample)
    assert len(built) == 2


def test_the_root_of_a_recipe_is_had_first(
    declaration: Declaration, sample: Path, built: list[buildx.Single]
) -> None:
    shelf = Shelf()
    del shelf.images["debian:trixie-slim"]
    ensure(shelf, declaration, sample)
    assert [one.tag for one in built] == ["debian:trixie-slim", "registry:2.8.3"]


def test_all_that_is_needed_without_a_cluster_leaves_its_nodes_out(
    declaration: Declaration,
) -> None:
    shelf = Shelf(gives=True)
    upstreams.ensure_all(cast("Engine", shelf), declaration)
    assert shelf.pulled == ["registry:2.8.3"]


def test_what_is_optional_is_had_by_name_alone(declaration: Declaration, sample: Path) -> None:
    extra = declaration.upstream["registry"].model_copy(
        update={"image": "prom/prometheus:v1", "optional": True}
    )
    more = declaration.model_copy(
        update={"upstream": {**declaration.upstream, "prometheus": extra}}
    )
    shelf = Shelf(gives=True)
    upstreams.ensure_all(cast("Engine", shelf), more)
    assert shelf.pulled == ["registry:2.8.3"]
    assert ensure(shelf, more, sample, "prometheus") == "pulled"
    assert shelf.pulled == ["registry:2.8.3", "prom/prometheus:v1"]


def test_a_root_file_system_needs_root_on_debian(
    declaration: Declaration, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sample / "ops" / "upstream" / "debian" / "build").touch()
    shelf = Shelf()
    shelf.images.clear()
    monkeypatch.setattr(debian, "can_install", lambda: False)
    with pytest.raises(
        UpstreamError, match="no registry gave it, and its recipe needs root on Debian"
    ):
        ensure(shelf, declaration, sample, "debian")
