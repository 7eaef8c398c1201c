"""The checks: `./run nox` runs all without a cluster, `./run nox --list` lists them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent))  # nox does not
from tests import sessions
from tests.sessions import APPS, BOTH_APPS, HERE, IMAGES, LEDGER, PARTS, PROJECTS, WHOLE

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["checks"]


@nox.session(venv_backend="none")
def checks(session: nox.Session) -> None:
    """Lint, check types, run unit tests and tests on an engine: three sessions at once."""
    # Once, before several sessions need the images.
    session.run("inv", "images.ensure", external=True)
    arguments = [*sessions.CHECKS, "--", *session.posargs]
    session.run(
        sys.executable, "-m", "tests.lanes", *arguments, external=True, interrupt_timeout=120
    )


@nox.session(tags=[WHOLE])
def lint(session: nox.Session) -> None:
    """Lint everything: ruff, mypy, hadolint, yamllint, shellcheck, import-linter."""
    sessions.install(session, "lint")
    report = ("ruff", "check", "--exit-zero", "--quiet", "--output-format=sarif")
    sessions.reported(session, "ruff.sarif", *report)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    types = ("mypy", "delivery", "ops/monitoring", "tests", "tasks.py", "noxfile.py")
    sessions.reported(session, "mypy.txt", *types)
    session.run(*types)
    with session.chdir("base-image"):
        session.run("mypy")
    with session.chdir("platform-chart"):
        session.run("mypy", "tests")
    session.run(
        "lint-imports", env={"PYTHONPATH": os.pathsep.join(f"{app}/src" for app in (*APPS, LEDGER))}
    )
    hadolint = ("hadolint", *sessions.tracked("Dockerfile"))
    sessions.reported(session, "hadolint.sarif", *hadolint, "--no-fail", "--format=sarif")
    session.run(*hadolint)
    session.run("yamllint", "--strict", "--config-file=ops/yamllint.yaml", ".")
    session.run("shellcheck", "--external-sources", "--source-path=ops", *sessions.shell_scripts())


@nox.session(default=False)
def ruff(session: nox.Session) -> None:
    """Run ruff alone: `nox -s ruff -- format`, `nox -s ruff -- check --fix`."""
    sessions.install(session, "lint")
    session.run("ruff", *session.posargs)


@nox.session(tags=["apps"])
@nox.parametrize("project", [*APPS, LEDGER])
def types(session: nox.Session, project: str) -> None:
    """Check the types of an app with the packages of its own lock."""
    sessions.install_for(session, project)
    session.chdir(project)
    session.run("mypy", "src", "tests")


@nox.session
@nox.parametrize("project", [nox.param(name, tags=[PARTS.get(name, name)]) for name in PROJECTS])
def unit(session: nox.Session, project: str) -> None:
    """Run the unit tests of a part, without engine, cluster and network."""
    sessions.install_for(session, project)
    environment = sessions.unit_programs(session, project)
    session.chdir(sessions.folder(project))
    sessions.pytest(session, "not engine", *session.posargs, env=environment, name=project)


@nox.session(tags=[WHOLE])
@nox.parametrize("project", ["delivery", "base-image", "platform-chart", *APPS, BOTH_APPS, IMAGES])
def integration(session: nox.Session, project: str) -> None:
    """Run the tests of a part on a real engine, registry, Kafka and database."""
    sessions.install_for(session, project)
    environment = sessions.engine_environment(session)
    environment |= sessions.integration_programs(session, project)
    arguments = [*sessions.tests_on_engine(project), *session.posargs]
    with sessions.dependencies(session, project, environment) as addresses:
        session.chdir(sessions.folder(project))
        environment |= addresses
        sessions.pytest(session, "engine", *arguments, env=environment, name=project)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """List the changed lines that no test has run; no share of them fails it.

    Reads what `inv ci.check` measured. `nox -s coverage -- origin/main` compares with that branch.
    """
    sessions.install(session, "reports")
    sessions.list_uncovered(session, *session.posargs)


@nox.session(default=False)
def sonar(session: nox.Session) -> None:
    """Send sources and reports to the SonarQube at SONAR_HOST_URL, with SONAR_TOKEN."""
    sessions.install(session, "reports")
    session.run("pysonar", *sessions.sonar_settings(), *session.posargs)


@nox.session(default=False)
def e2e(session: nox.Session) -> None:
    """Test the platform on a new cluster: `nox -s e2e -- --keep -k drain` keeps and reuses it.

    `nox -s e2e -- -m compiled` runs what needs a program that Go compiles first, for minutes;
    `-m figure` measures what the default install carries; `-m soak` watches versions under load.
    """
    sessions.install(session, "tests")
    environment = sessions.engine_environment(session)
    # The cluster is only for these tests, so it stays out of the user's own kubeconfig.
    kubeconfig = str(sessions.own_file(session, "kubeconfig"))
    environment |= dict.fromkeys(("E2E_KUBECONFIG", "KUBECONFIG"), kubeconfig)
    environment["GROOVY"] = sessions.program(session, "groovy")
    # After a failure other tests would fail too, each after minutes of waiting.
    options = ["tests/e2e", "tests/integration", "--maxfail=3", "--verbosity=1", *session.posargs]
    short = "cluster and not compiled and not figure and not soak"
    sessions.pytest(session, short, *options, env=environment)


@nox.session(default=False)
def emulated(session: nox.Session) -> None:
    """Build our images for the other processor too, and run them in an emulator (on amd64)."""
    sessions.install(session, "tests")
    environment = sessions.engine_environment(session)
    sessions.pytest(session, "emulated", "tests/integration", *session.posargs, env=environment)


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Kill and freeze services under 100,000 events: `nox -s chaos -- --events 3000 --kills 4`."""
    # The results are read later; pytest clears its default folder after three runs.
    results = f"--basetemp={HERE / '.delivery' / 'chaos'}"
    storm = ("--events=100000", "--kills=40", "--rate=400", results)
    _test_ledger(session, ["test_chaos.py", "test_frozen.py", "test_memory.py"], *storm)


