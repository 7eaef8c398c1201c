"""What is asked of wrk, and what is read of what it prints."""

from collections.abc import Iterator, Mapping

import pytest

from bench import http
from bench.http import Load, first_200, load
from bench.stack import BenchError

# wrk itself speaks before the line of report.lua.
PRINTED = """Running 2s test @ http://10.0.0.2:8000/health
  1 threads and 8 connections
{"requests":3000,"duration":2000000,"p50":1500,"p90":2000,"p99":40000,"max":50000,"status":1,"socket":20,"timeout":300}
"""


class Wrk:
    """Takes the place of the program and keeps what it was told."""

    def __init__(self) -> None:
        self.argv: tuple[str, ...] = ()
        self.env: Mapping[str, str] = {}

    def __call__(self, *argv: str, env: Mapping[str, str]) -> str:
        self.argv, self.env = argv, env
        return PRINTED


@pytest.fixture
def wrk(monkeypatch: pytest.MonkeyPatch) -> Wrk:
    program = Wrk()
    monkeypatch.setattr(http, "run", program)
    monkeypatch.delenv("WRK", raising=False)
    return program


@pytest.mark.usefixtures("wrk")
def test_microseconds_are_read_as_seconds_and_every_kind_of_error_counts() -> None:
    seen = load("10.0.0.2", "/health", script="get", connections=8, seconds=2)
    assert seen == Load(answers=3000, rate=1500, p50=0.0015, p99=0.04, errors=321)


def test_wrk_is_told_whom_to_load_how_and_for_how_long(wrk: Wrk) -> None:
    load("10.0.0.2", "/deployments", script="post", connections=64, seconds=5)
    assert wrk.argv[0] == "wrk"
    assert wrk.argv[-1] == "http://10.0.0.2:8000/deployments"
    assert {"--threads=1", "--connections=64", "--duration=5s"} <= set(wrk.argv)
    (script,) = [word.removeprefix("--script=") for word in wrk.argv if word.startswith("--script=")]
    assert script == str(http.SCRIPTS / "post.lua")
    assert wrk.env == {"BENCH_REPORT": str(http.SCRIPTS / "report.lua")}


@pytest.mark.parametrize("name", ["get.lua", "post.lua", "report.lua"])
def test_the_scripts_that_wrk_is_told_of_are_there(name: str) -> None:
    assert (http.SCRIPTS / name).is_file()


def test_a_wrk_that_is_not_on_the_path_can_be_named(wrk: Wrk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRK", "/opt/wrk")
    load("10.0.0.2", "/health", script="get", connections=1, seconds=1)
    assert wrk.argv[0] == "/opt/wrk"


def test_what_is_not_up_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[Exception | tuple[int, None]] = iter([ConnectionRefusedError(), (503, None), (200, None)])

    def request(*_: object, **__: object) -> tuple[int, None]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(http, "request", request)
    assert first_200("10.0.0.2", "/ready") > 0
    assert list(answers) == []


def test_what_never_answers_with_200_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "request", lambda *_, **__: (503, None))
    with pytest.raises(BenchError, match=r"wait for /ready at 10\.0\.0\.2: no 200 within 0 s"):
        first_200("10.0.0.2", "/ready", patience=0.01)
