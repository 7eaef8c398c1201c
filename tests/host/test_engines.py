"""Without an engine one is started, or the error has a hint."""

import os
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from delivery.errors import EngineError
from delivery.host import bridges, debian, docker_api, dockerd, engines
from delivery.host.bridges import Bridge


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


@pytest.mark.parametrize("answers", [True, False])
def test_down_reads_bridges_and_policy_before_the_stop_and_removes_them_after(
    monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    calls: list[str] = []
    bridge = Bridge("docker0", ("172.17.0.0/16",))

    def called(name: str, answer: object = None) -> Callable[[], object]:
        def call() -> object:
            calls.append(name)
            return answer

        return call

    engine = SimpleNamespace(bridges=called("list bridges", [bridge]))

    def remove(removed: list[Bridge], policy: str) -> None:
        calls.append(f"remove {removed[0].interface}, policy {policy}")

    monkeypatch.setattr(dockerd, "revive", called("revive"))
    monkeypatch.setattr(docker_api, "find_private", lambda: engine if answers else None)
    # The stop removes the file with the policy.
    monkeypatch.setattr(dockerd, "previous_policy", lambda: "" if "stop" in calls else "ACCEPT")
    monkeypatch.setattr(dockerd, "stop", called("stop", answers))
    monkeypatch.setattr(bridges, "remove", remove)
    monkeypatch.setattr(dockerd, "unmount", called("unmount"))
    assert engines.down() is answers
    steps = ["revive", "list bridges", "stop", "remove docker0, policy ACCEPT", "unmount"]
    assert calls == (steps if answers else ["revive", "stop", "unmount"])
