"""The command line of `./run inv`: Invoke's, with errors and hints of this project."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from invoke.exceptions import Exit, ParseError
from invoke.main import program
from invoke.parser import Parser
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext
from invoke.program import Program

from delivery import console
from delivery.errors import DeclarationError, did_you_mean

__all__ = ["CommandLine", "main"]

_HELP = {"--help", "-h"}
_BROKEN_PIPE = 141  # 128 + SIGPIPE, as in shells
_UNKNOWN = re.compile(r"No idea what '(.*)' is!")
_MISSING = re.compile(r"'(.*)' did not receive required positional arguments: (.*)")
_VALUELESS = re.compile(r"Flag <Argument: ([\w-]+).* needed value")
_LIST = "see the tasks with `./run inv --list`"
# Flags of Invoke that change nothing here, each with its hint. No task uses Invoke to run commands.
_WITHOUT_EFFECT = {
    "collection": "omit it: the tasks are always those of tasks.py",
    "command-timeout": "omit it",
    "config": "omit it: the settings are in delivery.toml",
    "dry": "run `./run inv plan`, which changes nothing",
    "echo": "set DELIVERY_ECHO=1, which prints each command",
    "hide": "omit it",
    "prompt-for-sudo-password": "omit it",
    "pty": "omit it",
    "search-root": "omit it: the tasks are always those of tasks.py",
    "warn-only": "omit it",
}


class CommandLine(Program):
    """Invoke's program, which exits with code 2 for a bad command line.

    --help after a task is always help, never the value of a flag.
    """

    _task_parser: Parser | None = None

    def parse_core(self, argv: list[str] | None) -> None:
        """Read the flags before the tasks; Python keeps its bytecode, unless told otherwise.

        Invoke keeps none, so that each run would compile all of delivery/ again.
        """
        keeps_none = sys.dont_write_bytecode
        super().parse_core(argv)
        sys.dont_write_bytecode = keeps_none

    def parse_core_args(self) -> None:
        """Read the flags before the tasks; print the completion script if a flag asks for it."""
        with self._explained():
            super().parse_core_args()
        self._refuse_without_effect()
        if shell := self.args["print-completion-script"].value:
            print_completion_script(shell)
            raise Exit

    def parse_tasks(self) -> None:
        """Read the tasks and their flags; show the help of the task before --help."""
        with self._explained():
            self._parse_tasks()
        self._refuse_without_effect()

    def parse_cleanup(self) -> None:
        """Print a list or help if a flag asks for it."""
        namespace = self.args.list.value
        if isinstance(namespace, str) and namespace not in (known := self.collection.collections):
            hint = did_you_mean(namespace, sorted(known))
            raise usage_error(f"cannot list {namespace}: no such namespace", hint)
        with self._explained():
            super().parse_cleanup()

    def no_tasks_given(self) -> None:
        """List the tasks."""
        self.list_tasks()
        raise Exit

    def core_args(self) -> list[Argument]:
        """Invoke's flags; bash and zsh alone have a completion script here."""
        arguments = super().core_args()
        for argument in arguments:
            if argument.name == "print-completion-script":
                argument.help = "Print the completion script of a shell: bash or zsh."
        return arguments

    def print_help(self) -> None:
        """Print the flags before the tasks, without those that users do not need."""
        shown = [
            argument
            for argument in (*self.core_args(), *self.task_args())
            if argument.name not in {*_WITHOUT_EFFECT, "write-pyc"}
        ]
        sys.stdout.write(f"Usage: {self.binary} [--core-opts] TASK [--options] [TASK …]\n\n")
        sys.stdout.write("Core options:\n\n")
        self.print_columns(ParserContext(args=shown).help_tuples())

    def print_task_help(self, name: str) -> None:
        """Print a task's description and flags; a flag that may be repeated takes a STRING, too."""
        for argument in self.parser.contexts[name].args.values():
            if argument.kind is list:
                argument.kind = str
        with redirect_stdout(StringIO()) as text:
            super().print_task_help(name)
        sys.stdout.write(text.getvalue().replace("Docstring:\n", "", 1))

    def _refuse_without_effect(self) -> None:
        for flag, hint in _WITHOUT_EFFECT.items():
            if self.args[flag].got_value:
                raise usage_error(f"cannot run a task with --{flag}: it has no effect here", hint)

    def _make_parser(self) -> Parser:
        if self._task_parser is None:  # made once: it takes the help out of the tasks
            self._task_parser = super()._make_parser()
        return self._task_parser

    def _parse_tasks(self) -> None:
        words = list(self.core.unparsed)
        end = next((index for index, word in enumerate(words) if word in _HELP), 0)
        tasks = [word for word in words[:end] if word in self.collection.task_names]
        if not tasks:
            self._check_flags(words)
            super().parse_tasks()
            return
        self.parser = self._make_parser()
        self.print_task_help(tasks[-1])
        raise Exit

    def _check_flags(self, words: list[str]) -> None:
        """Refuse flags that Invoke accepts, and numbers that it refuses without the flag's name.

        It takes an unknown flag for the value of a missing argument, and a flag that may be
        repeated without a value for one that is not given.
        """
        contexts = self._contexts()
        context, needs_value = None, None
        for word in words:
            if needs_value and context is not None and word not in context.flags:
                _check_value(context, needs_value, word)
                needs_value = None
            elif needs_value:
                break
            elif not word.startswith("-"):
                context = contexts.get(word, context)
            elif context is not None:
                needs_value = self._check_flag(context, word)
        if needs_value and context is not None:
            raise _value_missing(context.name or "", str(needs_value.name))

    def _contexts(self) -> dict[str, ParserContext]:
        """What Invoke knows of each task, by its name and aliases."""
        return {
            name: context
            for context in self._make_parser().contexts.values()
            for name in (context.name, *context.aliases)
        }

    def _check_flag(self, context: ParserContext, word: str) -> Argument | None:
        """The flag if its value is the next word, else None; refuse an unknown flag."""
        name, equals, value = word.partition("=")
        flag = name if name.startswith("--") else name[:2]
        if flag in context.flags:  # `get` does not know the short flags
            argument: Argument = context.flags[flag]
            if argument.takes_value and not equals and flag == name:
                return argument
            _check_value(context, argument, value if equals else name[2:])
            return None
        if flag not in context.inverse_flags and flag not in self.initial_context.flags:
            show = _flags_of(context.name or "")
            hint = did_you_mean(flag, context.flag_names(), show)
            raise usage_error(f"cannot run {context.name}: no such flag: {flag}", hint)
        return None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ParseError as error:
            raise self._explain(error) from error
        except ValueError as error:  # Invoke's, for a flag of its own that takes a number
            value = str(error).rpartition(": ")[2]
            hint = "see which flag takes a number with `./run inv --help`"
            raise usage_error(f"cannot read the flags: {value} is not a number", hint) from error

    def _explain(self, error: ParseError) -> Exit:
        context = error.context
        task = (context.name if context else None) or ""
        show = _flags_of(task)
        if match := _UNKNOWN.fullmatch(str(error)):
            word = match[1]
            if not word.startswith("-"):
                hint = _similar_tasks(word, [*self.collection.task_names]) or _LIST
                return usage_error(f"cannot run {word}: no such task", hint)
            hint = self._hint_for_task_flag(word) if not task else ""
            if not hint:
                known = context.flag_names() if context else ()
                useful = [flag for flag in known if flag.lstrip("-") not in _WITHOUT_EFFECT]
                hint = did_you_mean(word, useful, show)
            return usage_error(f"cannot run {task or 'a task'}: no such flag: {word}", hint)
        if match := _MISSING.fullmatch(str(error)):
            missing = match[2].replace("'", "").replace("_", "-")
            flags = [f"--{name}" for name in missing.split(", ")]
            verb = "is" if len(flags) == 1 else "are"
            return usage_error(f"cannot run {match[1]}: {', '.join(flags)} {verb} missing", show)
        if match := _VALUELESS.match(str(error)):
            return _value_missing(task, match[1])
        return usage_error(f"cannot read the command line: {error}", show)

    def _hint_for_task_flag(self, flag: str) -> str:
        """The hint for a flag that stands before its task; "" if it is of no task given."""
        contexts = self._contexts()
        for word in self.core.unparsed:
            if word in contexts and flag in contexts[word].flags:
                value = " …" if contexts[word].flags[flag].takes_value else ""
                return f"a task's flags stand after it: `./run inv {word} {flag}{value}`"
        return ""


