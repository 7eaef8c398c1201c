"""Nothing is found only if everything was looked up in current databases."""

import json
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from delivery import process
from delivery.errors import CommandError, DeliveryError, UnscannedError
from delivery.host import programs
from delivery.scan import osv_scanner
from tests.scan.osv import write_databases

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
BOTH = ("Debian", "PyPI")


@pytest.fixture
def databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELIVERY_OSV", str(tmp_path))
    return tmp_path


def test_databases_are_as_new_as_their_newest_record(databases: Path) -> None:
    write_databases(databases, "2026-01-04T00:00:00.123456789Z")
    assert osv_scanner.check_databases(BOTH, 7, NOW) == f"{databases}, of 2026-01-04"


@pytest.mark.parametrize(
    ("modified", "reason"),
    [
        ("2026-01-02T00:00:00Z", "newest record is of 2026-01-02, and at most 7 days"),
        ("2026-01-01T12:00:00", "newest record is of 2026-01-01"),  # without its offset
        ("2027-01-01T00:00:00Z", "it has no record"),  # a wrong clock makes nothing newer
        ("soon", "no database in"),
    ],
)
def test_an_old_database_is_none(databases: Path, modified: str, reason: str) -> None:
    write_databases(databases, modified)
    with pytest.raises(UnscannedError, match=reason) as caught:
        osv_scanner.check_databases(BOTH, 7, NOW)
    assert "DELIVERY_OSV" in caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>"])
def test_every_ecosystem_needs_a_database(databases: Path, content: bytes | None) -> None:
    write_databases(databases, "2026-01-09T00:00:00Z")
    file = databases / "osv-scalibr" / "PyPI" / "all.zip"
    file.unlink() if content is None else file.write_bytes(content)
    assert osv_scanner.check_databases(["Debian"], 7, NOW)
    with pytest.raises(UnscannedError, match=r"no database in .*PyPI"):
        osv_scanner.check_databases(BOTH, 7, NOW)


def test_a_database_without_records_is_none(databases: Path) -> None:
    write_databases(databases, "", {"Debian": []})
    with pytest.raises(UnscannedError, match="it has no record"):
        osv_scanner.check_databases(["Debian"], 7, NOW)


class FakeProgram:
    """osv-scanner that ends with a code and says this on standard error."""

    def __init__(self, code: int, errors: str = "") -> None:
        self.code = code
        self.errors = errors
        self.argv: Sequence[str] = ()
        self.documents: list[str] = []

    def __call__(self, argv: list[str], **_: object) -> str:
        self.argv = argv
        names = [argv[at + 1] for at, word in enumerate(argv) if word == "-L"]
        self.documents = [Path(name).read_text() for name in names]
        Path(argv[argv.index("--output-file") + 1]).write_text("the report")
        if self.code:
            raise CommandError("failed", argv=argv, returncode=self.code, tail=self.errors)
        return ""


def lookup(monkeypatch: pytest.MonkeyPatch, program: FakeProgram) -> str:
    monkeypatch.setattr(programs, "find", lambda _: "osv-scanner")
    monkeypatch.setattr(process, "capture", program)
    return osv_scanner.lookup({"api-rest": "its SBOM", "kafka": "Kafka's"})


@pytest.mark.parametrize("code", [0, 1])
def test_all_images_are_looked_up_at_once(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    program = FakeProgram(code)
    monkeypatch.delenv("DELIVERY_OSV", raising=False)
    assert lookup(monkeypatch, program) == "the report"
    assert program.documents == ["its SBOM", "Kafka's"]
    assert "--offline-vulnerabilities" not in program.argv


def test_a_folder_of_databases_is_used_offline(
    monkeypatch: pytest.MonkeyPatch, databases: Path
) -> None:
    program = FakeProgram(0)
    lookup(monkeypatch, program)
    assert ["--offline-vulnerabilities", "--local-db-path", str(databases)] == [
        *program.argv[program.argv.index("--offline-vulnerabilities") :][:3]
    ]


def report(*ecosystems: str) -> str:
    """A report about a package of each, with a record that is about another release too."""
    records = [{"affected": [{"package": {"ecosystem": "Other:1"}}]}]
    packages = [{"package": {"ecosystem": name}, "vulnerabilities": records} for name in ecosystems]
    return json.dumps({"results": [{"packages": packages}]}, separators=(",", ":"))


@pytest.mark.parametrize("missing", ["Debian:14", "Debian:1"])
def test_a_release_without_any_record_was_not_looked_up(databases: Path, missing: str) -> None:
    write_databases(databases, "2026-01-09T00:00:00Z")
    osv_scanner.check_releases(report("Debian:13", "PyPI"))
    with pytest.raises(UnscannedError, match=f"all.zip has no record of {missing}$"):
        osv_scanner.check_releases(report("Debian:13", missing, "PyPI"))
    with pytest.raises(UnscannedError, match=r"no database in .*Alpine"):
        osv_scanner.check_releases(report("Alpine:v3.22"))


def test_the_releases_of_an_ecosystem_are_looked_for_in_one_reading(
    databases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_databases(databases, "2026-01-09T00:00:00Z")
    opened, read = [], zipfile.ZipFile.read

    def counted(archive: zipfile.ZipFile, name: str) -> bytes:
        opened.append(name)
        return read(archive, name)

    monkeypatch.setattr(zipfile.ZipFile, "read", counted)
    with pytest.raises(UnscannedError, match="no record of Debian:14, Debian:15"):
        osv_scanner.check_releases(report("Debian:13", "Debian:14", "Debian:15"))
    assert len(opened) == len(set(opened)) == 2


@pytest.mark.parametrize(
    ("code", "errors"),
    [(127, "no offline version"), (128, ""), (129, "API"), (-1, ""), (1, "one database is bad")],
)
def test_whatever_it_could_not_do_is_no_result(
    monkeypatch: pytest.MonkeyPatch, code: int, errors: str
) -> None:
    with pytest.raises(UnscannedError) as caught:
        lookup(monkeypatch, FakeProgram(code, errors))
    assert (caught.value.exit_code, caught.value.details) == (12, errors)


def test_without_a_scanner_nothing_is_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure(_name: str) -> str:
        raise DeliveryError("cannot use osv-scanner: it is not installed", hint="install it")

    monkeypatch.setattr(programs, "find", lambda _: None)
    monkeypatch.setattr(programs, "ensure", ensure)
    with pytest.raises(UnscannedError, match="vulnerabilities: it is not installed"):
        osv_scanner.lookup({})
