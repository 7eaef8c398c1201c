"""gitleaks finds what is planted, and never repeats it."""

import base64
import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from delivery.errors import CommandError, DeclarationError
from delivery.host import programs
from delivery.project import git
from delivery.project.files import ROOT
from delivery.scan import scanning
from delivery.scan.gitleaks import Gitleaks
from tests.repositories import Repository

pytestmark = pytest.mark.engine

# Made from parts, so that this file has none in it.
SECRET = "AKIA" + base64.b32encode(b"nobody's!!").decode()


@pytest.fixture(scope="session")
def gitleaks() -> str:
    return programs.ensure("gitleaks")


@pytest.fixture
def repository(tmp_path: Path, gitleaks: str, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository that is set up as this one, by a user whose git is set up in all the wrong ways."""
    monkeypatch.setenv("GITLEAKS", gitleaks)
    settings = tmp_path / "gitconfig"
    settings.write_text(
        "[color]\n  ui = always\n[diff]\n  noprefix = true\n  external = true\n[log]\n  showSignature = true\n"
        "  showRoot = false\n  date = relative\n[core]\n  quotePath = true\n[format]\n  pretty = oneline\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GITLEAKS_CONFIG", str(tmp_path / "missing.toml"))
    made = Repository(tmp_path / "clone")
    (made.root / "ops").mkdir()
    shutil.copy2(ROOT / "ops" / "gitleaks.toml", made.root / "ops")
    made.commit("begin", "README")
    return made


def found(repository: Repository, *, everything: bool = False) -> list[tuple[str, str, int, str]]:
    """What is found, the commits by their messages."""
    messages = {
        sha: repository.git("log", "-1", "--format=%s", sha)
        for sha in repository.git("rev-list", "--all").split()
    }
    return [
        (messages.get(one.commit, "now"), one.file, one.line, one.rule)
        for one in scanning.find_secrets(repository.root, everything=everything)
    ]


def test_a_secret_that_was_taken_out_again_is_found_and_not_repeated(
    repository: Repository, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_ECHO", "1")
    repository.commit("put in", **{"a__b.py": f"x = 1\nkey = '{SECRET}'\n"})
    repository.commit("taken out", **{"a__b.py": "x = 1\n"})
    assert found(repository) == [("put in", "a/b.py", 2, "aws-access-token")]
    printed = capfd.readouterr()
    assert "gitleaks detect" in printed.err
    report = repository.root / ".delivery" / "scan" / "secrets.json"
    assert json.loads(report.read_text())["findings"]
    for text in (printed.out, printed.err, report.read_text()):
        assert SECRET not in text
        assert SECRET[4:12] not in text


def test_a_secret_that_is_no_commits_yet_is_found(repository: Repository) -> None:
    repository.commit("new", **{".gitignore": "ignored\n"})
    repository.write("README", f"{SECRET}\n")
    repository.write("new", f"{SECRET}\n")
    repository.write("ignored", f"{SECRET}\n")
    assert [(one[0], one[1]) for one in found(repository)] == [("now", "README"), ("now", "new")]


def test_a_secret_that_only_a_merge_brought_is_found(repository: Repository) -> None:
    repository.branch("side")
    repository.commit("theirs", "a")
    repository.switch("main")
    repository.commit("ours", "b")
    repository.git("merge", "--quiet", "--no-ff", "--no-commit", "side")
    repository.commit("merge", b=f"{SECRET}\n")
    repository.commit("clean", b="\n")
    assert [one[:2] for one in found(repository)] == [("merge", "b")]


def test_a_secret_in_a_file_that_is_called_binary_is_found_by_its_name(
    repository: Repository,
) -> None:
    repository.commit("attributes", **{".gitattributes": "*.txt -diff\n"})
    repository.commit("put in", **{"chave_é.txt": f"{SECRET}\n"})
    repository.commit("taken out", **{"chave_é.txt": "\n"})
    assert [one[:2] for one in found(repository)] == [("put in", "chave_é.txt")]


def test_other_branches_are_looked_at_when_all_is_wanted(repository: Repository) -> None:
    repository.branch("side")
    repository.commit("put in", a=f"{SECRET}\n")
    repository.switch("main")
    assert found(repository) == []
    assert [one[:2] for one in found(repository, everything=True)] == [("put in", "a")]


def test_a_key_is_found_and_markers_without_one_are_not(repository: Repository) -> None:
    key = ed25519.Ed25519PrivateKey.generate()  # the shortest that there is
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    begin, *_, end = pem.splitlines()
    repository.commit("markers", **{"make.sh": f"echo '{begin}'\nbase64 key\necho '{end}'\n"})
    repository.commit("key", **{"key.pem": pem, "key.json": json.dumps({"key": pem})})
    assert [one for one in found(repository) if one[0] != "now"] == [
        ("key", "key.json", 1, "private-key"),
        ("key", "key.pem", 1, "private-key"),
    ]


def test_what_is_no_clone_is_an_error_and_no_clean_one(tmp_path: Path, gitleaks: str) -> None:
    with pytest.raises(DeclarationError, match="it is no git clone"):
        scanning.find_secrets(tmp_path)
    with pytest.raises(CommandError, match="look for secrets in the commits"):
        Gitleaks(gitleaks, tmp_path).commits(everything=False)


def test_there_is_no_secret_in_this_repository_nor_in_its_history(gitleaks: str) -> None:
    looked = Gitleaks(gitleaks, ROOT)
    assert git.load_clone(ROOT).commit
    assert looked.commits(everything=True) == []
    count, now = looked.files()
    assert (count > 100, now) == (True, [])


def test_a_secret_of_the_first_commit_is_found(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "--orphan", "another")
    repository.commit("first", a=f"{SECRET}\n")
    repository.commit("taken out", a="\n")
    assert [one[:2] for one in found(repository)] == [("first", "a")]


def test_a_comment_lets_a_line_through(repository: Repository) -> None:
    repository.commit("no secret", **{"a.py": f"key = '{SECRET}'  # gitleaks:allow\n"})
    assert found(repository) == []
