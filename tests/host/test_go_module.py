"""A program is compiled from its module, into the folder that is asked for."""

from pathlib import Path

import pytest

from delivery import process
from delivery.errors import CommandError, DeliveryError
from delivery.host import go_module

MODULE = "example.com/program/cmd/program@v1.2.3"


def test_go_compiles_into_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[tuple[list[str], process.Options]] = []

    def stream(argv: list[str], *, options: process.Options, **_: object) -> None:
        ran.append((argv, options))

    monkeypatch.setattr(process, "stream", stream)
    go_module.install(MODULE, tmp_path, lambda _: None)
    options = process.Options(env={"GOBIN": str(tmp_path)})
    assert ran == [(["go", "install", "-v", MODULE], options)]


def test_a_failure_shows_what_go_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stream(argv: list[str], *, doing: str, **_: object) -> None:
        raise CommandError(f"cannot {doing}", argv=argv, returncode=1, tail="requires go >= 1.99")

    monkeypatch.setattr(process, "stream", stream)
    with pytest.raises(DeliveryError, match=f"cannot compile {MODULE}") as caught:
        go_module.install(MODULE, tmp_path, lambda _: None)
    assert caught.value.details == "requires go >= 1.99"
    assert "version of Go" in caught.value.hint
