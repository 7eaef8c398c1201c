"""Helpers for noxfile.py: the tests of each part, and what they need."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nox
from filelock import FileLock

from tests.ports import free_port

__all__ = [
    "APPS",
    "BOTH_APPS",
    "CHECKS",
    "HERE",
    "IMAGES",
    "LEDGER",
    "PARTS",
    "PROJECTS",
    "WHOLE",
    "change_base",
    "dependencies",
    "engine_environment",
    "folder",
    "helms",
    "images",
    "install",
    "install_for",
    "integration_programs",
    "list_uncovered",
    "own_file",
    "poetry",
    "program",
    "pytest",
    "reported",
    "run_in_slim",
    "shell_scripts",
    "sonar_settings",
    "tests_on_engine",
    "tracked",
    "unit_programs",
]

HERE = Path(__file__).parents[1]
APPS = ("api-rest", "async-worker")  # each with its own poetry.lock
LEDGER = "ledger"  # the library of both apps
PROJECTS = ("delivery", "base-image", "platform-chart", *APPS, LEDGER)
BOTH_APPS = "apps"  # tests in tests/ledger with both apps
IMAGES = "images"  # tests of images and publishing, which run beside delivery's other tests
# The tags for `nox -t PART`: a subproject's tests; or delivery/ with all tests on an engine, since
# an agent of the CI server has one engine.
WHOLE = "delivery-platform"
PARTS = {"delivery": WHOLE, **dict.fromkeys((*APPS, LEDGER), "apps")}
# The sessions of `nox`, three at once. The first two wait for containers: others compute meanwhile.
CHECKS = (
    "integration(project='delivery')",
    f"integration(project='{IMAGES}')",
    "lint",
    *(f"types(project='{name}')" for name in (*APPS, LEDGER)),
    *(f"unit(project='{project}')" for project in PROJECTS),
    *(
        f"integration(project='{name}')"
        for name in ("async-worker", "api-rest", BOTH_APPS, "base-image", "platform-chart")
    ),
)
_OF_IMAGES = [
    f"tests/integration/test_{name}.py"
    for name in ("compose", "registry", "release", "supply", "upstream")
]
_ON_ENGINE = {
    "delivery": [f"--ignore={path}" for path in ("tests/ledger", *_OF_IMAGES)],
    BOTH_APPS: ["tests/ledger"],
    IMAGES: _OF_IMAGES,
}
# Tests on a cluster run in `-s e2e`, tests that kill the platform in `-s chaos` and `-s shutdown`,
# tests of another processor in `-s emulated`.
# Pytest refuses an unknown mark, so other projects have no entry.
_WITHOUT = {
    **dict.fromkeys(("delivery", IMAGES), " and not cluster and not emulated"),
    "platform-chart": " and not cluster",
    BOTH_APPS: " and not chaos",
}
_INTERRUPT_SECONDS = 120  # to clean up; nox gives 0.3


def folder(project: str) -> str:
    """The folder in which a project's tests run."""
    return "." if project in {"delivery", BOTH_APPS, IMAGES} else project


def tests_on_engine(project: str) -> list[str]:
    """Pytest's arguments for the tests on an engine, if they are not all of the folder."""
    return _ON_ENGINE.get(project, [])


def install(session: nox.Session, lock: str) -> None:
    """Install a lock of ops/locks/ with checked hashes."""
    session.install("--quiet", "--require-hashes", "--requirement", f"ops/locks/{lock}.txt")


def install_for(session: nox.Session, project: str) -> None:
    """Install the packages of a project's tests; those of an app and ledger from a poetry.lock."""
    locked = APPS[0] if project == LEDGER else project  # both apps lock what ledger needs
    if locked not in APPS:
        install(session, "tests")
        return
    requirements = own_file(session, "requirements.txt")
    options = ["--with", "dev", "--format", "requirements.txt", "--output", str(requirements)]
    session.run(
        poetry(session), "--directory", locked, "export", "--quiet", *options, external=True
    )
    session.install("--quiet", "--require-hashes", "--requirement", str(requirements))


