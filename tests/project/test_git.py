"""What git is asked, on real repositories, whatever a user has set up for git."""

import os
from pathlib import Path

import pytest

from delivery.errors import CommandError, DeclarationError
from delivery.project import git
from delivery.project.facts import Commit
from tests.repositories import Repository, environment


@pytest.fixture(autouse=True)
def _nobody_s_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "house")


def read(root: Path) -> list[Commit]:
    clone = git.look(root)
    history = git.history(clone, [])
    return list(git.commits(clone, history, history).values())


def test_names_what_is_changed_what_is_new_and_what_is_gone(repository: Repository) -> None:
    repository.commit("first", "kept", "changed", "gone", "moved")
    assert git.changes(repository.root) == []
    repository.write("changed", "2")
    repository.write("new/a file", "1")
    repository.write('new/ü\n"', "1")
    (repository.root / "gone").unlink()
    repository.git("mv", "moved", "there")
    assert sorted(git.changes(repository.root)) == ["changed", "gone", "moved", "new/a file", 'new/ü\n"', "there"]


def test_looking_for_changes_in_a_folder_that_is_no_clone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="changes that are not committed"):
        git.changes(tmp_path)


def test_what_is_checked_out(repository: Repository) -> None:
    sha = repository.commit("first", "a")
    clone = git.look(repository.root)
    assert (clone.commit, clone.branch, clone.prefix, clone.ends) == (sha, "main", "", frozenset())


def test_a_detached_head_has_no_branch(repository: Repository) -> None:
    sha = repository.commit("first", "a")
    repository.git("checkout", "--quiet", "--detach")
    assert (git.look(repository.root).commit, git.look(repository.root).branch) == (sha, "")


def test_tags_are_the_commits_that_they_stand_for(repository: Repository) -> None:
    sha = repository.commit("first", "a")
    repository.tag("annotated")
    repository.git("tag", "light")
    repository.git("tag", "--annotate", "--message", "x", "of-a-tag", "annotated")
    repository.git("tag", "of-a-tree", "HEAD^{tree}")
    refs = git.look(repository.root).refs
    assert refs == dict.fromkeys(
        ("refs/heads/main", "refs/tags/annotated", "refs/tags/light", "refs/tags/of-a-tag"), sha
    )


def test_commits_are_read_with_their_messages_and_paths(repository: Repository) -> None:
    first = repository.commit("feat: a\n\nbody\n\nBREAKING CHANGE: b", "a", "d/b c")
    second = repository.commit("", "a")
    third = repository.commit("empty")
    assert read(repository.root) == [
        Commit(third, "empty", ()),
        Commit(second, "", ("a",)),
        Commit(first, "feat: a\n\nbody\n\nBREAKING CHANGE: b", ("a", "d/b c")),
    ]


def test_odd_names_are_read_as_they_are(repository: Repository) -> None:
    names = ["ü", 'a"b', "a\\b", "a\nb", "\n\nx", "a\tb", " a ", "-", "a\rb"]
    repository.commit("first", *names)
    assert sorted(read(repository.root)[0].paths) == sorted(names)


def test_bytes_that_are_no_text_hide_nothing(repository: Repository) -> None:
    (repository.root / os.fsdecode(b"caf\xe9")).write_text("x")
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--file=-", text=b"feat: caf\xe9\n")
    repository.commit("fix: after", "a")
    assert [(one.subject, one.paths) for one in read(repository.root)] == [
        ("fix: after", ("a",)),
        ("feat: café", ("caf\ufffd",)),
    ]


