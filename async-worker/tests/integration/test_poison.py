"""Messages that can never be processed become dead letters, in order."""

import json
import signal

import pytest
from async_worker.event import KIND, KIND_HEARTBEAT
from live import Scenario, eventually

pytestmark = pytest.mark.engine

MEBIBYTE = 1_048_576


def bodies(scenario: Scenario) -> dict[str, tuple[bytes, str | None]]:
    """Return messages by name, each with a part of the expected reason; None: it is stored."""
    valid = scenario.event("?")

    def text(**changes: object) -> bytes:
        return json.dumps({**valid, **changes}).encode()

    def stored(version: str, **changes: object) -> bytes:
        return json.dumps({**scenario.event(version), **changes}).encode()

    return {
        "invalid JSON": (b"{", "not JSON"),
        "stored 1": (stored("1"), None),
        "bad UTF-8": (b"\xff\xfe", "not JSON"),
        "no object": (b"[]", "not a JSON object"),
        "empty": (b"", "not JSON"),
        "empty object": (b"{}", "component must be"),
        "wrong type": (text(component=1), "component must be"),
        "wrong id": (text(id="1"), "id must be a UUID"),
        "wrong word": (text(status="maybe"), "status must be one of"),
        "wrong time": (text(received_at="2026-02-30T00:00:00Z"), "received_at must be"),
        "NaN": (text(details={"x": 0}).replace(b'{"x": 0}', b'{"x": NaN}'), "not JSON"),
        "infinite": (
            text(details={"x": 0}).replace(b'{"x": 0}', b'{"x": 1e999}'),
            "details must be",
        ),
        "half a pair": (text(responsible="\ud800"), "responsible must be"),
        "half a pair within": (text(details={"x": "\udfff"}), "details must be"),
        "deep": (b"[" * 200_000, "nested too deeply"),
        "deep details": (
            text(details=0).replace(
                b'"details": 0', b'"details": ' + b'{"a":' * 200 + b"1" + b"}" * 200
            ),
            "details must be",
        ),
        "endless number": (
            text(details=0).replace(b'"details": 0', b'"details": {"x": ' + b"9" * 5000 + b"}"),
            "details must be",
        ),
        "stored 2: unknown fields": (stored("2", colour="red", nested={"a": [1]}), None),
        "stored 3: a name twice": (stored("3").replace(b"{", b'{"version": "0", ', 1), None),
        "stored 4: another offset": (stored("4", received_at="2026-01-02T03:04:05+02:00"), None),
    }


def test_dead_letters_are_in_order_and_the_other_events_are_stored(scenario: Scenario) -> None:
    messages = bodies(scenario)
    scenario.publish(*(body for body, _ in messages.values()), scenario.event("5"))
    worker = scenario.start(BATCH_SIZE="7")
    eventually(lambda: scenario.count() == 5, "the good events are not stored")
    wrong = [
        (offset, body, reason)
        for offset, (body, reason) in enumerate(messages.values())
        if reason is not None
    ]
    letters = scenario.letters(len(wrong))
    assert [letter.value for letter in letters] == [body for _, body, _ in wrong]
    for letter, (offset, _, reason) in zip(letters, wrong, strict=True):
        headers = dict(letter.headers)
        assert int(headers["origin-offset"]) == offset
        assert headers["origin-topic"].decode() == scenario.settings.topic
        assert reason in headers["reason"].decode()
        assert headers["stack-class"] in {
            b"Undecodable",
            b"OperationalError",
            b"IntegrityError",
            b"DataError",
        }
    assert scenario.versions() == ["1", "2", "3", "4", "5"]
    assert worker.stop(signal.SIGTERM) == 0
    assert scenario.lag() == 0, "the offsets of dead letters are not committed"


def test_messages_without_a_key_or_a_value(scenario: Scenario) -> None:
    send = scenario.producer.send
    send(scenario.settings.topic, key=b"k", value=None, partition=0)
    send(scenario.settings.topic, key=None, value=b"{", partition=0)
    send(
        scenario.settings.topic,
        key=None,
        value=json.dumps(scenario.event("1")).encode(),
        partition=0,
    )
    send(
        scenario.settings.topic,
        key=b"k",
        value=b"{}",
        partition=0,
        headers=[(KIND, KIND_HEARTBEAT)],
    )
    scenario.producer.flush(60)
    scenario.publish(scenario.event("2"))
    scenario.start()
    eventually(lambda: scenario.count() == 2, "the good events are not stored")
    letters = scenario.letters(3)
    assert [(letter.key, letter.value) for letter in letters] == [
        (b"k", None),
        (None, b"{"),
        (b"k", b"{}"),
    ]
    assert b"heartbeat" in dict(letters[2].headers)["reason"]


