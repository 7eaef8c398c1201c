"""release.json is read as it was written, and anything else is an error."""

from dataclasses import replace

import pytest

from delivery.errors import DeclarationError
from delivery.release.released import Release, ReleasedPart, read_release

APP = ReleasedPart("localhost:5001/api-rest", "k2", "sha256:" + "b" * 64, "1.2.0")
CHART = ReleasedPart("localhost:5001/platform-chart", "k3", "sha256:" + "c" * 64, "0.4.0")
RELEASE = Release({"api-rest": APP}, "0.4.0", CHART, "release", "main", "abc", "somebody@somewhere")


@pytest.mark.parametrize("release", [RELEASE, Release({"api-rest": APP})])
def test_a_release_is_the_same_after_writing_and_reading(release: Release) -> None:
    assert read_release(release.to_json(), file="release.json") == release
    assert release.parts[0].pinned == f"localhost:5001/api-rest@{APP.digest}"


def test_the_bytes_of_a_release_stay() -> None:
    """Registries hold them: other bytes would be another release."""
    assert (
        RELEASE.to_json()
        == f"""\
{{
  "images": {{
    "api-rest": {{
      "repository": "localhost:5001/api-rest",
      "key": "k2",
      "digest": "{APP.digest}",
      "version": "1.2.0"
    }}
  }},
  "version": "0.4.0",
  "chart": {{
    "repository": "localhost:5001/platform-chart",
    "key": "k3",
    "digest": "{CHART.digest}",
    "version": "0.4.0"
  }},
  "line": "release",
  "branch": "main",
  "commit": "abc",
  "builder": "somebody@somewhere"
}}
"""
    )


def test_a_release_of_images_alone_is_read() -> None:
    text = (
        f'{{"images": {{"api-rest": {{"repository": "r", "key": "k", "digest": "{APP.digest}"}}}}}}'
    )
    assert read_release(text, file="release.json").images["api-rest"].version == ""


def test_the_content_does_not_include_the_origin() -> None:
    again = Release(RELEASE.images, "0.4.0", CHART, "develop", "develop", "def", "somebody else")
    assert again.content == RELEASE.content
    other = replace(APP, digest=CHART.digest)
    assert replace(RELEASE, images={"api-rest": other}).content != RELEASE.content
    assert Release(RELEASE.images, "0.4.0").content != RELEASE.content


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"images": {"a": {"key": "x"}}}',
        '{"images": {}, "chart": 1}',
        '{"images": {}, "surprise": 1}',
    ],
)
def test_an_invalid_release_is_an_error(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"cannot read release\.json: it is not a release"):
        read_release(text, file="release.json")


@pytest.mark.parametrize(("part", "name"), [(APP, "api-rest"), (CHART, "chart")])
def test_an_invalid_digest_is_an_error(part: ReleasedPart, name: str) -> None:
    with pytest.raises(DeclarationError, match=rf"{name}: the digest is not sha256"):
        read_release(RELEASE.to_json().replace(part.digest, "latest"), file="release.json")
