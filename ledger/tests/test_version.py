from importlib import metadata

import pytest

from ledger import version


def test_the_version_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "version", {"ledger": "1.2.3"}.__getitem__)
    assert version.installed() == "1.2.3"


def test_sources_without_installation_are_unversioned(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(version, "version", absent)
    assert version.installed() == "unversioned"
