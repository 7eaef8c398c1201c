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
from delivery.project.files import ROOT, load_declaration
from delivery.release import sbom
from delivery.scan import gate, scanning
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
    """A repository like this one, of a user whose git settings hinder gitleaks."""
    monkeypatch.setenv("GITLEAKS", gitleaks)
    settings = tmp_path / "gitconfig"
    settings.write_text(
        "[color]\n  ui = always\n"
        "[diff]\n  noprefix = true\n  external = true\n"
        "[log]\n  showSignature = true\n  showRoot = false\n  date = relative\n"
        "[core]\n  quotePath = true\n"
        "[format]\n  pretty = oneline\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GITLEAKS_CONFIG", str(tmp_path / "missing.toml"))
    made = Repository(tmp_path / "clone")
    (made.root / "ops").mkdir()
    shutil.copy2(ROOT / "ops" / "gitleaks.toml", made.root / "ops")
    made.commit("begin", "README")
    return made


def find(repository: Repository, *, everything: bool = False) -> list[tuple[str, str, int, str]]:
    """The findings, with the messages of their commits."""
    messages = {
        sha: repository.git("log", "-1", "--format=%s", sha)
        for sha in repository.git("rev-list", "--all").split()
    }
    return [
        (messages.get(finding.commit, "now"), finding.file, finding.line, finding.rule)
        for finding in scanning.find_secrets(repository.root, everything=everything)
    ]


def test_a_secret_of_an_earlier_commit_is_found_and_not_printed(
    repository: Repository, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_ECHO", "1")
    repository.commit("put in", **{"a__b.py": f"x = 1\nkey = '{SECRET}'\n"})
    repository.commit("taken out", **{"a__b.py": "x = 1\n"})
    assert find(repository) == [("put in", "a/b.py", 2, "aws-access-token")]
    printed = capfd.readouterr()
    assert "gitleaks detect" in printed.err
    report = repository.root / ".delivery" / "scan" / "secrets.json"
    assert json.loads(report.read_text())["findings"]
    for text in (printed.out, printed.err, report.read_text()):
        assert SECRET not in text
        assert SECRET[4:12] not in text


def test_a_secret_that_is_not_committed_is_found(repository: Repository) -> None:
    repository.commit("new", **{".gitignore": "ignored\n"})
    repository.write("README", f"{SECRET}\n")
    repository.write("new", f"{SECRET}\n")
    repository.write("ignored", f"{SECRET}\n")
    assert [finding[:2] for finding in find(repository)] == [("now", "README"), ("now", "new")]


def test_a_secret_that_only_a_merge_adds_is_found(repository: Repository) -> None:
    repository.branch("side")
    repository.commit("on side", "a")
    repository.switch("main")
    repository.commit("on main", "b")
    repository.git("merge", "--quiet", "--no-ff", "--no-commit", "side")
    repository.commit("merge", b=f"{SECRET}\n")
    repository.commit("clean", b="\n")
    assert [finding[:2] for finding in find(repository)] == [("merge", "b")]


def test_a_secret_in_a_file_marked_as_binary_is_found(
    repository: Repository,
) -> None:
    repository.commit("attributes", **{".gitattributes": "*.txt -diff\n"})
    repository.commit("put in", **{"chave_é.txt": f"{SECRET}\n"})
    repository.commit("taken out", **{"chave_é.txt": "\n"})
    assert [finding[:2] for finding in find(repository)] == [("put in", "chave_é.txt")]


def test_other_branches_are_scanned_on_request(repository: Repository) -> None:
    repository.branch("side")
    repository.commit("put in", a=f"{SECRET}\n")
    repository.switch("main")
    assert find(repository) == []
    assert [finding[:2] for finding in find(repository, everything=True)] == [("put in", "a")]


def test_a_private_key_is_found_and_its_markers_alone_are_not(repository: Repository) -> None:
    key = ed25519.Ed25519PrivateKey.generate()  # the shortest kind of key
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    begin, *_, end = pem.splitlines()
    repository.commit("markers", **{"make.sh": f"echo '{begin}'\nbase64 key\necho '{end}'\n"})
    repository.commit("key", **{"key.pem": pem, "key.json": json.dumps({"key": pem})})
    assert [finding for finding in find(repository) if finding[0] != "now"] == [
        ("key", "key.json", 1, "private-key"),
        ("key", "key.pem", 1, "private-key"),
    ]


def test_a_folder_that_is_not_a_clone_is_an_error(tmp_path: Path, gitleaks: str) -> None:
    with pytest.raises(DeclarationError, match="it is no git clone"):
        scanning.find_secrets(tmp_path)
    with pytest.raises(CommandError, match="look for secrets in the commits"):
        Gitleaks(gitleaks, tmp_path).commits(everything=False)


def test_this_repository_has_no_secrets(gitleaks: str) -> None:
    scan = Gitleaks(gitleaks, ROOT)
    assert git.load_clone(ROOT).commit
    assert scan.commits(everything=True) == []
    count, findings = scan.files()
    assert (count > 100, findings) == (True, [])


def test_a_secret_of_the_first_commit_is_found(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "--orphan", "another")
    repository.commit("first", a=f"{SECRET}\n")
    repository.commit("taken out", a="\n")
    assert [finding[:2] for finding in find(repository)] == [("first", "a")]


def test_a_comment_excludes_a_line(repository: Repository) -> None:
    repository.commit("no secret", **{"a.py": f"key = '{SECRET}'  # gitleaks:allow\n"})
    assert find(repository) == []


def test_an_upstream_image_has_an_sbom() -> None:
    declared = load_declaration()
    few = {name: declared.upstream[name] for name in ("debian", "haproxy")}
    (bill,) = gate._upstream_bills(declared.model_copy(update={"upstream": few})).values()
    packages = {package.name: package for package in sbom.parse(bill)}
    assert len(packages) > 50
    # The published image has haproxy from its own sources; both have Debian's library.
    assert "distro=debian-" in packages["libc6"].purl
