"""Runs the menu: what `./run inv` is."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invoke.exceptions import Exit, ParseError
from invoke.main import program
from invoke.program import Program

from delivery import console
from delivery.errors import DeclarationError, did_you_mean

__all__ = ["Menu"]

_HELP = {"--help", "-h"}
_CLOSED = 141  # as a shell has it: 128 and SIGPIPE
_UNKNOWN = re.compile(r"No idea what '(.*)' is!")
_MISSING = re.compile(r"'(.*)' did not receive required positional arguments: (.*)")
_VALUELESS = re.compile(r"Flag <Argument: ([\w-]+).* needed value")
_LIST = "`./run inv --list` shows the tasks"


class Menu(Program):
    """Invoke's own program, without the flags that tasks here do not obey.

    --help after a task is never taken for a value. A command line that cannot be read is an error
    of ours, with exit code 2.
    """

    def parse_core_args(self) -> None:
        """Read the flags before the tasks, and print the completion script where it is asked for."""
        with self._explained():
            super().parse_core_args()
        if shell := self.args["print-completion-script"].value:
            print_completion_script(shell)
            raise Exit

    def parse_tasks(self) -> None:
        """Read the tasks and their flags, or show the help of the task that --help stands behind."""
        with self._explained():
            self._parse_tasks()
        if self.args.dry.value:
            hint = "`./run inv plan` only looks"
            raise refused("cannot run anything dry: --dry is not obeyed here", hint)

    def parse_cleanup(self) -> None:
        """Print a list or help where one is asked for."""
        namespace = self.args.list.value
        if isinstance(namespace, str) and namespace not in (known := self.collection.collections):
            hint = did_you_mean(namespace, known, f"one of {', '.join(sorted(known))}")
            raise refused(f"cannot list {namespace}: there is no such namespace", hint)
        with self._explained():
            super().parse_cleanup()

    def _parse_tasks(self) -> None:
        words = list(self.core.unparsed)
        asked = next((number for number, word in enumerate(words) if word in _HELP), 0)
        tasks = [word for word in words[:asked] if word in self.collection.task_names]
        if not tasks:
            self._check_flags(words)
            super().parse_tasks()
            return
        self.parser = self._make_parser()
        self.print_task_help(tasks[-1])
        raise Exit

    def _check_flags(self, words: list[str]) -> None:
        """Refuse a flag that its task does not have; invoke takes it for the value of a missing argument."""
        contexts = {
            name: one for one in self.collection.to_contexts() for name in (one.name, *one.aliases)
        }
        context, is_value = None, False
        for word in words:
            if is_value:
                is_value = False
            elif not word.startswith("-"):
                context = contexts.get(word, context)
            elif context is not None:
                name, equals, _ = word.partition("=")
                flag = name if name.startswith("--") else name[:2]
                if flag in context.flags:
                    is_value = context.flags[flag].takes_value and not equals and flag == name
                elif flag not in context.inverse_flags and flag not in self.initial_context.flags:
                    show = f"`./run inv --help {context.name}` shows its flags"
                    hint = did_you_mean(flag, context.flag_names(), show)
                    raise refused(f"cannot run {context.name}: there is no flag {flag}", hint)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ParseError as error:
            raise self._explain(error) from error
        except ValueError as error:  # invoke's, of a flag that takes a number
            value = str(error).rpartition(": ")[2]
            hint = "`./run inv --help` with the task's name shows which flag takes one"
            raise refused(f"cannot read the flags: {value} is no number", hint) from error

    def _explain(self, error: ParseError) -> Exit:
        context = error.context
        task = (context.name if context else None) or ""
        show = f"`./run inv --help {task}` shows its flags" if task else _LIST
        if found := _UNKNOWN.fullmatch(str(error)):
            word = found[1]
            if word.startswith("-"):
                flags = context.flag_names() if context else ()
                name = task or "anything"
                return refused(
                    f"cannot run {name}: there is no flag {word}", did_you_mean(word, flags, show)
                )
            hint = _nearest_task(word, [*self.collection.task_names]) or _LIST
            return refused(f"cannot run {word}: there is no such task", hint)
        if found := _MISSING.fullmatch(str(error)):
            missing = found[2].replace("'", "").replace("_", "-")
            required = ", ".join(f"--{name}" for name in missing.split(", "))
            return refused(f"cannot run {found[1]}: {required} is missing", show)
        if found := _VALUELESS.match(str(error)):
            return refused(f"cannot run {task or 'anything'}: --{found[1]} needs a value", show)
        return refused(f"cannot read the command line: {error}", show)


def _nearest_task(word: str, tasks: list[str]) -> str:
    """What was meant by a word that is no task: one of a namespace, one by its last name, a near one."""
    if of_namespace := [task for task in tasks if task.startswith(f"{word}.")]:
        return f"it is a namespace: one of {', '.join(sorted(of_namespace))}"
    namespace, _, name = word.rpartition(".")
    if by_last_name := [task for task in tasks if task.rpartition(".")[2] == name]:
        return f"did you mean {' or '.join(sorted(by_last_name))}?"
    siblings = sorted(task for task in tasks if namespace and task.startswith(f"{namespace}."))
    if not siblings:
        return did_you_mean(word, tasks)
    # A namespace in common is no likeness: cache.clean is not meant by cache.fill.
    near = did_you_mean(name, [task.rpartition(".")[2] for task in siblings])
    near = near.replace("did you mean ", f"did you mean {namespace}.")
    return f"{near} one of {', '.join(siblings)}".strip()


def refused(message: str, hint: str) -> Exit:
    """Print what cannot be obeyed; what ends the program with exit code 2."""
    error = DeclarationError(message, hint=hint)
    console.error(error)
    return Exit(code=error.exit_code)


def print_completion_script(shell: str) -> None:
    """Print what makes bash or zsh complete `./run inv`."""
    if shell not in {"bash", "zsh"}:
        raise refused(f"cannot complete in {shell}", "bash and zsh are known")
    sys.stdout.write(Path(__file__).with_name("completion.sh").read_text(encoding="utf-8"))


def main() -> None:
    """Run the tasks of the command line; whoever stops reading a list or help ends it without a word, as SIGPIPE would."""
    try:
        try:
            Menu(name="inv", binary="inv", version=program.version).run(["inv", *sys.argv[1:]])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # Python flushes once more at its end
        sys.exit(_CLOSED)


if __name__ == "__main__":
    main()
