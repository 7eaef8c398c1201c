"""The checks: `./run nox` runs all that needs no cluster, `./run nox --list` is the menu."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nox
from filelock import FileLock

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["checks"]

HERE = Path(__file__).parent
POETRY_PROJECTS = ("api-rest", "async-worker")  # each with a poetry.lock of its own
PROJECTS = ("delivery", "base-image", "platform-chart", *POETRY_PROJECTS)
LEDGER = "ledger"  # both apps together, by tests of delivery's
IMAGES = "images"  # images and how they are published; apart, so that they run beside delivery's other tests
# Where a project's tests are run, if not in the folder of its name.
FOLDERS = {"delivery": ".", LEDGER: ".", IMAGES: "."}
# What `nox -t PART` runs, as the pipeline does beside the others: the tests of a subproject, or delivery/ with all
# that needs an engine, since an agent has one engine.
ENGINE_ROOM = "delivery-platform"
APPS = "apps"
PARTS = {"delivery": ENGINE_ROOM, **dict.fromkeys(POETRY_PROJECTS, APPS)}
OF_IMAGES = [f"tests/integration/test_{name}.py" for name in ("compose", "registry", "release", "supply", "upstream")]
ON_ENGINE = {
    "delivery": [f"--ignore={path}" for path in ("tests/ledger", *OF_IMAGES)],
    LEDGER: ["tests/ledger"],
    IMAGES: OF_IMAGES,
}
# What needs a cluster is for `nox -s e2e`, what kills the platform for minutes for `-s chaos` and `-s shutdown`. Pytest refuses
# a mark that a project does not know.
WITHOUT = {**dict.fromkeys(("delivery", IMAGES, "platform-chart"), " and not cluster"), LEDGER: " and not storm"}
TIDYING = 120  # seconds to end in order after an interrupt; nox gives 0.3
UNITS = [nox.param(project, tags=[PARTS.get(project, project)]) for project in PROJECTS]
# What `nox` runs, three at once: the first two wait for containers for minutes, and what computes runs meanwhile.
CHECKS = (
    "integration(project='delivery')",
    f"integration(project='{IMAGES}')",
    "lint",
    *(f"types(project='{project}')" for project in POETRY_PROJECTS),
    *(f"unit(project='{project}')" for project in PROJECTS),
    *(
        f"integration(project='{project}')"
        for project in ("async-worker", "api-rest", LEDGER, "base-image", "platform-chart")
    ),
)


@nox.session(tags=[ENGINE_ROOM])
def lint(session: nox.Session) -> None:
    """Read everything: ruff, mypy, hadolint, yamllint, shellcheck, import-linter."""
    _install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy", "delivery", "ops/monitoring", "tests", "tasks.py", "noxfile.py")
    with session.chdir("base-image"):
        session.run("mypy")
    with session.chdir("platform-chart"):
        session.run("mypy", "tests")
    session.run("lint-imports", env={"PYTHONPATH": os.pathsep.join(f"{app}/src" for app in POETRY_PROJECTS)})
    session.run("hadolint", *_tracked("Dockerfile"))
    session.run("yamllint", "--strict", "--config-file=ops/yamllint.yaml", ".")
    session.run("shellcheck", "--external-sources", "--source-path=ops", *_shell_scripts())


@nox.session(default=False)
def ruff(session: nox.Session) -> None:
    """Run ruff alone: `nox -s ruff -- format`, `nox -s ruff -- check --fix`."""
    _install(session, "lint")
    session.run("ruff", *session.posargs)


@nox.session(tags=[APPS])
@nox.parametrize("project", POETRY_PROJECTS)
def types(session: nox.Session, project: str) -> None:
    """Check the types of an app, against what its own lock installs."""
    _install_poetry_project(session, project)
    session.chdir(project)
    session.run("mypy", "src", "tests")


@nox.session(venv_backend="none")
def checks(session: nox.Session) -> None:
    """Lint, check types, run the unit tests and those on the real engine, three sessions at once."""
    # Several sessions come to it, and each would build everything.
    session.run("inv", "images.ensure", external=True)
    arguments = [*CHECKS, "--", *session.posargs]
    session.run(sys.executable, "-m", "tests.lanes", *arguments, external=True, interrupt_timeout=TIDYING)


@nox.session
@nox.parametrize("project", UNITS)
def unit(session: nox.Session, project: str) -> None:
    """Run the unit tests of one part; they need no engine, no cluster and no network."""
    _install_for(session, project)
    environment = {}
    if project == "platform-chart":
        environment["HELM"] = _helms(session)
    elif project == "delivery":
        environment |= {name.upper(): _program(session, name) for name in ("groovy", "curl")}
    options = _options(f"unit-{project}", "not engine" + WITHOUT.get(project, ""))
    session.chdir(FOLDERS.get(project, project))
    _pytest(session, *options, *session.posargs, env=environment)


@nox.session(tags=[ENGINE_ROOM])
@nox.parametrize("project", [*PROJECTS, LEDGER, IMAGES])
def integration(session: nox.Session, project: str) -> None:
    """Run the tests of one part on a real engine, registry, Kafka and database."""
    _install_for(session, project)
    # The same engine, images and registry as `inv up` has, so that what is tested is what is run.
    session.run("inv", "images.ensure", external=True)
    environment = _engine_environment(session)
    options = _options(f"integration-{project}", "engine" + WITHOUT.get(project, ""))
    if project in POETRY_PROJECTS:
        if project == "api-rest":
            environment["CHROMIUM"] = _program(session, "chromium")
        with _dependencies(session, environment) as addresses:
            session.chdir(project)
            _pytest(session, *options, *session.posargs, env={**environment, **addresses})
        return
    if project == "platform-chart":
        environment |= {"HELM": _helms(session), "PYTHON_IMAGE": _images()["API_REST_IMAGE"]}
    session.chdir(FOLDERS.get(project, project))
    _pytest(session, *options, *ON_ENGINE.get(project, []), *session.posargs, env=environment)


@nox.session(default=False)
def e2e(session: nox.Session) -> None:
    """Prove the platform on a cluster made for it: `nox -s e2e -- --keep -k drain` leaves it, and goes on with it."""
    _install(session, "tests")
    session.run("inv", "images.ensure", external=True)
    environment = _engine_environment(session)
    # What a proof leaves behind after it failed would fail the others too, each after minutes of waiting.
    options = ["--maxfail=3", "--verbosity=1", *session.posargs]
    # Not the user's own: the cluster is of these tests alone.
    kubeconfig = str(_own_file(session, "kubeconfig"))
    environment |= {"E2E_KUBECONFIG": kubeconfig, "KUBECONFIG": kubeconfig}
    environment["GROOVY"] = _program(session, "groovy")
    folders = ["tests/e2e", "tests/integration"]
    _pytest(session, *_options("e2e", "cluster"), *folders, *options, env=environment)


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Kill and freeze it all under 100,000 events: `nox -s chaos -- --events 3000 --kills 4`."""
    # What the storm has left is looked at later; pytest clears its own folder after three runs.
    left = f"--basetemp={HERE / '.delivery' / 'chaos'}"
    storm = ("--events=100000", "--kills=40", "--rate=400", left)
    _prove_ledger(session, ["test_chaos.py", "test_frozen.py", "test_memory.py"], *storm)


