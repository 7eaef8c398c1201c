"""The checks: `./run nox` runs them all, `./run nox --list` is the menu."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nox
from filelock import FileLock

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests"]

HERE = Path(__file__).parent
POETRY_PROJECTS = ("api-rest", "async-worker")  # each with a poetry.lock of its own
PROJECTS = ("delivery", "base-image", "platform-chart", *POETRY_PROJECTS)
ON_A_CLUSTER = ("delivery", "platform-chart")  # those with tests that need a cluster; `nox -s e2e` runs them
# The engine room's other half on the engine, in the lane that has less to do.
LEDGER = "ledger"
FOLDERS = {"delivery": ".", LEDGER: "."}  # where a project's tests are run, if not in the folder of its name
# What `nox -t PART` runs, as the pipeline does beside the others: the tests of a subproject, or the engine room with all that
# needs an engine, which would be in its own way in two sessions at once.
ENGINE_ROOM = "delivery-platform"
APPS = "apps"
PARTS = {"delivery": ENGINE_ROOM, **dict.fromkeys(POETRY_PROJECTS, APPS)}
ON_ENGINE = {"delivery": ["--ignore=tests/ledger"], LEDGER: ["tests/ledger"]}
UNITS = [nox.param(project, tags=[PARTS.get(project, project)]) for project in PROJECTS]


@nox.session(tags=[ENGINE_ROOM])
def lint(session: nox.Session) -> None:
    """Read everything: ruff, mypy, hadolint, yamllint, shellcheck, import-linter."""
    _install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy", "delivery", "monitoring", "tests", "tasks.py", "noxfile.py")
    with session.chdir("base-image"):
        session.run("mypy")
    with session.chdir("platform-chart"):
        session.run("mypy", "tests")
    session.run("lint-imports", env={"PYTHONPATH": os.pathsep.join(f"{app}/src" for app in POETRY_PROJECTS)})
    session.run("hadolint", *_tracked("Dockerfile"))
    session.run("yamllint", "--strict", ".")
    session.run("shellcheck", "--external-sources", *_shell_scripts())
    for project in POETRY_PROJECTS:
        session.notify(f"types(project='{project}')")


@nox.session(default=False)
def ruff(session: nox.Session) -> None:
    """Run ruff alone: `nox -s ruff -- format`, `nox -s ruff -- check --fix`."""
    _install(session, "lint")
    session.run("ruff", *session.posargs)


@nox.session
@nox.parametrize("project", POETRY_PROJECTS)
def types(session: nox.Session, project: str) -> None:
    """Check the types of an app, against what its own lock installs."""
    _install_poetry_project(session, project)
    session.chdir(project)
    session.run("mypy", "src", "tests")


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run every test: in two lanes side by side the unit tests and those on the real engine, then those on a real cluster."""
    session.notify("e2e")
    # Both lanes come to it, and two at once would build everything twice.
    session.run("inv", "cache.fill", external=True)
    # Much of it waits, for containers or for time to pass.
    engine_room, *others = PROJECTS
    with _beside(session, _lane(session, others, [*others, LEDGER])) as beside:
        here = subprocess.run(_lane(session, [engine_room], [engine_room]), cwd=HERE, check=False)
        session.log("what ran beside it is waited for")
    if here.returncode or beside.returncode:
        session.error("tests failed, see above")


@nox.session
@nox.parametrize("project", UNITS)
def unit(session: nox.Session, project: str) -> None:
    """Run the unit tests of one part; they need no engine, no cluster and no network."""
    _install_for(session, project)
    environment = {}
    if project == "platform-chart":
        environment["HELM"] = _helms(session)
    elif project == "delivery":
        environment["GROOVY"] = _program(session, "groovy")
    report = _report(f"unit-{project}")
    session.chdir(FOLDERS.get(project, project))
    session.run("pytest", "-m", _without_cluster("not engine", project), report, *session.posargs, env=environment)


@nox.session(tags=[ENGINE_ROOM])
@nox.parametrize("project", [*PROJECTS, LEDGER])
def integration(session: nox.Session, project: str) -> None:
    """Run the tests of one part on a real engine, registry, Kafka and database."""
    _install_for(session, project)
    # The same engine, images and registry as `inv up` has, so that what is tested is what is run.
    session.run("inv", "cache.fill", external=True)
    environment = _engine_environment(session)
    report = _report(f"integration-{project}")
    if project in POETRY_PROJECTS:
        if project == "api-rest":
            environment["CHROMIUM"] = _program(session, "chromium")
        with _dependencies(session, environment) as addresses:
            session.chdir(project)
            session.run("pytest", "-m", "engine", report, *session.posargs, env={**environment, **addresses})
        return
    if project == "platform-chart":
        environment |= {"HELM": _helms(session), "PYTHON_IMAGE": _images()["API_REST_IMAGE"]}
    session.chdir(FOLDERS.get(project, project))
    where = ON_ENGINE.get(project, [])
    session.run("pytest", "-m", _without_cluster("engine", project), report, *where, *session.posargs, env=environment)


