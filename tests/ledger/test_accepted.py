"""The API stores what it accepts as it was sent; it refuses the rest, and names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from tests.ledger.stack import Stack, wait_for

pytestmark = pytest.mark.engine

OK, ACCEPTED, REFUSED = 200, 202, 422
EXAMPLES = 250
# The API's default limit; a larger body gets 413.
BODY_BYTES = 65_536
# JSON has no infinity: a number beyond a double stands for it.
BEYOND = "1e400"
GOOD = {
    "component": "accepted",
    "version": "1",
    "environment": "develop",
    "responsible": "me",
    "stage": "test",
    "status": "started",
}
BRACKETS = (("[", "]"), ('{"a":', "}"), ("[0,", "]"), ('{"":{},"[":', "}"))


def nested(levels: int, *brackets: tuple[str, str]) -> dict[str, Any]:
    """Details with this many levels, itself included; the brackets below alternate."""
    pairs = [brackets[number % len(brackets)] for number in range(levels - 2)]
    left, right = (
        "".join(pair[0] for pair in pairs),
        "".join(pair[1] for pair in reversed(pairs)),
    )
    return dict(json.loads(f'{{"a":{left}[]{right}}}'))


CHARACTERS = st.characters() | st.sampled_from("\0\x1f\x7f\"\\'\u2028\ufffe\uffff🚀\U0010ffff%")
HALF_PAIRS = st.characters(categories=["Cs"])
TEXTS = st.text(CHARACTERS, max_size=8)
NUMBERS = (
    st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from([10**308, -(10**308), 10**309, -(10**4000), -0.0, 5e-324, 2**63, 2**64])
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXTS, children, max_size=4),
    max_leaves=12,
)
DEEP = st.builds(
    nested,
    st.integers(24, 36) | st.sampled_from([100, 900]),
    st.sampled_from(BRACKETS),
    st.sampled_from(BRACKETS),
)
WIDE = st.builds(lambda child, width: {"a": [child] * width}, JSON, st.integers(30, 200))
LARGE = st.builds(lambda text, size: {text: "x" * size}, TEXTS, st.integers(32_700, 32_800))
UNENCODABLE = st.builds(lambda before, half: {before + half: half}, TEXTS, HALF_PAIRS)
DETAILS = st.dictionaries(TEXTS, JSON, max_size=5) | DEEP | WIDE | LARGE | UNENCODABLE


def values(schema: Mapping[str, Any], named: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a field's schema allows, and its longest text; `details` are DETAILS.

    named: the contract's schemas by name, to which a field may refer.
    """
    schema = named[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "object":
        return DETAILS
    texts, limit = st.from_regex(schema["pattern"], fullmatch=True), schema["maxLength"]
    return texts.filter(lambda text: len(text) <= limit) | st.just("x" * limit)


def events(named: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies that the app's contract allows; half of them vary in their details only."""
    properties = named["NewDeployment"]["properties"]
    fields = {name: values(field, named) for name, field in properties.items()}
    return st.fixed_dictionaries(fields) | DETAILS.map(lambda details: {**GOOD, "details": details})


def ask(
    connection: HTTPConnection,
    method: str,
    path: str,
    body: str | None = None,
) -> tuple[int, Any]:
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, body and body.encode(), headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_accepted_events_are_stored_and_refusals_name_the_field(stack: Stack) -> None:
    sent: dict[str, Any] = {}
    statuses = []
    letters = stack.dead_letters()
    with closing(HTTPConnection(*stack.address("api-rest"), timeout=30)) as connection:
        _, contract = ask(connection, "GET", "/openapi.json")

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(events(contract["components"]["schemas"]))
        @example(GOOD)
        @example({**GOOD, "details": nested(30, *BRACKETS)})
        @example({**GOOD, "details": nested(33, ("[", "]"))})
        def post(event: dict[str, Any]) -> None:
            body = json.dumps(event).replace("Infinity", BEYOND)
            assume(len(body) <= BODY_BYTES)
            status, answer = ask(connection, "POST", "/deployments", body)
            statuses.append(status)
            if status == ACCEPTED:
                sent[answer["id"]] = {**answer, **event}
            else:
                assert (status, list(answer["error"]["fields"])) == (REFUSED, ["details"]), answer

        post()

        def settled() -> bool:
            count = "SELECT COUNT(*) AS rows_ FROM deployments WHERE id IN %s"
            (stored,) = stack.execute(count, tuple(sent))
            return stored["rows_"] == len(sent) or stack.dead_letters() > letters

        wait_for("all events to be stored, or one to be a dead letter", settled)
        stored = {identity: ask(connection, "GET", f"/deployments/{identity}") for identity in sent}
    assert [sent[identity] for identity, (status, _) in stored.items() if status != OK] == []
    # The ledger adds a sequence number.
    kept = {
        identity: {name: event[name] for name in sent[identity]}
        for identity, (_, event) in stored.items()
    }
    assert kept == sent
    assert stack.dead_letters() == letters
    # Both are frequent.
    assert min(statuses.count(ACCEPTED), statuses.count(REFUSED)) > EXAMPLES // 10
