"""What the sessions of noxfile.py share: which tests a part has, and what they need to run."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nox
from filelock import FileLock

__all__ = [
    "APPS",
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
APPS = ("api-rest", "async-worker")  # each with a poetry.lock of its own
PROJECTS = ("delivery", "base-image", "platform-chart", *APPS)
LEDGER = "ledger"  # both apps together, by tests of delivery's
IMAGES = "images"  # images and how they are published; apart, so that they run beside delivery's other tests
# What `nox -t PART` runs, as the pipeline does beside the others: the tests of a subproject, or delivery/
# with all that needs an engine, since an agent has one engine.
WHOLE = "delivery-platform"
PARTS = {"delivery": WHOLE, **dict.fromkeys(APPS, "apps")}
# What `nox` runs, three at once: the first two wait for containers for minutes, and what computes runs meanwhile.
CHECKS = (
    "integration(project='delivery')",
    f"integration(project='{IMAGES}')",
    "lint",
    *(f"types(project='{app}')" for app in APPS),
    *(f"unit(project='{project}')" for project in PROJECTS),
    *(
        f"integration(project='{name}')"
        for name in ("async-worker", "api-rest", LEDGER, "base-image", "platform-chart")
    ),
)
_OF_IMAGES = [
    f"tests/integration/test_{name}.py"
    for name in ("compose", "registry", "release", "supply", "upstream")
]
_ON_ENGINE = {
    "delivery": [f"--ignore={path}" for path in ("tests/ledger", *_OF_IMAGES)],
    LEDGER: ["tests/ledger"],
    IMAGES: _OF_IMAGES,
}
# What needs a cluster is for `nox -s e2e`, what kills the platform for minutes for `-s chaos` and `-s shutdown`.
# Pytest refuses a mark that a project does not know.
_WITHOUT = {
    **dict.fromkeys(("delivery", IMAGES, "platform-chart"), " and not cluster"),
    LEDGER: " and not chaos",
}
_INTERRUPT_SECONDS = 120  # to end in order; nox gives 0.3


def folder(project: str) -> str:
    """Where a project's tests are run."""
    return "." if project in {"delivery", LEDGER, IMAGES} else project


def tests_on_engine(project: str) -> list[str]:
    """Which tests of a project need an engine, where not all of its folder is looked through."""
    return _ON_ENGINE.get(project, [])


def install(session: nox.Session, lock: str) -> None:
    """Install a lock of ops/locks/, every file checked against its hash."""
    session.install("--quiet", "--require-hashes", "--requirement", f"ops/locks/{lock}.txt")


def install_for(session: nox.Session, project: str) -> None:
    """Install what a project's tests need; for an app what its poetry.lock names, its development group too."""
    if project not in APPS:
        install(session, "tests")
        return
    requirements = own_file(session, "requirements.txt")
    options = ["--with", "dev", "--format", "requirements.txt", "--output", str(requirements)]
    session.run(
        poetry(session), "--directory", project, "export", "--quiet", *options, external=True
    )
    session.install("--quiet", "--require-hashes", "--requirement", str(requirements))


def poetry(session: nox.Session) -> str:
    """Poetry in an environment of its own: what it needs is not what the apps need."""
    home = HERE / ".nox" / "poetry"
    made = home / "made-from"
    lock = (HERE / "ops" / "locks" / "poetry.txt").read_text(encoding="utf-8")
    # The pipeline runs sessions that need it side by side.
    (HERE / ".nox").mkdir(exist_ok=True)
    with FileLock(HERE / ".nox" / "poetry.lock"):
        if not made.exists() or made.read_text(encoding="utf-8") != lock:
            session.run("uv", "venv", "--quiet", "--clear", str(home), external=True)
            options = ["uv", "pip", "install", "--quiet", "--python", str(home), "--require-hashes"]
            session.run(*options, "--requirement", "ops/locks/poetry.txt", external=True)
            made.write_text(lock, encoding="utf-8")
    return str(home / "bin" / "poetry")


