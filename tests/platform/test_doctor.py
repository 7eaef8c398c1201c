"""`inv doctor`: what it finds on machines that lack something, and what it says to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from delivery.deploy import kubectl
from delivery.errors import DeliveryError, EngineError
from delivery.host import debian, docker_api, engines, programs, trust
from delivery.platform import doctor, lifecycle
from delivery.platform.doctor import Finding, Report
from delivery.project.declaration import Declaration
from tests.registries import FakeRegistry, serving

GIGABYTE = 1_000_000_000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> dict[str, Any]:
    """A machine that lacks nothing; tests change its parts."""
    engine = SimpleNamespace(describe=lambda: "Docker 26", memory=lambda: parts["memory"])
    parts: dict[str, Any] = {
        "engine": engine,
        "memory": 8 * GIGABYTE,
        "disk": 100 * GIGABYTE,
        "plugins": [],
        "installs": True,
        "programs": dict.fromkeys(programs.PROGRAMS, "/usr/bin/x"),
        "contexts": [*declaration.environments],
    }
    project = SimpleNamespace(ports=lambda: [("api-rest", 8000)])

    def find(name: str) -> str | None:
        path: str | None = parts["programs"].get(name)
        return path

    monkeypatch.setattr(docker_api, "find", lambda: parts["engine"])
    monkeypatch.setattr(engines, "missing_plugins", lambda _engine: parts["plugins"])
    monkeypatch.setattr(debian, "can_install", lambda: parts["installs"])
    monkeypatch.setattr(lifecycle, "compose", lambda *_arguments: project)
    monkeypatch.setattr(lifecycle, "check_ports", lambda _project: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=parts["disk"]))
    monkeypatch.setattr(trust, "secrets", lambda: {"build-ca": Path("/ca.crt")})
    monkeypatch.setattr(programs, "find", find)
    monkeypatch.setattr(kubectl, "contexts", lambda _program: (parts["contexts"], "develop"))
    return parts


def examine(declaration: Declaration, tmp_path: Path) -> dict[str, Finding]:
    with serving(FakeRegistry()) as (address, _):
        report = doctor.examine(declaration.with_registry(address), tmp_path)
    return {finding.subject: finding for finding in report.findings}


@pytest.mark.usefixtures("machine")
def test_a_machine_that_lacks_nothing_has_no_problem(
    declaration: Declaration, tmp_path: Path
) -> None:
    found = examine(declaration, tmp_path)
    assert {finding.state for finding in found.values()} == {"ok"}
    assert {"Python", "engine", "BuildKit", "disk", "memory", "ports", "proxy", "CA bundle"} <= {
        *found
    }
    assert {"registry", "contexts", *programs.PROGRAMS} <= {*found}
    Report(tuple(found.values())).check()


@pytest.mark.parametrize(
    ("changes", "subject", "state", "text", "hint"),
    [
        ({"engine": None}, "engine", "later", "none answers", "`./run inv up` installs"),
        ({"engine": None, "installs": False}, "engine", "problem", "none answers", "nstall"),
        ({"plugins": ["docker-buildx"]}, "BuildKit", "later", "docker-buildx missing", "installs"),
        ({"plugins": ["docker-buildx"], "installs": False}, "BuildKit", "problem", "miss", "nstal"),
        ({"memory": GIGABYTE}, "memory", "problem", "1.0 GB", "give the engine more"),
        ({"memory": 3 * GIGABYTE}, "memory", "later", "too little for a cluster", "more"),
        ({"disk": GIGABYTE}, "disk", "problem", "1 GB free", "inv cache.clean"),
        ({"disk": 8 * GIGABYTE}, "disk", "later", "too little for a cluster", "cache.clean"),
        ({"programs": {}}, "wrk", "later", "not found", "installed by the task"),
        ({"programs": {}, "installs": False}, "wrk", "later", "not found", "install wrk"),
        ({"programs": {}}, "contexts", "later", "kubectl is missing", ""),
        ({"contexts": ["staging"]}, "contexts", "later", "staging", "develop, production need"),
    ],
)
def test_what_a_machine_lacks(
    machine: dict[str, Any],
    declaration: Declaration,
    tmp_path: Path,
    changes: dict[str, Any],
    subject: str,
    state: str,
    text: str,
    hint: str,
) -> None:
    machine.update(changes)
    finding = examine(declaration, tmp_path)[subject]
    assert (finding.state, text in finding.text, hint in finding.hint) == (state, True, True)


@pytest.mark.usefixtures("machine")
def test_an_error_of_a_check_is_a_finding_with_its_hint(
    declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise EngineError("cannot do it: this is why", hint="do that")

    monkeypatch.setattr(docker_api, "find", fail)
    monkeypatch.setattr(trust, "secrets", fail)
    monkeypatch.setattr(programs, "find", lambda name: fail() if name == "wrk" else "/x")
    monkeypatch.setattr(kubectl, "contexts", fail)
    found = examine(declaration, tmp_path)
    for subject in ("engine", "CA bundle", "wrk", "contexts"):
        assert "this is why" in found[subject].text


@pytest.mark.usefixtures("machine")
def test_a_registry_that_does_not_answer_or_asks_for_a_login(
    declaration: Declaration, tmp_path: Path
) -> None:
    def registry(address: str) -> tuple[str, str]:
        report = doctor.examine(declaration.with_registry(address), tmp_path)
        (found,) = [finding for finding in report.findings if finding.subject == "registry"]
        return found.state, found.text

    assert registry("localhost:1") == ("later", "localhost:1 does not answer")
    assert registry("registry.invalid") == ("problem", "registry.invalid does not answer")
    with serving(lambda *_request: (401, {}, b"")) as (address, _):
        state, text = registry(address)
    assert (state, "asks for a login" in text) == ("problem", True)


@pytest.mark.usefixtures("machine")
def test_a_cache_that_cannot_be_written(
    declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    assert "XDG_CACHE_HOME" in examine(declaration, tmp_path)["cache"].hint


def test_problems_fail_the_task_and_are_named() -> None:
    report = Report((Finding("disk", "problem", "full", "free it"), Finding("Git", "ok", "there")))
    with pytest.raises(DeliveryError, match=r"1 problem \(disk\)"):
        report.check()
    assert report.to_json()["problems"] == 1
    assert report.findings[0].row() == ("✗", "disk", "full", "free it")
