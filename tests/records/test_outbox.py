"""Events wait on the disk until the ledger has accepted them: in order, each with its key."""

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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from delivery.errors import DeliveryError
from delivery.project.files import ROOT
from delivery.records import outbox
from delivery.records.events import SendResult
from delivery.records.ledger import Ledger
from delivery.records.outbox import Entry
from tests.records.conftest import FakeLedger
from tests.registries import serving

LEDGER = "http://ledger"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    return tmp_path / "outbox"


def events(*names: str, component: str = "api-rest") -> list[dict[str, Any]]:
    return [{"component": component, "status": name} for name in names]


class FakeSend:
    """Send to a ledger that answers by an event's status, by default that it is delivered."""

    def __init__(self, **results: SendResult) -> None:
        self.results = results
        self.sent: list[str] = []

    def __call__(self, entry: Entry) -> tuple[SendResult, str]:
        status = str(entry.event["status"])
        self.sent.append(status)
        return self.results.get(status, SendResult.DELIVERED), f"because of {status}"


def statuses() -> list[str]:
    """The statuses of the events that wait."""
    return [entry.event["status"] for entry in outbox.waiting()]


def test_a_relative_outbox_is_in_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "ROOT", tmp_path)
    monkeypatch.setenv("DELIVERY_OUTBOX", "records/outbox")
    monkeypatch.chdir(ROOT)
    outbox.add(LEDGER, events("a"))
    assert [file.suffix for file in (tmp_path / "records" / "outbox").iterdir()] == [".json"]


def test_events_are_sent_in_the_order_in_which_they_were_added(place: Path) -> None:
    outbox.add(LEDGER, events("a", "b"))
    outbox.add(LEDGER, events("c"))
    send = FakeSend()
    report = outbox.deliver(send, seconds=5)
    assert send.sent == ["a", "b", "c"]
    assert (report.sent, report.waiting, report.reasons) == (3, 0, {})
    assert list(place.glob("*.json")) == []


def test_events_stay_in_order_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([time.time_ns() + 10**12, time.time_ns()])
    monkeypatch.setattr("delivery.records.outbox.time.time_ns", lambda: next(times))
    outbox.add(LEDGER, events("a", "b"))
    assert statuses() == ["a", "b"]


def test_an_event_keeps_its_key() -> None:
    outbox.add(LEDGER, events("a", "b"))
    keys = [entry.key for entry in outbox.waiting()]
    sent: list[str] = []

    def send(entry: Entry) -> tuple[SendResult, str]:
        sent.append(entry.key)
        return SendResult.UNAVAILABLE, ""

    for _ in range(2):
        outbox.deliver(send, seconds=5)
    assert sent == [keys[0]] * 2
    assert len(set(keys)) == 2


def test_only_the_owner_can_read_an_event(place: Path) -> None:
    outbox.add(LEDGER, events("a"))
    (file,) = place.glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_unavailable_ledger_is_asked_once_and_others_go_on() -> None:
    outbox.add("http://dead", events("a", "later"))
    outbox.add(LEDGER, events("b"))
    send = FakeSend(a=SendResult.UNAVAILABLE)
    report = outbox.deliver(send, seconds=5)
    assert send.sent == ["a", "b"]
    assert (report.sent, report.waiting) == (1, 2)
    assert report.reasons == {"http://dead": "because of a"}


def test_a_failed_event_holds_back_later_ones_of_its_component() -> None:
    outbox.add(LEDGER, events("a", "later"))
    outbox.add(LEDGER, events("b", component="async-worker"))
    send = FakeSend(a=SendResult.FAILED)
    report = outbox.deliver(send, seconds=5)
    assert send.sent == ["a", "b"]
    assert (report.sent, report.waiting) == (1, 2)
    assert report.reasons == {LEDGER: "it does not take an event of api-rest: because of a"}


def test_a_rejected_event_is_kept_with_its_reason_and_can_be_retried(place: Path) -> None:
    outbox.add(LEDGER, events("bad", "good"))
    waiting, _ = outbox.waiting()
    report = outbox.deliver(FakeSend(bad=SendResult.REJECTED), seconds=5)
    assert (report.sent, report.waiting) == (1, 0)
    rejected = replace(waiting, file=place / "rejected" / waiting.file.name, why="because of bad")
    assert report.rejected == outbox.rejected() == [rejected]
    assert outbox.deliver(FakeSend(), seconds=5).rejected == []  # reported once
    assert outbox.retry_rejected() == 1
    assert (outbox.waiting(), outbox.rejected()) == ([waiting], [])


NAME = "00000000000000000001-x.json"
VALID = b'{"key": "k", "ledger": "x", "event": {"a": 1}}'


NO_KEY, NO_EVENT = VALID.replace(b'"k"', b"1"), b'{"key": "k", "ledger": "x"}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((NAME, content) for content in (b"", b"{", b"\xff\xfe", b"[]", b"{}", NO_KEY, NO_EVENT)),
        ("x.json", VALID),
        ("9" * 40 + "-x.json", VALID),
    ],
)
def test_an_invalid_file_is_rejected_and_others_go_on(
    place: Path, name: str, content: bytes
) -> None:
    outbox.folder()
    (place / name).write_bytes(content)
    outbox.add(LEDGER, events("a"))
    report = outbox.deliver(FakeSend(), seconds=5)
    assert (report.sent, report.waiting) == (1, 0)
    assert [entry.why for entry in report.rejected] == ["it is not an event, or incomplete"]
    assert (place / "rejected" / name).read_bytes() == content
    assert outbox.retry_rejected() == 0
    assert len(outbox.rejected()) == 1


