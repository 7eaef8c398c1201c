"""A program is compiled from its module, into the folder that is asked for."""

from pathlib import Path

import pytest

from delivery import process
from delivery.host import go_module

MODULE = "example.com/program/cmd/program@v1.2.3"


def test_go_compiles_into_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[tuple[list[str], process.Options]] = []

    def stream(argv: list[str], *, options: process.Options, **_: object) -> None:
        ran.append((argv, options))

    monkeypatch.setattr(process, "stream", stream)
    go_module.install(MODULE, tmp_path, lambda _: None)
    ((argv, options),) = ran
    assert argv == ["go", "install", "-v", MODULE]
    assert options.env == {"GOBIN": str(tmp_path)}
    assert "version of Go" in options.hint
