"""Missing images are built in one graph, on a current base, and only once."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Protocol, cast

import pytest

from delivery.build import building
from delivery.build.plan import Images, make_images
from delivery.errors import BuildError, EngineError
from delivery.host import buildx, upstreams
from delivery.host.buildx import Target
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry import oci_layout
from tests.build.examples import KEYS

DIGEST = "sha256:" + "a" * 64


def targets(declaration: Declaration, root: Path, **digests: str) -> list[Target]:
    """The targets for the images that the registry has no digest of."""
    by_name = {name.replace("_", "-"): digest for name, digest in digests.items()}
    images = make_images(declaration, KEYS, by_name)
    return building.targets(declaration, images, images.missing, root)


def test_an_app_is_built_on_the_target_of_its_base(declaration: Declaration, sample: Path) -> None:
    base, app = targets(declaration, sample)
    assert base.contexts == {}
    assert app.contexts == {"base-image": "target:base-image"}
    assert app.tag == "localhost:5001/api-rest:k2"
    assert app.layout == sample / ".delivery" / "layouts" / "api-rest@k2.part"
    assert (base.platforms, app.platforms) == ((), ())


def test_a_declared_context_is_passed_as_a_folder(declaration: Declaration, sample: Path) -> None:
    image = declaration.images["api-rest"].model_copy(update={"contexts": {"library": "library"}})
    changed = declaration.model_copy(update={"images": {**declaration.images, "api-rest": image}})
    _, app = targets(changed, sample)
    library = str(sample / "library")
    assert app.contexts == {"library": library, "base-image": "target:base-image"}


def test_an_app_is_built_on_the_base_in_the_registry_with_the_declared_arguments(
    declaration: Declaration, sample: Path
) -> None:
    (app,) = targets(declaration, sample, base_image=DIGEST)
    assert app.contexts == {"base-image": f"docker-image://localhost:5001/base-image@{DIGEST}"}
    assert app.arguments == {
        "SOURCE_DATE_EPOCH": "1767225600",
        "DEBIAN_IMAGE": "debian:trixie-slim",
        "VERSION": "0.1.0",
    }


PLATFORMS = {
    "base-image": {"linux/amd64": "k1-amd64", "linux/arm64": "k1-arm64"},
    "api-rest": {"linux/amd64": "k2-amd64", "linux/arm64": "k2-arm64"},
}


def test_an_image_is_built_for_each_planned_platform(
    declaration: Declaration, sample: Path
) -> None:
    images = make_images(declaration, KEYS, {}, platforms=PLATFORMS)
    for target in building.targets(declaration, images, images.missing, sample):
        assert target.platforms == ("linux/amd64", "linux/arm64")


class Builder:
    """An engine that writes layouts, or keeps images; `built` has the names of each bake."""

    def __init__(self, *, oci_layouts: bool = True) -> None:
        self.oci_layouts = oci_layouts
        self.built: list[list[str]] = []
        self.images: set[str] = set()
        self.pulled: list[tuple[str, str]] = []
        self.fails = False

    def image_labels(self, reference: str) -> dict[str, str] | None:
        return {} if reference in self.images else None

    def image_digest(self, reference: str) -> str:
        return f"sha256:{reference}"

    def pull(self, reference: str, _on_line: object, *, platform: str, **_: object) -> None:
        self.pulled.append((reference, platform))

    def ensure(self, _engine: object, _declaration: object, names: set[str], _root: Path) -> None:
        self.built += [[name] for name in names]

    def bake(self, _engine: object, graph: list[Target], **_: object) -> None:
        self.built.append([target.name for target in graph])
        for target in graph:
            self.images.add(target.tag)
            if self.oci_layouts:
                target.layout.mkdir(parents=True)
                index = {"manifests": [{"digest": f"sha256:{target.name}-{len(self.built)}"}]}
                (target.layout / "index.json").write_text(json.dumps(index))
            if self.fails:
                raise BuildError("cannot build")


class Build(Protocol):
    """Build images with a Builder; the OCI layout of each, by name."""

    def __call__(
        self, builder: Builder, images: Images, ensured: Collection[str] = ()
    ) -> dict[str, Path]: ...


@pytest.fixture
def build(declaration: Declaration, sample: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    def build(builder: Builder, images: Images, ensured: Collection[str] = ()) -> dict[str, Path]:
        monkeypatch.setattr(buildx, "bake", builder.bake)
        monkeypatch.setattr(upstreams, "ensure", builder.ensure)
        return building.build(cast("Engine", builder), declaration, images, sample, ensured=ensured)

    return build


@pytest.mark.parametrize(("ensured", "missing"), [([], [["debian"]]), (["debian"], [])])
def test_only_the_upstream_images_of_the_graph_are_ensured(
    build: Build, declaration: Declaration, ensured: list[str], missing: list[list[str]]
) -> None:
    builder = Builder()
    build(builder, make_images(declaration, KEYS, {}), ensured=ensured)
    assert builder.built == [*missing, ["base-image", "api-rest"]]


@pytest.mark.parametrize("oci_layouts", [True, False])
def test_an_image_is_built_once(
    build: Build, declaration: Declaration, *, oci_layouts: bool
) -> None:
    builder = Builder(oci_layouts=oci_layouts)
    first = build(builder, make_images(declaration, KEYS, {}))
    assert build(builder, make_images(declaration, KEYS, {})) == first
    assert len(builder.built) == 2
    if oci_layouts:
        assert oci_layout.digest(first["api-rest"]) == "sha256:api-rest-2"


def test_without_a_missing_image_nothing_is_built(
    build: Build, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = Builder()
    assert build(builder, make_images(declaration, KEYS, dict.fromkeys(KEYS, DIGEST))) == {}
    assert builder.built == []
    assert "the registry holds all 2 images" in capsys.readouterr().out


def test_changed_sources_are_built_and_the_old_layout_is_removed(
    build: Build, declaration: Declaration
) -> None:
    builder = Builder()
    old = build(builder, make_images(declaration, KEYS, {}))["api-rest"]
    new = build(builder, make_images(declaration, {**KEYS, "api-rest": "k3"}, {}))["api-rest"]
    assert (old.exists(), new.exists()) == (False, True)
    # The graph needs the base, which the builder still has in its cache.
    assert builder.built[-1] == ["base-image", "api-rest"]


def test_an_image_on_another_base_is_built_again(build: Build, declaration: Declaration) -> None:
    builder = Builder()
    other = "sha256:" + "b" * 64
    builder.images = {f"localhost:5001/base-image@{digest}" for digest in (DIGEST, other)}
    for digest in (DIGEST, DIGEST, other):
        build(builder, make_images(declaration, KEYS, {"base-image": digest}))
    assert builder.built == [["debian"], ["api-rest"], ["debian"], ["api-rest"]]


@pytest.mark.parametrize("unknown", ["materials/api-rest@k2", "layouts/base-image@k1/base"])
def test_an_image_of_unknown_materials_or_base_is_built_again(
    build: Build, declaration: Declaration, sample: Path, unknown: str
) -> None:
    builder, images = Builder(), make_images(declaration, KEYS, {})
    build(builder, images)
    (sample / ".delivery" / unknown).unlink()
    layouts = build(builder, images)
    assert builder.built[-1] == ["base-image", "api-rest"]
    assert (layouts["api-rest"] / "base").read_text() == "sha256:base-image-4"


def test_an_interrupted_build_is_repeated(build: Build, declaration: Declaration) -> None:
    builder = Builder()
    builder.fails = True
    with pytest.raises(BuildError):
        build(builder, make_images(declaration, KEYS, {}))
    builder.fails = False
    layouts = build(builder, make_images(declaration, KEYS, {}))
    assert (layouts["base-image"] / "index.json").exists()
    assert builder.built[-1] == ["base-image", "api-rest"]


def test_each_platform_of_a_base_in_the_registry_is_pulled(
    build: Build, declaration: Declaration
) -> None:
    builder = Builder()
    build(builder, make_images(declaration, KEYS, {"base-image": DIGEST}, platforms=PLATFORMS))
    base = f"localhost:5001/base-image@{DIGEST}"
    assert builder.pulled == [(base, "linux/amd64"), (base, "linux/arm64")]


def test_builds_for_this_machine_and_for_declared_platforms_stand_side_by_side(
    build: Build, declaration: Declaration
) -> None:
    builder = Builder()
    own = make_images(declaration, KEYS, {})
    declared = make_images(
        declaration, {"base-image": "i1", "api-rest": "i2"}, {}, platforms=PLATFORMS
    )
    for images in (own, declared, own, declared):
        for layout in build(builder, images).values():
            assert layout.is_dir()
    assert builder.built == [["debian"], ["base-image", "api-rest"]] * 2


def test_the_classic_image_store_cannot_keep_several_platforms(
    build: Build, declaration: Declaration
) -> None:
    builder = Builder(oci_layouts=False)
    with pytest.raises(EngineError, match="classic image store") as caught:
        build(builder, make_images(declaration, KEYS, {}, platforms=PLATFORMS))
    assert "containerd-snapshotter" in caught.value.hint
    assert builder.built == []
    alone = {name: {"linux/arm64": key} for name, key in KEYS.items()}
    build(builder, make_images(declaration, KEYS, {}, platforms=alone))
    assert builder.built