def test_the_files_of_earlier_versions_are_read_and_written(place: Path) -> None:
    outbox.folder()
    (place / NAME).write_bytes(VALID)
    (entry,) = outbox.waiting()
    assert (entry.key, entry.ledger, entry.event) == ("k", "x", {"a": 1})
    outbox.deliver(lambda _entry: (SendResult.REJECTED, "wrong"), seconds=5)
    written = json.loads((place / "rejected" / NAME).read_bytes())
    assert written == {**json.loads(VALID), "why": "wrong"}


def test_a_delivery_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox.add(LEDGER, events("a", "b", "c"))
    times = iter([0.0, 1.0, 11.0])
    monkeypatch.setattr(outbox, "monotonic", lambda: next(times))
    report = outbox.deliver(FakeSend(), seconds=10)
    assert (report.sent, report.waiting, report.late) == (1, 2, True)


def test_only_one_process_delivers(place: Path) -> None:
    outbox.add(LEDGER, events("a"))
    send = FakeSend()
    with FileLock(place / ".lock"):
        report = outbox.deliver(send, seconds=5)
    assert (report.busy, report.waiting, send.sent) == (True, 1, [])
    assert outbox.deliver(send, seconds=5).sent == 1


def test_a_file_system_that_times_out_is_an_error(place: Path) -> None:
    outbox.add(LEDGER, events("a"))

    def send(_entry: outbox.Entry) -> tuple[SendResult, str]:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    with pytest.raises(DeliveryError, match=f"cannot deliver the events in {place}: Connection"):
        outbox.deliver(send, seconds=5)
    assert outbox.deliver(FakeSend(), seconds=5).sent == 1  # the lock was released


def test_temporary_files_of_killed_processes_are_removed_when_old(place: Path) -> None:
    outbox.add(LEDGER, events("a"))
    old, young = place / ".1-x.json.tmp", place / ".2-x.json.tmp"
    for file in (old, young):
        file.write_text('{"key"')
    os.utime(old, (0, 0))
    assert outbox.deliver(FakeSend(), seconds=5).sent == 1
    assert (old.exists(), young.exists()) == (False, True)


def test_an_outbox_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "file"))
    with pytest.raises(DeliveryError, match="cannot make the outbox") as raised:
        outbox.add(LEDGER, events("a"))
    assert "DELIVERY_OUTBOX" in raised.value.hint


def test_a_full_disk_leaves_no_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_default_outbox_is_outside_the_cache(state: Path) -> None:
    assert outbox.folder() == state


def test_undelivered_events_in_a_folder_are_listed(state: Path, tmp_path: Path) -> None:
    outbox.add(LEDGER, events("bad", "a", "b"))
    send = FakeSend(bad=SendResult.REJECTED, a=SendResult.UNAVAILABLE)
    outbox.deliver(send, seconds=5)
    assert len(outbox.undelivered_in(state)) == 3
    assert outbox.undelivered_in(tmp_path / "cache") == []


ADDING = """
import itertools, sys
from delivery.records import outbox
for number in itertools.count():
    run = {"component": sys.argv[2], "run": f"{sys.argv[3]}-{number}"}
    outbox.add(sys.argv[1], [{**run, "status": status} for status in ("started", "ended")])
    print(number, flush=True)
"""
DELIVERING = """
import sys
from delivery.records import outbox
from delivery.records.ledger import Ledger
def send(entry):
    return Ledger(entry.ledger).send(entry.event, entry.key, seconds=5)
print("ready", flush=True)
while True:
    outbox.deliver(send, seconds=5, wait=0.05)
"""


def start(*commands: tuple[str, ...]) -> list[subprocess.Popen[str]]:
    """Processes of these scripts and arguments, each once it has printed a line."""
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", *command], cwd=ROOT, stdout=pipe, stderr=pipe, text=True
        )
        for command in commands
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline()
    return processes


def killed(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Kill them; return how many more lines each has printed."""
    for process in processes:
        process.send_signal(signal.SIGKILL)
    return [len(process.communicate()[0].split()) for process in processes]


def send(entry: Entry) -> tuple[SendResult, str]:
    return Ledger(entry.ledger).send(entry.event, entry.key, seconds=5)


def test_processes_that_are_killed_lose_and_duplicate_nothing() -> None:
    seed = random.randrange(10**6)  # noqa: S311  # guards nothing
    chance, ledger, promised = random.Random(seed), FakeLedger(), dict[str, int]()  # noqa: S311
    with serving(ledger) as (address, _):
        for number in range(3):
            component = f"component-{number}"
            adding = (ADDING, f"http://{address}", component, str(number))
            processes = start((DELIVERING,), (DELIVERING,), adding)
            time.sleep(chance.uniform(0.0, 0.1))
            # `start` has read the first line.
            promised[component] = killed(processes)[-1] + 1
        rest = outbox.deliver(send, seconds=60, wait=5)
    assert (rest.waiting, rest.rejected) == (0, [])
    by_component: dict[str, list[tuple[str, str]]] = {}
    for event in ledger.accepted.values():
        by_component.setdefault(event["component"], []).append((event["run"], event["status"]))
    for component, count in promised.items():
        sent = by_component[component]
        assert len(sent) == len(set(sent)), f"seed {seed}: twice"
        runs = [f"{component.rpartition('-')[2]}-{number}" for number in range(count)]
        expected = [(run, status) for run in runs for status in ("started", "ended")]
        assert sent[: len(expected)] == expected, f"seed {seed}: lost, or out of order"
    assert sum(map(len, by_component.values())) == len(ledger.accepted)