def poetry(session: nox.Session) -> str:
    """The path of Poetry, which has its own environment."""
    home = HERE / ".nox" / "poetry"
    installed = home / "made-from"
    lock = (HERE / "ops" / "locks" / "poetry.txt").read_text(encoding="utf-8")
    # The pipeline runs sessions in parallel.
    (HERE / ".nox").mkdir(exist_ok=True)
    with FileLock(HERE / ".nox" / "poetry.lock"):
        if not installed.exists() or installed.read_text(encoding="utf-8") != lock:
            session.run("uv", "venv", "--quiet", "--clear", str(home), external=True)
            options = ["uv", "pip", "install", "--quiet", "--python", str(home), "--require-hashes"]
            session.run(*options, "--requirement", "ops/locks/poetry.txt", external=True)
            installed.write_text(lock, encoding="utf-8")
    return str(home / "bin" / "poetry")


def pytest(
    session: nox.Session, marks: str, *arguments: str, env: Mapping[str, str], name: str = ""
) -> None:
    """Run the tests with these marks and write a JUnit report for the CI server.

    An interrupted pytest gets time to clean up. name: the project, in a session for several.
    DELIVERY_COVERAGE: measure which lines are run.
    """
    file = "-".join(filter(None, (session.name.partition("(")[0], name)))
    report = HERE / ".delivery" / "reports" / f"{file}.xml"
    options = ["-m", f"{marks}{_WITHOUT.get(name, '')}", "--instafail"]
    options += ["-o", "console_output_style=count"]  # for tests.lanes
    command = ["pytest", *options, f"--junit-xml={report}", *arguments]
    environment = {**env, "DELIVERY_COVERAGE": None}  # of no session that a test runs
    if os.environ.get("DELIVERY_COVERAGE"):
        with session.chdir(HERE):
            install(session, "coverage")
        data = HERE / ".delivery" / "coverage" / "data" / file
        settings = [f"--rcfile={HERE / 'pyproject.toml'}", f"--data-file={data}"]
        command = ["coverage", "run", *settings, "-m", *command]
    session.run(*command, env=environment, interrupt_timeout=_INTERRUPT_SECONDS)


def list_uncovered(session: nox.Session, ref: str = "") -> None:
    """List the lines changed since `ref` that no test has run, by what was measured."""
    folder = Path(".delivery/coverage")
    if not (measured := sorted(map(str, folder.glob("data/*")))):
        session.skip("nothing is measured: run `./run inv ci.check --of PART` first")
    file = f"--data-file={folder / 'all'}"
    session.run("coverage", "combine", "--keep", "--quiet", file, *measured)
    session.run("coverage", "xml", "--quiet", file, "-o", f"{folder}/coverage.xml")
    if not (base := change_base(ref)):
        session.skip("this clone has no earlier commit to compare with")
    report = (f"{folder}/coverage.xml", f"--format=markdown:{folder}/uncovered.md")
    session.run("diff-cover", *report, f"--compare-branch={base}")


def change_base(ref: str = "") -> str:
    """The commit that this clone's change is compared with; "" if it has none.

    By default that of the target branch, or of the develop line, where this branch left it. On a
    branch that has not left it: the commit before.
    """
    with (HERE / "delivery.toml").open("rb") as file:
        develop = tomllib.load(file)["gitflow"]["develop"]
    branches = [os.environ["CHANGE_TARGET"]] if os.environ.get("CHANGE_TARGET") else develop
    head = _git("rev-parse", "HEAD")
    for base in filter(None, (ref, *(f"origin/{name}" for name in branches))):
        if (found := _git("merge-base", "HEAD", base)) not in {"", head}:
            return found
    return _git("rev-parse", "--verify", "HEAD^")


def _git(*arguments: str) -> str:
    argv = ["git", *arguments]
    done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def reported(session: nox.Session, name: str, *command: str) -> str:
    """Run a linter, and keep its output as a report for the CI server; it may have findings."""
    output = str(session.run(*command, silent=True, success_codes=[0, 1]))
    report = HERE / ".delivery" / "reports" / name
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(output, encoding="utf-8")
    return output


def sonar_settings() -> list[str]:
    """The options for pysonar, which looks for this file at the top alone."""
    text = (HERE / "ops" / "sonar-project.properties").read_text(encoding="utf-8")
    lines = text.replace("\\\n", "").splitlines()
    return [f"-D{line}" for line in lines if not line.startswith("#")]


def own_file(session: nox.Session, name: str) -> Path:
    """A path in this session's folder. create_tmp() would set a TMPDIR too long for sockets."""
    return Path(session.virtualenv.location).resolve() / name


