"""Ask the user at the terminal; without a terminal nothing is asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from delivery import console
from delivery.errors import DeclarationError

__all__ = ["ask_for_word", "ask_yes_no", "choose", "confirm", "is_interactive"]


def is_interactive() -> bool:
    """Whether a user sits at a terminal and can answer."""
    return sys.stdin.isatty()


def choose(question: str, options: Mapping[str, str], default: str = "") -> str:
    """Return the option that the user picks, by its number or its name.

    options maps each option to a description. Enter picks the default, if any.
    """
    console.say(question)
    for number, (option, description) in enumerate(options.items(), start=1):
        suffix = f": {description}" if description else ""
        console.say(f"  {number}) {option}{suffix}{' (Enter)' if option == default else ''}")
    by_number = {str(number): option for number, option in enumerate(options, start=1)}
    while True:
        answer = _ask("> ") or default
        if answer not in options:  # an option may look like a number
            answer = by_number.get(answer, answer)
        if answer in options:
            return answer
        console.say(f"{answer or 'nothing'} is no option: enter a number from 1 to {len(options)}")


def confirm(doing: str, word: str, *, yes: bool, alternative: str = "") -> None:
    """Let the user type a word before something is done; raise DeclarationError otherwise.

    yes skips the question. alternative extends the hint that is given without a terminal.
    """
    if yes:
        return
    if not is_interactive():
        raise DeclarationError(
            f"cannot {doing}: no terminal to confirm it", hint=f"pass --yes{alternative}"
        )
    if not ask_for_word(f"{doing}? type {word} to go on:", word):
        raise DeclarationError(f"cannot {doing}: not confirmed", hint=f"type {word}, or pass --yes")


def ask_yes_no(question: str) -> bool:
    """Whether the user answers yes; Enter means no."""
    return _ask(question).lower() in {"y", "yes"}


def ask_for_word(question: str, word: str) -> bool:
    """Whether the user types exactly this word."""
    return _ask(question) == word


def _ask(question: str) -> str:
    try:
        return input(f"{question.rstrip()} ").strip()
    except EOFError as error:
        raise DeclarationError(
            "cannot ask: the input has ended", hint="pass flags instead; --help lists them"
        ) from error
