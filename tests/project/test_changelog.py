"""A release turns Unreleased into its section once, and no line of a changelog is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.project import changelog
from delivery.project.changelog import NewSection, add_release, entries, section, sections
from delivery.project.facts import Commit

HEAD = "# Changelog\n\nWhat is new.\n"
LINKS = (
    "[Unreleased]: https://example.com/compare/v1.0.0...HEAD\n[1.0.0]: https://example.com/v1.0.0\n"
)
OLD = "## [1.0.0] - 2026-01-01\n\n### Added\n\n- All.\n"


def text(unreleased: str = "") -> str:
    return f"{HEAD}\n## [Unreleased]\n\n{unreleased}{OLD}\n{LINKS}"


def make(before: str, version: str = "1.1.0", day: str = "2026-02-01", **more: object) -> str:
    fields: dict[str, object] = {"default_entries": {}, "dependency_lines": {}, **more}
    new = NewSection(version=version, day=day, **fields)  # type: ignore[arg-type]
    return add_release(before, new)


def commit(message: str) -> Commit:
    return Commit("0" * 40, message, ())


def test_unreleased_entries_become_a_section_under_an_empty_unreleased() -> None:
    assert make(text("### Added\n\n- A page.\n\n")) == (
        f"{HEAD}\n## [Unreleased]\n\n## [1.1.0] - 2026-02-01\n\n"
        f"### Added\n\n- A page.\n\n{OLD}\n{LINKS}"
    )


def test_unreleased_entries_are_used_instead_of_commits() -> None:
    after = make(text("### Added\n\n- A page.\n\n"), default_entries={"Fixed": ["A bug."]})
    assert section(after, "1.1.0") == "### Added\n\n- A page."


def test_commits_are_used_if_nothing_is_unreleased() -> None:
    after = make(text(), default_entries={"Added": ["A page.", "A form."], "Fixed": ["A bug."]})
    assert section(after, "1.1.0") == "### Added\n\n- A page.\n- A form.\n\n### Fixed\n\n- A bug."


def test_a_line_on_the_base_is_always_added() -> None:
    after = make(
        text("### Changed\n\n- A page.\n\n"),
        dependency_lines={"Built on base": "Built on base 1.3.0."},
    )
    assert section(after, "1.1.0") == "### Changed\n\n- A page.\n- Built on base 1.3.0."


def test_a_line_on_a_newer_base_replaces_the_older_one() -> None:
    first = make(
        text("### Changed\n\n- Built on base is what it is.\n\n"),
        dependency_lines={"Built on base": "Built on base 1.3.0."},
    )
    after = make(first, dependency_lines={"Built on base": "Built on base 1.3.1."})
    assert (
        section(after, "1.1.0")
        == "### Changed\n\n- Built on base is what it is.\n- Built on base 1.3.1."
    )


def test_a_second_run_changes_nothing() -> None:
    standing = {"Built on base": "Built on base 1.3.0."}
    first = make(text("### Fixed\n\n- A bug.\n\n"), dependency_lines=standing)
    assert (
        make(first, day="2026-03-03", dependency_lines=standing, default_entries={"Added": ["No."]})
        == first
    )


def test_later_entries_join_a_prepared_section() -> None:
    first = make(text("### Fixed\n\n- A bug.\n\n"))
    later = first.replace(
        "## [Unreleased]\n",
        "## [Unreleased]\n\n### Fixed\n\n- Another.\n\n### Removed\n\n- A page.\n",
    )
    after = make(later, day="2026-03-03")
    assert "## [1.1.0] - 2026-03-03\n" in after
    assert (
        section(after, "1.1.0") == "### Fixed\n\n- A bug.\n- Another.\n\n### Removed\n\n- A page."
    )


def test_a_prepared_version_that_was_never_released_is_superseded() -> None:
    first = make(text("### Fixed\n\n- A bug.\n\n"), "1.0.1")
    later = first.replace("## [Unreleased]\n", "## [Unreleased]\n\n### Added\n\n- A page.\n")
    after = make(later, superseded=["1.0.1"])
    assert sections(after) == ["Unreleased", "1.1.0", "1.0.0"]
    assert section(after, "1.1.0") == "### Added\n\n- A page.\n\n### Fixed\n\n- A bug."


def test_a_heading_in_a_code_block_is_ignored() -> None:
    example = "### Added\n\n- A form:\n\n```\n## [0.0.1]\n### Fixed\n```\n\n"
    assert sections(text(example)) == ["Unreleased", "1.0.0"]
    assert section(make(text(example)), "1.1.0") == example.strip()


def test_a_changelog_without_unreleased_gets_one() -> None:
    after = make(f"{HEAD}\n{OLD}", default_entries={"Added": ["A page."]})
    assert sections(after) == ["Unreleased", "1.1.0", "1.0.0"]


def test_sentences_before_the_first_group_are_kept() -> None:
    after = make(text("Thanks to all.\n\n### Added\n\n- A page.\n\n"))
    assert section(after, "1.1.0") == "Thanks to all.\n\n### Added\n\n- A page."


def test_the_line_ends_are_kept() -> None:
    after = make(text("### Added\n\n- A page.\n\n").replace("\n", "\r\n"))
    assert after == make(text("### Added\n\n- A page.\n\n")).replace("\n", "\r\n")


def test_an_unknown_version_has_no_section() -> None:
    assert section(text(), "9.9.9") is None


@pytest.mark.parametrize(
    ("message", "group", "line"),
    [
        ("feat(api-rest): a page", "Added", "api-rest: A page."),
        ("feat: a page", "Added", "A page."),
        ("fix(base-image): a bug!", "Fixed", "A bug!"),
        ("Fix: a bug", "Fixed", "A bug."),
        ("perf: faster", "Changed", "Faster."),
        ("docs: how", "Changed", "How."),
        ("tidy up", "Changed", "Tidy up."),
        ("revert: a page", "Removed", "A page."),
        ("feat!: other names", "Changed", "**Breaking** Other names."),
        (
            "fix: names\n\nBREAKING CHANGE: old ones\nare refused.",
            "Changed",
            "**Breaking** Names. Old ones are refused.",
        ),
        (
            "fix: names\n\nBREAKING-CHANGE: old ones\n\nBye",
            "Changed",
            "**Breaking** Names. Old ones.",
        ),
        ("feat: useSearch takes a name", "Added", "useSearch takes a name."),
        ("feat: batch_size", "Added", "batch_size."),
    ],
)
def test_a_commit_becomes_an_entry(message: str, group: str, line: str) -> None:
    assert entries([commit(message)], scopes=("api-rest", "async-worker")) == {group: [line]}


def test_entries_are_unique_and_oldest_first_without_release_commits() -> None:
    messages = ["fix: c", "chore(release): apps 1.0.1", "feat: b", "fix: c", "feat: a"]
    assert entries([commit(message) for message in messages]) == {
        "Added": ["A.", "B."],
        "Fixed": ["C."],
    }


LINES = st.lists(
    st.sampled_from(["- one.", "- two.", "  more of it", "", "### Added", "### Fixed", "Words."]),
    max_size=12,
)


@given(LINES, LINES)
def test_no_line_is_lost_and_a_second_run_changes_nothing(
    unreleased: list[str], old: list[str]
) -> None:
    before = f"{HEAD}\n## [Unreleased]\n\n" + "\n".join(
        [*unreleased, "", "## [1.0.0]", "", *old, "", LINKS]
    )
    after = make(before, default_entries={"Added": ["Something."]})

    def entry_lines(text: str) -> list[str]:
        return sorted(line for line in text.splitlines() if line and not line.startswith("##"))

    expected = entry_lines(before)
    if not any(line and not line.startswith("###") for line in unreleased):
        expected = sorted([*expected, "- Something."])
    assert entry_lines(after) == expected
    assert make(after, day="2026-03-03", default_entries={"Added": ["Something."]}) == after
    assert changelog.sections(after) == ["Unreleased", "1.1.0", "1.0.0"]
