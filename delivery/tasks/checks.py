"""`inv ci.check`: what is to hold before anything is published."""

from __future__ import annotations

import sys

from invoke.context import Context

from delivery import console, process
from delivery.errors import CommandError, DeclarationError, TestError, did_you_mean
from delivery.project import files
from delivery.project.declaration import Declaration, is_local
from delivery.tasks.decorator import task

__all__ = ["check"]

_LOCAL_REGISTRY = "localhost:5001"


@task(
    stage="test",
    about="of",
    help={
        "of": "one of the subprojects, or the project's own name: lint, types, the engine room, and every test on an engine"
    },
)
def check(_context: Context, of: str) -> None:
    """Run the nox sessions of a part, as a stage of the pipeline does.

    Nothing goes to the declared registry: what is tested may not have been reviewed yet.
    """
    declaration = files.load_declaration()
    parts = [*declaration.subprojects, declaration.name]
    if of not in parts:
        hint = did_you_mean(of, parts, f"--of takes one of {', '.join(parts)}")
        raise DeclarationError(f"check {of}: there is no such part", hint=hint)
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
            f"check {of}: it does not hold", hint=f"`./run nox -t {of}` runs the same; see above"
        ) from error


def _registry(declaration: Declaration) -> str:
    """Where the tests put images: a registry of this machine."""
    address = declaration.registry.address
    return address if is_local(address) else _LOCAL_REGISTRY
