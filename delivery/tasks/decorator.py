"""The decorator of every task: no tracebacks, exit codes by class of error, records as a stage."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import Parameter, signature
from typing import TYPE_CHECKING, cast

from invoke import tasks
from invoke.exceptions import Exit

from delivery import console, process
from delivery.errors import DeliveryError, TerminatedError
from delivery.machine import pipeline

if TYPE_CHECKING:
    from delivery.project.declaration import Declaration

__all__ = ["load_declaration", "task"]

_INTERRUPTED = 130  # 128 + SIGINT, as in shells
_TERMINATED = 143  # 128 + SIGTERM; SIGHUP counts as the same
_INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
# Invoke gives every task its context, which runs commands: here `process` alone does.
_CONTEXT = Parameter("_context", Parameter.POSITIONAL_ONLY)


def load_declaration() -> Declaration:
    """delivery.toml, which the list of tasks does not need."""
    from delivery.project import files

    return files.load_declaration()


def task(
    *, stage: str = "", step: str = "", about: str = "", unless: str = "", **options: object
) -> Callable[[Callable[..., None]], tasks.Task[Callable[..., None]]]:
    """Make a function, whose parameters are the flags, an Invoke task with these options.

    stage: the stage of the pipeline that the ledger records for it, under the name `step` (default:
    the function's). The argument `about` names its component or subproject (default: all). If the
    argument `unless` has a value, nothing is recorded.
    With --json, only console.data goes to stdout.
    """

    def make(function: Callable[..., None]) -> tasks.Task[Callable[..., None]]:
        flags = signature(function).parameters

        @functools.wraps(function)
        def guarded(_context: object, **given: object) -> None:
            try:
                with (
                    process.terminable(),
                    console.to_stderr() if given.get("json_") else nullcontext(),
                    _recorded(stage, step or function.__name__, given, about, unless),
                ):
                    function(**given)
            except DeliveryError as error:
                console.error(error)
                raise Exit(code=error.exit_code) from error
            except KeyboardInterrupt as error:
                console.error(_interrupted(function.__name__))
                terminated = isinstance(error, TerminatedError)
                raise Exit(code=_TERMINATED if terminated else _INTERRUPTED) from error
            except Exit:
                raise
            except Exception as error:
                if os.environ.get("DELIVERY_TRACEBACK"):
                    raise
                console.error(_internal_error(function.__name__, error))
                raise Exit(code=_INTERNAL_ERROR) from error

        help_ = {"json": "print JSON"} if "json_" in flags else {}
        options["help"] = {**help_, **cast("dict[str, str]", options.get("help", {}))}
        guarded.__signature__ = signature(function).replace(  # type: ignore[attr-defined]
            parameters=[_CONTEXT, *flags.values()]
        )
        made: tasks.Task[Callable[..., None]] = tasks.task(**options)(guarded)
        return made

    return make


def _recorded(
    stage: str, step: str, given: Mapping[str, object], about: str, unless: str
) -> AbstractContextManager[None]:
    if not stage or not pipeline() or (unless and given.get(unless)):
        return nullcontext()  # a run by hand is not recorded
    from delivery.records import recorder

    part = str(given.get(about) or "") if about else ""
    return recorder.stage(stage, part=part, step=step)


def _interrupted(name: str) -> DeliveryError:
    return DeliveryError(
        f"cannot finish {name}: interrupted",
        hint="run the same command again: it continues what was interrupted",
    )


def _internal_error(name: str, error: Exception) -> DeliveryError:
    from delivery.project import files

    log = files.output("traceback.log")
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return DeliveryError(
        f"cannot finish {name}: internal error: {type(error).__name__}: {error}",
        hint=f"report it with {log}; DELIVERY_TRACEBACK=1 prints it",
    )