def _flags_of(task: str) -> str:
    """A hint how to see the flags of a task, or the tasks if none is given."""
    return f"see its flags with `./run inv --help {task}`" if task else _LIST


def _check_value(context: ParserContext, argument: Argument, value: str) -> None:
    """Refuse a value that is not a number for a flag that takes one; no flag takes less than 0."""
    if argument.kind is int and not (value.isascii() and value.isdigit()):
        flag = str(argument.name).replace("_", "-")
        message = f"cannot run {context.name}: --{flag} needs a number of at least 0, not {value!r}"
        raise usage_error(message, _flags_of(context.name or ""))


def _value_missing(task: str, flag: str) -> Exit:
    message = f"cannot run {task or 'a task'}: --{flag.replace('_', '-')} needs a value"
    return usage_error(message, _flags_of(task))


def _similar_tasks(word: str, tasks: list[str]) -> str:
    """A hint for a word that is no task: a namespace, a task's last name, or similar to a task."""
    word = word.lower()
    if in_namespace := [task for task in tasks if task.startswith(f"{word}.")]:
        return f"it is a namespace: choose from {', '.join(sorted(in_namespace))}"
    namespace, _, name = word.rpartition(".")
    if same_name := [task for task in tasks if task.rpartition(".")[2] == name]:
        return f"did you mean {' or '.join(sorted(same_name))}?"
    siblings = sorted(task for task in tasks if namespace and task.startswith(f"{namespace}."))
    if not siblings:
        return did_you_mean(word, tasks, "")
    # Compared without the namespace: cache.clean is not similar to cache.fill.
    similar = did_you_mean(name, [task.rpartition(".")[2] for task in siblings], "")
    similar = similar.replace("did you mean ", f"did you mean {namespace}.")
    return f"{similar} choose from {', '.join(siblings)}".strip()


def usage_error(message: str, hint: str) -> Exit:
    """Print an error; return the exception that ends the program with exit code 2."""
    error = DeclarationError(message, hint=hint)
    console.error(error)
    return Exit(code=error.exit_code)


def print_completion_script(shell: str) -> None:
    """Print the script by which bash or zsh completes `./run inv`."""
    if shell not in {"bash", "zsh"}:
        raise usage_error(f"cannot complete in {shell}", "use bash or zsh")
    sys.stdout.write(Path(__file__).with_name("completion.sh").read_text(encoding="utf-8"))


def main() -> None:
    """Run the tasks of the command line; end silently when the reader of the output has gone."""
    try:
        try:
            CommandLine(name="inv", binary="inv", version=program.version).run(
                ["inv", *sys.argv[1:]]
            )
        finally:
            sys.stdout.flush()
            # Else Python looks at every object once more when it ends, for a tenth of a second.
            gc.freeze()
    except BrokenPipeError:
        # Python flushes stdout once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_BROKEN_PIPE)
