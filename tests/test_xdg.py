"""The user's folders are where the XDG base directory specification says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from delivery import xdg

FOLDERS = [(xdg.cache, "XDG_CACHE_HOME", ".cache"), (xdg.state, "XDG_STATE_HOME", ".local/state")]


@pytest.mark.parametrize(("folder", "variable", "default"), FOLDERS)
def test_a_folder_is_where_its_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Callable[[], Path], variable: str, default: str
) -> None:
    del default
    monkeypatch.setenv(variable, str(tmp_path))
    assert folder() == tmp_path / "delivery-platform"


@pytest.mark.parametrize("value", ["", "relative/path"])
@pytest.mark.parametrize(("folder", "variable", "default"), FOLDERS)
def test_a_folder_is_in_the_home_otherwise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: Callable[[], Path],
    variable: str,
    default: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == tmp_path / default / "delivery-platform"
