"""Helpers of noxfile.py."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nox
import pytest

from tests import sessions


class Session:
    """A fake session that records its commands; `answer` is the output of inv."""

    def __init__(self, answer: object = None, name: str = "unit(project='delivery')") -> None:
        self.answer = answer
        self.name = name
        self.ran: list[tuple[str, ...]] = []
        self.installed: list[tuple[str, ...]] = []
        self.warned: list[str] = []
        self.virtualenv = SimpleNamespace(location="/nowhere")

    def run(self, *argv: str, **_: object) -> str:
        self.ran.append(argv)
        if isinstance(self.answer, Exception):
            raise self.answer
        return json.dumps(self.answer)

    def install(self, *argv: str) -> None:
        self.installed.append(argv)

    def warn(self, text: str) -> None:
        self.warned.append(text)


def fake(answer: object = None, name: str = "unit(project='delivery')") -> Any:
    return Session(answer, name)


def test_the_checks_cover_all_projects() -> None:
    kinds = {name.partition("(")[0] for name in sessions.CHECKS}
    assert kinds == {"lint", "types", "unit", "integration"}
    on_engine = {*sessions.PROJECTS, sessions.BOTH_APPS, sessions.IMAGES} - {sessions.LEDGER}
    assert {f"integration(project='{name}')" for name in on_engine} <= set(sessions.CHECKS)
    assert sessions.folder("apps") == "."
    assert sessions.folder("ledger") == "ledger"


def test_tests_on_an_engine_run_in_one_session_each() -> None:
    ignored = {option.removeprefix("--ignore=") for option in sessions.tests_on_engine("delivery")}
    assert ignored == {*sessions.tests_on_engine("apps"), *sessions.tests_on_engine("images")}
    assert [path for path in ignored if not (sessions.HERE / path).exists()] == []


@pytest.mark.parametrize(
    ("name", "project", "marks", "report"),
    [
        ("unit(project='delivery')", "delivery", "engine and not cluster", "unit-delivery.xml"),
        (
            "integration(project='apps')",
            "apps",
            "engine and not chaos",
            "integration-apps.xml",
        ),
        ("unit(project='api-rest')", "api-rest", "engine", "unit-api-rest.xml"),
        ("e2e", "", "engine", "e2e.xml"),
    ],
)
def test_pytest_gets_marks_and_a_report_file(
    name: str, project: str, marks: str, report: str
) -> None:
    session = fake(name=name)
    sessions.pytest(session, "engine", "--events=9", env={}, name=project)
    ((program, _, marker, *options, last),) = session.ran
    assert (program, marker, last) == ("pytest", marks, "--events=9")
    assert options[-1].endswith(f"/.delivery/reports/{report}")


def test_programs_and_the_engine_come_from_tasks() -> None:
    assert sessions.program(fake({"path": "/usr/bin/wrk"}), "wrk") == "/usr/bin/wrk"
    session = fake({"DOCKER_HOST": "unix:///x", "BUILD_CA": "/ca.pem"})
    assert sessions.engine_environment(session) == {
        "DOCKER_HOST": "unix:///x",
        "BUILD_CA": "/ca.pem",
    }
    assert session.ran == [("inv", "images.ensure"), ("inv", "engine.env", "--json")]


def test_a_missing_helm_is_a_warning() -> None:
    session = fake(nox.command.CommandFailed())
    assert sessions.helms(session) == ""
    assert [text.partition(":")[0] for text in session.warned] == [
        "the chart is not tested with helm",
        "the chart is not tested with helm3",
    ]


def test_locks_are_installed_with_hashes() -> None:
    session = fake()
    sessions.install_for(session, "base-image")
    assert session.installed == [
        ("--quiet", "--require-hashes", "--requirement", "ops/locks/tests.txt")
    ]


def test_images_have_composes_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "HERE", tmp_path)
    images = {
        name: {"repository": f"r/{name}", "digest": "sha256:a"}
        for name in ("base-image", "api-rest")
    }
    (tmp_path / ".delivery").mkdir()
    (tmp_path / ".delivery" / "release.json").write_text(json.dumps({"images": images}))
    assert sessions.images() == {
        "BASE_IMAGE": "r/base-image@sha256:a",
        "API_REST_IMAGE": "r/api-rest@sha256:a",
    }


def test_scripts_are_found_by_their_first_line() -> None:
    assert {"run", ".ci/run"} <= set(sessions.shell_scripts())
    assert "noxfile.py" not in sessions.shell_scripts()
    assert "base-image/Dockerfile" in sessions.tracked("Dockerfile")


def test_a_mount_may_have_a_comma_in_its_path() -> None:
    assert sessions.mounted("/a, b", "/c") == [
        "--mount",
        'type=bind,"source=/a, b",target=/c,readonly',
    ]