@nox.session(default=False)
def e2e(session: nox.Session) -> None:
    """Prove the platform on a cluster made for it: `nox -s e2e -- --keep -k drain` leaves it, and goes on with it."""
    _install(session, "tests")
    session.run("inv", "cache.fill", external=True)
    environment = _engine_environment(session)
    # What a proof leaves behind after it failed would fail the others too, each after minutes of waiting.
    options = ["--maxfail=3", "--verbosity=1", *session.posargs]
    # Not the user's own: the cluster is of these tests alone.
    kubeconfig = str(Path(session.create_tmp()).resolve() / "kubeconfig")
    environment |= {"E2E_KUBECONFIG": kubeconfig, "KUBECONFIG": kubeconfig}
    environment["GROOVY"] = _program(session, "groovy")
    folders = ["tests/e2e", "tests/integration/test_deploy.py", "tests/integration/test_rights.py"]
    session.run("pytest", "-m", "cluster", _report("e2e"), *folders, *options, env=environment)


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Kill api, worker, broker and database at random under 100,000 events: `nox -s chaos -- --events 10000 --seed 2`."""
    _prove_ledger(session, "test_chaos.py", "--events=100000", "--kills=40", "--rate=400")


@nox.session(default=False)
def shutdown(session: nox.Session) -> None:
    """Stop instances under load, 200 times: `nox -s shutdown -- --rounds 20`."""
    _prove_ledger(session, "test_shutdown.py", "--rounds=200")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure the apps beside twins, `nox -s bench -- --quick`; or what a build costs beside bake, `nox -s bench -- delivery`."""
    _install(session, "bench")
    session.run("inv", "cache.fill", external=True)
    environment = {**_engine_environment(session), **_images(), "WRK": _program(session, "wrk")}
    session.run("python", "-m", "bench", *session.posargs, env=environment)


@nox.session(default=False)
def collector(session: nox.Session) -> None:
    """Show logs and traces on the real OpenTelemetry Collector, compiled here: needs Go 1.26, takes about three minutes."""
    _install(session, "tests")
    session.run("inv", "cache.fill", external=True)
    program = str(Path(session.create_tmp()).resolve() / "collector")
    build = ["-C", "monitoring/collector", "-trimpath", "-ldflags", "-s -w", "-o", program, "."]
    session.run("go", "build", *build, external=True, env={"CGO_ENABLED": "0"})
    environment = {**_engine_environment(session), "COLLECTOR": program}
    session.run("pytest", "-s", "-m", "engine", "monitoring/tests", *session.posargs, env=environment)


@nox.session(default=False)
def locks(session: nox.Session) -> None:
    """Write locks/ anew from pyproject.toml; `nox -s locks -- --upgrade` takes the newest."""
    session.run("locks/make", *session.posargs, external=True)
    for project in POETRY_PROJECTS:
        session.run(_poetry(session), "--directory", project, "lock", external=True)


def _prove_ledger(session: nox.Session, file: str, *options: str) -> None:
    """Run a proof of the ledger on this clone's own images; what the command line says overrides the options."""
    _install(session, "tests")
    session.run("inv", "cache.fill", external=True)
    environment = _engine_environment(session)
    session.run("pytest", "-m", "engine", f"tests/ledger/{file}", *options, *session.posargs, env=environment)


def _lane(session: nox.Session, units: Sequence[str], integrations: Sequence[str]) -> list[str]:
    """The command that runs the unit tests of some parts, then tests on the engine."""
    names = [f"unit(project='{project}')" for project in units]
    names += [f"integration(project='{project}')" for project in integrations]
    return [sys.executable, "-m", "nox", "--sessions", *names, "--", *session.posargs]


