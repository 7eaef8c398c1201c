import json
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from async_worker import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def configure(level: str = "INFO") -> None:
    logs.configure(level=level, service="async-worker", environment="test")


def test_our_lines_are_json_and_name_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    structlog.stdlib.get_logger("ours").info("hello", event_id="1")
    (line,) = lines(capsys)
    expected = {"event": "hello", "event_id": "1", "level": "info", "service": "async-worker", "environment": "test"}
    assert line.items() >= expected.items()
    assert line["timestamp"].endswith("Z")


def test_lines_of_other_threads_name_the_process_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    thread = threading.Thread(target=lambda: structlog.stdlib.get_logger("ours").info("hello"))
    thread.start()
    thread.join()
    assert [line["service"] for line in lines(capsys)] == ["async-worker"]


def test_a_librarys_lines_and_warnings_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("library").error("broken: %s", "pipe")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    library, warning = lines(capsys)
    assert library["event"] == "broken: pipe"
    assert "old" in warning["event"]


def test_an_exception_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        structlog.stdlib.get_logger("ours").exception("failed")
    (line,) = lines(capsys)
    assert "ZeroDivisionError" in line["exception"]


def test_the_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    configure("WARNING")
    structlog.stdlib.get_logger("ours").info("hello")
    assert lines(capsys) == []


@pytest.mark.parametrize(("name", "level"), [("kafka.client", logging.INFO), ("kafka.net.manager", logging.ERROR)])
def test_kafkas_chatter_is_dropped(capsys: pytest.CaptureFixture[str], name: str, level: int) -> None:
    configure("DEBUG")
    logging.getLogger(name).log(level, "again")
    assert lines(capsys) == []
