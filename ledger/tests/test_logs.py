import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from ledger import logs

writers: list[logs.Writer] = []


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    writers[-1].flush()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def configure(level: str = "INFO") -> None:
    writers.append(logs.configure(level=level, service="api-rest", environment="test"))


def test_lines_are_json_with_the_service_and_the_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()
    structlog.stdlib.get_logger("ours").info("hello", event_id="1")
    (line,) = lines(capsys)
    expected = {
        "event": "hello",
        "event_id": "1",
        "level": "info",
        "service": "api-rest",
        "environment": "test",
    }
    assert line.items() >= expected.items()
    assert line["timestamp"].endswith("Z")


def test_lines_of_other_threads_have_the_service_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    thread = threading.Thread(target=lambda: structlog.stdlib.get_logger("ours").info("hello"))
    thread.start()
    thread.join()
    assert [line["service"] for line in lines(capsys)] == ["api-rest"]


def test_lines_and_warnings_of_libraries_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("library").error("broken: %s", "pipe")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    library, warning = lines(capsys)
    assert library["event"] == "broken: pipe"
    assert "old" in warning["event"]


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        structlog.stdlib.get_logger("ours").exception("failed")
    (line,) = lines(capsys)
    assert "ZeroDivisionError" in line["exception"]


def test_lines_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure("WARNING")
    structlog.stdlib.get_logger("ours").info("hello")
    assert lines(capsys) == []


@pytest.mark.parametrize(
    ("name", "level"), [("kafka.client", logging.INFO), ("kafka.cluster", logging.ERROR)]
)
def test_connection_lines_of_kafka_python_are_dropped(
    capsys: pytest.CaptureFixture[str], name: str, level: int
) -> None:
    configure("DEBUG")
    logging.getLogger(name).log(level, "again")
    assert lines(capsys) == []


class Stream(io.StringIO):
    """Counts the writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.written = threading.Event()

    def write(self, text: str) -> int:
        self.writes += 1
        self.written.set()
        return super().write(text)


def test_lines_are_written_in_groups_without_losses() -> None:
    stream = Stream()
    writer = logs.Writer(stream)

    def write(name: str) -> None:
        for number in range(500):
            writer.write(f"{name} {number}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2000
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [
            f"{name} {number}" for number in range(500)
        ]
    assert stream.writes < 500


def test_a_line_is_written_without_a_flush() -> None:
    stream = Stream()
    logs.Writer(stream).write("alone\n")
    assert stream.written.wait(30)


def test_a_closed_writer_writes_nothing() -> None:
    stream = Stream()
    writer = logs.Writer(stream)
    writer.write("last\n")
    writer.close()
    writer.write("too late\n")
    writer.flush()
    assert stream.getvalue() == "last\n"


def test_errors_are_written_immediately_and_in_order(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FLUSH_DELAY", 3600)
    configure()
    log = structlog.stdlib.get_logger("ours")
    log.info("first")
    log.error("second")
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == [
        "first",
        "second",
    ]
