"""The history: what is appended comes back whole, or not at all."""

from pathlib import Path

import pytest

from tests.ledger.history import Answer, Attempt, read, recording

ACCEPTED = Answer("accepted", 202, "id-1", "2026-01-01T00:00:00.000001Z")


def attempt(number: int, answer: Answer = ACCEPTED, key: str | None = None) -> Attempt:
    return Attempt(number, key, {"component": "a", "details": {"é": "🚀"}}, 1.25, 2.5, answer)


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    added = [
        attempt(1, key="k"),
        attempt(2, Answer("unknown", 503, reason="Zoë\n")),
        attempt(3, Answer("refused")),
    ]
    with recording(tmp_path / "history.jsonl") as history:
        for one in added:
            history.add(one)
    assert read(tmp_path / "history.jsonl") == added


def test_counts_accepted_events_not_attempts(tmp_path: Path) -> None:
    with recording(tmp_path / "history.jsonl") as history:
        for one in (attempt(1), attempt(1), attempt(2, Answer("unknown")), attempt(3)):
            history.add(one)
        assert history.accepted == 2


def test_a_history_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").touch()
    with pytest.raises(FileExistsError), recording(tmp_path / "history.jsonl"):
        pass


@pytest.mark.parametrize(
    "torn", ['{"number": 1', "[]", '{"number": 1, "answer": {}}', '{"answer": {"outcome": "x"}}']
)
def test_a_torn_line_is_named(torn: str, tmp_path: Path) -> None:
    with recording(tmp_path / "history.jsonl") as history:
        history.add(attempt(1))
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write(torn)
    with pytest.raises(ValueError, match="line 2 is no attempt"):
        read(tmp_path / "history.jsonl")
