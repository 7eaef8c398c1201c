"""The private engine: its address, its process and its log."""

import os
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery import cache
from delivery.errors import EngineError
from delivery.host import dockerd


def test_the_socket_is_in_the_cache() -> None:
    assert dockerd.address() == f"unix://{cache.folder('engine')}/docker.sock"


def test_it_does_not_run_without_a_start() -> None:
    assert dockerd.pid() == 0
    assert dockerd.stop() is False


def test_another_process_with_its_id_is_not_the_engine() -> None:
    (cache.folder("engine") / "dockerd.pid").write_text(str(os.getpid()))
    assert dockerd.pid() == 0


def test_a_path_too_long_for_a_socket_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("x" * 120)))
    with pytest.raises(EngineError, match="too long for a socket"):
        dockerd.address()


def test_an_engine_that_ends_at_once_is_an_error_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "dockerd"
    program.write_text("#!/bin/sh\necho failed to create bridge >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(dockerd, "_installed", lambda: True)
    with pytest.raises(EngineError, match="dockerd ended") as caught:
        dockerd.start(lambda _: None)
    assert "failed to create bridge" in caught.value.details


def test_mounts_of_a_killed_engine_are_unmounted_deepest_first(
    fp: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = cache.folder("engine")
    mounts = (
        "/proc proc",
        f"{home}/data ext4",
        f"{home}/data/a/merged overlay",
        f"{home}-other ext4",
    )
    table = "".join(f"device {mount} rw 0 0\n" for mount in mounts)
    monkeypatch.setattr(Path, "read_text", lambda _self, **_: table)
    for path in (f"{home}/data/a/merged", f"{home}/data"):
        fp.register(["umount", "--lazy", path])
    dockerd.unmount()
    assert [list(call) for call in fp.calls] == [
        ["umount", "--lazy", f"{home}/data/a/merged"],
        ["umount", "--lazy", f"{home}/data"],
    ]
