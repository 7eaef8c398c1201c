"""What every task has in common: errors without tracebacks, exit codes by their class, Ctrl-C that says how to go on."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from invoke.exceptions import Exit
from invoke.tasks import task

from delivery.core.errors import DeliveryError
from delivery.tools import files, screen

__all__ = ["item"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_OUR_FAULT = 70  # EX_SOFTWARE of sysexits.h

_F = TypeVar("_F", bound=Callable[..., None])


def item(**options: Any) -> Callable[[_F], Any]:  # noqa: ANN401  # invoke's own options
    """Make a function a task of the menu."""

    def make(function: _F) -> Any:  # noqa: ANN401  # an invoke task
        @functools.wraps(function)
        def guarded(*arguments: Any, **keywords: Any) -> None:  # noqa: ANN401  # the task's own
            try:
                function(*arguments, **keywords)
            except DeliveryError as error:
                screen.error(error)
                raise Exit(code=error.exit_code) from error
            except KeyboardInterrupt as error:
                screen.error(_interrupted(function.__name__))
                raise Exit(code=_INTERRUPTED) from error
            except Exit:
                raise
            except Exception as error:
                if os.environ.get("DELIVERY_TRACEBACK"):
                    raise
                screen.error(_our_fault(function.__name__, error))
                raise Exit(code=_OUR_FAULT) from error

        return task(**options)(guarded)

    return make


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
