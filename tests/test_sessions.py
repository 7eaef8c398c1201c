"""Helpers of noxfile.py."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nox
import pytest

from tests import sessions
from tests.repositories import Repository, clone, environment


class Session:
    """A fake session that records its commands; `answer` is the output of inv."""

    def __init__(self, answer: object = None, name: str = "unit(project='delivery')") -> None:
        self.answer = answer
        self.name = name
        self.ran: list[tuple[str, ...]] = []
        self.installed: list[tuple[str, ...]] = []
        self.warned: list[str] = []
        self.environment: object = None
        self.virtualenv = SimpleNamespace(location="/nowhere")

    def run(self, *argv: str, env: object = None, **_: object) -> str:
        self.ran.append(argv)
        self.environment = env
        if isinstance(self.answer, Exception):
            raise self.answer
        return json.dumps(self.answer)

    def install(self, *argv: str) -> None:
        self.installed.append(argv)

    @contextmanager
    def chdir(self, _folder: Path) -> Iterator[None]:
        yield

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
        (
            "unit(project='delivery')",
            "delivery",
            "engine and not cluster and not emulated",
            "unit-delivery.xml",
        ),
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
    name: str, project: str, marks: str, report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DELIVERY_COVERAGE", raising=False)
    session = fake(name=name)
    sessions.pytest(session, "engine", "--events=9", env={}, name=project)
    ((program, _, marker, *options, last),) = session.ran
    assert (program, marker, last) == ("pytest", marks, "--events=9")
    assert options[-1].endswith(f"/.delivery/reports/{report}")


def test_coverage_is_measured_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_COVERAGE", "1")
    session = fake()
    sessions.pytest(session, "engine", env={"A": "b"}, name="delivery")
    assert session.installed[0][-1] == "ops/locks/coverage.txt"
    ((program, verb, _, data, module, *command),) = session.ran
    assert (program, verb, module, command[0]) == ("coverage", "run", "-m", "pytest")
    assert data.endswith("/.delivery/coverage/data/unit-delivery")
    # A session that a test runs would write into the same file.
    assert session.environment == {"A": "b", "DELIVERY_COVERAGE": None}


def test_a_change_is_compared_with_where_it_left_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "HERE", tmp_path / "clone")
    monkeypatch.delenv("CHANGE_TARGET", raising=False)
    upstream = Repository(tmp_path / "upstream")
    first = upstream.commit("a", **{"delivery.toml": '[gitflow]\ndevelop = ["develop"]\n'})
    upstream.git("branch", "develop")
    second = upstream.commit("b", file="b")
    clone(upstream.root, tmp_path / "clone")
    assert sessions.change_base() == first
    monkeypatch.setenv("CHANGE_TARGET", "main")
    assert sessions.change_base() == first, "the commit before: main has not been left"
    subprocess.run(
        ["git", "commit", "--quiet", "--allow-empty", "--message=c"],
        cwd=tmp_path / "clone",
        env=environment(),
        check=True,
    )
    assert sessions.change_base() == second
    assert sessions.change_base("origin/develop") == first
    upstream.git("switch", "--quiet", "develop")
    monkeypatch.setattr(sessions, "HERE", upstream.root)
    assert sessions.change_base() == "", "the first commit"


def test_sonarqube_reads_what_the_sessions_write() -> None:
    settings = [option.removeprefix("-D") for option in sessions.sonar_settings()]
    properties = dict(setting.split("=", 1) for setting in settings)
    folders = [*properties["sonar.sources"].split(","), *properties["sonar.tests"].split(",")]
    assert [folder for folder in folders if not (sessions.HERE / folder).is_dir()] == []
    names = ("noxfile.py", "tests/sessions.py")
    written = "".join((sessions.HERE / name).read_text(encoding="utf-8") for name in names)
    paths = [path for name, path in properties.items() if name.lower().endswith("reportpaths")]
    for path in ",".join(paths).split(","):
        assert path.rpartition("/")[2] in written, path


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


def test_scripts_are_found_by_their_first_line() -> None:
    assert {"run", ".ci/run"} <= set(sessions.shell_scripts())
    assert "noxfile.py" not in sessions.shell_scripts()
    assert "base-image/Dockerfile" in sessions.tracked("Dockerfile")
