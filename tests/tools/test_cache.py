"""The cache is one folder per user, where XDG says."""

import threading
from pathlib import Path

import pytest

from delivery.core.errors import DeliveryError
from delivery.tools import cache


def test_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder("engine") == tmp_path / "delivery-platform" / "engine"


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DeliveryError, match="make the cache folder"):
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
