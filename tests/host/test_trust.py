"""The CA bundle that builds get."""

from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.host import trust


def test_the_bundle_of_the_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    monkeypatch.setenv("DELIVERY_BUILD_CA", str(bundle))
    assert trust.secrets() == {"build-ca": bundle}


def test_a_missing_bundle_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_BUILD_CA", "/no/ca.pem")
    with pytest.raises(DeclarationError, match=r"there is no file /no/ca\.pem"):
        trust.secrets()


def test_the_machines_bundle_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.crt"
    own.touch()
    monkeypatch.setattr(trust, "_BUNDLES", ("/no/such.crt", str(own)))
    assert trust.secrets() == {"build-ca": own}
    monkeypatch.setattr(trust, "_BUNDLES", ("/no/such.crt",))
    assert trust.secrets() == {}
