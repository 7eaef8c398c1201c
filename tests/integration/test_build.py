"""Builds on the real engine: their layers, and the errors of failed ones."""

import gzip
import json
from pathlib import Path

import pytest

from delivery.errors import BuildError
from delivery.host import buildx, trust
from delivery.host.buildx import Target
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from tests.registries import sha256

pytestmark = pytest.mark.engine


def target(folder: Path, dockerfile: str, name: str = "trial") -> Target:
    context = folder / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(dockerfile)
    return Target(
        name,
        context,
        f"localhost:5001/{name}:trial",
        folder / name,
        arguments={"SOURCE_DATE_EPOCH": "1767225600"},
    )


def bake(engine: Engine, image: Target) -> str:
    """Build one image; the digest of its manifest."""
    buildx.bake(
        engine,
        [image],
        file=image.layout.with_suffix(".json"),
        secrets=trust.secrets(),
        on_line=lambda _: None,
    )
    return str(json.loads((image.layout / "index.json").read_text())["manifests"][0]["digest"])


@pytest.fixture
def layouts(engine: Engine) -> None:
    """Skip with the classic image store, whose builder writes no OCI layouts."""
    if not engine.oci_layouts:
        pytest.skip(
            "the engine has no containerd image store, so its builder writes no OCI layouts"
        )


def layers(image: Target, digest: str) -> list[str]:
    """The digests of an image's layers, lowest first."""
    manifest = (image.layout / "blobs" / "sha256" / digest[7:]).read_bytes()
    assert sha256(manifest) == digest
    return [layer["digest"] for layer in json.loads(manifest)["layers"]]


def plain(blob: bytes) -> bytes:
    """The content of a blob, unpacked if it is packed."""
    return gzip.decompress(blob) if blob.startswith(b"\x1f\x8b") else blob


@pytest.mark.usefixtures("layouts")
def test_the_same_files_give_the_same_layer_in_another_folder_and_later(
    engine: Engine, project: Declaration, tmp_path: Path
) -> None:
    debian = project.upstream["debian"].image
    digests = set()
    for name, day in (("first", "2028-01-01"), ("second", "2030-01-01")):
        (tmp_path / name).mkdir()
        # Another line keeps BuildKit from using its cache; times after the epoch are set to it.
        touch = f"RUN mkdir /new; touch --date={day} /new/file /new"
        image = target(tmp_path / name, f"FROM {debian}\n{touch}\n")
        digests.add(layers(image, bake(engine, image))[-1])
    assert len(digests) == 1


def test_a_failing_step_is_shown_and_a_full_disk_has_a_hint(
    engine: Engine, project: Declaration, tmp_path: Path
) -> None:
    fill = "RUN dd if=/dev/zero of=/dev/full count=1"
    failing = target(tmp_path, f"FROM {project.upstream['debian'].image}\n{fill}\n")
    with pytest.raises(BuildError, match="build trial: ") as caught:
        bake(engine, failing)
    assert "No space left on device" in caught.value.details
    assert caught.value.hint.startswith("free disk space: `docker system df`")
    assert caught.value.exit_code == 5


@pytest.mark.usefixtures("layouts")
def test_a_secret_is_in_the_build_and_in_no_layer(
    engine: Engine, project: Declaration, tmp_path: Path
) -> None:
    secret = tmp_path / "ca.pem"
    secret.write_text("a bundle of this test alone")
    image = target(
        tmp_path,
        f"FROM {project.upstream['debian'].image} AS build\n"
        "RUN --mount=type=secret,id=build-ca wc --bytes < /run/secrets/build-ca > /size\n"
        "FROM scratch\nCOPY --from=build /size /size\n",
    )
    buildx.bake(
        engine,
        [image],
        file=tmp_path / "bake.json",
        secrets={"build-ca": secret},
        on_line=lambda _: None,
    )
    blobs = [plain(file.read_bytes()) for file in (image.layout / "blobs" / "sha256").iterdir()]
    size = f"{len(secret.read_bytes())}\n".encode()
    assert any(size in blob for blob in blobs), "the build has read it"
    assert not any(secret.read_bytes() in blob for blob in blobs)
