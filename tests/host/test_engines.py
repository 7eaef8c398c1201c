"""Without an engine one is started, or the error has a hint."""

import os
import sys

import pytest

from delivery.errors import EngineError
from delivery.host import debian, docker_api, dockerd, engines


@pytest.mark.parametrize(
    ("system", "release", "user", "hint"),
    [
        ("darwin", "", 501, "start Docker Desktop"),
        ("linux", "trixie", 1000, "run the same command as root"),
        ("linux", "", 0, "install and start Docker Engine 23 or newer"),
    ],
)
def test_without_an_engine_the_error_has_a_hint(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, user: int, hint: str
) -> None:
    monkeypatch.setattr(docker_api, "find", lambda: None)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(debian, "release", lambda: release)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(EngineError, match="cannot use a Docker engine: none answers") as caught:
        engines.ensure()
    assert caught.value.hint.startswith(hint)
    assert caught.value.exit_code == 3


def test_an_engine_that_listens_but_does_not_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(docker_api, "find", lambda: None)
    monkeypatch.setattr(debian, "can_install", lambda: True)
    monkeypatch.setattr(dockerd, "start", lambda _on_line: None)
    with pytest.raises(EngineError, match="it listens, but does not answer"):
        engines.ensure()


def test_require_starts_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_api, "find", lambda: None)
    with pytest.raises(EngineError, match="none answers"):
        engines.require()
