"""mistakes.yaml: each mistake gets a message that says where it is and what to write instead."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from support import CHART, fails, helm, helms, load, numbered

TABLE = load((Path(__file__).parent / "mistakes.yaml").read_text(encoding="utf-8"))
OF_COMPONENTS = [(each["values"], each["message"]) for each in TABLE["component"]]
OTHERS = [(each["values"], each["message"]) for each in TABLE["values"]]


def mistakes(message: str) -> list[str]:
    """Return the lines of helm's error that are a mistake."""
    return [line[4:] for line in message.splitlines() if line.startswith("  - ")]


def test_there_are_60_mistakes() -> None:
    assert len(OF_COMPONENTS) + len(OTHERS) >= 60


@pytest.mark.parametrize("number", range(len(OF_COMPONENTS)), ids=[row[0] for row in OF_COMPONENTS])
def test_a_mistake_in_a_component(number: int) -> None:
    # All components in one run of helm: no mistake hides another one.
    lines = mistakes(fails(numbered(values for values, _ in OF_COMPONENTS)))
    prefix = f"components.web-{number}."
    assert [line for line in lines if line.startswith(prefix)] == [
        prefix + OF_COMPONENTS[number][1]
    ]


def merged(first: Any, second: Any) -> Any:
    """Return two maps as one; a key of both has to be a map in both."""
    if first is None:
        return second
    common = {key: merged(first[key], second[key]) for key in first.keys() & second.keys()}
    return {**first, **second, **common}


def test_mistakes_in_other_values_hide_none() -> None:
    values = functools.reduce(merged, (load(values) for values, _ in OTHERS))
    assert sorted(mistakes(fails(values))) == sorted(message for _, message in OTHERS)


def test_every_helm_prints_the_same_mistakes() -> None:
    some = OF_COMPONENTS[::6]  # a run with all takes a minute, and the chart prints them, not helm
    values = json.dumps(numbered(values for values, _ in some))
    first, *others = [
        mistakes(helm("template", "x", str(CHART), "--values=-", program=each, stdin=values).stderr)
        for each in helms()
    ]
    assert len(first) == len(some)
    assert all(other == first for other in others)


@pytest.mark.parametrize("text", ["additional propert", "does not match", "^", "JSON", "schema"])
def test_no_message_shows_a_regular_expression_or_the_schema(text: str) -> None:
    assert text not in fails(numbered(values for values, _ in OF_COMPONENTS))
