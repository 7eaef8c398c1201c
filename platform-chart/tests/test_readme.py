"""README.md lists every value."""

from __future__ import annotations

import json
import re

import pytest
from support import CHART, EXAMPLES, alone, load, render, variables

README = (CHART / "README.md").read_text(encoding="utf-8")
SCHEMA = json.loads((CHART / "schema.json").read_text(encoding="utf-8"))


def table_rows(head: str) -> list[str]:
    """Return the rows of the table with this heading."""
    return README.split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]


def table(head: str) -> set[str]:
    """Return the names in the first column of the table with this heading."""
    rows = table_rows(head)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_every_value_at_the_top_is_in_the_table() -> None:
    assert table("Values") == SCHEMA["properties"].keys() - {"global"}


def test_every_key_of_a_component_is_in_the_table() -> None:
    assert table("Key") == SCHEMA["$defs"]["component"]["properties"].keys()


# The values of each backend under which a component gets the most variables.
MOST = {
    "kafka": {"auth": {"enabled": True}, "tls": {"enabled": True}},
    "database": {"tls": {"enabled": True}},
}
EXTERNAL = {
    "bootstrapServers": ["a:1"],
    "securityProtocol": "SASL_SSL",
    "existingSecret": "login",
    "caSecret": "ca",
}


@pytest.mark.parametrize("backend", ["kafka", "database"])
def test_every_variable_of_a_backend_is_in_the_table(backend: str) -> None:
    rows = [row for row in table_rows("Variable") if f"| `{backend}` |" in row]
    listed = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}
    internal = alone(uses=[backend]) | {backend: {"enabled": True, **MOST[backend]}}
    login = {"host": "d", "existingSecret": "login"}
    external = {**alone(uses=[backend]), "externalKafka": EXTERNAL, "externalDatabase": login}
    names = {name for values in (internal, external) for name in set_by(values)}
    assert names == listed


def set_by(values: dict[str, object]) -> set[str]:
    return set(variables(render(values), "platform-web"))


def test_every_example_is_in_the_table() -> None:
    rows = README.split("\n| File |", 1)[1].split("\n\n", 1)[0]
    assert sorted(re.findall(r"\]\((examples/[^)]+)\)", rows)) == sorted(EXAMPLES)


def test_the_label_of_the_commands_is_the_charts() -> None:
    label = load((CHART / "values.yaml").read_text(encoding="utf-8"))["capacityTypeLabel"]
    labels = set(re.findall(r"kubectl label node \S+ (\S+)=", README))
    assert labels == {label}


def test_every_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line[3:]).lower().replace(" ", "-")
        for line in README.splitlines()
        if line[:3] == "## "
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings
        elif not target.startswith("https://"):
            assert CHART in (CHART / target).resolve(strict=True).parents, target
