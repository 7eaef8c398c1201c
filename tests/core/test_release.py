"""release.json says which bytes are deployed, and nothing that is not a release passes for one."""

import pytest

from delivery.core.declaration import Declaration
from delivery.core.errors import DeclarationError
from delivery.core.plan import make_plan
from delivery.core.release import Release, make_release, read_release

HELD = "sha256:" + "a" * 64
PUSHED = "sha256:" + "b" * 64


@pytest.fixture
def release(declaration: Declaration) -> Release:
    plan = make_plan(declaration, {"base-image": "k1", "api-rest": "k2"}, {"base-image": HELD})
    return make_release(plan, {"api-rest": PUSHED})


def test_takes_digests_from_the_registry_and_from_the_push(release: Release) -> None:
    assert release.images["base-image"].pinned == f"localhost:5001/base-image@{HELD}"
    assert release.images["api-rest"].pinned == f"localhost:5001/api-rest@{PUSHED}"


def test_is_the_same_after_writing_and_reading(release: Release) -> None:
    assert read_release(release.to_json(), file="release.json") == release


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"images": {"a": {"key": "x"}}}', '{"images": {"a": 1}}'])
def test_what_is_no_release_is_an_error(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"read release\.json: it is not a release"):
        read_release(text, file="release.json")


def test_a_digest_that_is_none_is_an_error(release: Release) -> None:
    with pytest.raises(DeclarationError, match=r"api-rest: the digest is not sha256"):
        read_release(release.to_json().replace(PUSHED, "latest"), file="release.json")
