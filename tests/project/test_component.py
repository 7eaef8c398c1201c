"""A component is added to delivery.toml and to the chart's values, and nothing else changes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.project import component, files
from delivery.project.chart import image_tag
from delivery.project.component import Component, add_to_declaration, add_to_values
from delivery.project.files import ROOT
from tests import yaml_strict

GREETER = Component("greeter", "greeter", "apps", 8080)
IMAGE = '{repository: localhost:5001/greeter, tag: 0.1.0, digest: ""}'
DECLARED = (ROOT / "delivery.toml").read_text()
VALUES = (ROOT / "platform-chart" / "values.yaml").read_text()


def test_nothing_else_of_the_declaration_changes() -> None:
    lines = '[images.greeter]\ncontext = "greeter"\nbase = "base-image"\n\n'
    added = add_to_declaration(DECLARED, GREETER, "base-image")
    assert added.replace(lines, "", 1).replace(', "greeter"]', "]", 1) == DECLARED


def test_the_values_get_a_component_with_its_port() -> None:
    added = add_to_values(VALUES, GREETER, IMAGE)
    before, after = yaml_strict.load(VALUES), yaml_strict.load(added)
    assert after["components"].pop("greeter") == {
        "image": {"repository": "localhost:5001/greeter", "tag": "0.1.0", "digest": ""},
        "ports": {"http": 8080},
        "service": {"enabled": True},
    }
    assert after == before


def test_a_component_without_a_port_has_only_an_image() -> None:
    quiet = add_to_values(VALUES, replace(GREETER, port=0), IMAGE)
    assert list(yaml_strict.load(quiet)["components"]["greeter"]) == ["image"]


def test_an_existing_component_is_refused() -> None:
    again = replace(GREETER, name="api-rest")
    with pytest.raises(
        DeclarationError, match="api-rest to the chart's values: they have a component of that name"
    ):
        add_to_values(VALUES, again, IMAGE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[images.app]\ncontext = "app"\n', "no table \\[subprojects.apps\\]"),
        ('[subprojects.apps]\nfolders = ["app"]\n', "no table \\[images"),
        (
            '[images.app]\n[subprojects.apps]\nfolders = [\n "app"\n]\nx = 1\n',
            "its folders take several lines",
        ),
    ],
)
def test_a_declaration_without_a_place_for_it_is_refused(text: str, problem: str) -> None:
    with pytest.raises(DeclarationError, match=problem):
        add_to_declaration(text, GREETER, "base-image")


def test_values_without_components_are_refused() -> None:
    with pytest.raises(DeclarationError, match="no map `components:`"):
        add_to_values("kafka: {}\n", GREETER, IMAGE)


WRITTEN = ["delivery.toml", "platform-chart/values.yaml", "greeter/VERSION"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the project's files, and those of a new component."""
    declared = files.load_declaration()
    folders = [upstream.recipe for upstream in declared.upstream.values()]
    folders += [path for subproject in declared.subprojects.values() for path in subproject.folders]
    for folder in (*folders, "greeter"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "api-rest" / "VERSION").write_text("0.3.0\n")
    (tmp_path / "greeter" / "Dockerfile").write_text("FROM base-image\n")
    values = [environment.values for environment in declared.environments.values()]
    for file in ("delivery.toml", "platform-chart/values.yaml", *values):
        (tmp_path / file).write_text((ROOT / file).read_text())
    (tmp_path / "cosign.pub").write_text("")
    return tmp_path


def add(clone: Path, **more: object) -> list[str]:
    new = replace(GREETER, **{"subproject": "", **more})  # type: ignore[arg-type]
    return component.add(files.load_declaration(clone), new, clone)


def test_the_written_files_declare_it(clone: Path) -> None:
    assert add(clone) == WRITTEN
    declared = files.load_declaration(clone)
    assert "greeter" in declared.components()
    assert declared.subproject_of("greeter") == declared.subproject_of("api-rest")
    assert files.read_version(clone / "greeter") == "0.3.0"
    assert image_tag((clone / "platform-chart" / "values.yaml").read_text(), "greeter") == "0.3.0"


def test_an_existing_version_file_is_kept(clone: Path) -> None:
    (clone / "greeter" / "VERSION").write_text("2.0.0\n")
    assert add(clone) == WRITTEN[:2]
    assert files.read_version(clone / "greeter") == "2.0.0"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "api-rest"}, "has an image of that name"),
        ({"folder": "nowhere"}, "there is no nowhere/Dockerfile"),
        ({"port": 70_000}, "70000 is not a valid port"),
        ({"subproject": "none"}, r"no table \[subprojects.none\]"),
        ({"name": "Greeter"}, "1 mistake"),
    ],
)
def test_a_mistake_changes_no_file(clone: Path, change: dict[str, object], problem: str) -> None:
    before = {file: file.read_text() for file in clone.rglob("*") if file.is_file()}
    with pytest.raises(DeclarationError, match=problem):
        add(clone, **change)
    assert {file: file.read_text() for file in clone.rglob("*") if file.is_file()} == before


def test_a_declaration_without_images_is_refused(clone: Path) -> None:
    declared = clone / "delivery.toml"
    without = re.sub(r"^\[images\.[^\[]*", "", declared.read_text(), flags=re.MULTILINE)
    declared.write_text(f"{without}\n[images]\n")
    with pytest.raises(DeclarationError, match="no image") as error:
        add(clone)
    assert "[images.greeter]" in error.value.hint
