"""The command line of wrk, and its figures."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from ops.bench import http
from ops.bench.http import Load, load

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
