"""A statement says who built an image from what, and nothing of when."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis.strategies import text as texts

from delivery.build.plan import Plan
from delivery.project.declaration import Declaration
from delivery.project.gitflow import Line
from delivery.release import provenance
from delivery.release.provenance import Builder, Provenance
from tests.build.examples import plan_of
from tests.project.examples import checkout, decision, version
from tests.release import statements

NUMBERS = {"base-image": "1.0.0", "apps": "2.0.0", "platform-chart": "0.4.0"}
MATERIALS = {"debian": "sha256:dd", "api-rest/poetry.lock": "sha256:ee"}


@pytest.fixture
def plan(declaration: Declaration) -> Plan:
    versions = {name: version(name, "0.1.0", next=next_) for name, next_ in NUMBERS.items()}
    return plan_of(checkout(declaration, decision(Line.DEVELOP, "develop"), versions, "c0ffee"))


def statement(text: str, **changed: object) -> str:
    """The statement with this predicate."""
    return statements.statement("sha256:aa", "k2", **{"predicate": json.loads(text), **changed})


def test_a_statement_is_read_back(plan: Plan) -> None:
    _, app = plan.images.all
    text = provenance.render(plan, app, MATERIALS, Builder.CI, "https://ci/7")
    said = provenance.parse(statement(text))
    assert said == Provenance("sha256:aa", "k2", Builder.CI, "https://ci/7")
    assert provenance.predicate_of(statement(text)) == text


def test_equal_facts_give_equal_bytes(plan: Plan) -> None:
    _, app = plan.images.all
    backwards = dict(reversed(MATERIALS.items()))
    texts = {
        provenance.render(plan, app, materials, Builder.LAPTOP, "me@host")
        for materials in (MATERIALS, backwards)
    }
    (text,) = texts
    names = [part["name"] for part in json.loads(text)["buildDefinition"]["resolvedDependencies"]]
    assert names == ["source", "api-rest/poetry.lock", "debian"]
    assert provenance.render(plan, app, MATERIALS, Builder.CI, "me@host") != text


def test_declared_platforms_are_parameters(plan: Plan) -> None:
    _, app = plan.images.all
    index = replace(app, platforms={"linux/amd64": "k-amd64", "linux/arm64": "k-arm64"})
    for image, expected in ((index, ["linux/amd64", "linux/arm64"]), (app, None)):
        text = provenance.render(plan, image, MATERIALS, Builder.CI, "me@host")
        parameters = json.loads(text)["buildDefinition"]["externalParameters"]
        assert parameters.get("platforms") == expected


@given(texts())
def test_anything_else_says_nothing(text: str) -> None:
    assert provenance.parse(text) is None
    assert provenance.parse(json.dumps({"subject": [text], "predicate": text})) is None


def test_a_statement_of_another_kind_says_nothing(plan: Plan) -> None:
    text = provenance.render(plan, plan.images.all[0], MATERIALS, Builder.CI, "https://ci/7")
    assert provenance.parse(statement(text, predicateType="https://spdx.dev/Document")) is None
    assert provenance.parse(statement(text, subject=[])) is None
    foreign = {**json.loads(text), "buildDefinition": {"buildType": "https://other"}}
    assert provenance.parse(statement(json.dumps(foreign))) is None
