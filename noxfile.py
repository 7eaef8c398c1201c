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

UNITS = [nox.param(project, tags=[PARTS.get(project, project)]) for project in PROJECTS]


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
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy", "delivery", "ops/monitoring", "tests", "tasks.py", "noxfile.py")
    with session.chdir("base-image"):
        session.run("mypy")
    with session.chdir("platform-chart"):
        session.run("mypy", "tests")
    session.run(
        "lint-imports", env={"PYTHONPATH": os.pathsep.join(f"{app}/src" for app in (*APPS, LEDGER))}
    )
    session.run("hadolint", *sessions.tracked("Dockerfile"))
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
@nox.parametrize("project", UNITS)
def unit(session: nox.Session, project: str) -> None:
    """Run the unit tests of a part, without engine, cluster and network."""
    sessions.install_for(session, project)
    environment = {}
    if project == "platform-chart":
        environment["HELM"] = sessions.helms(session)
    elif project == "delivery":
        environment |= {
            name.upper(): sessions.program(session, name) for name in ("groovy", "curl")
        }
    session.chdir(sessions.folder(project))
    sessions.pytest(session, "not engine", *session.posargs, env=environment, name=project)


@nox.session(tags=[WHOLE])
@nox.parametrize("project", ["delivery", "base-image", "platform-chart", *APPS, BOTH_APPS, IMAGES])
def integration(session: nox.Session, project: str) -> None:
    """Run the tests of a part on a real engine, registry, Kafka and database."""
    sessions.install_for(session, project)
    environment = sessions.engine_environment(session)
    if project in APPS:
        if project == "api-rest":
            environment["CHROMIUM"] = sessions.program(session, "chromium")
        with sessions.dependencies(session, environment) as addresses:
            session.chdir(project)
            sessions.pytest(
                session, "engine", *session.posargs, env={**environment, **addresses}, name=project
            )
        return
    if project == "platform-chart":
        python = sessions.images()["API_REST_IMAGE"]
        environment |= {"HELM": sessions.helms(session), "PYTHON_IMAGE": python}
    session.chdir(sessions.folder(project))
    arguments = [*sessions.tests_on_engine(project), *session.posargs]
    sessions.pytest(session, "engine", *arguments, env=environment, name=project)


@nox.session(default=False)
def e2e(session: nox.Session) -> None:
    """Test the platform on a new cluster: `nox -s e2e -- --keep -k drain` keeps and reuses it.

    `nox -s e2e -- -m compiled` runs what needs a program that Go compiles first, for minutes;
    `-m figure` measures what the default install carries.
    """
    sessions.install(session, "tests")
    environment = sessions.engine_environment(session)
    # The cluster is only for these tests, so it stays out of the user's own kubeconfig.
    kubeconfig = str(sessions.own_file(session, "kubeconfig"))
    environment |= {"E2E_KUBECONFIG": kubeconfig, "KUBECONFIG": kubeconfig}
    environment["GROOVY"] = sessions.program(session, "groovy")
    # After a failure other tests would fail too, each after minutes of waiting.
    options = ["tests/e2e", "tests/integration", "--maxfail=3", "--verbosity=1", *session.posargs]
    sessions.pytest(session, "cluster and not compiled and not figure", *options, env=environment)


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Kill and freeze services under 100,000 events: `nox -s chaos -- --events 3000 --kills 4`."""
    # The results are read later; pytest clears its default folder after three runs.
    results = f"--basetemp={HERE / '.delivery' / 'chaos'}"
    options = ("--events=100000", "--kills=40", "--rate=400", results)
    _test_ledger(session, ["test_chaos.py", "test_frozen.py", "test_memory.py"], *options)


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
    environment = sessions.engine_environment(session)
    bundle = environment.get("BUILD_CA", "")
    build = ["docker", "build", "--quiet", "--tag=delivery-slim", "tests/slim"]
    session.run(*build, external=True, env=environment)
    options = sessions.mounted(str(HERE), "/source")
    if bundle:
        options += sessions.mounted(bundle, "/build-ca")
        options += ["--env=PIP_CERT=/build-ca", "--env=SSL_CERT_FILE=/build-ca"]
    container = ["docker", "run", "--rm", *options, "delivery-slim", *session.posargs]
    session.run(*container, external=True, env=environment)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Compare apps with other stacks (`-- --quick`), or builds with bake (`-- delivery`)."""
    sessions.install(session, "bench")
    environment = {**sessions.engine_environment(session), **sessions.images()}
    environment["WRK"] = sessions.program(session, "wrk")
    session.run("python", "-m", "ops.bench", *session.posargs, env=environment)


@nox.session(default=False)
def collector(session: nox.Session) -> None:
    """Test logs and traces with the OpenTelemetry Collector: needs Go 1.26, takes 3 minutes."""
    sessions.install(session, "tests")
    environment = sessions.engine_environment(session)
    environment["COLLECTOR"] = str(sessions.own_file(session, "collector"))
    build = ["go", "build", "-C", "ops/monitoring/collector", "-trimpath", "-ldflags", "-s -w"]
    build += ["-o", environment["COLLECTOR"], "."]
    session.run(*build, external=True, env={"CGO_ENABLED": "0"})
    sessions.pytest(
        session, "engine", "-s", "ops/monitoring/tests", *session.posargs, env=environment
    )


@nox.session(default=False)
def locks(session: nox.Session) -> None:
    """Write ops/locks/ from pyproject.toml; `nox -s locks -- --upgrade` with newest versions."""
    session.run("ops/locks/make", *session.posargs, external=True)
    for project in APPS:
        session.run(sessions.poetry(session), "--directory", project, "lock", external=True)
