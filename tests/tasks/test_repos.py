"""`inv repos.split` passes its arguments on."""

from pathlib import Path

import pytest

from delivery.project.declaration import Declaration
from delivery.split import splitting
from delivery.tasks import repos
from tests.tasks.running import run


def test_a_relative_folder_is_below_the_current_one_and_is_printed_for_a_shell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[Path, str]] = []

    def split(_declaration: Declaration, to: Path, only: str) -> list[Path]:
        calls.append((to, only))
        return [to / "apps"]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(splitting, "split", split)
    run(repos.split, to="gone/../the new", only="apps")
    assert calls == [(tmp_path / "the new", "apps")]
    assert f"'{tmp_path / 'the new' / 'apps'}'" in capsys.readouterr().out.replace("\n", "")
