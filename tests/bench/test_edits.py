"""`bench edits`: an edit ends when it is served; a command that does not watch is an error."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ops.bench.edits import EDITED, SERVED, Clone, table
from ops.bench.stack import BenchError
from tests.registries import serving


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """The file that is edited."""
    file = tmp_path / EDITED
    file.parent.mkdir(parents=True)
    file.write_text("body {}\n")
    return file


def test_an_edit_ends_when_its_line_is_served(edited: Path, tmp_path: Path) -> None:
    stale, done = iter((b"body {}", b"body {}")), list[str]()

    def app(*_: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, next(stale, None) or edited.read_bytes()

    with serving(app) as (address, asked):
        clone = Clone(tmp_path, int(address.rpartition(":")[2]), {})
        assert clone.edit(lambda: done.append("built")) > 0
    assert (asked, done) == ([f"GET {SERVED}"] * 3, ["built"])
    assert len(edited.read_text().splitlines()) == 2


def test_a_command_that_ends_before_it_watches_is_shown(tmp_path: Path) -> None:
    clone = Clone(tmp_path, 1, os.environ)
    argv = (sys.executable, "-c", "print('no such service')")
    with pytest.raises(BenchError, match="no such service"), clone.watching(argv, "watching"):
        pytest.fail("it does not watch")


def test_the_quickest_comes_first() -> None:
    _, _, *rows = table({"up": (5.0, 6.0, 7.0), "dev": (1.0, 3.0, 2.0)}).splitlines()
    assert rows == ["| dev | 1.00 | 2.00 | 3.00 |", "| up | 5.00 | 6.00 | 7.00 |"]
