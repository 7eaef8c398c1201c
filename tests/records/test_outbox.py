"""Events wait on the disk until the ledger has them: whole, in order, each under one key."""

import errno
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from delivery.errors import DeliveryError
from delivery.project.files import ROOT
from delivery.records import outbox
from delivery.records.events import SendResult
from delivery.records.ledger import Ledger
from delivery.records.outbox import Waiting
from tests.registries import Answer, serving

LEDGER = "http://ledger"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    return tmp_path / "outbox"


def events(*names: str, component: str = "api-rest") -> list[dict[str, Any]]:
    return [{"component": component, "status": name} for name in names]


class Taking:
    """A ledger that answers by an event's status, and remembers."""

    def __init__(self, answers: dict[str, tuple[SendResult, str]] | None = None) -> None:
        self.answers = answers or {}
        self.seen: list[str] = []

    def __call__(self, one: Waiting) -> tuple[SendResult, str]:
        self.seen.append(str(one.event["status"]))
        return self.answers.get(str(one.event["status"]), (SendResult.DELIVERED, ""))


def test_events_leave_in_the_order_in_which_they_came(place: Path) -> None:
    outbox.add(LEDGER, events("a", "b"))
    outbox.add(LEDGER, events("c"))
    taking = Taking()
    report = outbox.deliver(taking, seconds=5)
    assert taking.seen == ["a", "b", "c"]
    assert (report.sent, report.waiting, report.reasons) == (3, 0, {})
    assert [file.name for file in place.iterdir() if file.suffix == ".json"] == []


def test_the_order_holds_when_the_clock_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([time.time_ns() + 10**12, time.time_ns()])
    monkeypatch.setattr("delivery.records.outbox.time.time_ns", lambda: next(times))
    outbox.add(LEDGER, events("a", "b"))
    assert [one.event["status"] for one in outbox.waiting()] == ["a", "b"]


def test_an_event_keeps_its_key_over_every_try() -> None:
    outbox.add(LEDGER, events("a", "b"))
    keys: list[str] = []

    def away(one: Waiting) -> tuple[SendResult, str]:
        keys.append(one.key)
        return SendResult.UNAVAILABLE, "away"

    for _ in range(3):
        outbox.deliver(away, seconds=5)
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len({one.key for one in outbox.waiting()}) == 2


def test_nobody_else_reads_what_waits(place: Path) -> None:
    outbox.add(LEDGER, events("a"))
    (file,) = place.glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_ledger_that_is_away_is_asked_once_and_another_one_goes_on() -> None:
    outbox.add("http://dead", events("away", "later"))
    outbox.add(LEDGER, events("a"))
    taking = Taking({"away": (SendResult.UNAVAILABLE, "nobody answers there")})
    report = outbox.deliver(taking, seconds=5)
    assert taking.seen == ["away", "a"]
    assert (report.sent, report.waiting, report.reasons) == (
        1,
        2,
        {"http://dead": "nobody answers there"},
    )


def test_what_it_fails_to_take_holds_back_what_follows_of_that_component_alone() -> None:
    outbox.add(LEDGER, events("poison", "after"))
    outbox.add(LEDGER, events("other", component="async-worker"))
    taking = Taking({"poison": (SendResult.FAILED, "500")})
    report = outbox.deliver(taking, seconds=5)
    assert taking.seen == ["poison", "other"]
    assert (report.sent, report.waiting) == (1, 2)
    assert report.reasons == {LEDGER: "it fails to store an event of api-rest"}


def test_what_will_never_be_taken_is_put_aside_with_why_and_others_go_on(place: Path) -> None:
    outbox.add(LEDGER, events("bad", "good"))
    report = outbox.deliver(Taking({"bad": (SendResult.REJECTED, "stage is unknown")}), seconds=5)
    assert (report.sent, report.waiting) == (1, 0)
    (one,) = report.rejected
    assert (one.file.parent, one.why) == (place / "rejected", "stage is unknown")
    (kept,) = outbox.rejected()
    assert (kept.why, kept.event) == ("stage is unknown", events("bad")[0])
    assert outbox.deliver(Taking(), seconds=5).rejected == []  # said once


def test_what_was_put_aside_can_wait_again_under_its_key() -> None:
    outbox.add(LEDGER, events("bad"))
    (before,) = outbox.waiting()
    outbox.deliver(Taking({"bad": (SendResult.REJECTED, "no")}), seconds=5)
    assert outbox.retry_rejected() == 1
    (after,) = outbox.waiting()
    assert (after.key, after.event, after.file.name) == (before.key, before.event, before.file.name)
    assert outbox.rejected() == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"key": 1, "ledger": "x", "event": {}}',
        b'{"key": "k", "ledger": "x"}',
    ],
)
def test_a_file_that_is_no_event_is_set_aside_and_others_go_on(place: Path, content: bytes) -> None:
    outbox.folder()
    (place / "00000000000000000001-x.json").write_bytes(content)
    outbox.add(LEDGER, events("a"))
    report = outbox.deliver(Taking(), seconds=5)
    assert (report.sent, report.waiting) == (1, 0)
    assert [one.why for one in report.rejected] == ["it is not an event, or incomplete"]
    assert (place / "rejected" / "00000000000000000001-x.json").read_bytes() == content
    assert outbox.retry_rejected() == 0
    assert len(outbox.rejected()) == 1


