"""`inv cache.clean` removes the cache and its private engine, and nothing that is needed elsewhere."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from delivery import cache
from delivery.errors import DeclarationError, DeliveryError
from delivery.host import dockerd
from delivery.records import outbox
from delivery.tasks import cached

EVENT = {"component": "api-rest", "status": "started"}


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with something in it, beside another program's."""
    monkeypatch.delenv("DELIVERY_OUTBOX")
    (cache.folder("engine", "data") / "layer").write_bytes(b"x" * 10_000)
    found = cache.folder()
    (found.parent / "another-program").mkdir()
    return found


@pytest.fixture
def engine() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is known as the private engine."""
    argv = [sys.executable, "-c", "import signal; signal.pause()", dockerd.address()]
    with subprocess.Popen(argv) as process:
        (cache.folder("engine") / "dockerd.pid").write_text(str(process.pid))
        yield process
        process.kill()


def clean(**flags: Any) -> None:  # noqa: ANN401  # an invoke task's flags
    cached.clean.body.__wrapped__(None, **flags)


def at_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _prompt: answer)


def in_the_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An outbox in the cache, where earlier versions had it, with an event that waits."""
    with monkeypatch.context() as patch:
        patch.setenv("DELIVERY_OUTBOX", str(root / "outbox"))
        outbox.add("http://ledger", [EVENT])
    return root / "outbox"


def test_removes_the_cache_and_nothing_beside_it(root: Path) -> None:
    outbox.add("http://ledger", [EVENT])
    clean(yes=True)
    assert [path.name for path in root.parent.iterdir()] == ["another-program"]
    assert [one.event for one in outbox.waiting()] == [EVENT]


@pytest.mark.parametrize("own", ["", "outbox-of-its-own"])
def test_events_that_wait_in_the_cache_are_taken_over_first(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    in_the_cache(root, monkeypatch)
    if own:
        monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / own))
    clean(yes=True)
    assert not root.exists()
    monkeypatch.delenv("DELIVERY_OUTBOX", raising=False)
    assert [one.event for one in outbox.waiting()] == [EVENT]


@pytest.mark.parametrize("variable", ["DELIVERY_OUTBOX", "XDG_STATE_HOME"])
def test_an_outbox_that_is_meant_to_be_in_the_cache_keeps_it_from_being_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch, engine: "subprocess.Popen[bytes]", variable: str
) -> None:
    place = root / "mine" if variable == "DELIVERY_OUTBOX" else root.parent
    monkeypatch.setenv(variable, str(place))
    outbox.add("http://ledger", [EVENT])
    with pytest.raises(
        DeliveryError, match="cannot remove the cache: 1 event in it was not delivered"
    ) as caught:
        clean(yes=True)
    assert "ci.deliver" in caught.value.hint
    assert [one.event for one in outbox.waiting()] == [EVENT]
    assert (root / "engine" / "data" / "layer").exists()
    assert engine.poll() is None


def test_an_event_that_cannot_be_taken_over_keeps_it_from_being_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = in_the_cache(root, monkeypatch)

    def refuse(*_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("delivery.records.outbox.os.rename", refuse)
    with pytest.raises(DeliveryError, match=f"take over the events in {place}"):
        clean(yes=True)
    assert len(list(place.glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("answer", "removed"), [("y", True), ("Yes ", True), ("", False), ("n", False)]
)
def test_at_a_terminal_it_asks_first(
    root: Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, removed: bool
) -> None:
    at_terminal(monkeypatch, answer)
    clean()
    assert root.exists() is not removed


def test_refuses_where_nobody_can_be_asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(DeclarationError, match="nobody is here to be asked"):
        clean()
    assert (root / "engine" / "data" / "layer").exists()


def test_stops_the_private_engine(engine: "subprocess.Popen[bytes]", root: Path) -> None:
    clean(yes=True)
    assert engine.wait(timeout=10) == -15
    assert not root.exists()


def test_status_is_said_to_a_machine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cached.status.body.__wrapped__(None, json_=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["folder"], told["engine_runs"]) == (str(root), False)
    assert told["bytes"] >= 10_000