@contextlib.contextmanager
def _beside(session: nox.Session, argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command beside the body; it has ended afterwards, and what it printed is shown in one piece."""
    log = HERE / ".delivery" / "reports" / "beside.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=HERE, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        session.log(f"beside what follows, into {log.relative_to(HERE)}: {' '.join(argv[2:])}")
        try:
            yield process
        except BaseException:
            process.send_signal(signal.SIGINT)  # as from a terminal: pytest and compose clean up
            raise
        finally:
            process.wait()
    sys.stdout.write(log.read_text(encoding="utf-8", errors="replace"))


def _report(name: str) -> str:
    """The option that makes pytest write what a CI server reads."""
    return f"--junit-xml={HERE / '.delivery' / 'reports' / name}.xml"


def _images() -> dict[str, str]:
    """The images that `inv push` told of last, by digest, each in the variable that compose reads."""
    images = json.loads((HERE / ".delivery" / "release.json").read_text(encoding="utf-8"))["images"]
    return {
        f"{name.removesuffix('-image').upper().replace('-', '_')}_IMAGE": f"{image['repository']}@{image['digest']}"
        for name, image in images.items()
    }


def _install(session: nox.Session, lock: str) -> None:
    """Install a lock of locks/, every file checked against its hash."""
    session.install("--quiet", "--require-hashes", "--requirement", f"locks/{lock}.txt")


def _install_for(session: nox.Session, project: str) -> None:
    """Install what a project's tests need."""
    if project in POETRY_PROJECTS:
        _install_poetry_project(session, project)
    else:
        _install(session, "tests")


def _program(session: nox.Session, name: str) -> str:
    """Where a program is that tests drive; installed first where it is missing and can be."""
    session.run("inv", "program", name, external=True)
    ask = f"from delivery.steps import programs; print(programs.find({name!r}))"
    return str(session.run(sys.executable, "-c", ask, external=True, silent=True)).strip()


def _without_cluster(marks: str, project: str) -> str:
    """The same tests but those on a cluster; pytest refuses a mark that a project does not know."""
    return f"{marks} and not cluster" if project in ON_A_CLUSTER else marks


def _helms(session: nox.Session) -> str:
    """Both helms that the chart is for, separated as PATH is; one that this machine cannot have is left out, and said."""
    found = []
    for name in ("helm", "helm3"):
        try:
            found.append(_program(session, name))
        except nox.command.CommandFailed:
            session.warn(f"the chart is not tested with {name}: see above how to have it")
    return os.pathsep.join(found)


def _engine_environment(session: nox.Session) -> dict[str, str]:
    """The variables that lead the docker command line to the engine that the tasks use, and builds to this machine's CAs."""
    told = str(session.run("inv", "engine.env", external=True, silent=True))
    found = dict(re.findall(r"export (\w+)=(\S+)", told))
    ask = "from delivery.tools import trust; print(trust.secrets().get('build-ca', ''))"
    bundle = str(session.run("python", "-c", ask, silent=True)).strip()
    return {**found, "BUILD_CA": bundle} if bundle else found


@contextlib.contextmanager
def _dependencies(session: nox.Session, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Kafka and the database from docker-compose.yaml, beside a user's own; where they are, as the apps are told."""
    kafka, database = _free_port(), _free_port()
    name = f"delivery-nox-{kafka}"
    told = {**environment, "COMPOSE_PROJECT_NAME": name, "KAFKA_PORT": str(kafka), "DATABASE_PORT": str(database)}
    compose = ["docker", "compose", "--ansi", "never", "--progress", "quiet"]
    try:
        session.run(*compose, "up", "--detach", "--wait", external=True, env=told)
        yield {
            "BROKER_URL": f"localhost:{kafka}",
            "COMPOSE_PROJECT_NAME": name,
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(database),
            "DB_DATABASE": "ledger",
            "DB_USERNAME": "ledger",
            "DB_PASSWORD": "ledger",
        }
    finally:
        session.chdir(HERE)
        session.run(*compose, "down", "--volumes", external=True, env=told)


def _free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _install_poetry_project(session: nox.Session, project: str) -> None:
    """Install what an app's poetry.lock names, its development group too, every file checked against its hash."""
    requirements = Path(session.create_tmp()).resolve() / "requirements.txt"
    options = ["--with", "dev", "--format", "requirements.txt", "--output", str(requirements)]
    session.run(_poetry(session), "--directory", project, "export", "--quiet", *options, external=True)
    session.install("--quiet", "--require-hashes", "--requirement", str(requirements))


def _poetry(session: nox.Session) -> str:
    """Poetry in an environment of its own: what it needs is not what the apps need."""
    home = HERE / ".nox" / "poetry"
    made = home / "made-from"
    lock = (HERE / "locks" / "poetry.txt").read_text(encoding="utf-8")
    # The pipeline runs sessions that need it side by side.
    (HERE / ".nox").mkdir(exist_ok=True)
    with FileLock(HERE / ".nox" / "poetry.lock"):
        if not made.exists() or made.read_text(encoding="utf-8") != lock:
            session.run("uv", "venv", "--quiet", "--clear", str(home), external=True)
            install = ["uv", "pip", "install", "--quiet", "--python", str(home), "--require-hashes"]
            session.run(*install, "--requirement", "locks/poetry.txt", external=True)
            made.write_text(lock, encoding="utf-8")
    return str(home / "bin" / "poetry")


def _tracked(*patterns: str) -> list[str]:
    """The files that git knows, or would add, by pathspec."""
    globs = [f":(glob)**/{pattern}" for pattern in patterns]
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *globs]
    listed = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, check=True).stdout
    return [path for path in listed.splitlines() if (HERE / path).is_file()]


def _shell_scripts() -> list[str]:
    """Every shell script, known by its first line."""
    return [path for path in _tracked("*") if _first_line(HERE / path).startswith(("#!/bin/sh", "#!/bin/bash"))]


def _first_line(file: Path) -> str:
    with file.open("rb") as content:
        return content.readline(80).decode("utf-8", "replace")
