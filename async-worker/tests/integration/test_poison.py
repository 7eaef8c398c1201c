"""What no worker can process: put aside, in order, while everything else goes on."""

import json
import signal

import pytest
from async_worker.event import KIND, KIND_HEARTBEAT
from world import World, eventually

pytestmark = pytest.mark.engine

MEBIBYTE = 1_048_576


def bodies(world: World) -> dict[str, tuple[bytes, str | None]]:
    """Return messages by what is wrong with them, each with a part of the reason, or None when it is to be stored."""
    good = world.event("?")

    def text(**changes: object) -> bytes:
        return json.dumps({**good, **changes}).encode()

    def stored(version: str, **changes: object) -> bytes:
        return json.dumps({**world.event(version), **changes}).encode()

    return {
        "invalid JSON": (b"{", "not JSON"),
        "stored 1": (stored("1"), None),
        "bad UTF-8": (b"\xff\xfe", "not JSON"),
        "no object": (b"[]", "not a JSON object"),
        "empty": (b"", "not JSON"),
        "empty object": (b"{}", "component must be"),
        "wrong type": (text(component=1), "component must be"),
        "wrong id": (text(id="1"), "id must be a UUID"),
        "wrong word": (text(stage="pray"), "stage must be one of"),
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


def test_each_is_put_aside_in_order_and_the_rest_is_stored(world: World) -> None:
    messages = bodies(world)
    world.publish(*(body for body, _ in messages.values()), world.event("5"))
    worker = world.start(BATCH_SIZE="7")
    eventually(lambda: world.count() == 5, "the good events are not stored")
    wrong = [
        (offset, body, reason)
        for offset, (body, reason) in enumerate(messages.values())
        if reason is not None
    ]
    letters = world.letters(len(wrong))
    assert [letter.value for letter in letters] == [body for _, body, _ in wrong]
    for letter, (offset, _, reason) in zip(letters, wrong, strict=True):
        headers = dict(letter.headers)
        assert int(headers["origin-offset"]) == offset
        assert headers["origin-topic"].decode() == world.settings.topic
        assert reason in headers["reason"].decode()
        assert headers["stack-class"] in {
            b"Undecodable",
            b"OperationalError",
            b"IntegrityError",
            b"DataError",
        }
    assert world.versions() == ["1", "2", "3", "4", "5"]
    assert worker.end(signal.SIGTERM) == 0
    assert world.lag() == 0, "offsets do not go past what is put aside"


def test_no_key_no_value_and_neither(world: World) -> None:
    send = world.producer.send
    send(world.settings.topic, key=b"k", value=None, partition=0)
    send(world.settings.topic, key=None, value=b"{", partition=0)
    send(world.settings.topic, key=None, value=json.dumps(world.event("1")).encode(), partition=0)
    send(world.settings.topic, key=b"k", value=b"{}", partition=0, headers=[(KIND, KIND_HEARTBEAT)])
    world.producer.flush(60)
    world.publish(world.event("2"))
    world.start()
    eventually(lambda: world.count() == 2, "the good events are not stored")
    letters = world.letters(3)
    assert [(letter.key, letter.value) for letter in letters] == [
        (b"k", None),
        (None, b"{"),
        (b"k", b"{}"),
    ]
    assert b"heartbeat" in dict(letters[2].headers)["reason"]


@pytest.mark.parametrize("old_topic", [False, True])
def test_the_largest_message_that_kafka_takes(world: World, old_topic: bool) -> None:  # noqa: FBT001
    """A dead letter has more headers than the message had: the topic that the worker makes has room for them."""
    topics = {} if old_topic else {"DEAD_LETTER_TOPIC": f"{world.settings.dead_letter_topic}.large"}
    blob = b"x" * (MEBIBYTE - 100)
    world.publish(blob, world.event("1"))
    event = world.event("2")
    event["details"] = {"text": "y" * (MEBIBYTE - 1000)}
    world.publish(event)
    worker = world.start(**topics)
    world.topics += topics.values()
    eventually(lambda: world.versions() == ["1", "2"], "the good events are not stored")
    (letter,) = world.letters(1, topics.get("DEAD_LETTER_TOPIC"))
    assert letter.value == (b"" if old_topic else blob)
    assert dict(letter.headers).get("value-omitted") == (
        str(len(blob)).encode() if old_topic else None
    )
    assert worker.end(signal.SIGTERM) == 0
    assert world.lag() == 0


def test_dead_letters_go_back_once_and_again_when_they_fail_again(world: World) -> None:
    wrong = {**world.event("1"), "stage": "pray"}
    world.publish(wrong, b"{", world.event("2"))
    worker = world.start()
    world.letters(2)
    eventually(lambda: world.count() == 1, "the good event is not stored")
    assert worker.end(signal.SIGTERM) == 0

    code, printed = world.redrive("--dry-run")
    assert (code, "2 would be put back, 0 cannot be." in printed) == (0, True), printed
    code, printed = world.redrive("--limit", "1")
    assert (code, "1 were put back, 0 cannot be." in printed) == (0, True), printed
    code, printed = world.redrive()
    assert (code, "1 were put back, 0 cannot be." in printed) == (0, True), printed
    assert "1 x not JSON" in printed
    code, printed = world.redrive()
    assert (code, "0 were put back, 0 cannot be." in printed) == (0, True), printed
    assert world.lag() == 2

    world.start()
    again = world.letters(4)[2:]
    assert [letter.value for letter in again] == [json.dumps(wrong).encode(), b"{"]
    assert [dict(letter.headers)["redriven"] for letter in again] == [b"1", b"1"]
    assert [[name for name, _ in letter.headers].count("reason") for letter in again] == [1, 1]


# The worker as it was when there were five stages.
OLDER = 'event.STAGES = ("build", "test", "push", "deploy", "verify")'


def test_a_stage_that_an_older_worker_does_not_know_is_stored_by_a_newer_one_after_a_redrive(
    world: World,
) -> None:
    scan = {**world.event("2"), "stage": "scan"}
    world.publish(world.event("1"), scan, world.event("3"))
    older = world.start(OLDER)
    (letter,) = world.letters(1)
    assert b"stage must be one of build, test" in dict(letter.headers)["reason"]
    eventually(lambda: world.versions() == ["1", "3"], "the events that it knows are not stored")
    assert older.end(signal.SIGTERM) == 0

    world.start()
    code, printed = world.redrive()
    assert (code, "1 were put back, 0 cannot be." in printed) == (0, True), printed
    eventually(lambda: world.versions() == ["1", "2", "3"], "what was put back is not stored")
    assert scan["id"] in world.ids(received_at=scan["received_at"])


def test_a_redrive_of_many_moves_each_once(world: World) -> None:
    count = 1200
    world.publish(*(f"{{{number}".encode() for number in range(count)))
    worker = world.start()
    world.letters(count)
    assert worker.end(signal.SIGTERM) == 0
    before = world.ends()
    code, printed = world.redrive()
    assert (code, f"{count} were put back" in printed) == (0, True), printed[-500:]
    assert world.ends() == before + count


def test_what_cannot_go_back_is_said_and_ends_with_1(world: World) -> None:
    world.producer.send(world.settings.dead_letter_topic, key=b"k", value=b"{").get(60)
    code, printed = world.redrive()
    assert code == 1
    assert "left: offset 0" in printed
    assert "0 were put back, 1 cannot be." in printed
