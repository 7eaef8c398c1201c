"""What is decided; tests/integration has the real thing."""

import os
import subprocess
import sys

import pytest
from async_worker.__main__ import main
from async_worker.broker import dead_letter_headers
from async_worker.errors import Undecodable
from async_worker.event import Message
from async_worker.redrive import arguments, letter

ORIGIN = Message("deployments", 2, 7, b"k", b"{", (("kind", b"deployment"), ("request-id", b"r")))


def dead(message: Message, *more: tuple[str, bytes]) -> Message:
    headers = dead_letter_headers(message, Undecodable("no JSON"))
    return Message("deployments.dead-letter", 0, 0, message.key, message.value, (*headers, *more))


def test_a_letter_goes_back_with_its_own_headers_and_a_count() -> None:
    found = letter(dead(ORIGIN))
    assert (found.topic, found.reason) == ("deployments", "no JSON")
    assert found.headers == [*ORIGIN.headers, ("redriven", b"1")]


def test_a_letter_that_came_back_is_counted_again() -> None:
    again = ORIGIN._replace(headers=tuple(letter(dead(ORIGIN)).headers))
    assert letter(dead(again)).headers == [*ORIGIN.headers, ("redriven", b"2")]


def test_a_header_of_the_senders_that_is_called_like_ours_does_not_lead_astray() -> None:
    odd = ORIGIN._replace(headers=(("origin-topic", b"elsewhere"), ("redriven", b"x")))
    found = letter(dead(odd))
    assert found.topic == "deployments"
    assert found.headers == [("redriven", b"1")]


def test_a_letter_without_its_value_cannot_go_back() -> None:
    found = letter(dead(ORIGIN, ("value-omitted", b"1048000")))
    assert found.topic is None
    assert "at offset 7 of partition 2 of deployments" in found.reason


def test_a_letter_that_says_no_topic_cannot_go_back() -> None:
    found = letter(Message("deployments.dead-letter", 0, 0, None, b"{", ()))
    assert found.topic is None
    assert "does not say which topic" in found.reason


def test_the_arguments() -> None:
    assert vars(arguments([])) == {"limit": None, "dry_run": False}
    assert vars(arguments(["--limit", "3", "--dry-run"])) == {"limit": 3, "dry_run": True}


@pytest.mark.parametrize(
    "wrong", [["--limit"], ["--limit", "0"], ["--limit", "-1"], ["--limit", "x"], ["--dry"], ["x"]]
)
def test_wrong_arguments_end_with_2_and_the_usage(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["redrive", *wrong], {}) == 2
    assert "usage: async-worker redrive" in capsys.readouterr().err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redrive", "--help"], {}) == 0
    assert "--dry-run" in capsys.readouterr().out


def test_wrong_settings_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redrive"], {}) == 2
    assert "BROKER_URL" in capsys.readouterr().err


# As a container runs it, but that it does not try for long.
COMMAND = """
import sys
from async_worker import __main__, broker

broker.BOOTSTRAP_TIMEOUT_MS = 100
sys.exit(__main__.main(["redrive"]))
"""


def test_kafka_that_is_away_is_said_in_a_sentence(minimum: dict[str, str]) -> None:
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
