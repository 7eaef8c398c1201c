"""Single requests, and wrk for many."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from .stack import BenchError, run

__all__ = ["PORT", "Load", "first_200", "load", "request", "wrk"]

PORT = 8000
SCRIPTS = Path(__file__).parent / "load"
TIMEOUT = 60.0


@dataclass(frozen=True)
class Load:
    """The figures of one run of wrk; times in seconds."""

    answers: int
    rate: float
    p50: float
    p99: float
    errors: int


def request(
    address: str, method: str, path: str, body: object = None, *, port: int = PORT
) -> tuple[int, Any]:
    """The status and JSON of one answer."""
    connection = HTTPConnection(address, port, timeout=5)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(
            method, path, content, {"Content-Type": "application/json"} if content else {}
        )
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    return response.status, json.loads(text or b"null")


def first_200(address: str, path: str, *, port: int = PORT, timeout: float = TIMEOUT) -> float:
    """When an address first answered with 200, by time.time()."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if request(address, "GET", path, port=port)[0] == HTTPStatus.OK:
                return time.time()
        except (OSError, HTTPException):
            pass
        time.sleep(0.002)
    raise BenchError(f"wait for {path} at {address}: no 200 within {timeout:.0f} s")


def wrk() -> str:
    """The program that makes load: WRK, else the one on PATH."""
    return os.environ.get("WRK") or "wrk"


def load(address: str, path: str, *, script: str, connections: int, seconds: int) -> Load:
    """Load an address with wrk, from one thread, which leaves a processor to the server."""
    variables = {"BENCH_REPORT": str(SCRIPTS / "report.lua")}
    options = [
        "--threads=1",
        f"--connections={connections}",
        f"--duration={seconds}s",
        "--timeout=10s",
    ]
    options.append(f"--script={SCRIPTS / script}.lua")
    printed = run(wrk(), *options, f"http://{address}:{PORT}{path}", env=variables)
    figures = json.loads(printed.splitlines()[-1])
    return Load(
        answers=figures["requests"],
        rate=figures["requests"] / figures["duration"] * 1e6,
        p50=figures["p50"] / 1e6,
        p99=figures["p99"] / 1e6,
        errors=figures["status"] + figures["socket"] + figures["timeout"],
    )