@pytest.mark.parametrize("old_topic", [False, True])
def test_the_largest_message_of_kafka(scenario: Scenario, old_topic: bool) -> None:
    """The topic that the worker creates accepts larger messages: dead letters have more headers."""
    topics = (
        {} if old_topic else {"DEAD_LETTER_TOPIC": f"{scenario.settings.dead_letter_topic}.large"}
    )
    blob = b"x" * (MEBIBYTE - 100)
    scenario.publish(blob, scenario.event("1"))
    event = scenario.event("2")
    event["details"] = {"text": "y" * (MEBIBYTE - 1000)}
    scenario.publish(event)
    worker = scenario.start(**topics)
    scenario.topics += topics.values()
    eventually(lambda: scenario.versions() == ["1", "2"], "the good events are not stored")
    (letter,) = scenario.letters(1, topics.get("DEAD_LETTER_TOPIC"))
    assert letter.value == (b"" if old_topic else blob)
    assert dict(letter.headers).get("value-omitted") == (
        str(len(blob)).encode() if old_topic else None
    )
    assert worker.stop(signal.SIGTERM) == 0
    assert scenario.lag() == 0


def test_each_redrive_sends_a_dead_letter_back_once(scenario: Scenario) -> None:
    wrong = {**scenario.event("1"), "status": "maybe"}
    scenario.publish(wrong, b"{", scenario.event("2"))
    worker = scenario.start()
    scenario.letters(2)
    eventually(lambda: scenario.count() == 1, "the good event is not stored")
    assert worker.stop(signal.SIGTERM) == 0

    code, printed = scenario.redrive("--dry-run")
    assert (code, "2 would be put back, 0 cannot be." in printed) == (0, True), printed
    code, printed = scenario.redrive("--limit", "1")
    assert (code, "1 were put back, 0 cannot be." in printed) == (0, True), printed
    code, printed = scenario.redrive()
    assert (code, "1 were put back, 0 cannot be." in printed) == (0, True), printed
    assert "1 x not JSON" in printed
    code, printed = scenario.redrive()
    assert (code, "0 were put back, 0 cannot be." in printed) == (0, True), printed
    assert scenario.lag() == 2

    scenario.start()
    again = scenario.letters(4)[2:]
    assert [letter.value for letter in again] == [json.dumps(wrong).encode(), b"{"]
    assert [dict(letter.headers)["redriven"] for letter in again] == [b"1", b"1"]
    assert [[name for name, _ in letter.headers].count("reason") for letter in again] == [1, 1]


# A version of the worker that knows four statuses.
OLDER = "from ledger import event_rules; event_rules.STATUSES = event_rules.STATUSES[:4]"


def test_after_a_redrive_a_newer_worker_stores_events_of_a_new_status(
    scenario: Scenario,
) -> None:
    removed = {**scenario.event("2"), "status": "removed"}
    scenario.publish(scenario.event("1"), removed, scenario.event("3"))
    older = scenario.start(OLDER)
    (letter,) = scenario.letters(1)
    assert b"status must be one of started" in dict(letter.headers)["reason"]
    eventually(lambda: scenario.versions() == ["1", "3"], "the events that it knows are not stored")
    assert older.stop(signal.SIGTERM) == 0

    scenario.start()
    code, printed = scenario.redrive()
    assert (code, "1 were put back, 0 cannot be." in printed) == (0, True), printed
    eventually(lambda: scenario.versions() == ["1", "2", "3"], "what was put back is not stored")
    assert removed["id"] in scenario.ids(received_at=removed["received_at"])


def test_a_redrive_of_many_letters_moves_each_once(scenario: Scenario) -> None:
    count = 1200
    scenario.publish(*(f"{{{number}".encode() for number in range(count)))
    worker = scenario.start()
    scenario.letters(count)
    assert worker.stop(signal.SIGTERM) == 0
    before = scenario.message_count()
    code, printed = scenario.redrive()
    assert (code, f"{count} were put back" in printed) == (0, True), printed[-500:]
    assert scenario.message_count() == before + count


def test_a_letter_that_cannot_go_back_is_printed_and_exits_with_1(scenario: Scenario) -> None:
    scenario.producer.send(scenario.settings.dead_letter_topic, key=b"k", value=b"{").get(60)
    code, printed = scenario.redrive()
    assert code == 1
    assert "left: offset 0" in printed
    assert "0 were put back, 1 cannot be." in printed
