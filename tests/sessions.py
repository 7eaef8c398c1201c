"""Helpers for noxfile.py: the tests of each part, and what they need."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
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
    "dependencies",
    "engine_environment",
    "folder",
    "helms",
    "images",
    "install",
    "install_for",
    "mounted",
    "own_file",
    "poetry",
    "program",
    "pytest",
    "shell_scripts",
    "tests_on_engine",
    "tracked",
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
# Tests on a cluster run in `-s e2e`, tests that kill the platform in `-s chaos` and `-s shutdown`.
# Pytest refuses an unknown mark, so other projects have no entry.
_WITHOUT = {
    **dict.fromkeys(("delivery", IMAGES, "platform-chart"), " and not cluster"),
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
    """
    parts = (session.name.partition("(")[0], name)
    report = HERE / ".delivery" / "reports" / f"{'-'.join(filter(None, parts))}.xml"
    options = ["-m", f"{marks}{_WITHOUT.get(name, '')}", "--instafail"]
    options += ["-o", "console_output_style=count"]  # for tests.lanes
    command = ["pytest", *options, f"--junit-xml={report}", *arguments]
    session.run(*command, env=dict(env), interrupt_timeout=_INTERRUPT_SECONDS)


def own_file(session: nox.Session, name: str) -> Path:
    """A path in this session's folder. create_tmp() would set a TMPDIR too long for sockets."""
    return Path(session.virtualenv.location).resolve() / name


def program(session: nox.Session, name: str) -> str:
    """The path of a helper program, which is installed if it is missing."""
    return str(_answer(session, "ci.program", name)["path"])


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
def dependencies(session: nox.Session, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Kafka and a database at free ports; the variables that lead the apps to them."""
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
