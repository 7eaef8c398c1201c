"""A component is added to the project's own files, which then declare it and nothing else anew."""

import tomllib

import pytest

from delivery.errors import DeclarationError
from delivery.project.chart import tag_of
from delivery.project.component import Component, in_declaration, in_values
from delivery.project.files import ROOT
from tests import yaml_strict

GREETER = Component("greeter", "greeter", "base-image", "apps", "localhost:5001/greeter", "0.1.0", 8080)
DECLARED = (ROOT / "delivery.toml").read_text()
VALUES = (ROOT / "platform-chart" / "values.yaml").read_text()


def test_the_declaration_gets_its_image_in_its_subproject() -> None:
    before, after = tomllib.loads(DECLARED), tomllib.loads(in_declaration(DECLARED, GREETER))
    assert after["images"].pop("greeter") == {"context": "greeter", "base": "base-image"}
    assert after["subprojects"]["apps"]["folders"].pop() == "greeter"
    assert after == before


def test_nothing_else_of_the_declaration_is_touched() -> None:
    lines = '[images.greeter]\ncontext = "greeter"\nbase = "base-image"\n\n'
    added = in_declaration(DECLARED, GREETER)
    assert added.replace(lines, "", 1).replace(', "greeter"]', "]", 1) == DECLARED


def test_the_values_get_a_component_with_its_port() -> None:
    added = in_values(VALUES, GREETER)
    before, after = yaml_strict.load(VALUES), yaml_strict.load(added)
    assert after["components"].pop("greeter") == {
        "image": {"repository": "localhost:5001/greeter", "tag": "0.1.0", "digest": ""},
        "ports": {"http": 8080},
        "service": {"enabled": True},
    }
    assert after == before
    assert tag_of(added, "greeter") == "0.1.0"


def test_one_that_listens_on_nothing_has_an_image_alone() -> None:
    quiet = Component("quiet", "quiet", "base-image", "apps", "localhost:5001/quiet", "0.1.0")
    assert list(yaml_strict.load(in_values(VALUES, quiet))["components"]["quiet"]) == ["image"]


def test_one_that_is_there_already_is_refused() -> None:
    again = Component("api-rest", "api-rest", "base-image", "apps", "localhost:5001/api-rest", "0.1.0")
    with pytest.raises(DeclarationError, match="api-rest to the chart's values: it is a component there already"):
        in_values(VALUES, again)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[images.app]\ncontext = "app"\n', "no table \\[subprojects.apps\\]"),
        ('[subprojects.apps]\nfolders = ["app"]\n', "no table \\[images"),
        ('[images.app]\n[subprojects.apps]\nfolders = [\n "app"\n]\nx = 1\n', "its folders are not one line"),
    ],
)
def test_where_there_is_no_place_for_it_the_error_says_what_to_write(text: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        in_declaration(text, GREETER)


def test_values_without_components_are_refused() -> None:
    with pytest.raises(DeclarationError, match="no map `components:`"):
        in_values("kafka: {}\n", GREETER)
