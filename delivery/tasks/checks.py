"""`inv ci.check`: the checks that come before publishing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from invoke.context import Context

from delivery import console
from delivery.errors import CommandError, DeclarationError, TestError, did_you_mean
from delivery.tasks.decorator import task

if TYPE_CHECKING:
    from delivery.project.declaration import Declaration

__all__ = ["check"]

_LOCAL_REGISTRY = "localhost:5001"


@task(
    stage="test",
    about="of",
    help={
        "of": "a subproject; or the project's own name: lint, types, delivery/, tests on an engine"
    },
)
def check(_context: Context, of: str) -> None:
    """Run the nox sessions of a part, like a stage of the pipeline.

    Tests push to a local registry: their code may not be reviewed yet.
    """
    from delivery import process
    from delivery.project import files

    declaration = files.load_declaration()
    parts = [*declaration.subprojects, declaration.name]
    if of not in parts:
        hint = did_you_mean(of, parts)
        raise DeclarationError(f"cannot check {of}: no such part", hint=hint)
    environment = {"DELIVERY_REGISTRY": _registry(declaration)}
    try:
        argv = [sys.executable, "-m", "nox", "--tags", of]
        process.stream(
            argv,
            doing=f"check {of}",
            on_line=lambda line: console.say(line.rstrip("\n")),
            options=process.Options(env=environment),
        )
    except CommandError as error:
        raise TestError(
            f"cannot pass the checks of {of}: a session failed",
            hint=f"see above; `./run nox -t {of}` runs the same",
        ) from error


def _registry(declaration: Declaration) -> str:
    """The local registry that tests push to."""
    from delivery.project.declaration import is_local

    address = declaration.registry.address
    return address if is_local(address) else _LOCAL_REGISTRY