def test_a_message_in_another_encoding_is_read(repository: Repository) -> None:
    repository.write("a", "x")
    repository.git("add", "--all")
    repository.git("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "--quiet", "--file=-", text=b"feat: caf\xe9\n")
    assert read(repository.root)[0].subject == "feat: café"


def test_a_renamed_file_counts_under_both_names(repository: Repository) -> None:
    repository.commit("first", "old")
    repository.git("mv", "old", "new")
    repository.commit("moved")
    assert sorted(read(repository.root)[0].paths) == ["new", "old"]


def test_a_plain_merge_has_changed_nothing_and_brought_both_sides(repository: Repository) -> None:
    repository.commit("first", "a")
    repository.branch("side")
    repository.commit("side", "b")
    repository.switch("main")
    repository.commit("main", "c")
    sha = repository.merge("side")
    merge = next(one for one in read(repository.root) if one.sha == sha)
    assert (merge.paths, sorted(merge.brought)) == ((), ["b", "c"])


def test_a_merge_that_is_one_of_its_sides_has_changed_nothing(repository: Repository) -> None:
    repository.commit("first", "a")
    repository.branch("side")
    repository.commit("side", "b")
    repository.switch("main")
    sha = repository.merge("side")
    merge = next(one for one in read(repository.root) if one.sha == sha)
    assert (merge.paths, merge.brought) == ((), ("b",))


def test_a_merge_that_changes_something_itself_has_changed_that(repository: Repository) -> None:
    repository.commit("first", "a")
    repository.branch("side")
    repository.commit("side", "b")
    repository.switch("main")
    repository.commit("main", "c")
    repository.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    sha = repository.commit("merged, and more", "evil")
    merge = next(one for one in read(repository.root) if one.sha == sha)
    assert (merge.paths, sorted(merge.brought)) == (("evil",), ["b", "c", "evil"])


def test_a_user_s_settings_change_nothing(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("feat: ü", "ü", "d/x")
    repository.git("mv", "ü", "y")
    repository.commit("fix: x\n\n# kept")
    plain = read(repository.root), git.look(repository.root), git.changes(repository.root)
    settings = tmp_path / "config"
    settings.write_text(
        "[log]\nshowSignature = true\nshowRoot = false\ndecorate = full\n[color]\nui = always\nstatus = always\n"
        "[diff]\nnoprefix = true\nrenames = copies\nrelative = true\nexternal = false\norderFile = /nowhere\n"
        "[core]\nquotePath = false\ncommentChar = %\npager = false\nfsmonitor = true\n[format]\npretty = oneline\n"
        "[i18n]\nlogOutputEncoding = ISO-8859-1\n[status]\nshort = false\nbranch = true\nrelativePaths = true\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert (read(repository.root), git.look(repository.root), git.changes(repository.root)) == plain


def test_replacements_and_grafts_change_nothing(repository: Repository) -> None:
    first = repository.commit("first", "a")
    repository.commit("second", "b")
    third = repository.commit("third", "c")
    before = read(repository.root)
    (repository.root / ".git" / "info").mkdir(exist_ok=True)
    (repository.root / ".git" / "info" / "grafts").write_text(f"{third} {first}\n")
    assert read(repository.root) == before
    (repository.root / ".git" / "info" / "grafts").unlink()
    repository.git("replace", third, first)
    assert read(repository.root) == before


def test_a_project_in_a_folder_of_a_clone_sees_its_own_paths(repository: Repository) -> None:
    repository.commit("first", "house/a", "other")
    sha = repository.commit("second", "other")
    clone = git.look(repository.root / "house")
    assert clone.prefix == "house/"
    assert [one.paths for one in read(repository.root / "house")] == [(), ("a",)]
    assert git.text_at(clone, sha, "a") is not None
    assert git.text_at(clone, sha, "other") is None


def test_a_file_is_read_as_a_commit_has_it(repository: Repository) -> None:
    first = repository.commit("first", a="one\n")
    repository.commit("second", a="two\n")
    clone = git.look(repository.root)
    assert git.text_at(clone, first, "a") == "one\n"
    assert git.text_at(clone, first, "b") is None


def test_looking_writes_nothing(repository: Repository) -> None:
    repository.commit("first", "a")
    index = repository.root / ".git" / "index"
    before = index.read_bytes()
    os.utime(repository.root / "a", (1, 1))
    assert git.changes(repository.root) == []
    assert index.read_bytes() == before


def test_a_shallow_clone_says_where_its_history_ends(repository: Repository, tmp_path: Path) -> None:
    for number in range(3):
        last = repository.commit(f"{number}", "a")
    repository.git("clone", "--quiet", "--depth", "2", f"file://{repository.root}", str(tmp_path / "clone"))
    clone = git.look(tmp_path / "clone")
    history = git.history(clone, [])
    assert next(iter(history)) == last
    assert clone.ends == frozenset(list(history)[1:])
    git.deepen(tmp_path / "clone")
    assert git.look(tmp_path / "clone").ends == frozenset()


def test_a_folder_that_is_no_clone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(DeclarationError, match="it is no git clone") as caught:
        git.look(tmp_path)
    assert "git clone" in caught.value.hint


def test_a_clone_without_a_commit_is_an_error(repository: Repository) -> None:
    with pytest.raises(DeclarationError, match="there is no commit yet"):
        git.look(repository.root)


def test_a_machine_without_git_is_an_error(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeclarationError, match="there is no program git") as caught:
        git.look(repository.root)
    assert "install git" in caught.value.hint


def test_a_clone_of_another_user_is_an_error_that_says_what_to_do(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("first", "a")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(DeclarationError, match="belongs to another user") as caught:
        git.look(repository.root)
    assert f"safe.directory {repository.root}" in caught.value.hint


def test_a_clone_that_git_cannot_read_is_an_error_with_git_s_words(repository: Repository) -> None:
    repository.commit("first", "a")
    (repository.root / ".git" / "config").write_text("[core\n")
    with pytest.raises(DeclarationError, match="git cannot") as caught:
        git.look(repository.root)
    assert "config" in caught.value.details
