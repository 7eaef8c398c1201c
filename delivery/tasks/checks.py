"""`inv ci.check`, `ci.report`, `ci.program`: the checks before publishing, and what they need."""

from __future__ import annotations

import sys

from delivery import console
from delivery.errors import CommandError, TestError, check_known
from delivery.tasks.decorator import load_declaration, task

__all__ = ["check", "program", "report"]

_LOCAL_REGISTRY = "localhost:5001"
_REPORTS = ("coverage", "sonar")


@task(
    stage="test",
    about="of",
    help={
        "of": "a subproject; or the project's own name: lint, types, delivery/, tests on an engine"
    },
)
def check(of: str) -> None:
    """Run the nox sessions of a part, like a stage of the pipeline.

    Tests push to a local registry: their code may not be reviewed yet. Measures the coverage.
    """
    from delivery.project.declaration import is_local

    declaration = load_declaration()
    parts = [*declaration.subprojects, declaration.name]
    check_known(of, parts, f"cannot check {of}: no such part")
    address = declaration.registry.address
    registry = address if is_local(address) else _LOCAL_REGISTRY
    environment = {"DELIVERY_REGISTRY": registry, "DELIVERY_COVERAGE": "1"}
    _nox("-t", of, f"cannot pass the checks of {of}: a session failed", environment)


@task(help={"of": "coverage: changed lines that no test has run; sonar: all of it to SonarQube"})
def report(of: str) -> None:
    """Report what `ci.check` has measured. No share of covered lines fails it."""
    check_known(of, _REPORTS, f"cannot report {of}: no such report")
    _nox("-s", of, f"cannot report {of}: the session failed", {})


@task(help={"name": "a helper program, such as helm; an unknown name lists all"})
def program(name: str, json_: bool = False) -> None:
    """Find or install a helper program; --json prints its path."""
    from delivery.host import programs

    path = programs.ensure(name)
    if json_:
        console.data({"path": str(path)})


def _nox(option: str, of: str, failure: str, environment: dict[str, str]) -> None:
    """Run sessions of nox; raise TestError with this message if one fails."""
    from delivery import process

    try:
        process.stream(
            [sys.executable, "-m", "nox", option, of],
            doing=f"run nox {option} {of}",
            on_line=lambda line: console.say(line.rstrip("\n")),
            options=process.Options(env=environment),
        )
    except CommandError as error:
        hint = f"see above; `./run nox {option} {of}` runs the same"
        raise TestError(failure, hint=hint) from error
