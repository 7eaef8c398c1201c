from importlib import metadata

import pytest

from ledger import version


def test_it_is_the_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "version", {"ledger": "1.2.3"}.__getitem__)
    assert version.installed() == "1.2.3"


def test_sources_that_are_not_installed_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(version, "version", absent)
    assert version.installed() == "unversioned"
