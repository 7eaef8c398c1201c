"""One commit, as git tells it."""

from pathlib import Path

from delivery.project import git_log
from delivery.project.git_log import Described
from tests.repositories import Repository


def test_describes_a_commit(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    sha = repository.commit("feat: é first\n\nmore")
    repository.commit("fix: second")
    repository.git("config", "log.showSignature", "true")
    told = git_log.describe(tmp_path, sha)
    assert told is not None
    assert (told.sha, told.author, told.subject) == (sha, "tester", "feat: é first")
    assert told.committed_at == repository.git("log", "-1", "--format=%cI", sha)
    head = git_log.describe(tmp_path)
    assert isinstance(head, Described)
    assert head.subject == "fix: second"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert git_log.describe(tmp_path) is None
    repository = Repository(tmp_path / "house")
    assert git_log.describe(repository.root) is None
    repository.commit("feat: first")
    assert git_log.describe(repository.root, "0" * 40) is None
    assert git_log.describe(repository.root, "--all") is None
