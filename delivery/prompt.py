"""Questions to whoever sits at the terminal; none is asked where nobody does."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from delivery import console
from delivery.errors import DeclarationError

__all__ = ["agreed", "choose", "confirm", "someone", "typed"]


def someone() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def choose(question: str, answers: Mapping[str, str], default: str = "") -> str:
    """Ask for one of the answers (answer → what it means), by its number or by itself.

    Enter takes the default, where there is one.
    """
    console.say(question)
    for number, (answer, meaning) in enumerate(answers.items(), start=1):
        console.say(
            f"  {number}) {answer}{f': {meaning}' if meaning else ''}{' (Enter)' if answer == default else ''}"
        )
    numbered = dict(enumerate(answers, start=1))
    while True:
        said = _answer("> ") or default
        if said in answers:
            return said
        if said.isdecimal() and int(said) in numbered:
            return numbered[int(said)]
        console.say(f"{said or 'that'} is none of them: a number from 1 to {len(answers)}, please")


def confirm(doing: str, word: str, *, yes: bool, instead: str = "") -> None:
    """Have somebody type a word before something is done; raise DeclarationError otherwise.

    yes: do not ask. instead: what else one may do, for the hint.
    """
    if yes:
        return
    if not someone():
        raise DeclarationError(
            f"{doing}: nobody is here to confirm it", hint=f"say it with --yes{instead}"
        )
    if not typed(f"{doing}? type {word} to go on:", word):
        raise DeclarationError(f"{doing}: not confirmed", hint=f"type {word}, or say --yes")


def agreed(question: str) -> bool:
    """Whether somebody answers yes; Enter is a no."""
    return _answer(f"{question} ").lower() in {"y", "yes"}


def typed(question: str, wanted: str) -> bool:
    """Whether somebody types exactly what is wanted."""
    return _answer(f"{question} ") == wanted


def _answer(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except EOFError as error:
        raise DeclarationError(
            "ask: nobody answers", hint="say it with the flags; --help lists them"
        ) from error
