"""The files of an image are those of its layers, each laid over those below."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from delivery.errors import RegistryError
from delivery.registry import layers, oci_layout
from delivery.registry.client import Registry
from tests.registries import no_line, sha256, write_index, write_layout

Entry = tuple[str, bytes | None, str]  # path, content (None: a folder), target of a link


def file(path: str, content: bytes = b"") -> Entry:
    return path, content, ""


def folder(path: str) -> Entry:
    return path, None, ""


def link(path: str, target: str) -> Entry:
    return path, b"", target


def layer(*entries: Entry, hard: bool = False) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path, content, target in entries:
            member = tarfile.TarInfo(path)
            if content is None:
                member.type = tarfile.DIRTYPE
            elif target:
                member.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
                member.linkname = target
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))
    return made.getvalue()


def merge(*pieces: bytes) -> dict[str, bytes]:
    return layers.merge(pieces, lambda _path: True, "read the image")


def everything() -> layers.Reader:
    return layers.Reader(lambda _path: True)


def test_a_later_layer_adds_and_replaces_files() -> None:
    below = layer(folder("etc"), file("etc/a", b"1"), file("etc/b", b"1"))
    above = layer(folder("etc"), file("./etc/b", b"2"), file("/c", b"3"))
    assert merge(below, above) == {"etc/a": b"1", "etc/b": b"2", "c": b"3"}


def test_a_layer_may_be_packed_by_gzip() -> None:
    assert merge(gzip.compress(layer(file("a", b"1")))) == {"a": b"1"}


@pytest.mark.parametrize("gone", ["etc", "etc/a"])
def test_a_whiteout_removes_files_of_lower_layers(gone: str) -> None:
    parent, _, name = gone.rpartition("/")
    whiteout = file(f"{parent}/.wh.{name}".lstrip("/"))
    below = layer(folder("etc"), file("etc/a", b"1"), file("etcetera", b"2"))
    assert merge(below, layer(whiteout)) == {"etcetera": b"2"}


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_folder_hides_files_of_lower_layers_alone(*, first: bool) -> None:
    opaque, own = file("etc/.wh..wh..opq"), file("etc/new", b"2")
    above = layer(opaque, own) if first else layer(own, opaque)
    assert merge(layer(file("etc/a", b"1"), file("b", b"1")), above) == {"etc/new": b"2", "b": b"1"}


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ([file("etc/a", b"1")], [file("etc", b"2")], {"etc": b"2"}),
        ([file("etc", b"1")], [folder("etc"), file("etc/a", b"2")], {"etc/a": b"2"}),
        ([folder("etc"), file("etc/a", b"1")], [folder("etc")], {"etc/a": b"1"}),
        ([file("etc/a", b"1")], [file("etc/a", b"2"), file("etc/.wh.a")], {"etc/a": b"2"}),
        ([file("a", b"1"), link("b", "a")], [file(".wh.b")], {"a": b"1"}),
        ([file("a", b"1"), link("b", "a")], [file("a", b"2")], {"a": b"2", "b": b"2"}),
    ],
    ids=[
        "file for folder",
        "folder for file",
        "folder again",
        "own whiteout",
        "link deleted",
        "link kept",
    ],
)
def test_a_later_layer_hides_or_keeps_lower_files(
    below: list[Entry], above: list[Entry], expected: dict[str, bytes]
) -> None:
    assert merge(layer(*below), layer(*above)) == expected


@pytest.mark.parametrize(
    ("link_path", "target"),
    [
        ("doc/b", "a"),
        ("doc/b", "/doc/a"),
        ("doc/b", "//doc/a"),
        ("doc/b", "./a"),
        ("b", "doc/a"),
        ("other/b", "../doc/a"),
    ],
)
def test_a_linked_file_also_counts_under_the_name_of_the_link(link_path: str, target: str) -> None:
    copyrights = file("doc/a/copyright", b"1"), file("doc/ab/copyright", b"2")
    assert merge(layer(*copyrights, link(link_path, target))) == {
        "doc/a/copyright": b"1",
        "doc/ab/copyright": b"2",
        f"{link_path}/copyright": b"1",
    }


def test_links_to_links_are_followed_and_loops_end() -> None:
    loops = link("self", "self"), link("self2/x", "../self2")
    files = merge(layer(link("c", "b"), link("b", "a"), *loops, file("a", b"1")))
    assert files == {"a": b"1", "b": b"1", "c": b"1"}


def test_a_hard_link_is_read_as_a_file() -> None:
    above = layer(file("a", b"2"), link("b", "a"), hard=True)
    assert merge(layer(file("a", b"1")), above) == {"a": b"2", "b": b"2"}


@pytest.mark.parametrize(
    "content",
    [
        b"\x28\xb5\x2f\xfd of zstd",
        gzip.compress(layer(file("a", b"1" * 5000)))[:40],
        layer(link("b", "not-there"), hard=True),
    ],
    ids=["zstd", "cut off", "hard link to nowhere"],
)
def test_an_unreadable_layer_is_an_error(content: bytes) -> None:
    message = "cannot read the image: a layer is not a tar archive packed by gzip"
    with pytest.raises(RegistryError, match=message):
        merge(content)


def test_a_layout_is_read_lowest_layer_first(tmp_path: Path) -> None:
    write_layout(tmp_path, layer(file("a", b"1")), layer(file("a", b"2")))
    assert everything().read_layout(tmp_path) == {"a": b"2"}


def test_a_layer_that_two_images_have_is_read_once(tmp_path: Path) -> None:
    reader, shared = everything(), layer(file("a", b"1"))
    write_layout(tmp_path / "one", shared)
    write_layout(tmp_path / "two", shared, layer(file("b", b"2")))
    reader.read_layout(tmp_path / "one")
    (tmp_path / "two" / "blobs" / "sha256" / sha256(shared).partition(":")[2]).unlink()
    assert reader.read_layout(tmp_path / "two") == {"a": b"1", "b": b"2"}
    assert reader.read_layout(tmp_path / "one") == {"a": b"1"}


@pytest.mark.parametrize("missing", ["index", "layer"])
def test_an_incomplete_layout_is_an_error(tmp_path: Path, missing: str) -> None:
    piece = layer(file("a", b"1"))
    write_layout(tmp_path, piece)
    blob = tmp_path / "blobs" / "sha256" / sha256(piece).partition(":")[2]
    (blob if missing == "layer" else tmp_path / "index.json").unlink()
    with pytest.raises(RegistryError, match="is not an OCI layout with an image"):
        everything().read_layout(tmp_path)


def test_the_index_of_several_platforms_is_an_error(tmp_path: Path) -> None:
    write_layout(tmp_path, layer(file("a", b"1")), layers=None)
    with pytest.raises(RegistryError, match="it is not the image of one platform"):
        everything().read_layout(tmp_path)


def test_the_files_of_an_index_are_read_by_platform(tmp_path: Path) -> None:
    write_index(tmp_path, {"linux/amd64": layer(file("a", b"1")), "linux/arm64": layer()})
    amd64, arm64 = oci_layout.read(tmp_path).platforms.values()
    assert everything().read_layout(tmp_path, amd64) == {"a": b"1"}
    assert everything().read_layout(tmp_path, arm64) == {}
    with pytest.raises(RegistryError, match="it is not the image of one platform"):
        everything().read_layout(tmp_path)


def test_an_image_in_a_registry_has_the_files_of_its_layout(
    registry: Registry, tmp_path: Path
) -> None:
    app = f"{registry.address}/app"
    write_layout(tmp_path, layer(file("a", b"1")), layer(file("b", b"2")))
    digest = registry.push_layout(tmp_path, app, "k", no_line)
    files = everything().read_registry(registry, app, digest)
    assert files == everything().read_layout(tmp_path) == {"a": b"1", "b": b"2"}
    with pytest.raises(RegistryError, match="the registry holds no such image"):
        everything().read_registry(registry, app, sha256(b"gone"))


def test_an_archive_of_an_engine_has_the_files_of_its_layers(tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    named = {"blobs/1": layer(file("a", b"1"), file("b", b"1")), "blobs/2": layer(file("a", b"2"))}
    manifest = json.dumps([{"Config": "c", "Layers": [*named]}]).encode()
    archive.write_bytes(
        layer(*(file(*item) for item in named.items()), file("manifest.json", manifest))
    )
    assert layers.read_archive(archive, lambda path: path == "a") == {"a": b"2"}


def test_sizes_are_of_the_packed_layer_and_of_its_files(registry: Registry, tmp_path: Path) -> None:
    app = f"{registry.address}/app"
    packed = gzip.compress(layer(file("a", b"x" * 5_000), file("b", b"x" * 700)))
    write_layout(tmp_path, packed)
    digest = registry.push_layout(tmp_path, app, "k", no_line)
    assert layers.read_sizes(registry, app, digest) == {
        "": [layers.Layer(sha256(packed), packed=len(packed), unpacked=5_700)]
    }


def test_sizes_of_an_index_are_those_of_each_platform(registry: Registry, tmp_path: Path) -> None:
    app = f"{registry.address}/app"
    platforms = {"linux/amd64": b"1", "linux/arm64": b"22"}
    write_index(tmp_path, {name: layer(file("a", text)) for name, text in platforms.items()})
    digest = registry.push_layout(tmp_path, app, "k", no_line)
    sizes = layers.read_sizes(registry, app, digest)
    unpacked = {platform: [each.unpacked for each in of] for platform, of in sizes.items()}
    assert unpacked == {"linux/amd64": [1], "linux/arm64": [2]}
