"""The decorator of every task: no tracebacks, exit codes by class of error, records as a stage."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any, TypeVar

from invoke import tasks
from invoke.exceptions import Exit

from delivery import console, process
from delivery.errors import DeliveryError, TerminatedError
from delivery.machine import pipeline

__all__ = ["task"]

_INTERRUPTED = 130  # 128 + SIGINT, as in shells
_TERMINATED = 143  # 128 + SIGTERM; SIGHUP counts as the same
_INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h

_F = TypeVar("_F", bound=Callable[..., None])


def task(
    *,
    stage: str = "",
    step: str = "",
    about: str = "",
    unless: str = "",
    **options: Any,  # noqa: ANN401  # invoke's own
) -> Callable[[_F], Any]:
    """Make a function an Invoke task with these options of Invoke's.

    stage: the stage of the pipeline that the ledger records for it, under the name `step` (default:
    the function's). The argument `about` names its component or subproject (default: all). If the
    argument `unless` has a value, nothing is recorded.
    With --json, only console.data goes to stdout.
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
                terminated = isinstance(error, TerminatedError)
                raise Exit(code=_TERMINATED if terminated else _INTERRUPTED) from error
            except Exit:
                raise
            except Exception as error:
                if os.environ.get("DELIVERY_TRACEBACK"):
                    raise
                console.error(_internal_error(function.__name__, error))
                raise Exit(code=_INTERNAL_ERROR) from error

        if "json_" in signature(function).parameters:
            options["help"] = {"json": "print JSON", **options.get("help", {})}
        return tasks.task(**options)(guarded)

    return make


def _recorded(
    stage: str, step: str, keywords: Mapping[str, Any], about: str, unless: str
) -> AbstractContextManager[None]:
    if not stage or not pipeline() or (unless and keywords.get(unless)):
        return nullcontext()  # a run by hand is not recorded
    from delivery.records import recorder

    part = str(keywords.get(about) or "") if about else ""
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
