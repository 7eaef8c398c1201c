"""What git is asked, on real repositories, whatever a user has set up for git."""

import os
from pathlib import Path

import pytest

from delivery.errors import CommandError, DeclarationError
from delivery.project import git
from delivery.project.facts import Commit
from tests import repositories
from tests.repositories import Repository

SETTINGS = """\
[log]
showSignature = true
showRoot = false
decorate = full
[color]
ui = always
status = always
[diff]
noprefix = true
renames = copies
relative = true
external = false
orderFile = /nowhere
[core]
quotePath = false
commentChar = %
pager = false
fsmonitor = true
[format]
pretty = oneline
[i18n]
logOutputEncoding = ISO-8859-1
[status]
short = false
branch = true
relativePaths = true
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "sample")


@pytest.fixture
def begun(repository: Repository) -> Repository:
    repository.commit("feat: begin", "a/file", "b/file", "LICENSE")
    return repository


def read(root: Path) -> list[Commit]:
    clone = git.load_clone(root)
    history = git.history(clone, [])
    return list(git.commits(clone, history, history).values())


def test_changes_are_changed_new_and_removed_files(repository: Repository) -> None:
    repository.commit("first", "kept", "changed", "removed", "moved")
    assert git.changes(repository.root) == []
    repository.write("changed", "2")
    repository.write("new/a file", "1")
    repository.write('new/ü\n"', "1")
    (repository.root / "removed").unlink()
    repository.git("mv", "moved", "new/place")
    expected = {"changed", "removed", "moved", "new/place", "new/a file", 'new/ü\n"'}
    assert set(git.changes(repository.root)) == expected


def test_the_commit_and_branch_that_are_checked_out(repository: Repository) -> None:
    sha = repository.commit("first", "a")
    clone = git.load_clone(repository.root)
    assert (clone.commit, clone.branch, clone.prefix, clone.shallow_boundary) == (
        sha,
        "main",
        "",
        frozenset(),
    )
    repository.git("checkout", "--quiet", "--detach")
    assert (git.load_clone(repository.root).commit, git.load_clone(repository.root).branch) == (
        sha,
        "",
    )


def test_tags_have_their_commits(repository: Repository) -> None:
    sha = repository.commit("first", "a")
    repository.tag("annotated")
    repository.git("tag", "light")
    repository.git("tag", "--annotate", "--message", "x", "of-a-tag", "annotated")
    repository.git("tag", "of-a-tree", "HEAD^{tree}")
    clone = git.load_clone(repository.root)
    assert clone.tags == dict.fromkeys(("annotated", "light", "of-a-tag"), sha)
    assert clone.branches == {"main": sha}


def test_commits_have_their_messages_and_paths(repository: Repository) -> None:
    first = repository.commit("feat: a\n\nbody\n\nBREAKING CHANGE: b", "a", "d/b c")
    second = repository.commit("", "a")
    third = repository.commit("empty")
    assert read(repository.root) == [
        Commit(third, "empty", ()),
        Commit(second, "", ("a",)),
        Commit(first, "feat: a\n\nbody\n\nBREAKING CHANGE: b", ("a", "d/b c")),
    ]


def test_paths_may_have_any_characters(repository: Repository) -> None:
    names = ["ü", 'a"b', "a\\b", "a\nb", "\n\nx", "a\tb", " a ", "-", "a\rb"]
    repository.commit("first", *names)
    assert sorted(read(repository.root)[0].paths) == sorted(names)


def test_paths_and_messages_may_have_other_encodings(repository: Repository) -> None:
    (repository.root / os.fsdecode(b"caf\xe9")).write_text("x")
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--file=-", text=b"feat: caf\xe9\n")
    repository.commit("fix: after", "a")
    latin = ("-c", "i18n.commitEncoding=ISO-8859-1")
    repository.git(*latin, "commit", "--quiet", "--allow-empty", "--file=-", text=b"caf\xe9\n")
    assert [(commit.subject, commit.paths) for commit in read(repository.root)] == [
        ("café", ()),
        ("fix: after", ("a",)),
        ("feat: café", ("caf\ufffd",)),
    ]


def test_a_renamed_file_counts_under_both_names(repository: Repository) -> None:
    repository.commit("first", "old")
    repository.git("mv", "old", "new")
    repository.commit("moved")
    assert sorted(read(repository.root)[0].paths) == ["new", "old"]


@pytest.mark.parametrize(
    ("on_main", "own", "paths", "merged_paths"),
    [
        (["c"], [], (), ["b", "c"]),
        ([], [], (), ["b"]),  # equal to one of its parents
        (["c"], ["evil"], ("evil",), ["b", "c", "evil"]),
    ],
)
def test_a_merge_has_its_own_changes_and_those_of_both_sides(
    repository: Repository,
    on_main: list[str],
    own: list[str],
    paths: tuple[str, ...],
    merged_paths: list[str],
) -> None:
    repository.commit("first", "a")
    repository.branch("side")
    repository.commit("side", "b")
    repository.switch("main")
    for path in on_main:
        repository.commit("main", path)
    repository.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    sha = repository.commit("merged", *own)
    merge = next(commit for commit in read(repository.root) if commit.sha == sha)
    assert (merge.paths, sorted(merge.merged_paths)) == (paths, merged_paths)


def test_the_users_settings_change_nothing(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("feat: ü", "ü", "d/x")
    repository.git("mv", "ü", "y")
    repository.commit("fix: x\n\n# kept")
    plain = read(repository.root), git.load_clone(repository.root), git.changes(repository.root)
    settings = tmp_path / "config"
    settings.write_text(SETTINGS)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert (
        read(repository.root),
        git.load_clone(repository.root),
        git.changes(repository.root),
    ) == plain


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


def test_a_project_in_a_folder_of_a_clone_has_only_its_own_paths(repository: Repository) -> None:
    repository.commit("first", "sample/a", "other")
    sha = repository.commit("second", "other")
    clone = git.load_clone(repository.root / "sample")
    assert clone.prefix == "sample/"
    assert [commit.paths for commit in read(repository.root / "sample")] == [(), ("a",)]
    assert git.text_at(clone, sha, "a") is not None
    assert git.text_at(clone, sha, "other") is None
    first = next(iter(reversed(git.history(clone, []))))
    repository.commit("third", sample__a="three\n")
    assert git.text_at(clone, first, "a") != git.text_at(clone, "HEAD", "a") == "three\n"


def test_reading_writes_nothing(repository: Repository) -> None:
    repository.commit("first", "a")
    index = repository.root / ".git" / "index"
    before = index.read_bytes()
    os.utime(repository.root / "a", (1, 1))
    assert git.changes(repository.root) == []
    assert index.read_bytes() == before


def test_a_shallow_clone_has_a_boundary_until_it_is_deepened(
    repository: Repository, tmp_path: Path
) -> None:
    for number in range(3):
        last = repository.commit(f"{number}", "a")
    repository.git(
        "clone", "--quiet", "--depth", "2", f"file://{repository.root}", str(tmp_path / "clone")
    )
    clone = git.load_clone(tmp_path / "clone")
    history = git.history(clone, [])
    assert next(iter(history)) == last
    assert clone.shallow_boundary == frozenset(list(history)[1:])
    git.deepen(tmp_path / "clone")
    assert git.load_clone(tmp_path / "clone").shallow_boundary == frozenset()


@pytest.mark.parametrize(
    ("why", "hint", "details"),
    [
        ("it is no git clone", "clone it with git", ""),
        ("there is no commit yet", "commit something first", ""),
        ("the program git is missing", "install git", ""),
        ("it belongs to another user", "safe.directory {root}`", ""),
        ("git fails", "", "config"),
    ],
)
def test_an_unreadable_clone_is_an_error_with_a_hint(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, why: str, hint: str, details: str
) -> None:
    root = repository.root
    if why != "there is no commit yet":
        repository.commit("first", "a")
    if "no git clone" in why:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
        (root / ".git").rename(root / "git")
    elif "program" in why:
        monkeypatch.setenv("PATH", "/nowhere")
    elif "another user" in why:
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    elif "fails" in why:
        (root / ".git" / "config").write_text("[core\n")
    with pytest.raises(DeclarationError, match=f"cannot read the clone {root}: {why}") as caught:
        git.load_clone(root)
    assert hint.format(root=root) in caught.value.hint
    assert details in caught.value.details


def test_a_commit_is_described(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    sha = repository.commit("feat: é first\n\nmore")
    repository.commit("fix: second")
    repository.git("config", "log.showSignature", "true")
    described = git.describe(tmp_path, sha)
    assert described is not None
    assert (described.sha, described.author, described.subject) == (sha, "tester", "feat: é first")
    assert described.committed_at == repository.git("log", "-1", "--format=%cI", sha)
    head = git.describe(tmp_path)
    assert head is not None
    assert head.subject == "fix: second"


def test_an_unknown_commit_is_not_described(tmp_path: Path) -> None:
    assert git.describe(tmp_path) is None
    repository = Repository(tmp_path / "sample")
    assert git.describe(repository.root) is None
    repository.commit("feat: first")
    assert git.describe(repository.root, "0" * 40) is None
    assert git.describe(repository.root, "--all") is None


def test_commits_of_one_side_come_with_their_paths(begun: Repository) -> None:
    first = begun.git("rev-parse", "HEAD")
    begun.branch("side")
    side = begun.commit("fix: é side", "b/new file")
    begun.switch("main")
    main = begun.commit("feat: main", "a/file")
    begun.merge("side")
    (begun.root / ".git" / "config").write_text(SETTINGS)
    found = git.one_sided(begun.root, first, "HEAD")
    assert [(each.sha, each.subject, each.paths, each.is_added) for each in found][1:] == [
        (main, "feat: main", ("a/file",), True),
        (side, "fix: é side", ("b/new file",), True),
    ]
    assert (found[0].paths, found[0].author) == ((), "tester")
    back = git.one_sided(begun.root, main, side)
    assert [(each.sha, each.is_added) for each in back] == [(main, False), (side, True)]
    with pytest.raises(CommandError):
        git.one_sided(begun.root, "0" * 40, "HEAD")


def test_a_subject_with_control_characters_is_read(begun: Repository) -> None:
    first = begun.git("rev-parse", "HEAD")
    sha = begun.commit("fix: a\x1eb\x1fc", "a/file")
    (found,) = git.one_sided(begun.root, first, "HEAD")
    assert (found.sha, found.subject, found.paths) == (sha, "fix: a\x1eb\x1fc", ("a/file",))


# --- changes of the clone ---


def test_a_commit_has_only_the_given_files(begun: Repository) -> None:
    begun.write("a/file", "new")
    begun.write("b/file", "new")
    begun.git("add", "b/file")
    sha = git.commit(begun.root, "chore: a", ["a/file"])
    assert begun.git("show", "--format=%H %s", "--name-only", "HEAD").split() == [
        sha,
        "chore:",
        "a",
        "a/file",
    ]
    assert begun.git("status", "--porcelain") == "M  b/file"


def test_a_tags_message_keeps_its_headings(begun: Repository) -> None:
    git.tag(begun.root, "apps-v1.0.0", "apps 1.0.0\n\n### Added\n\n- A page.\n")
    printed = begun.git("for-each-ref", "--format=%(objecttype) %(contents)", "refs/tags")
    assert printed == "tag apps 1.0.0\n\n### Added\n\n- A page."


def test_an_existing_tag_is_an_error_and_kept(begun: Repository) -> None:
    git.tag(begun.root, "apps-v1.0.0", "apps 1.0.0")
    begun.tag("apps-v1.1.0")
    with pytest.raises(CommandError, match=r"cannot tag apps-v1\.0\.0"):
        git.tag(begun.root, "apps-v1.0.0", "again")
    git.remove_tags(begun.root, ["apps-v1.0.0"])
    git.remove_tags(begun.root, [])
    assert repositories.tags(begun.root) == ["apps-v1.1.0"]


def test_a_tag_is_signed_if_git_is_set_so(begun: Repository, tmp_path: Path) -> None:
    signer = tmp_path / "signer"
    signer.write_text("#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\necho SIGNED\n")
    signer.chmod(0o755)
    begun.git("config", "tag.gpgSign", "true")
    begun.git("config", "gpg.program", str(signer))
    git.tag(begun.root, "apps-v1.0.0", "apps 1.0.0")
    assert begun.git("cat-file", "tag", "apps-v1.0.0").endswith("SIGNED")


def test_tags_are_pushed_all_or_none(begun: Repository, tmp_path: Path) -> None:
    other = Repository(tmp_path / "other")
    other.commit("feat: else", "a")
    other.tag("b-v1.0.0")
    begun.git("remote", "add", "origin", str(other.root))
    begun.tag("a-v1.0.0", "b-v1.0.0")
    with pytest.raises(CommandError, match="push the tags to origin"):
        git.push_tags(begun.root, "origin", ["a-v1.0.0", "b-v1.0.0"])
    assert repositories.tags(other.root) == ["b-v1.0.0"]
    git.push_tags(begun.root, "origin", ["a-v1.0.0"])
    assert repositories.tags(other.root) == ["a-v1.0.0", "b-v1.0.0"]


def test_the_branches_of_the_remote_are_asked(begun: Repository, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="ls-remote"):
        git.remote_branches(begun.root)
    other = Repository(tmp_path / "remote")
    other.write("file", "1")
    other.commit("feat: it")
    begun.git("remote", "add", "origin", str(other.root))
    other.git("branch", "feature/Søgning")
    other.git("tag", "feature-tag")
    names = git.remote_branches(begun.root)
    assert names == {other.git("branch", "--show-current").strip(), "feature/Søgning"}


def test_a_branch_is_local_else_origins(begun: Repository, tmp_path: Path) -> None:
    begun.branch("develop")
    begun.switch("main")
    repositories.clone(begun.root, tmp_path / "clone")
    clone = git.load_clone(tmp_path / "clone")
    assert (clone.branch, clone.branch_refs()) == (
        "main",
        {"main": "refs/heads/main", "develop": "refs/remotes/origin/develop"},
    )


def test_a_copy_has_the_given_branches_and_tags_and_no_remote(
    begun: Repository, tmp_path: Path
) -> None:
    begun.tag("a-v1.0.0", "b-v1.0.0")
    begun.branch("develop")
    begun.branch("feature/x")
    refs = {"main": "HEAD", "develop": "refs/heads/develop"}
    git.copy_history(begun.root, tmp_path / "copy", checked_out="main", branches=refs, tags="a-v*")
    copied = git.load_clone(tmp_path / "copy")
    assert (copied.branch, set(copied.branches)) == ("main", {"main", "develop"})
    assert repositories.tags(tmp_path / "copy") == ["a-v1.0.0"]
    assert git.remotes(tmp_path / "copy") == []
    assert (tmp_path / "copy" / "a" / "file").exists()
    linked = [
        path
        for path in (tmp_path / "copy" / ".git" / "objects").rglob("*")
        if path.is_file() and path.stat().st_nlink > 1
    ]
    assert linked == []
