"""The process as in a container, without Kafka and without a database."""

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
from async_worker.__main__ import main

_PROCESS_SECONDS = 120  # a loaded machine starts and stops a process slowly


def test_all_wrong_settings_are_printed_and_exit_with_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([], {"BROKER_URL": "http://x", "DB_PORT": "0"}) == 2
    error = capsys.readouterr().err
    assert all(name in error for name in ("BROKER_URL:", "DB_HOST:", "DB_PORT:", "DB_PASSWORD:"))


def test_help_lists_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], {}) == 0
    assert "`BROKER_URL`" in capsys.readouterr().out


def test_an_unknown_argument_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port"], {}) == 2
    assert "--port" in capsys.readouterr().err


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def process(minimum: dict[str, str], port: int) -> Iterator[subprocess.Popen[str]]:
    environ = {
        **minimum,
        "BROKER_URL": "127.0.0.1:1",
        "DB_HOST": "127.0.0.1",
        "DB_PORT": "1",
        "MANAGEMENT_PORT": str(port),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": os.environ["PATH"],
    }
    with subprocess.Popen(
        [sys.executable, "-m", "async_worker"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.kill()


def get(url: str) -> int:
    deadline = time.monotonic() + _PROCESS_SECONDS
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_worker_starts_without_kafka_and_stops_cleanly(
    process: subprocess.Popen[str], port: int, number: signal.Signals
) -> None:
    assert get(f"http://127.0.0.1:{port}/health") == 200
    assert get(f"http://127.0.0.1:{port}/ready") == 503
    process.send_signal(number)
    output, _ = process.communicate(timeout=_PROCESS_SECONDS)
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in output.splitlines()][-1] == "stopped"


def test_a_port_in_use_is_an_error_without_a_traceback(
    process: subprocess.Popen[str], port: int
) -> None:
    assert get(f"http://127.0.0.1:{port}/health") == 200
    second = subprocess.run(
        process.args, env=_environ_of(process.pid), capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert json.loads(second.stdout)["event"] == "cannot listen"
    assert second.stderr == ""


def _environ_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)
