"""Tests read YAML without duplicate keys."""

import re

import pytest
import yaml

from delivery.project.files import ROOT
from tests import yaml_strict


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: {b: 1, b: 1}", "- {a: 1, 'a': 2}"])
def test_a_duplicate_key_is_an_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="more than once"):
        yaml_strict.load(text)
    with pytest.raises(yaml.YAMLError, match="more than once"):
        yaml_strict.load_all(text)


def test_yaml_without_duplicate_keys_is_read() -> None:
    assert yaml_strict.load("a: {b: 1}\nc: [{b: 2}, {b: 3}]") == {
        "a": {"b": 1},
        "c": [{"b": 2}, {"b": 3}],
    }
    assert yaml_strict.load_all("---\n---\na: 1\n---\na: 2") == [{"a": 1}, {"a": 2}]


def test_no_test_uses_another_loader() -> None:
    folders = ("tests", "ops/monitoring/tests", "platform-chart/tests")
    lenient = re.compile(r"\byaml\.(safe_load|full_load|load)(_all)?\((?!text, Loader=_Strict\))")
    files = [
        file
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        if file.name != "test_yaml_strict.py"
    ]
    assert [
        str(file.relative_to(ROOT))
        for file in files
        if lenient.search(file.read_text(encoding="utf-8"))
    ] == []
