"""The ports of the last `inv up` hold for the commands after it, until others are said."""

from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.project import files, saved_settings

MOVED = {"API_PORT": "8100", "KAFKA_PORT": "9192", "HOME": "/root"}


def test_nothing_is_chosen_where_nothing_was_said(tmp_path: Path) -> None:
    assert saved_settings.load(tmp_path, {"HOME": "/root", "API_PORT": ""}) == {}


def test_what_was_kept_holds_until_another_is_said(tmp_path: Path) -> None:
    saved_settings.save(tmp_path, MOVED, is_local=True)
    assert saved_settings.load(tmp_path, {}) == {"API_PORT": "8100", "KAFKA_PORT": "9192"}
    assert saved_settings.load(tmp_path, {"API_PORT": "8200"})["API_PORT"] == "8200"


@pytest.mark.parametrize(("is_local", "kept"), [(True, "localhost:5002"), (False, None)])
def test_only_a_local_registry_is_kept(tmp_path: Path, *, is_local: bool, kept: str | None) -> None:
    saved_settings.save(tmp_path, {"DELIVERY_REGISTRY": "localhost:5002"}, is_local=is_local)
    assert saved_settings.load(tmp_path, {}).get("DELIVERY_REGISTRY") == kept


@pytest.mark.parametrize("value", ["80000", "0", "-1", "http", "8000 ", "²"])
def test_what_is_no_port_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(DeclarationError, match=f"API_PORT={value}: it is no port"):
        saved_settings.load(tmp_path, {"API_PORT": value})


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_a_file_that_cannot_be_read_counts_for_nothing(tmp_path: Path, content: str) -> None:
    saved_settings.save(tmp_path, MOVED, is_local=True)
    (tmp_path / ".delivery" / "ports.json").write_text(content)
    assert saved_settings.load(tmp_path, {}) == {}


def test_the_name_is_kept_as_the_ports_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    assert files.project_name("sample", tmp_path) == "sample"
    saved_settings.save(tmp_path, {"COMPOSE_PROJECT_NAME": "mine"}, is_local=True)
    assert files.project_name("sample", tmp_path) == "mine"
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "another")
    assert files.project_name("sample", tmp_path) == "another"
