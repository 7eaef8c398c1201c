"""Flags, keys of delivery.toml and JSON fields use the glossary's terms, or plain words."""

import re
from collections.abc import Iterator

import pytest
from invoke.collection import Collection
from pydantic import TypeAdapter

import tasks
from delivery.build.plan import Plan
from delivery.project import schema
from delivery.project.files import ROOT
from delivery.records.deployment import Deployment
from delivery.records.events import Record
from delivery.release.released import Release

ROWS = re.findall(
    r"^\| ([^|]+) \| [^|]+ \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE
)
TERMS = [row for row in ROWS if row not in {"term", "---"}]
# Words that need no definition: of Git, of Kubernetes and Helm, of command lines, of English.
PLAIN = set(
    re.findall(
        r"[a-z]+",
        """
        block branch changelog commit committed develop gitflow push ref tag
        kubernetes namespace node pods role service values volumes worker prometheus
        collect csv data dated days debug dry file folder follow history json monitoring of only
        port say tail timeout to use without yes
        action address after at because before began bump changed confirm decision details error
        image in kind last message name next notes on optional override packaged public reason
        reference rejected responsible restored result seconds since status suffix test unchecked
        unknown unpublished until written
        """,
    )
)


def words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", name.lower())


def flags() -> Iterator[str]:
    assert isinstance(tasks.namespace, Collection)
    for context in tasks.namespace.to_contexts():
        yield from (flag for flag in context.flags if flag.startswith("--"))


def keys() -> Iterator[str]:
    for key, _ in schema.described_keys():
        yield key.replace(".NAME.", ".")


def fields(node: object) -> Iterator[str]:
    """The names of all properties in a JSON schema."""
    if isinstance(node, dict):
        yield from node.get("properties", {})
        for inner in node.values():
            yield from fields(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from fields(inner)


NAMES = {
    "flags": set(flags()),
    "keys of delivery.toml": set(keys()),
    **{
        f"fields of {model.__name__}": set(fields(TypeAdapter(model).json_schema()))
        for model in (Plan, Release, Deployment, Record)
    },
}


def is_known(word: str, known: set[str]) -> bool:
    return not known.isdisjoint({word, *(word.removesuffix(end) for end in ("s", "es", "ed"))})


@pytest.mark.parametrize("kind", NAMES)
def test_each_name_is_in_the_glossary_or_plain(kind: str) -> None:
    known = PLAIN | {word for term in TERMS for word in words(term)}
    unknown = {
        name: [word for word in words(name) if not is_known(word, known)] for name in NAMES[kind]
    }
    assert {name: missing for name, missing in unknown.items() if missing} == {}


def test_each_term_is_defined_once_in_order() -> None:
    assert sorted(set(TERMS), key=str.lower) == TERMS


def test_no_plain_word_is_unused() -> None:
    used = {word for names in NAMES.values() for name in names for word in words(name)}
    assert {word for word in PLAIN if not {word, f"{word}s", f"{word}es"} & used} == set()