def pytest(
    session: nox.Session, marks: str, *arguments: str, env: Mapping[str, str], name: str = ""
) -> None:
    """Run the tests of these marks; interrupted, pytest gets the time to remove what its tests have started.

    How many of how many stands at the end of each line, a failure shows at once, and a report in JUnit's
    form is written for a CI server. name is a project's, where a session has several.
    """
    report = (
        HERE
        / ".delivery"
        / "reports"
        / f"{'-'.join(filter(None, (session.name.partition('(')[0], name)))}.xml"
    )
    options = [
        "-m",
        f"{marks}{_WITHOUT.get(name, '')}",
        "-o",
        "console_output_style=count",
        "--instafail",
    ]
    command = ["pytest", *options, f"--junit-xml={report}", *arguments]
    session.run(*command, env=dict(env), interrupt_timeout=_INTERRUPT_SECONDS)


def own_file(session: nox.Session, name: str) -> Path:
    """A file of this session's own. Not by create_tmp(), which also moves TMPDIR there: a socket's path is short."""
    return Path(session.virtualenv.location).resolve() / name


def program(session: nox.Session, name: str) -> str:
    """Where a program is that tests drive; installed first where it is missing and can be."""
    return str(_answer(session, "ci.program", name)["path"])


def helms(session: nox.Session) -> str:
    """Both helms that the chart is for, separated as PATH is; one that this machine cannot have is left out, and said."""
    found = []
    for name in ("helm", "helm3"):
        try:
            found.append(program(session, name))
        except nox.command.CommandFailed:
            session.warn(f"the chart is not tested with {name}: see above how to have it")
    return os.pathsep.join(found)


def engine_environment(session: nox.Session) -> dict[str, str]:
    """The variables that lead the docker command line to the engine that the tasks use, and builds to this machine's CAs.

    Images are had first, so that what is tested is what is run.
    """
    session.run("inv", "images.ensure", external=True)
    return dict(_answer(session, "engine.env"))


def _answer(session: nox.Session, *task: str) -> dict[str, Any]:
    """What a task answers with --json."""
    return dict(
        json.loads(
            str(session.run("inv", *task, "--json", external=True, silent=True, stderr=None))
        )
    )


def images() -> dict[str, str]:
    """The images that `inv images.ensure` made, by digest, each in the variable that compose reads."""
    release = json.loads((HERE / ".delivery" / "release.json").read_text(encoding="utf-8"))
    return {
        f"{name.removesuffix('-image').upper().replace('-', '_')}_IMAGE": f"{image['repository']}@{image['digest']}"
        for name, image in release["images"].items()
    }


@contextlib.contextmanager
def dependencies(session: nox.Session, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Kafka and the database from docker-compose.yaml, beside a user's own; where they are, as the apps are told."""
    kafka, database = _free_port(), _free_port()
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


def _free_port() -> int:
    """A port that nobody listens on, and that no connection and no container is given by chance before it is used."""
    while True:
        port = 20_000 + secrets.randbelow(
            12_000
        )  # below those that the kernel and the engine choose themselves
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def mounted(path: str, at: str) -> list[str]:
    """The option that shows a container a file or folder of this machine; commas in the path are escaped as CSV has it."""
    return ["--mount", f'type=bind,"source={path}",target={at},readonly']


def tracked(*patterns: str) -> list[str]:
    """The files that git knows, or would add, by pathspec."""
    globs = [f":(glob)**/{pattern}" for pattern in patterns]
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *globs]
    listed = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, check=True).stdout
    return [path for path in listed.splitlines() if (HERE / path).is_file()]


def shell_scripts() -> list[str]:
    """Every shell script, known by its first line."""
    return [
        path
        for path in tracked("*")
        if _first_line(HERE / path).startswith(("#!/bin/sh", "#!/bin/bash"))
    ]


def _first_line(file: Path) -> str:
    with file.open("rb") as content:
        return content.readline(80).decode("utf-8", "replace")