@nox.session(default=False)
def shutdown(session: nox.Session) -> None:
    """Stop instances under load, 200 times: `nox -s shutdown -- --rounds 20`."""
    _prove_ledger(session, ["test_shutdown.py"], "--rounds=200")


@nox.session(default=False, venv_backend="none")
def slim(session: nox.Session) -> None:
    """Lint and run the unit tests of the last commit in a container that has Python, venv and git, nothing else."""
    session.run("inv", "images.ensure", external=True)
    environment = _engine_environment(session)
    bundle = environment.get("BUILD_CA", "")
    session.run("docker", "build", "--quiet", "--tag", "delivery-slim", "tests/slim", external=True, env=environment)
    trusted = [*_mounted(bundle, "/build-ca"), "--env", "PIP_CERT=/build-ca", "--env", "SSL_CERT_FILE=/build-ca"]
    container = ["docker", "run", "--rm", *_mounted(str(HERE), "/source"), *(trusted if bundle else [])]
    session.run(*container, "delivery-slim", *session.posargs, external=True, env=environment)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure the apps beside twins, `nox -s bench -- --quick`; or what a build costs beside bake, `nox -s bench -- delivery`."""
    _install(session, "bench")
    session.run("inv", "images.ensure", external=True)
    environment = {**_engine_environment(session), **_images(), "WRK": _program(session, "wrk")}
    session.run("python", "-m", "ops.bench", *session.posargs, env=environment)


@nox.session(default=False)
def collector(session: nox.Session) -> None:
    """Show logs and traces on the real OpenTelemetry Collector, compiled here: needs Go 1.26, takes about three minutes."""
    _install(session, "tests")
    session.run("inv", "images.ensure", external=True)
    program = str(_own_file(session, "collector"))
    build = ["-C", "ops/monitoring/collector", "-trimpath", "-ldflags", "-s -w", "-o", program, "."]
    session.run("go", "build", *build, external=True, env={"CGO_ENABLED": "0"})
    environment = {**_engine_environment(session), "COLLECTOR": program}
    _pytest(session, "-s", "-m", "engine", "ops/monitoring/tests", *session.posargs, env=environment)


@nox.session(default=False)
def locks(session: nox.Session) -> None:
    """Write ops/locks/ anew from pyproject.toml; `nox -s locks -- --upgrade` takes the newest."""
    session.run("ops/locks/make", *session.posargs, external=True)
    for project in POETRY_PROJECTS:
        session.run(_poetry(session), "--directory", project, "lock", external=True)


def _prove_ledger(session: nox.Session, files: Sequence[str], *options: str) -> None:
    """Run proofs of the ledger on this clone's own images; what the command line says overrides the options."""
    _install(session, "tests")
    session.run("inv", "images.ensure", external=True)
    environment = _engine_environment(session)
    proof = [*_options(session.name, "storm"), "--verbosity=1", *(f"tests/ledger/{file}" for file in files), *options]
    _pytest(session, *proof, *session.posargs, env=environment)