@pytest.mark.parametrize("name", ["x.json", "9" * 40 + "-x.json"])
def test_a_name_that_is_no_time_is_set_aside(place: Path, name: str) -> None:
    outbox.folder()
    (place / name).write_text(json.dumps({"key": "k", "ledger": LEDGER, "event": {}}))
    assert len(outbox.deliver(Taking(), seconds=5).rejected) == 1


def test_a_delivery_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox.add(LEDGER, events("a", "b", "c"))
    times = iter([0.0, 1.0, 11.0])
    monkeypatch.setattr(outbox, "monotonic", lambda: next(times))
    report = outbox.deliver(Taking(), seconds=10)
    assert (report.sent, report.waiting, report.late) == (1, 2, True)


def test_two_processes_do_not_deliver_at_once(place: Path) -> None:
    outbox.add(LEDGER, events("a"))
    taking = Taking()
    with FileLock(place / ".lock"):
        report = outbox.deliver(taking, seconds=5)
    assert (report.busy, report.waiting, taking.seen) == (True, 1, [])
    assert outbox.deliver(taking, seconds=5).sent == 1


def test_what_a_killed_process_had_begun_is_no_event_and_goes_in_time(place: Path) -> None:
    outbox.add(LEDGER, events("a"))
    old, young = place / ".1-x.json.tmp", place / ".2-x.json.tmp"
    for file in (old, young):
        file.write_text('{"key"')
    os.utime(old, (0, 0))
    assert outbox.deliver(Taking(), seconds=5).sent == 1
    assert (old.exists(), young.exists()) == (False, True)


def test_an_outbox_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "file"))
    with pytest.raises(DeliveryError, match="cannot make the outbox") as raised:
        outbox.add(LEDGER, events("a"))
    assert "DELIVERY_OUTBOX" in raised.value.hint


def test_a_full_disk_leaves_nothing_half_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("delivery.records.outbox.os.fsync", full)
    with pytest.raises(DeliveryError, match="No space left on device"):
        outbox.add(LEDGER, events("a"))
    assert list(place.iterdir()) == []


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the outbox is when DELIVERY_OUTBOX names none."""
    monkeypatch.delenv("DELIVERY_OUTBOX")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "state" / "delivery-platform" / "outbox"


@pytest.fixture
def former(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The outbox in the cache, as earlier versions had it: two events wait, one was rejected."""
    del state
    folder = tmp_path / "cache" / "delivery-platform" / "outbox"
    with monkeypatch.context() as patch:
        patch.setenv("DELIVERY_OUTBOX", str(folder))
        outbox.add(LEDGER, events("bad", "a", "b"))
        outbox.deliver(
            Taking({"bad": (SendResult.REJECTED, "no"), "a": (SendResult.UNAVAILABLE, "away")}),
            seconds=5,
        )
    return folder


def test_by_default_it_is_in_the_users_state_not_in_the_cache(state: Path) -> None:
    assert outbox.folder() == state


def test_events_in_the_cache_are_taken_over_by_whoever_opens_it_next(
    former: Path, state: Path
) -> None:
    outbox.add(LEDGER, events("c"))
    assert [one.event["status"] for one in outbox.waiting()] == ["a", "b", "c"]
    assert [one.why for one in outbox.rejected()] == ["no"]
    assert {one.file.parent for one in outbox.waiting()} == {state}
    assert list(former.rglob("*.json")) == []


