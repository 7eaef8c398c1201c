"""A component is added whole or not at all."""

import re
from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.project import add_component, files
from delivery.project.files import ROOT

WRITTEN = ["delivery.toml", "platform-chart/values.yaml", "greeter/VERSION"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the project's own files, and a new component's."""
    declared = files.load_declaration()
    places = [one.recipe for one in declared.upstream.values()]
    places += [folder for one in declared.subprojects.values() for folder in one.folders]
    for place in (*places, "greeter"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "api-rest" / "VERSION").write_text("0.3.0\n")
    (tmp_path / "greeter" / "Dockerfile").write_text("FROM base-image\n")
    for file in ("delivery.toml", "platform-chart/values.yaml"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    (tmp_path / "cosign.pub").write_text("")
    return tmp_path


def add(clone: Path, name: str = "greeter", folder: str = "greeter", subproject: str = "", port: int = 0) -> list[str]:
    return add_component.add(
        files.load_declaration(clone), name, folder=folder, subproject=subproject, port=port, root=clone
    )


def test_what_is_written_declares_it(clone: Path) -> None:
    assert add(clone, port=8080) == WRITTEN
    declared = files.load_declaration(clone)
    assert "greeter" in declared.components()
    assert declared.subproject_of("greeter") == declared.subproject_of("api-rest")
    assert files.version(clone / "greeter") == "0.3.0"
    assert "tag: 0.3.0" in (clone / "platform-chart" / "values.yaml").read_text()


def test_a_version_of_its_own_stays(clone: Path) -> None:
    (clone / "greeter" / "VERSION").write_text("2.0.0\n")
    assert add(clone) == WRITTEN[:2]
    assert files.version(clone / "greeter") == "2.0.0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "api-rest"}, "has an image of that name"),
        ({"folder": "nowhere"}, "there is no nowhere/Dockerfile"),
        ({"port": 70_000}, "70000 is no port"),
        ({"subproject": "none"}, r"no table \[subprojects.none\]"),
        ({"name": "Greeter"}, "1 mistake"),
    ],
)
def test_what_is_wrong_changes_nothing(clone: Path, change: dict[str, object], said: str) -> None:
    before = {file: file.read_text() for file in clone.rglob("*") if file.is_file()}
    with pytest.raises(DeclarationError, match=said):
        add(clone, **change)  # type: ignore[arg-type]
    assert {file: file.read_text() for file in clone.rglob("*") if file.is_file()} == before


def test_without_an_image_to_stand_beside_it_says_what_to_write(clone: Path) -> None:
    declared = clone / "delivery.toml"
    without = re.sub(r"^\[images\.[^\[]*", "", declared.read_text(), flags=re.MULTILINE)
    declared.write_text(f"{without}\n[images]\n")
    with pytest.raises(DeclarationError, match="no image") as error:
        add(clone)
    assert "[images.greeter]" in error.value.hint
