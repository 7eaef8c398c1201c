"""A pipeline has a journal of its own, from which its later stages read."""

from pathlib import Path

import pytest

from delivery.records import journal
from tests.records.conftest import record

RECORD = record("build")


@pytest.fixture(autouse=True)
def build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/job/delivery/job/release%2F1.2/7/")


def file_of(build: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the journal of a build."""
    monkeypatch.setenv("BUILD_URL", build)
    journal.append([RECORD], root)
    (file,) = (root / ".delivery" / "records").iterdir()
    file.unlink()
    return file.name


def test_records_are_read_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    ended = RECORD.model_copy(update={"status": "succeeded"})
    journal.append([RECORD], tmp_path)
    journal.append([], tmp_path)
    journal.append([ended], tmp_path)
    assert journal.read(tmp_path) == [RECORD, ended]


def test_a_run_by_hand_has_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUILD_URL")
    journal.append([RECORD], tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert journal.read(tmp_path) == []


def test_an_incomplete_line_is_ignored(tmp_path: Path) -> None:
    journal.append([RECORD], tmp_path)
    (file,) = (tmp_path / ".delivery" / "records").iterdir()
    with file.open("a") as out:
        out.write('[1]\n{"comp')
    assert journal.read(tmp_path) == [RECORD]


def test_a_journal_is_named_after_its_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(build: str) -> str:
        return file_of(build, tmp_path, monkeypatch)

    first = name("https://ci.example.com/job/delivery/job/release%2F1.2/7/")
    assert first.startswith("ci-example-com-job-delivery-job-release-2F1-2-7-")
    assert first.endswith(".jsonl")
    assert first != name("https://ci.example.com/job/delivery/job/release_2F1.2/7/")
    assert len(name("https://" + "x" * 500)) < 100
    assert ".." not in name("https://../../etc")
    assert name("…").startswith("build-")
