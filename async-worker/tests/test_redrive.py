"""The decisions of a redrive, and its command line; tests/integration has the real Kafka."""

import os
import subprocess
import sys

import pytest
from async_worker.__main__ import main
from async_worker.broker import dead_letter_headers
from async_worker.errors import Undecodable
from async_worker.event import Message
from async_worker.redrive import parse_arguments, to_letter

ORIGIN = Message("deployments", 2, 7, b"k", b"{", (("kind", b"deployment"), ("request-id", b"r")))


def dead_letter(message: Message, *more: tuple[str, bytes]) -> Message:
    headers = dead_letter_headers(message, Undecodable("no JSON"))
    return Message("deployments.dead-letter", 0, 0, message.key, message.value, (*headers, *more))


def test_a_letter_keeps_its_own_headers_and_gets_a_count() -> None:
    letter = to_letter(dead_letter(ORIGIN))
    assert (letter.topic, letter.reason) == ("deployments", "no JSON")
    assert letter.headers == [*ORIGIN.headers, ("redriven", b"1")]


def test_each_redrive_increases_the_count() -> None:
    again = ORIGIN._replace(headers=tuple(to_letter(dead_letter(ORIGIN)).headers))
    assert to_letter(dead_letter(again)).headers == [*ORIGIN.headers, ("redriven", b"2")]


def test_headers_of_the_sender_with_the_same_names_are_ignored() -> None:
    original = ORIGIN._replace(headers=(("origin-topic", b"elsewhere"), ("redriven", b"x")))
    letter = to_letter(dead_letter(original))
    assert letter.topic == "deployments"
    assert letter.headers == [("redriven", b"1")]


def test_a_letter_without_its_value_cannot_go_back() -> None:
    letter = to_letter(dead_letter(ORIGIN, ("value-omitted", b"1048000")))
    assert letter.topic is None
    assert "at offset 7 of partition 2 of deployments" in letter.reason


def test_a_letter_without_its_topic_cannot_go_back() -> None:
    letter = to_letter(Message("deployments.dead-letter", 0, 0, None, b"{", ()))
    assert letter.topic is None
    assert "does not say which topic" in letter.reason


def test_arguments() -> None:
    assert vars(parse_arguments([])) == {"limit": None, "dry_run": False}
    assert vars(parse_arguments(["--limit", "3", "--dry-run"])) == {"limit": 3, "dry_run": True}


@pytest.mark.parametrize(
    "wrong", [["--limit"], ["--limit", "0"], ["--limit", "-1"], ["--limit", "x"], ["--dry"], ["x"]]
)
def test_wrong_arguments_print_the_usage_and_exit_with_2(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["redrive", *wrong], {}) == 2
    assert "usage: async-worker redrive" in capsys.readouterr().err


def test_help_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redrive", "--help"], {}) == 0
    assert "--dry-run" in capsys.readouterr().out


def test_wrong_settings_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redrive"], {}) == 2
    assert "BROKER_URL" in capsys.readouterr().err


# With a shorter timeout than in a container.
COMMAND = """
import sys
from async_worker import __main__, broker

broker.BOOTSTRAP_TIMEOUT_MS = 100
sys.exit(__main__.main(["redrive"]))
"""


def test_an_unreachable_kafka_is_an_error_without_a_traceback(minimum: dict[str, str]) -> None:
    command = subprocess.run(
        [sys.executable, "-c", COMMAND],
        env={**minimum, "BROKER_URL": "127.0.0.1:1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert command.returncode == 1
    assert command.stdout == "0 were put back, 0 cannot be.\n"
    first, second = command.stderr.splitlines()
    assert first.startswith("redrive stopped: cannot connect to 127.0.0.1:1")
    assert second == "What is not counted below is still there; run it again."