def program(session: nox.Session, name: str) -> str:
    """The path of a helper program, which is installed if it is missing."""
    return str(_answer(session, "ci.program", name)["path"])


def unit_programs(session: nox.Session, project: str) -> dict[str, str]:
    """Variables with the programs that a part's unit tests run."""
    if project == "platform-chart":
        return {"HELM": helms(session)}
    names = ("groovy", "curl") if project == "delivery" else ()
    return {name.upper(): program(session, name) for name in names}


def integration_programs(session: nox.Session, project: str) -> dict[str, str]:
    """Variables with the programs and images that a part's tests on an engine run."""
    if project == "platform-chart":
        return {"HELM": helms(session), "PYTHON_IMAGE": images()["API_REST_IMAGE"]}
    return {"CHROMIUM": program(session, "chromium")} if project == "api-rest" else {}


def helms(session: nox.Session) -> str:
    """The paths of Helm 3 and 4, separated like PATH, without one that cannot be installed."""
    paths = []
    for name in ("helm", "helm3"):
        try:
            paths.append(program(session, name))
        except nox.command.CommandFailed:
            session.warn(f"the chart is not tested with {name}: see above")
    return os.pathsep.join(paths)


def engine_environment(session: nox.Session) -> dict[str, str]:
    """Variables for docker and for builds: the engine's address and the CA bundle.

    Builds the images first, so that tests use the current ones.
    """
    session.run("inv", "images.ensure", external=True)
    return dict(_answer(session, "engine.env"))


def _answer(session: nox.Session, *task: str) -> dict[str, Any]:
    """The output of a task with --json."""
    argv = ["inv", *task, "--json"]
    return dict(json.loads(str(session.run(*argv, external=True, silent=True, stderr=None))))


def images() -> dict[str, str]:
    """The images of `inv images.ensure` by digest, each under its variable for compose."""
    release = json.loads((HERE / ".delivery" / "release.json").read_text(encoding="utf-8"))
    return {
        f"{name.removesuffix('-image').upper().replace('-', '_')}_IMAGE": "@".join(
            (image["repository"], image["digest"])
        )
        for name, image in release["images"].items()
    }


@contextlib.contextmanager
def dependencies(
    session: nox.Session, project: str, environment: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Kafka and a database at free ports for an app's tests; the variables that lead to them."""
    if project not in APPS:
        yield {}
        return
    kafka, database = free_port(), free_port()
    name = f"delivery-nox-{kafka}"
    ports = {"COMPOSE_PROJECT_NAME": name, "KAFKA_PORT": str(kafka), "DATABASE_PORT": str(database)}
    compose = ["docker", "compose", "--ansi", "never", "--progress", "quiet"]
    try:
        session.run(
            *compose, "up", "--detach", "--wait", external=True, env={**environment, **ports}
        )
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
        session.run(*compose, "down", "--volumes", external=True, env={**environment, **ports})


def run_in_slim(session: nox.Session, *arguments: str) -> None:
    """Run tests/slim with this clone's last commit."""
    environment = engine_environment(session)
    build = ["docker", "build", "--quiet", "--tag=delivery-slim", "tests/slim"]
    session.run(*build, external=True, env=environment)
    options = mounted(str(HERE), "/source")
    if bundle := environment.get("BUILD_CA"):
        options += mounted(bundle, "/build-ca")
        options += ["--env=PIP_CERT=/build-ca", "--env=SSL_CERT_FILE=/build-ca"]
    container = ["docker", "run", "--rm", *options, "delivery-slim", *arguments]
    session.run(*container, external=True, env=environment)


def mounted(path: str, at: str) -> list[str]:
    """The option that mounts a path in a container; its quotes allow commas in the path."""
    return ["--mount", f'type=bind,"source={path}",target={at},readonly']


def tracked(*patterns: str) -> list[str]:
    """The files that git tracks or would add, by pathspec."""
    globs = [f":(glob)**/{pattern}" for pattern in patterns]
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *globs]
    listed = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, check=True).stdout
    return [path for path in listed.splitlines() if (HERE / path).is_file()]


def shell_scripts() -> list[str]:
    """All shell scripts, by their first line."""
    return [
        path
        for path in tracked("*")
        if _first_line(HERE / path).startswith(("#!/bin/sh", "#!/bin/bash"))
    ]


def _first_line(file: Path) -> str:
    with file.open("rb") as content:
        return content.readline(80).decode("utf-8", "replace")
