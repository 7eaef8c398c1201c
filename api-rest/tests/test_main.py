"""The process as a container runs it, with neither Kafka nor a database."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_rest.__main__ import main


def test_wrong_settings_are_named_together_and_end_with_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([], {"BROKER_URL": "http://x", "DB_PORT": "0"}) == 2
    error = capsys.readouterr().err
    assert all(name in error for name in ("BROKER_URL:", "DB_HOST:", "DB_PORT:", "DB_PASSWORD:"))


def test_help_lists_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], {}) == 0
    assert "`BROKER_URL`" in capsys.readouterr().out


def test_an_unknown_argument_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port"], {}) == 2
    assert "--port" in capsys.readouterr().err


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def management_port() -> int:
    return free_port()


@pytest.fixture
def process(
    minimum: dict[str, str], port: int, management_port: int
) -> Iterator[subprocess.Popen[str]]:
    environ = {
        **minimum,
        "BROKER_URL": "127.0.0.1:1",
        "DB_HOST": "127.0.0.1",
        "DB_PORT": "1",
        "HTTP_PORT": str(port),
        "HTTP_HOST": "127.0.0.1",
        "MANAGEMENT_PORT": str(management_port),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": os.environ["PATH"],
    }
    with subprocess.Popen(
        [sys.executable, "-m", "api_rest"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.kill()


def get(url: str) -> int:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  our own server
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.05)


def read(url: str) -> object:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  our own server
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_without_backends_and_stops_cleanly(
    process: subprocess.Popen[str], port: int, management_port: int, number: signal.Signals
) -> None:
    for each in (management_port, port):
        assert get(f"http://127.0.0.1:{each}/health") == 200
        assert get(f"http://127.0.0.1:{each}/ready") == 503
        assert get(f"http://127.0.0.1:{each}/metrics") == 200
    process.send_signal(number)
    output, _ = process.communicate(timeout=15)
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in output.splitlines()][-1] == "stopped"


def test_starting_threads_do_not_abort_the_exit() -> None:
    """A thread that still imports could abort the process when the interpreter exits."""
    program = """
import runpy, sys

class Seen:
    def __del__(self):
        print("the interpreter is taken down")

seen, sys.argv = Seen(), ["api-rest", "--version"]
runpy.run_module("api_rest", run_name="__main__")
"""
    environ = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == 1, done.stdout


@pytest.mark.parametrize("shared", ["HTTP_PORT", "MANAGEMENT_PORT"])
def test_a_port_in_use_is_logged_without_a_traceback(
    process: subprocess.Popen[str], port: int, shared: str
) -> None:
    assert get(f"http://127.0.0.1:{port}/health") == 200
    environ = _environ_of(process.pid)
    for name in {"HTTP_PORT", "MANAGEMENT_PORT"} - {shared}:
        environ[name] = str(free_port())
    second = subprocess.run(process.args, env=environ, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    line = json.loads(second.stdout.splitlines()[-1])
    assert (line["event"], line["port"]) == ("cannot listen", int(environ[shared]))
    assert second.stderr == ""


def test_while_it_stops_it_is_not_ready_and_lives(
    process: subprocess.Popen[str], port: int, management_port: int
) -> None:
    assert get(f"http://127.0.0.1:{port}/health") == 200
    # A request that does not become whole keeps it draining.
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HT")
        process.send_signal(signal.SIGTERM)
        wait_for_line(process, "draining")
        assert read(f"http://127.0.0.1:{management_port}/ready") == {
            "status": "not ready",
            "reasons": ["this instance is shutting down"],
        }
        assert get(f"http://127.0.0.1:{management_port}/health") == 200


def _environ_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def test_a_second_signal_ends_it_at_once(process: subprocess.Popen[str], port: int) -> None:
    assert get(f"http://127.0.0.1:{port}/health") == 200
    # A request that does not become whole keeps it draining.
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HT")
        process.send_signal(signal.SIGTERM)
        wait_for_line(process, "draining")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=15)
    assert process.returncode == 128 + signal.SIGINT
    line = json.loads(output.splitlines()[-1])
    assert (line["event"], line["signal"]) == ("ended at once by a second signal", "SIGINT")


def wait_for_line(process: subprocess.Popen[str], event: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == event:
            return
    pytest.fail(f"it never logged {event!r}")


def test_a_missing_tokens_file_ends_with_2(
    minimum: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], {**minimum, "TOKENS_FILE": str(tmp_path / "absent")}) == 2
    assert "TOKENS_FILE" in capsys.readouterr().err
