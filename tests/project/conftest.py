"""What the tests of delivery/project share."""

import os

import pytest

from tests.repositories import environment


@pytest.fixture(autouse=True)
def _no_settings_for_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git knows neither this user's settings nor the clone whose hook runs these tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
