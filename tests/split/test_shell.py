"""What a README says is run as people would."""

from pathlib import Path

import pytest

from delivery.errors import CommandError
from delivery.split import shell


def run(script: str, folder: Path, **more: object) -> list[str]:
    said = list[str]()
    shell.run(script, doing="run it", cwd=folder, on_line=lambda line: said.append(line.rstrip()), **more)  # type: ignore[arg-type]
    return said


def test_commands_run_in_their_folder_in_order(tmp_path: Path) -> None:
    assert run("echo a >file\ncat file\npwd", tmp_path) == ["a", str(tmp_path)]


def test_the_first_that_fails_ends_it(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="run it"):
        run("false\ntouch after", tmp_path)
    assert not (tmp_path / "after").exists()


def test_an_unknown_variable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        run('echo "$NOBODY_SET_THIS"', tmp_path)


def test_programs_of_the_path_come_first(tmp_path: Path) -> None:
    (tmp_path / "ls").write_text("#!/bin/sh\necho ours\n")
    (tmp_path / "ls").chmod(0o755)
    assert run("ls", tmp_path, path=[tmp_path]) == ["ours"]


def test_the_environment_of_this_python_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "GIT_DIR"):
        monkeypatch.setenv(name, "ours")
    assert run('echo "${VIRTUAL_ENV-}${PYTHONPATH-}${GIT_DIR-}$TOLD"', tmp_path, env={"TOLD": "told"}) == ["told"]
