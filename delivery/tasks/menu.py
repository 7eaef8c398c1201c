"""What every task has in common: errors without tracebacks, exit codes by their class, Ctrl-C that says how to go on."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any, TypeVar

from invoke.exceptions import Exit
from invoke.tasks import task

from delivery import console, process
from delivery.errors import DeliveryError, TerminatedError
from delivery.project import files

__all__ = ["item"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_TERMINATED = 143  # 128 + SIGTERM; SIGHUP counts as the same
_OUR_FAULT = 70  # EX_SOFTWARE of sysexits.h

_F = TypeVar("_F", bound=Callable[..., None])


def item(
    *,
    stage: str = "",
    step: str = "",
    about: str = "",
    unless: str = "",
    **options: Any,  # noqa: ANN401  # invoke's own
) -> Callable[[_F], Any]:
    """Make a function a task of the menu.

    stage is the stage of the pipeline that it is, and is told to the ledger as such, under the name `step` (else the function's
    own): of the component or subproject that the argument `about` names, else of all; not when the argument `unless` has a value.
    With --json everything but console.data goes to stderr.
    """

    def make(function: _F) -> Any:  # noqa: ANN401  # an invoke task
        @functools.wraps(function)
        def guarded(*arguments: Any, **keywords: Any) -> None:  # noqa: ANN401  # the task's own
            try:
                with (
                    process.terminable(),
                    console.to_stderr() if keywords.get("json_") else nullcontext(),
                    _recorded(stage, step or function.__name__, keywords, about, unless),
                ):
                    function(*arguments, **keywords)
            except DeliveryError as error:
                console.error(error)
                raise Exit(code=error.exit_code) from error
            except KeyboardInterrupt as error:
                console.error(_interrupted(function.__name__))
                raise Exit(
                    code=_TERMINATED if isinstance(error, TerminatedError) else _INTERRUPTED
                ) from error
            except Exit:
                raise
            except Exception as error:
                if os.environ.get("DELIVERY_TRACEBACK"):
                    raise
                console.error(_our_fault(function.__name__, error))
                raise Exit(code=_OUR_FAULT) from error

        if "json_" in signature(function).parameters:
            options["help"] = {"json": "print it for a machine to read", **options.get("help", {})}
        return task(**options)(guarded)

    return make


def _recorded(
    stage: str, step: str, keywords: Mapping[str, Any], about: str, unless: str
) -> AbstractContextManager[None]:
    if not stage or (unless and keywords.get(unless)):
        return nullcontext()
    from delivery.records import recorder

    named = (str(keywords[about]),) if about and keywords.get(about) else ()
    return recorder.stage(stage, components=named, step=step)


def _interrupted(name: str) -> DeliveryError:
    return DeliveryError(
        f"{name}: interrupted",
        hint="nothing is half done that the next run does not finish: run the same command again",
    )


def _our_fault(name: str, error: Exception) -> DeliveryError:
    log = files.output("traceback.log")
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return DeliveryError(
        f"{name}: a mistake of this project's own: {type(error).__name__}: {error}",
        hint=f"please report it with {log}; DELIVERY_TRACEBACK=1 prints it",
    )
