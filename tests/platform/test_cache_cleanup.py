"""`inv cache.clean` removes the cache and its private engine; `cache.prune` what is unused."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from delivery import cache
from delivery.errors import DeclarationError, DeliveryError
from delivery.host import docker_api, dockerd
from delivery.records import outbox
from delivery.tasks import cached
from tests.tasks.running import run

EVENT = {"component": "api-rest", "status": "started"}


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a file, beside the cache of another program."""
    monkeypatch.delenv("DELIVERY_OUTBOX")
    (cache.folder("engine", "data") / "layer").write_bytes(b"x" * 10_000)
    folder = cache.folder()
    (folder.parent / "another-program").mkdir()
    return folder


@pytest.fixture
def engine() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that counts as the private engine."""
    argv = [sys.executable, "-c", "import signal; signal.pause()", dockerd.address()]
    with subprocess.Popen(argv) as process:
        (cache.folder("engine") / "dockerd.pid").write_text(str(process.pid))
        yield process
        process.kill()


def at_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _prompt: answer)


def test_clean_removes_only_this_cache(root: Path) -> None:
    outbox.add("http://ledger", [EVENT])
    run(cached.clean, yes=True)
    assert [path.name for path in root.parent.iterdir()] == ["another-program"]
    assert [waiting.event for waiting in outbox.waiting()] == [EVENT]


@pytest.mark.parametrize("variable", ["DELIVERY_OUTBOX", "XDG_STATE_HOME"])
def test_a_configured_outbox_in_the_cache_prevents_its_removal(
    root: Path, monkeypatch: pytest.MonkeyPatch, engine: "subprocess.Popen[bytes]", variable: str
) -> None:
    folder = root / "own" if variable == "DELIVERY_OUTBOX" else root.parent
    monkeypatch.setenv(variable, str(folder))
    outbox.add("http://ledger", [EVENT])
    with pytest.raises(
        DeliveryError, match="cannot remove the cache: 1 event in it was not delivered"
    ) as caught:
        run(cached.clean, yes=True)
    assert "ci.deliver" in caught.value.hint
    assert [waiting.event for waiting in outbox.waiting()] == [EVENT]
    assert (root / "engine" / "data" / "layer").exists()
    assert engine.poll() is None


@pytest.mark.parametrize(
    ("answer", "removed"), [("y", True), ("Yes ", True), ("", False), ("n", False)]
)
def test_clean_asks_at_a_terminal(
    root: Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, removed: bool
) -> None:
    at_terminal(monkeypatch, answer)
    run(cached.clean)
    assert root.exists() is not removed


def test_clean_without_a_terminal_needs_yes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(DeclarationError, match="no terminal to confirm it"):
        run(cached.clean)
    assert (root / "engine" / "data" / "layer").exists()


def test_clean_stops_the_private_engine(engine: "subprocess.Popen[bytes]", root: Path) -> None:
    run(cached.clean, yes=True)
    assert engine.wait(timeout=10) == -15
    assert not root.exists()


def test_status_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(cached.status, json_=True)
    status = json.loads(capsys.readouterr().out)
    assert (status["folder"], status["engine_runs"]) == (str(root), False)
    assert status["bytes"] >= 10_000


def test_prune_removes_what_was_unused_for_so_many_days(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    removed: list[str] = []
    engine = SimpleNamespace(
        prune_builds=lambda days: days * 1_000_000_000,
        unused_images=lambda _repositories: ["old", "recent"],
        remove_images=removed.extend,
    )
    monkeypatch.setattr(docker_api, "find", lambda: engine)
    cache.first_seen("images", ["old"])
    since = time.time() - 15 * 86_400
    os.utime(cache.folder("seen", "images") / "old", (since, since))
    run(cached.prune, days=14)
    assert removed == ["old"]
    printed = capsys.readouterr().out
    assert "build cache: 14.0 GB freed" in printed
    assert "1 removed, 1 more are unused for less than 14 days" in printed


def test_prune_without_an_engine_leaves_its_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docker_api, "find", lambda: None)
    run(cached.prune, days=0)
    assert "its build cache and images stay" in capsys.readouterr().out


def test_prune_does_not_take_days_below_zero() -> None:
    with pytest.raises(DeclarationError, match="--days is -1"):
        run(cached.prune, days=-1)