def _mounted(path: str, at: str) -> list[str]:
    """The option that shows a container a file or folder of this machine; commas in the path are escaped as CSV has it."""
    return ["--mount", f'type=bind,"source={path}",target={at},readonly']


def _pytest(session: nox.Session, *arguments: str, env: Mapping[str, str]) -> None:
    """Run pytest; interrupted, it gets the time to remove what its tests have started."""
    session.run("pytest", *arguments, env=dict(env), interrupt_timeout=TIDYING)


def _options(name: str, marks: str) -> list[str]:
    """The options that every run of pytest has.

    Tests of these marks, how many of how many at the end of each line, a failure at once, and a
    report in JUnit's form for a CI server.
    """
    report = HERE / ".delivery" / "reports" / f"{name}.xml"
    return ["-m", marks, "-o", "console_output_style=count", "--instafail", f"--junit-xml={report}"]


def _own_file(session: nox.Session, name: str) -> Path:
    """A file of this session's own. Not by create_tmp(), which also moves TMPDIR there: a socket's path is short."""
    return Path(session.virtualenv.location).resolve() / name


def _images() -> dict[str, str]:
    """The images that `inv push` told of last, by digest, each in the variable that compose reads."""
    images = json.loads((HERE / ".delivery" / "release.json").read_text(encoding="utf-8"))["images"]
    return {
        f"{name.removesuffix('-image').upper().replace('-', '_')}_IMAGE": f"{image['repository']}@{image['digest']}"
        for name, image in images.items()
    }


def _install(session: nox.Session, lock: str) -> None:
    """Install a lock of ops/locks/, every file checked against its hash."""
    session.install("--quiet", "--require-hashes", "--requirement", f"ops/locks/{lock}.txt")


def _install_for(session: nox.Session, project: str) -> None:
    """Install what a project's tests need."""
    if project in POETRY_PROJECTS:
        _install_poetry_project(session, project)
    else:
        _install(session, "tests")


def _program(session: nox.Session, name: str) -> str:
    """Where a program is that tests drive; installed first where it is missing and can be."""
    session.run("inv", "ci.program", name, external=True)
    ask = f"from delivery.host import programs; print(programs.find({name!r}))"
    return str(session.run(sys.executable, "-c", ask, external=True, silent=True)).strip()


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
    words = shlex.split(told)
    found = dict(word.split("=", 1) for export, word in itertools.pairwise(words) if export == "export")
    ask = "from delivery.host import trust; print(trust.secrets().get('build-ca', ''))"
    bundle = str(session.run(sys.executable, "-c", ask, external=True, silent=True)).strip()
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
    """A port that nobody listens on, and that no connection and no container is given by chance before it is used."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # below those that the kernel and the engine choose themselves
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _install_poetry_project(session: nox.Session, project: str) -> None:
    """Install what an app's poetry.lock names, its development group too, every file checked against its hash."""
    requirements = _own_file(session, "requirements.txt")
    options = ["--with", "dev", "--format", "requirements.txt", "--output", str(requirements)]
    session.run(_poetry(session), "--directory", project, "export", "--quiet", *options, external=True)
    session.install("--quiet", "--require-hashes", "--requirement", str(requirements))


def _poetry(session: nox.Session) -> str:
    """Poetry in an environment of its own: what it needs is not what the apps need."""
    home = HERE / ".nox" / "poetry"
    made = home / "made-from"
    lock = (HERE / "ops" / "locks" / "poetry.txt").read_text(encoding="utf-8")
    # The pipeline runs sessions that need it side by side.
    (HERE / ".nox").mkdir(exist_ok=True)
    with FileLock(HERE / ".nox" / "poetry.lock"):
        if not made.exists() or made.read_text(encoding="utf-8") != lock:
            session.run("uv", "venv", "--quiet", "--clear", str(home), external=True)
            install = ["uv", "pip", "install", "--quiet", "--python", str(home), "--require-hashes"]
            session.run(*install, "--requirement", "ops/locks/poetry.txt", external=True)
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
