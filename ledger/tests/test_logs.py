import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from ledger import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def configure(level: str = "INFO") -> None:
    logs.configure(level=level, service="api-rest", environment="test")


def test_lines_are_json_with_the_service_and_the_environment(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure()
    structlog.stdlib.get_logger("ours").info("hello", event_id="1")
    (line,) = lines(capfd)
    expected = {
        "event": "hello",
        "event_id": "1",
        "level": "info",
        "service": "api-rest",
        "environment": "test",
    }
    assert line.items() >= expected.items()
    assert line["timestamp"].endswith("Z")


def test_lines_of_other_threads_have_the_service_too(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    thread = threading.Thread(target=lambda: structlog.stdlib.get_logger("ours").info("hello"))
    thread.start()
    thread.join()
    assert [line["service"] for line in lines(capfd)] == ["api-rest"]


def test_lines_and_warnings_of_libraries_are_json(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("library").error("broken: %s", "pipe")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    library, warning = lines(capfd)
    assert library["event"] == "broken: pipe"
    assert "old" in warning["event"]


def test_an_exception_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        structlog.stdlib.get_logger("ours").exception("failed")
    (line,) = lines(capfd)
    assert "ZeroDivisionError" in line["exception"]


def test_lines_below_the_level_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    configure("WARNING")
    structlog.stdlib.get_logger("ours").info("hello")
    assert lines(capfd) == []


@pytest.mark.parametrize(
    ("name", "level"), [("kafka.client", logging.INFO), ("kafka.cluster", logging.ERROR)]
)
def test_connection_lines_of_kafka_python_are_dropped(
    capfd: pytest.CaptureFixture[str], name: str, level: int
) -> None:
    configure("DEBUG")
    logging.getLogger(name).log(level, "again")
    assert lines(capfd) == []


def test_lines_of_many_threads_stay_whole(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    log = structlog.stdlib.get_logger("ours")

    def write(name: str) -> None:
        for number in range(50):
            log.info("line", name=name, number=number)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = [(line["name"], line["number"]) for line in lines(capfd)]
    assert sorted(written) == [(name, number) for name in "abcd" for number in range(50)]


# Stdout is a pipe that nobody reads, or a full disk.
@pytest.mark.parametrize("stdout", ["", "/dev/full"])
def test_a_process_whose_stdout_takes_nothing_goes_on_and_exits_with_0(stdout: str) -> None:
    code = f"""
import sys
sys.path[:] = {sys.path}
import logging
import structlog
from ledger import logs

logs.configure(level="INFO", service="api-rest", environment="test")
sys.stdin.read()
for _ in range(3):
    structlog.stdlib.get_logger("ours").error("an error")
    logging.getLogger("library").error("another")
"""
    reader, writer = os.pipe()
    output = os.open(stdout, os.O_WRONLY) if stdout else os.dup(writer)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
    )
    for descriptor in (writer, reader, output):
        os.close(descriptor)
    _, errors = process.communicate("", timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_a_thread_that_logs_at_exit_does_not_abort_the_process() -> None:
    code = f"""
import sys, threading
sys.path[:] = {sys.path}
import structlog
from ledger import logs

logs.configure(level="INFO", service="api-rest", environment="test")
log, begun = structlog.stdlib.get_logger("ours"), threading.Event()

def write():
    while True:
        log.info("a line")
        begun.set()

threading.Thread(target=write, daemon=True).start()
begun.wait()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
