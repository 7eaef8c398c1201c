"""A published chart says its version and names our images by digest; nothing else in it is touched."""

import pytest

from delivery.errors import DeclarationError
from delivery.project.chart import problems, with_images, with_tags, with_versions

CHART = "apiVersion: v2\nname: platform\n# the next line is written by a release\nversion: 0.1.0\nappVersion: 0.1.0\n"
VALUES = """\
components:
  api-rest:
    image: {repository: localhost:5001/api-rest, tag: 0.1.0, digest: ""}  # kept
  other:
    image: {repository: localhost:5001/other-api-rest, tag: 0.1.0, digest: ""}
"""
DIGEST = "sha256:" + "a" * 64


def test_the_version_is_written_in_its_place() -> None:
    assert with_versions(CHART, "1.2.0-rc.1") == CHART.replace(
        "\nversion: 0.1.0", "\nversion: 1.2.0-rc.1"
    )
    assert with_versions(CHART, "1.2.0", "2.0.0").endswith("\nversion: 1.2.0\nappVersion: 2.0.0\n")


def test_a_chart_without_a_version_is_an_error() -> None:
    with pytest.raises(DeclarationError, match="it has 0 lines `version: "):
        with_versions("name: platform\n", "1.0.0")


def test_an_image_is_named_by_digest_and_another_one_of_a_like_name_is_not() -> None:
    changed = with_images(VALUES, {"api-rest": ("registry.example/team/api-rest", "1.2.0", DIGEST)})
    assert changed.splitlines()[2] == (
        f'    image: {{repository: registry.example/team/api-rest, tag: "1.2.0", digest: "{DIGEST}"}}  # kept'
    )
    assert [changed.splitlines()[line] for line in (0, 1, 3, 4)] == [
        VALUES.splitlines()[line] for line in (0, 1, 3, 4)
    ]


def test_a_tag_is_written_beside_the_repository_that_is_there() -> None:
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
def test_an_image_that_the_values_do_not_have_is_an_error(write: object) -> None:
    with pytest.raises(
        DeclarationError, match=r"cannot write the image web .* it has 0 such images"
    ):
        write()  # type: ignore[operator]


def test_all_that_keeps_a_chart_from_being_published_is_told_at_once() -> None:
    twice = VALUES + VALUES
    found = problems("name: platform\n", twice, {"api-rest": "r/api-rest", "web": "r/web"})
    assert [(one.message, one.hint) for one in found[1:]] == [
        (
            f"cannot write the image {name} into the chart's values.yaml: it has {times} such images",
            f'write one line `image: {{repository: r/{name}, tag: 0.1.0, digest: ""}}`',
        )
        for name, times in (("api-rest", 2), ("web", 0))
    ]
    assert "it has 0 lines `version: …`" in found[0].message
    assert problems(CHART, VALUES, {"api-rest": "r/api-rest"}) == []
