"""An image's files are what its layers leave when they are laid one upon another."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery.errors import RegistryError
from delivery.registry import layers
from delivery.registry.client import Registry
from tests.registries import FullRegistry, no_line, serving, sha256, write_layout

Entry = tuple[str, bytes | None, str]  # path, content (None: a folder), what a link leads to


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
                member.type, member.linkname = (
                    (tarfile.LNKTYPE if hard else tarfile.SYMTYPE),
                    target,
                )
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))
    return made.getvalue()


def union(*pieces: bytes, wanted: Callable[[str], bool] = lambda _path: True) -> dict[str, bytes]:
    return layers.union(pieces, wanted, "read the image")


def test_layers_add_up_and_the_later_wins() -> None:
    below = layer(folder("etc"), file("etc/a", b"1"), file("etc/b", b"1"))
    assert union(below, layer(folder("etc"), file("./etc/b", b"2"), file("/c", b"3"))) == {
        "etc/a": b"1",
        "etc/b": b"2",
        "c": b"3",
    }


def test_only_what_is_wanted_is_read() -> None:
    assert union(layer(file("a", b"1"), file("b", b"2")), wanted=lambda path: path == "b") == {
        "b": b"2"
    }


def test_a_packed_layer_is_read_as_an_unpacked_one_is() -> None:
    assert union(gzip.compress(layer(file("a", b"1")))) == {"a": b"1"}


@pytest.mark.parametrize("gone", ["etc", "etc/a"])
def test_what_a_later_layer_deletes_is_gone(gone: str) -> None:
    parent, _, name = gone.rpartition("/")
    whiteout = file(f"{parent}/.wh.{name}".lstrip("/"))
    below = layer(folder("etc"), file("etc/a", b"1"), file("etcetera", b"2"))
    assert union(below, layer(whiteout)) == {"etcetera": b"2"}


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_folder_hides_what_is_below_it_and_nothing_of_its_own_layer(
    *, first: bool
) -> None:
    opaque, own = file("etc/.wh..wh..opq"), file("etc/new", b"2")
    above = layer(opaque, own) if first else layer(own, opaque)
    assert union(layer(file("etc/a", b"1"), file("b", b"1")), above) == {"etc/new": b"2", "b": b"1"}


@pytest.mark.parametrize(
    ("below", "above", "left"),
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
def test_what_a_later_layer_hides_and_what_it_leaves(
    below: list[Entry], above: list[Entry], left: dict[str, bytes]
) -> None:
    assert union(layer(*below), layer(*above)) == left


@pytest.mark.parametrize(
    ("where", "target"),
    [
        ("doc/b", "a"),
        ("doc/b", "/doc/a"),
        ("doc/b", "./a"),
        ("b", "doc/a"),
        ("other/b", "../doc/a"),
    ],
)
def test_what_a_link_leads_to_counts_under_its_name_too(where: str, target: str) -> None:
    found = union(
        layer(file("doc/a/copyright", b"1"), file("doc/ab/copyright", b"2"), link(where, target))
    )
    assert found == {"doc/a/copyright": b"1", "doc/ab/copyright": b"2", f"{where}/copyright": b"1"}


def test_a_link_to_a_link_is_followed_and_one_to_itself_ends() -> None:
    found = union(
        layer(
            link("c", "b"),
            link("b", "a"),
            link("self", "self"),
            link("self2/x", "../self2"),
            file("a", b"1"),
        )
    )
    assert found == {"a": b"1", "b": b"1", "c": b"1"}


def test_a_hard_link_is_the_file_itself() -> None:
    above = layer(file("a", b"2"), link("b", "a"), hard=True)
    assert union(layer(file("a", b"1")), above) == {"a": b"2", "b": b"2"}


@pytest.mark.parametrize(
    "content",
    [
        b"\x28\xb5\x2f\xfd of zstd",
        gzip.compress(layer(file("a", b"1" * 5000)))[:40],
        layer(link("b", "not-there"), hard=True),
    ],
    ids=["zstd", "cut off", "hard link to nowhere"],
)
def test_a_layer_that_cannot_be_read_is_an_error(content: bytes) -> None:
    with pytest.raises(
        RegistryError, match="read the image: a layer is no tar archive packed by gzip"
    ):
        union(content)


def test_a_layout_is_read_lowest_layer_first(tmp_path: Path) -> None:
    write_layout(tmp_path, layer(file("a", b"1")), layer(file("a", b"2")))
    assert layers.in_layout(tmp_path, lambda _path: True) == {"a": b"2"}


@pytest.mark.parametrize("lacks", ["index", "layer"])
def test_what_is_no_layout_is_an_error(tmp_path: Path, lacks: str) -> None:
    piece = layer(file("a", b"1"))
    write_layout(tmp_path, piece)
    blob = tmp_path / "blobs" / "sha256" / sha256(piece).partition(":")[2]
    (blob if lacks == "layer" else tmp_path / "index.json").unlink()
    with pytest.raises(RegistryError, match="is not an OCI layout with one image"):
        layers.in_layout(tmp_path, lambda _path: True)


def test_the_index_of_several_platforms_is_an_error(tmp_path: Path) -> None:
    write_layout(tmp_path, layer(file("a", b"1")), layers=None)
    with pytest.raises(RegistryError, match="it is not the image of one platform"):
        layers.in_layout(tmp_path, lambda _path: True)


def test_an_image_in_a_registry_is_read_as_its_layout_is(tmp_path: Path) -> None:
    digest = write_layout(tmp_path, layer(file("a", b"1")), layer(file("b", b"2")))
    with serving(FullRegistry()) as (address, _):
        registry = Registry(address)
        registry.push_layout(tmp_path, f"{address}/app", "k", no_line)
        found = layers.in_registry(registry, f"{address}/app", digest, lambda _path: True)
    assert found == layers.in_layout(tmp_path, lambda _path: True) == {"a": b"1", "b": b"2"}


def test_an_image_that_the_registry_has_not_is_an_error() -> None:
    with (
        serving(FullRegistry()) as (address, _),
        pytest.raises(RegistryError, match="the registry holds no such image"),
    ):
        layers.in_registry(
            Registry(address), f"{address}/app", f"sha256:{'ab' * 32}", lambda _path: True
        )
