"""What the machine is called in images, and who works on it."""

import getpass
import platform

import pytest

from delivery import machine


@pytest.mark.parametrize(
    ("system", "expected"),
    [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("arm64", "linux/arm64")],
)
def test_names_the_platform_as_images_do(
    monkeypatch: pytest.MonkeyPatch, system: str, expected: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: system)
    assert machine.platform() == expected


def test_the_responsible_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_RESPONSIBLE", "Ada")
    assert machine.actor() == "Ada"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError

    monkeypatch.delenv("DELIVERY_RESPONSIBLE", raising=False)
    monkeypatch.setattr(getpass, "getuser", nameless)
    assert machine.actor().startswith("uid-")
