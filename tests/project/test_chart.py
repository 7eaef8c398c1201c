"""A version and images are written into a chart, and nothing else of it changes."""

import pytest

from delivery.errors import DeclarationError
from delivery.project.chart import problems, with_images, with_tags, with_versions

CHART = """\
apiVersion: v2
name: platform
# a comment
version: 0.1.0
appVersion: 0.1.0
"""
VALUES = """\
components:
  api-rest:
    image: {repository: localhost:5001/api-rest, tag: 0.1.0, digest: ""}  # kept
  other:
    image: {repository: localhost:5001/other-api-rest, tag: 0.1.0, digest: ""}
"""
DIGEST = "sha256:" + "a" * 64


def test_the_version_is_written() -> None:
    assert with_versions(CHART, "1.2.0-rc.1") == CHART.replace(
        "\nversion: 0.1.0", "\nversion: 1.2.0-rc.1"
    )
    assert with_versions(CHART, "1.2.0", "2.0.0").endswith("\nversion: 1.2.0\nappVersion: 2.0.0\n")


def test_a_chart_without_a_version_is_an_error() -> None:
    with pytest.raises(DeclarationError, match="it has 0 lines `version: "):
        with_versions("name: platform\n", "1.0.0")


def test_an_image_is_written_and_one_with_a_similar_name_is_kept() -> None:
    changed = with_images(VALUES, {"api-rest": ("registry.example/team/api-rest", "1.2.0", DIGEST)})
    assert changed.splitlines()[2] == (
        '    image: {repository: registry.example/team/api-rest, tag: "1.2.0",'
        f' digest: "{DIGEST}"}}  # kept'
    )
    assert [changed.splitlines()[line] for line in (0, 1, 3, 4)] == [
        VALUES.splitlines()[line] for line in (0, 1, 3, 4)
    ]


def test_a_tag_is_written_and_the_repository_kept() -> None:
    changed = with_tags(VALUES, {"api-rest": "1.2.0"})
    assert changed == VALUES.replace(
        "localhost:5001/api-rest, tag: 0.1.0", "localhost:5001/api-rest, tag: 1.2.0"
    )


def test_published_values_can_be_published_again() -> None:
    once = with_images(VALUES, {"api-rest": ("localhost:5001/api-rest", "1.2.0", DIGEST)})
    assert with_images(once, {"api-rest": ("localhost:5001/api-rest", "1.2.0", DIGEST)}) == once


@pytest.mark.parametrize(
    "write",
    [
        lambda: with_images(VALUES, {"web": ("r/web", "1", DIGEST)}),
        lambda: with_tags(VALUES, {"web": "1"}),
    ],
)
def test_a_missing_image_is_an_error(write: object) -> None:
    with pytest.raises(
        DeclarationError, match=r"cannot write the image web .* it has 0 such images"
    ):
        write()  # type: ignore[operator]


def test_all_problems_are_reported_at_once() -> None:
    images = {"api-rest": "r/api-rest", "web": "r/web"}
    version, twice, missing = problems("name: platform\n", VALUES + VALUES, images)
    assert version.message.endswith("it has 0 lines `version: …`")
    assert twice.message.endswith("it has 2 such images")
    assert missing.message.endswith("it has 0 such images")
    line = '`image: {repository: r/web, tag: 0.1.0, digest: ""}`'
    assert missing.hint == f"write a single line {line}"
    assert problems(CHART, VALUES, {"api-rest": "r/api-rest"}) == []
