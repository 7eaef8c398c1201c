"""The cache is one folder per user, where XDG says."""

import os
import threading
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
def test_a_home_is_where_its_variable_says_or_below_the_users(
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


def test_a_folder_that_cannot_be_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DeliveryError, match="create the cache folder"):
        cache.folder("engine")


def test_of_two_that_want_the_same_lock_the_second_waits() -> None:
    order: list[str] = []

    def second() -> None:
        with cache.lock("thing"):
            order.append("second")

    with cache.lock("thing"):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.3)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_cleaning_removes_all_of_it() -> None:
    (cache.folder("engine") / "big").write_bytes(b"x" * 10_000)
    assert cache.size() >= 10_000
    root = cache.folder()
    cache.clean()
    assert not root.exists()


def test_a_file_of_two_names_takes_its_room_once() -> None:
    file = cache.folder("engine") / "big"
    file.write_bytes(b"x" * 1_000_000)
    before = cache.size()
    os.link(file, file.with_name("again"))
    assert cache.size() == before >= 1_000_000


def test_what_was_not_used_for_a_while_is_removed() -> None:
    for name, days in (("old", 15), ("recent", 13), ("used", 15)):
        home = cache.folder("programs", name)
        (home / "program").write_bytes(b"x" * 100_000)
        then = time.time() - days * 86_400
        os.utime(home, (then, then))
    cache.mark_used(cache.folder("programs", "used"))
    assert cache.remove_unused("programs", 14) >= 100_000
    assert sorted(one.name for one in cache.folder("programs").iterdir()) == ["recent", "used"]


def test_what_cannot_be_removed_is_named() -> None:
    stray = cache.folder("programs") / "stray"
    stray.touch()
    os.utime(stray, (0, 0))
    with pytest.raises(DeliveryError, match=r"cannot remove .*/stray") as error:
        cache.remove_unused("programs", 14)
    assert "by hand" in error.value.hint


def test_what_is_seen_again_keeps_the_time_at_which_it_was_first_seen() -> None:
    first = cache.first_seen("images", ["a", "b"])
    assert set(cache.first_seen("images", ["a"])) == {"a"}
    again = cache.first_seen("images", ["a", "b"])
    assert again["a"] == first["a"]
    assert again["b"] > first["b"]
