"""A program is the one that is named, the one that is there, or Debian's."""

import os
import shutil
import sys
from collections.abc import Callable

import pytest

from delivery.core.errors import DeclarationError, DeliveryError
from delivery.steps import programs
from delivery.tools import debian


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is installed; empty until a test says otherwise."""
    found: set[str] = set()
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in found else None)
    for program in programs.PROGRAMS.values():
        monkeypatch.delenv(program.variable, raising=False)
    return found


@pytest.fixture
def installing(monkeypatch: pytest.MonkeyPatch, there: set[str]) -> list[str]:
    """A Debian whose packages hold what they are called."""
    installed: list[str] = []

    def install(packages: list[str], _on_line: Callable[[str], None]) -> None:
        installed.extend(packages)
        there.update(packages)

    monkeypatch.setattr(debian, "can_install", lambda: True)
    monkeypatch.setattr(debian, "install", install)
    return installed


def test_the_one_that_is_there_serves(there: set[str], installing: list[str]) -> None:
    there.add("google-chrome")
    assert programs.ensure("chromium") == "/usr/bin/google-chrome"
    assert installing == []


@pytest.mark.usefixtures("there")
def test_a_missing_one_is_installed(installing: list[str]) -> None:
    assert programs.ensure("chromium") == "/usr/bin/chromium"
    assert installing == ["chromium", "fonts-dejavu-core"]


def test_the_variable_decides(there: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    there.update({"wrk", "my-wrk"})
    monkeypatch.setenv("WRK", "my-wrk")
    assert programs.find("wrk") == "my-wrk"
    monkeypatch.setenv("WRK", "absent")
    with pytest.raises(DeclarationError, match="WRK=absent is no program"):
        programs.find("wrk")


@pytest.mark.usefixtures("there")
def test_a_name_that_is_not_known_is_an_error() -> None:
    with pytest.raises(DeclarationError, match="not a program") as caught:
        programs.ensure("emacs")
    assert "chromium" in caught.value.hint


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("system", "release", "user", "hint"),
    [
        ("linux", "trixie", 1000, "as root: apt-get install wrk"),
        ("darwin", "", 501, "brew install, or install wrk"),
        ("linux", "", 0, "install wrk with this system's package manager, or set WRK"),
    ],
)
def test_where_it_cannot_be_installed_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, user: int, hint: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(debian, "can_install", lambda: False)
    monkeypatch.setattr(debian, "release", lambda: release)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(DeliveryError, match="it is not installed") as caught:
        programs.ensure("wrk")
    assert caught.value.hint.startswith(hint)
