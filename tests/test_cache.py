"""The user's cache: folders, size and cleanup."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery import cache
from delivery.errors import DeliveryError

HOMES = [
    (cache.cache_home, "XDG_CACHE_HOME", ".cache"),
    (cache.state_home, "XDG_STATE_HOME", ".local/state"),
]


@pytest.mark.parametrize("value", ["/elsewhere", "", "relative/path"])
@pytest.mark.parametrize(("home", "variable", "default"), HOMES)
def test_the_folders_follow_the_xdg_specification(
    monkeypatch: pytest.MonkeyPatch,
    home: Callable[[], Path],
    variable: str,
    default: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("HOME", "/home/ada")
    parent = value if value.startswith("/") else f"/home/ada/{default}"
    assert home() == Path(parent, "delivery-platform")


def test_a_folder_that_cannot_be_created_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DeliveryError, match="create the cache folder"):
        cache.folder("engine")


def test_clean_removes_the_cache() -> None:
    (cache.folder("engine") / "big").write_bytes(b"x" * 10_000)
    assert cache.size() >= 10_000
    root = cache.folder()
    cache.clean()
    assert not root.exists()


def test_a_file_with_two_names_counts_once() -> None:
    file = cache.folder("engine") / "big"
    file.write_bytes(b"x" * 1_000_000)
    size = cache.size()
    os.link(file, file.with_name("again"))
    assert cache.size() == size >= 1_000_000


def test_unused_entries_are_removed() -> None:
    for name, days in (("old", 15), ("recent", 13), ("used", 15)):
        folder = cache.folder("programs", name)
        (folder / "program").write_bytes(b"x" * 100_000)
        then = time.time() - days * 86_400
        os.utime(folder, (then, then))
    cache.mark_used(cache.folder("programs", "used"))
    assert cache.remove_unused("programs", 14) >= 100_000
    assert sorted(path.name for path in cache.folder("programs").iterdir()) == ["recent", "used"]


def test_an_entry_that_cannot_be_removed_is_an_error() -> None:
    stray = cache.folder("programs") / "stray"
    stray.touch()
    os.utime(stray, (0, 0))
    with pytest.raises(DeliveryError, match=r"cannot remove .*/stray") as error:
        cache.remove_unused("programs", 14)
    assert "by hand" in error.value.hint


def test_first_seen_keeps_the_time_of_known_names() -> None:
    first = cache.first_seen("images", ["a", "b"])
    assert set(cache.first_seen("images", ["a"])) == {"a"}
    again = cache.first_seen("images", ["a", "b"])
    assert again["a"] == first["a"]
    assert again["b"] > first["b"]
