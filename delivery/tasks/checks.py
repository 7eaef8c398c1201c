"""`inv ci.check`, `ci.report`: the checks that come before publishing, and what they measured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from invoke.context import Context

from delivery import console
from delivery.errors import CommandError, DeclarationError, TestError, did_you_mean
from delivery.tasks.decorator import task

if TYPE_CHECKING:
    from delivery.project.declaration import Declaration

__all__ = ["check", "report"]

_LOCAL_REGISTRY = "localhost:5001"
_REPORTS = ("coverage", "sonar")


@task(
    stage="test",
    about="of",
    help={
        "of": "a subproject; or the project's own name: lint, types, delivery/, tests on an engine"
    },
)
def check(_context: Context, of: str) -> None:
    """Run the nox sessions of a part, like a stage of the pipeline.

    Tests push to a local registry: their code may not be reviewed yet. Measures the coverage.
    """
    from delivery.project import files

    declaration = files.load_declaration()
    parts = [*declaration.subprojects, declaration.name]
    if of not in parts:
        hint = did_you_mean(of, parts)
        raise DeclarationError(f"cannot check {of}: no such part", hint=hint)
    environment = {"DELIVERY_REGISTRY": _registry(declaration), "DELIVERY_COVERAGE": "1"}
    try:
        _nox(["--tags", of], f"check {of}", environment)
    except CommandError as error:
        raise TestError(
            f"cannot pass the checks of {of}: a session failed",
            hint=f"see above; `./run nox -t {of}` runs the same",
        ) from error


@task(help={"of": "coverage: changed lines that no test has run; sonar: all of it to SonarQube"})
def report(_context: Context, of: str) -> None:
    """Report what `ci.check` has measured. No share of covered lines fails it."""
    if of not in _REPORTS:
        hint = did_you_mean(of, _REPORTS)
        raise DeclarationError(f"cannot report {of}: no such report", hint=hint)
    try:
        _nox(["--session", of], f"report {of}", {})
    except CommandError as error:
        raise TestError(
            f"cannot report {of}: the session failed",
            hint=f"see above; `./run nox -s {of}` runs the same",
        ) from error


def _nox(arguments: list[str], doing: str, environment: dict[str, str]) -> None:
    from delivery import process

    process.stream(
        [sys.executable, "-m", "nox", *arguments],
        doing=doing,
        on_line=lambda line: console.say(line.rstrip("\n")),
        options=process.Options(env=environment),
    )


def _registry(declaration: Declaration) -> str:
    """The local registry that tests push to."""
    from delivery.project.declaration import is_local

    address = declaration.registry.address
    return address if is_local(address) else _LOCAL_REGISTRY
