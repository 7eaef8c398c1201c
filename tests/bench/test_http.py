"""The figures of wrk."""

import pytest

from ops.bench import http
from ops.bench.http import Load, load

# wrk prints lines before that of report.lua.
PRINTED = """Running 2s test @ http://10.0.0.2:8000/health
  1 threads and 8 connections
{"requests":3000,"duration":2000000,"p50":1500,"p99":40000,"status":1,"socket":20,"timeout":300}
"""


def test_the_figures_of_wrk_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "run", lambda *_, **__: PRINTED)
    seen = load("10.0.0.2", "/deployments", script="post", connections=64, seconds=5)
    assert seen == Load(answers=3000, rate=1500, p50=0.0015, p99=0.04, errors=321)
