"""What an image was built from is kept when it is built."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from delivery.build import materials
from delivery.build.plan import make_images
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from tests.build.examples import KEYS

ENGINE = cast("Engine", SimpleNamespace(image_digest=lambda reference: f"sha256:{reference}"))


def test_upstream_images_base_and_lock_files_are_materials(
    declaration: Declaration, sample: Path
) -> None:
    base, app = make_images(declaration, KEYS, {}).all
    (sample / "api-rest" / "poetry.lock").write_text("locked")
    (sample / "base-image" / "rootfs").mkdir()
    (sample / "base-image" / "rootfs" / "packages.txt").write_text("python3")
    assert not materials.is_recorded(app, sample)
    materials.record(ENGINE, declaration, base, sample)
    materials.record(ENGINE, declaration, app, sample)
    assert materials.is_recorded(app, sample)
    ours = {"base-image": "sha256:base"}
    of_app = materials.load(declaration, app, ours, sample)
    lock = of_app.pop("api-rest/poetry.lock")
    assert lock == "sha256:14493f5f5470ed48c3f103d917ec52ae9005fa3913128031d0fac2a49ac3cc41"
    assert of_app == {
        "debian:trixie-slim": "sha256:debian:trixie-slim",
        "base-image": "sha256:base",
    }
    of_base = materials.load(declaration, base, ours, sample)
    assert sorted(of_base) == ["base-image/rootfs/packages.txt", "debian:trixie-slim"]


def test_only_the_newest_build_is_kept(declaration: Declaration, sample: Path) -> None:
    (_, old), (_, new) = (
        make_images(declaration, {**KEYS, "api-rest": key}, {}).all for key in ("k2", "k3")
    )
    materials.record(ENGINE, declaration, old, sample)
    materials.record(ENGINE, declaration, new, sample)
    assert [materials.is_recorded(image, sample) for image in (old, new)] == [False, True]
