"""Later commands use the ports, name and registry of the last `inv up`."""

from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.project import files, saved_settings

MOVED = {"API_PORT": "8100", "KAFKA_PORT": "9192", "HOME": "/root"}


def test_unset_variables_are_missing(tmp_path: Path) -> None:
    assert saved_settings.load(tmp_path, {"HOME": "/root", "API_PORT": ""}) == {}


def test_a_variable_overrides_a_saved_one(tmp_path: Path) -> None:
    saved_settings.save(tmp_path, MOVED, is_local=True)
    assert saved_settings.load(tmp_path, {}) == {"API_PORT": "8100", "KAFKA_PORT": "9192"}
    assert saved_settings.load(tmp_path, {"API_PORT": "8200"})["API_PORT"] == "8200"


def test_only_changed_settings_are_returned_when_saved(tmp_path: Path) -> None:
    saved = {"API_PORT": "8100", "KAFKA_PORT": "9192"}
    assert saved_settings.save(tmp_path, MOVED, is_local=True) == saved
    assert saved_settings.save(tmp_path, MOVED, is_local=True) == {}
    assert saved_settings.save(tmp_path, {}, is_local=True) == {}
    moved = {"API_PORT": "8200"}
    assert saved_settings.save(tmp_path, moved, is_local=True) == saved | moved
    assert saved_settings.load(tmp_path, {}) == saved | moved


@pytest.mark.parametrize(("is_local", "kept"), [(True, "localhost:5002"), (False, None)])
def test_only_a_local_registry_is_saved(
    tmp_path: Path, *, is_local: bool, kept: str | None
) -> None:
    saved_settings.save(tmp_path, {"DELIVERY_REGISTRY": "localhost:5002"}, is_local=is_local)
    assert saved_settings.load(tmp_path, {}).get("DELIVERY_REGISTRY") == kept


@pytest.mark.parametrize("value", ["80000", "0", "-1", "http", "8000 ", "²"])
def test_an_invalid_port_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(DeclarationError, match=f"API_PORT={value}: it is not a valid port"):
        saved_settings.load(tmp_path, {"API_PORT": value})


@pytest.mark.parametrize("value", ["Bad Name", "-a", "_a", "a.b", "é"])
def test_an_invalid_name_is_refused(tmp_path: Path, value: str) -> None:
    message = f"COMPOSE_PROJECT_NAME={value}: it is no name"
    with pytest.raises(DeclarationError, match=message) as error:
        saved_settings.load(tmp_path, {"COMPOSE_PROJECT_NAME": value})
    assert "lower-case letters, digits" in error.value.hint


def test_a_name_of_compose_is_accepted(tmp_path: Path) -> None:
    environ = {"COMPOSE_PROJECT_NAME": "0a_b-c"}
    assert saved_settings.load(tmp_path, environ) == environ


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_an_unreadable_file_is_ignored(tmp_path: Path, content: str) -> None:
    saved_settings.save(tmp_path, MOVED, is_local=True)
    (tmp_path / ".delivery" / "ports.json").write_text(content)
    assert saved_settings.load(tmp_path, {}) == {}


def test_the_projects_name_is_saved_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.project_name("sample", tmp_path) == "sample"
    saved_settings.save(tmp_path, {"COMPOSE_PROJECT_NAME": "saved"}, is_local=True)
    assert files.project_name("sample", tmp_path) == "saved"
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "another")
    assert files.project_name("sample", tmp_path) == "another"
