"""The machine's platform, and the actor in records."""

import getpass
import platform

import pytest

from delivery import machine


@pytest.mark.parametrize(
    ("system", "expected"),
    [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("arm64", "linux/arm64")],
)
def test_the_platform_in_dockers_notation(
    monkeypatch: pytest.MonkeyPatch, system: str, expected: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: system)
    assert machine.platform() == expected


def test_a_variable_names_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_RESPONSIBLE", "Ada")
    assert machine.actor() == "Ada"


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert machine.actor().startswith("uid-")
