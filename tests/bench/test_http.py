"""The command line of wrk, and its figures."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ops.bench import http
from ops.bench.http import Load, first_200, load
from ops.bench.stack import BenchError

# wrk prints lines before that of report.lua.
PRINTED = """Running 2s test @ http://10.0.0.2:8000/health
  1 threads and 8 connections
{"requests":3000,"duration":2000000,"p50":1500,"p99":40000,"status":1,"socket":20,"timeout":300}
"""


@pytest.mark.parametrize(("variable", "program"), [("", "wrk"), ("/opt/wrk", "/opt/wrk")])
@pytest.mark.parametrize("script", ["get", "post"])
def test_wrk_gets_the_address_and_its_figures_are_read(
    variable: str, program: str, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*argv: str, env: Mapping[str, str]) -> str:
        assert (argv[0], argv[-1]) == (program, "http://10.0.0.2:8000/deployments")
        options = dict(word.removeprefix("--").split("=") for word in argv[1:-1])
        assert {"threads": "1", "connections": "64", "duration": "5s"}.items() <= options.items()
        assert Path(options["script"]) == http.SCRIPTS / f"{script}.lua"
        assert Path(options["script"]).is_file()
        assert Path(env["BENCH_REPORT"]).is_file()
        return PRINTED

    monkeypatch.setattr(http, "run", run)
    monkeypatch.setenv("WRK", variable)
    seen = load("10.0.0.2", "/deployments", script=script, connections=64, seconds=5)
    assert seen == Load(answers=3000, rate=1500, p50=0.0015, p99=0.04, errors=321)


def test_a_server_that_is_not_up_yet_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[Exception | tuple[int, None]] = iter(
        [ConnectionRefusedError(), (503, None), (200, None)]
    )

    def request(*_: object, **__: object) -> tuple[int, None]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(http, "request", request)
    assert first_200("10.0.0.2", "/ready") > 0
    assert list(answers) == []


def test_a_server_without_a_200_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "request", lambda *_, **__: (503, None))
    with pytest.raises(BenchError, match=r"wait for /ready at 10\.0\.0\.2: no 200 within 0 s"):
        first_200("10.0.0.2", "/ready", timeout=0.01)
