"""A webhook is told, briefly and patiently, and its address is never repeated."""

import pytest

from delivery.records import webhook
from tests.registries import Answer, Break, failing, serving

MESSAGE = {"text": "done"}


def send(address: str, pauses: list[float] | None = None) -> str:
    return webhook.send(f"http://{address}/services/T0/B0/secret", MESSAGE, pause=(pauses or []).append)


def test_posts_json() -> None:
    bodies: list[bytes] = []

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        bodies.append(body)
        return 200, {}, b"ok"

    with serving(answer) as (address, seen):
        assert send(address) == ""
    assert bodies == [b'{"text": "done"}']
    assert seen == ["POST /services/T0/B0/secret"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b"invalid_payload", "it answered 400: invalid_payload"),
        (403, b"action_prohibited", "it answered 403: action_prohibited"),
        (404, b"no_service", "it answered 404: no_service"),
        (410, b"", "it answered 410"),
        (302, b"", "it answered 302"),
    ],
)
def test_a_refusal_is_said_and_not_repeated(status: int, body: bytes, said: str) -> None:
    with serving(lambda *_: (status, {"Location": "/"}, body)) as (address, seen):
        assert send(address) == said
    assert len(seen) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    pauses: list[float] = [0.0]
    fault = failing(2, "POST", "/", (status, {"Retry-After": "2"}, b"busy"))
    with serving(lambda *_: (200, {}, b"ok"), fault) as (address, seen):
        assert send(address, pauses) == ""
    assert len(seen) == 3
    assert pauses[1:] == [2.0, 2.0]


def test_nobody_waits_long() -> None:
    pauses: list[float] = [0.0]
    with serving(lambda *_: (503, {"Retry-After": "3600"}, b"")) as (address, seen):
        assert send(address, pauses) == "it answered 503"
    assert (len(seen), pauses[1:]) == (3, [5.0, 5.0])


def test_nobody_there_and_no_answer_are_said_without_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert send("localhost:1") == "nobody answers there"
    monkeypatch.setattr(webhook, "_SECONDS", 0.1)
    with serving(lambda *_: (200, {}, b""), lambda *_: Break("stall", 0.5)) as (address, _):
        assert send(address) == "it does not answer in time"
    assert webhook.send("http://[secret", MESSAGE) == "it cannot be asked (InvalidURL)"


def test_an_answer_that_repeats_the_address_is_cut() -> None:
    def answer(_method: str, path: str, headers: dict[str, str], _body: bytes) -> Answer:
        return 400, {}, f"cannot POST http://{headers['Host']}{path}".encode()

    with serving(answer) as (address, _):
        assert send(address) == "it answered 400: cannot POST …"