def test_events_in_the_cache_are_taken_over_from_another_file_system(
    former: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {file.name: file.read_bytes() for file in former.rglob("*.json")}
    rename = os.rename

    def across(source: Path, target: Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr("delivery.records.outbox.os.rename", across)
    outbox.folder()
    assert {file.name: file.read_bytes() for file in state.rglob("*.json")} == files
    assert {stat.S_IMODE(file.stat().st_mode) for file in state.rglob("*.json")} == {0o600}
    assert list(former.rglob("*.json")) == []


def test_with_a_folder_of_its_own_nothing_is_taken_over(
    former: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_OUTBOX", str(place))
    assert outbox.folder() == place
    assert len(list(former.rglob("*.json"))) == 3


def test_one_folder_for_cache_and_state_has_nothing_to_be_taken_over(
    former: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "cache"))
    assert outbox.folder() == former
    assert len(outbox.waiting()) == 2


OPENING = """
from delivery.records import outbox
print("ready", flush=True)
input()
outbox.folder()
print(*[one.event["status"] for one in outbox.waiting()])
"""


def test_processes_that_take_over_at_once_lose_and_double_nothing(
    former: Path, state: Path
) -> None:
    names = [str(number) for number in range(50)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DELIVERY_OUTBOX", str(former))
        outbox.add(LEDGER, events(*names))
    processes = at_work((OPENING,), (OPENING,))
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    seen = [process.communicate(timeout=60)[0].split() for process in processes]
    assert seen == [["a", "b", *names]] * 2
    assert len(list(state.rglob("*.json"))) == 53
    assert list(former.rglob("*.json")) == []


def test_an_event_that_is_delivered_while_it_is_taken_over_is_no_error(
    former: Path, tmp_path: Path
) -> None:
    gone, there = former / "1-gone.json", next(former.glob("*.json"))
    outbox._move([gone, there], tmp_path / "new")
    assert [file.name for file in (tmp_path / "new").iterdir()] == [there.name]


@pytest.mark.parametrize("refused", ["rename", "iterdir"])
def test_what_cannot_be_taken_over_stays_and_keeps_no_new_event_out(
    former: Path,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refused: str,
) -> None:
    call = getattr(Path, refused)

    def refuse(path: Path, *target: Path) -> Any:  # noqa: ANN401  # of either method
        if path.is_relative_to(former):
            raise PermissionError(errno.EACCES, "Permission denied")
        return call(path, *target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, refused, refuse)
        outbox.add(LEDGER, events("c"))
        outbox.add(LEDGER, events("d"))
        assert [one.event["status"] for one in outbox.waiting()] == ["c", "d"]
        with pytest.raises(
            DeliveryError, match=f"take over the events in {former}: Permission denied"
        ):
            outbox.take_over()
    assert capsys.readouterr().err == (
        f"warning: cannot take over the events in {former}: Permission denied; they stay there\n"
    )
    assert {one.file.parent for one in outbox.waiting()} == {state}
    assert len(list(former.rglob("*.json"))) == 3


def test_knows_which_undelivered_events_are_in_a_folder(
    former: Path, state: Path, tmp_path: Path
) -> None:
    del former
    assert len(outbox.undelivered_in(tmp_path / "cache")) == 3
    outbox.folder()
    assert outbox.undelivered_in(tmp_path / "cache") == []
    assert len(outbox.undelivered_in(state)) == 3


ADDING = """
import itertools, sys
from delivery.records import outbox
for number in itertools.count():
    pair = [{"component": sys.argv[2], "run": f"{sys.argv[3]}-{number}", "status": status} for status in ("started", "ended")]
    outbox.add(sys.argv[1], pair)
    print(number, flush=True)
"""
DELIVERING = """
import sys
from delivery.records import outbox
from delivery.records.ledger import Ledger
def send(one):
    return Ledger(one.ledger).send(one.event, one.key, seconds=5)
print("ready", flush=True)
while True:
    outbox.deliver(send, seconds=5, wait=0.05)
"""


def at_work(*commands: tuple[str, ...]) -> list[subprocess.Popen[str]]:
    """Processes of these scripts and arguments, each once it has said that it is at work."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline()
    return processes


def killed(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Kill them; how many pairs each that adds had put into the outbox, as it said."""
    for process in processes:
        process.send_signal(signal.SIGKILL)
    return [len(process.communicate()[0].split()) for process in processes]


def send(one: Waiting) -> tuple[SendResult, str]:
    return Ledger(one.ledger).send(one.event, one.key, seconds=5)


class Counting:
    """A ledger that keeps each key's event once, in the order in which they came."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}

    def __call__(self, _method: str, _path: str, headers: dict[str, str], body: bytes) -> Answer:
        key = headers["Idempotency-Key"]
        self.keys.setdefault(key, json.loads(body))
        return 202, {}, b'{"id": "e"}'


def test_kill_9_in_any_moment_loses_nothing_and_doubles_nothing() -> None:
    seed = random.randrange(10**6)  # noqa: S311  # guards nothing
    chance, ledger, promised = random.Random(seed), Counting(), dict[str, int]()  # noqa: S311
    with serving(ledger) as (address, _):
        for turn in range(3):
            component = f"component-{turn}"
            adding = (ADDING, f"http://{address}", component, str(turn))
            processes = at_work((DELIVERING,), (DELIVERING,), adding)
            time.sleep(chance.uniform(0.0, 0.1))
            # One was read when it started.
            promised[component] = killed(processes)[-1] + 1
        rest = outbox.deliver(send, seconds=60, wait=5)
    assert (rest.waiting, rest.rejected) == (0, [])
    found: dict[str, list[tuple[str, str]]] = {}
    for event in ledger.keys.values():
        found.setdefault(event["component"], []).append((event["run"], event["status"]))
    for component, count in promised.items():
        told = found[component]
        assert len(told) == len(set(told)), f"seed {seed}: twice"
        runs = [f"{component.rpartition('-')[2]}-{number}" for number in range(count)]
        expected = [(run, status) for run in runs for status in ("started", "ended")]
        assert told[: len(expected)] == expected, f"seed {seed}: lost, or out of order"
    assert sum(map(len, found.values())) == len(ledger.keys)
