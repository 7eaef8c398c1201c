"""Runs the menu: what `./run inv` is."""

from __future__ import annotations

import os
import sys

from invoke.exceptions import Exit
from invoke.main import program
from invoke.program import Program

__all__ = ["Menu"]

_HELP = {"--help", "-h"}
_CLOSED = 141  # as a shell has it: 128 and SIGPIPE


class Menu(Program):
    """Invoke's own program, without the flags that tasks here do not obey.

    --help after a task is never taken for a value.
    """

    def parse_tasks(self) -> None:
        """Read the tasks and their flags, or show the help of the task that --help stands behind."""
        try:
            self._parse_tasks()
        except ValueError as error:  # invoke's, of a flag that takes a number
            raise _refused(f"cannot read the flags: {error}", "`./run inv --help TASK` shows them") from error
        if self.args.dry.value:
            raise _refused("cannot run anything dry: --dry is not obeyed here", "`./run inv plan` only looks")

    def _parse_tasks(self) -> None:
        words = list(self.core.unparsed)
        asked = next((number for number, word in enumerate(words) if word in _HELP), 0)
        tasks = [word for word in words[:asked] if word in self.collection.task_names]
        if not tasks:
            super().parse_tasks()
            return
        self.parser = self._make_parser()
        self.print_task_help(tasks[-1])
        raise Exit


def _refused(message: str, hint: str) -> Exit:
    return Exit(f"error: {message}\nto do: {hint}", code=2)


def main() -> None:
    """Run the tasks of the command line; whoever stops reading a list or help ends it without a word, as SIGPIPE would."""
    try:
        try:
            Menu(name="inv", binary="inv", version=program.version).run(["inv", *sys.argv[1:]])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        sys.exit(_CLOSED)


if __name__ == "__main__":
    main()
