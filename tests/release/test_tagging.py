"""Tags are made for prepared versions, and for nothing else."""

from dataclasses import replace

import pytest

from delivery.errors import DeclarationError
from delivery.project.facts import Ref, Tag
from delivery.project.versions import Checkout, decide
from delivery.release.tagging import NewTag, new_tags
from tests.project.examples import APPS, NAMES, PROJECT, commit, facts

LOG = (
    "## [Unreleased]\n\n## [1.1.0] - 2026-02-01\n\n### Added\n\n- A page.\n\n## [1.0.0]\n\n- All.\n"
)
WRITTEN = {"base-image": "1.0.0", "apps": "1.1.0", "platform-chart": "1.1.0"}


def released(**more: object) -> Checkout:
    """A feature of the apps, which the chart is released with; all is prepared."""
    changelogs = dict.fromkeys(NAMES, LOG)
    found = facts([commit(1, "feat: a page", APPS)], "main", changelogs=changelogs)
    prepared = {"file_versions": WRITTEN, **more}
    return decide(PROJECT, replace(found, **prepared))  # type: ignore[arg-type]


def test_each_new_version_gets_a_tag_with_its_section_of_the_changelog() -> None:
    assert new_tags(released()) == [
        NewTag("apps-v1.1.0", "apps 1.1.0\n\n### Added\n\n- A page.\n"),
        NewTag("platform-chart-v1.1.0", "platform-chart 1.1.0\n\n### Added\n\n- A page.\n"),
    ]


@pytest.mark.parametrize(
    "ref",
    [Ref("branch", "develop"), Ref("branch", "release/1"), Ref("", ""), Ref("tag", "apps-v1.1.0")],
)
def test_another_line_is_an_error(ref: Ref) -> None:
    with pytest.raises(DeclarationError, match="is not on the release line"):
        new_tags(released(ref=ref))


def test_uncommitted_files_and_unprepared_versions_are_errors() -> None:
    with pytest.raises(DeclarationError, match=r"1 file not committed \(a\)"):
        new_tags(released(uncommitted=("a",)))
    with pytest.raises(DeclarationError) as caught:
        new_tags(released(file_versions={**WRITTEN, "apps": "1.0.0"}))
    assert caught.value.details == "apps needs 1.1.0, and its files say 1.0.0"


def test_a_tag_of_another_commit_is_an_error_for_its_version_alone() -> None:
    plain = released()
    other, taken = (
        Tag(f"{name}-v1.1.0", name, "1.1.0", merged=False) for name in ("base-image", "apps")
    )
    facts_with = replace(plain.facts, tags=(*plain.facts.tags, other))
    assert len(new_tags(replace(plain, facts=facts_with))) == 2
    with pytest.raises(DeclarationError, match=r"apps-v1\.1\.0 is already a tag of another commit"):
        new_tags(replace(plain, facts=replace(facts_with, tags=(taken,))))
