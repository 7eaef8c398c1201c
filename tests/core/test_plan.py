"""The plan says what is left to do, given what the registry holds."""

import pytest

from delivery.core.declaration import Declaration
from delivery.core.plan import Plan, make_plan

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def planned(declaration: Declaration) -> Plan:
    return make_plan(declaration, {"base-image": "k1", "api-rest": "k2"}, {"base-image": DIGEST, "api-rest": ""})


def test_only_what_the_registry_lacks_is_missing(planned: Plan) -> None:
    assert [image.name for image in planned.missing] == ["api-rest"]


def test_rows_say_what_is_to_be_done(planned: Plan) -> None:
    assert planned.rows() == [("base-image", "k1", "in the registry"), ("api-rest", "k2", "build and push")]


def test_prints_as_json(planned: Plan) -> None:
    assert planned.as_json()[0] == {
        "name": "base-image",
        "repository": "localhost:5001/base-image",
        "key": "k1",
        "base": "debian",
        "digest": DIGEST,
    }


def test_an_image_is_tagged_with_its_key(planned: Plan) -> None:
    assert planned.images[1].tagged == "localhost:5001/api-rest:k2"


def test_a_base_that_the_registry_holds_is_needed_for_what_stands_on_it(planned: Plan) -> None:
    assert [base.pinned for base in planned.bases] == [f"localhost:5001/base-image@{DIGEST}"]


def test_a_base_that_is_built_too_is_not_asked_of_the_registry(declaration: Declaration) -> None:
    assert make_plan(declaration, {"base-image": "k1", "api-rest": "k2"}, {}).bases == ()