@nox.session(default=False)
def shutdown(session: nox.Session) -> None:
    """Stop instances under load 200 times: `nox -s shutdown -- --rounds 20`."""
    _test_ledger(session, ["test_shutdown.py"], "--rounds=200")


def _test_ledger(session: nox.Session, files: Sequence[str], *options: str) -> None:
    """Run tests of the ledger on this clone's images; the command line overrides the options."""
    sessions.install(session, "tests")
    environment = sessions.engine_environment(session)
    arguments = ["--verbosity=1", *(f"tests/ledger/{file}" for file in files), *options]
    sessions.pytest(session, "chaos", *arguments, *session.posargs, env=environment)


@nox.session(default=False, venv_backend="none")
def slim(session: nox.Session) -> None:
    """Lint and run unit tests of the last commit in a container with only Python, venv and git."""
    sessions.run_in_slim(session, *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Compare apps (`-- --quick`), builds (`-- delivery`) or edits (`-- edits`) with others."""
    sessions.install(session, "bench")
    environment = sessions.engine_environment(session) | sessions.images()
    environment["WRK"] = sessions.program(session, "wrk")
    session.run("python", "-m", "ops.bench", *session.posargs, env=environment)


@nox.session(default=False)
def collector(session: nox.Session) -> None:
    """Test logs and traces with the OpenTelemetry Collector: needs Go 1.26, takes 3 minutes."""
    sessions.install(session, "tests")
    environment = sessions.engine_environment(session)
    environment["COLLECTOR"] = str(sessions.own_file(session, "collector"))
    build = ["go", "build", "-C", "ops/monitoring/collector", "-trimpath", "-ldflags=-s -w", "-o"]
    session.run(*build, environment["COLLECTOR"], ".", external=True, env={"CGO_ENABLED": "0"})
    sessions.pytest(
        session, "engine", "-s", "ops/monitoring/tests", *session.posargs, env=environment
    )


@nox.session(default=False)
def locks(session: nox.Session) -> None:
    """Write ops/locks/ from pyproject.toml; `nox -s locks -- --upgrade` with newest versions."""
    session.run("ops/locks/make", *session.posargs, external=True)
    for project in APPS:
        session.run(sessions.poetry(session), "--directory", project, "lock", external=True)
