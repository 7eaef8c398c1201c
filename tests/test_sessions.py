"""What the sessions of noxfile.py share."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nox
import pytest

from tests import sessions


class Session:
    """A session that notes what it runs; inv answers so."""

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


def fake(answer: object = None, name: str = "unit(project='delivery')") -> Any:  # noqa: ANN401  # a session of nox
    return Session(answer, name)


def test_every_check_is_a_session_of_a_project_and_of_what_has_tests_on_an_engine() -> None:
    assert {name.partition("(")[0] for name in sessions.CHECKS} == {
        "lint",
        "types",
        "unit",
        "integration",
    }
    on_engine = {*sessions.PROJECTS, sessions.LEDGER, sessions.IMAGES}
    assert {f"integration(project='{name}')" for name in on_engine} <= set(sessions.CHECKS)
    assert [sessions.folder(name) for name in ("delivery", "ledger", "images", "api-rest")] == [
        ".",
        ".",
        ".",
        "api-rest",
    ]


def test_tests_on_an_engine_are_run_by_one_session_each() -> None:
    ignored = {option.removeprefix("--ignore=") for option in sessions.tests_on_engine("delivery")}
    assert ignored == {*sessions.tests_on_engine("ledger"), *sessions.tests_on_engine("images")}
    assert [path for path in ignored if not (sessions.HERE / path).exists()] == []


@pytest.mark.parametrize(
    ("name", "project", "marks", "report"),
    [
        ("unit(project='delivery')", "delivery", "engine and not cluster", "unit-delivery.xml"),
        (
            "integration(project='ledger')",
            "ledger",
            "engine and not chaos",
            "integration-ledger.xml",
        ),
        ("unit(project='api-rest')", "api-rest", "engine", "unit-api-rest.xml"),
        ("e2e", "", "engine", "e2e.xml"),
    ],
)
def test_pytest_runs_marks_and_writes_a_report_of_its_own(
    name: str, project: str, marks: str, report: str
) -> None:
    session = fake(name=name)
    sessions.pytest(session, "engine", "--events=9", env={}, name=project)
    ((program, _, chosen, *options, last),) = session.ran
    assert (program, chosen, last) == ("pytest", marks, "--events=9")
    assert options[-1].endswith(f"/.delivery/reports/{report}")


def test_tasks_answer_where_programs_are_and_how_the_engine_is_reached() -> None:
    assert sessions.program(fake({"path": "/usr/bin/wrk"}), "wrk") == "/usr/bin/wrk"
    session = fake({"DOCKER_HOST": "unix:///x", "BUILD_CA": "/ca.pem"})
    assert sessions.engine_environment(session) == {
        "DOCKER_HOST": "unix:///x",
        "BUILD_CA": "/ca.pem",
    }
    assert session.ran == [("inv", "images.ensure"), ("inv", "engine.env", "--json")]


def test_a_helm_that_cannot_be_had_is_left_out_and_said() -> None:
    session = fake(nox.command.CommandFailed())
    assert sessions.helms(session) == ""
    assert [text.partition(":")[0] for text in session.warned] == [
        "the chart is not tested with helm",
        "the chart is not tested with helm3",
    ]


def test_locks_are_installed_by_their_hashes() -> None:
    session = fake()
    sessions.install_for(session, "base-image")
    assert session.installed == [
        ("--quiet", "--require-hashes", "--requirement", "ops/locks/tests.txt")
    ]


def test_images_are_named_as_compose_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_scripts_are_known_by_their_first_line() -> None:
    assert {"run", ".ci/run"} <= set(sessions.shell_scripts())
    assert "noxfile.py" not in sessions.shell_scripts()
    assert "base-image/Dockerfile" in sessions.tracked("Dockerfile")


def test_a_comma_in_a_path_does_not_end_a_mount() -> None:
    assert sessions.mounted("/a, b", "/c") == [
        "--mount",
        'type=bind,"source=/a, b",target=/c,readonly',
    ]


def test_a_free_port_is_below_those_that_others_are_given() -> None:
    assert 20_000 <= cast("Any", sessions)._free_port() < 32_000
