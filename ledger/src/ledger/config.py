"""Settings declared once: the environment, --help and the README's list all derive from the declaration.

A settings class is a frozen dataclass whose fields are made with `setting()`; the field's upper-case name is the variable's.
"""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

from .broker_url import parse_broker_url

__all__ = [
    "BROKERS",
    "FLAG",
    "OPTIONAL_TEXT",
    "OPTIONAL_URL",
    "TEXT",
    "Declaration",
    "Kind",
    "SettingsError",
    "choice",
    "declared",
    "load",
    "reference",
    "setting",
    "whole",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What a value may be: how people call it, and the function that reads it or raises ValueError."""

    label: str
    parse: Callable[[str], T]


@dataclass(frozen=True)
class Declaration:
    """One setting: the variable's name, what it may be, its default (None: it must be set), what it is for."""

    name: str
    kind: Kind[Any]
    default: str | None
    help: str
    secret: bool


class SettingsError(Exception):
    """Every wrong or missing setting at once, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = not value or (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        )
    except ValueError:
        good = False
    if not good:
        raise ValueError("it must be an address like http://host:port/path")
    return value


def _flag(value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise ValueError("it must be true or false")
    return value.lower() == "true"


TEXT = Kind("text", _text)
OPTIONAL_TEXT = Kind("text", str)
OPTIONAL_URL = Kind("URL", _url)
FLAG = Kind("true, false", _flag)
BROKERS = Kind("broker list", parse_broker_url)


def whole(low: int, high: int) -> Kind[int]:
    """Return the kind of whole numbers from low to high."""

    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
            raise ValueError(f"it must be a whole number from {low} to {high}")
        return int(value)

    return Kind(f"{low} to {high}", parse)


def choice(*words: str) -> Kind[str]:
    """Return the kind of one word out of several; case does not matter."""

    def parse(value: str) -> str:
        for word in words:
            if word.lower() == value.lower():
                return word
        raise ValueError(f"it must be one of {', '.join(words)}")

    return Kind(", ".join(words), parse)


def setting(kind: Kind[T], help_: str, *, default: str | None = None, secret: bool = False) -> T:
    """Declare a field of a settings class. A secret may also come from the file that NAME_FILE names."""
    # The cast lets a field be annotated with what it holds, as dataclasses.field() itself does.
    metadata = {"kind": kind, "help": help_, "default": default, "secret": secret}
    return cast("T", field(metadata=metadata, repr=not secret))


def declared(settings: type) -> list[Declaration]:
    """Return what a settings class declares, in its order."""
    return [_declaration(entry) for entry in fields(settings)]


def _declaration(entry: Field[Any]) -> Declaration:
    return Declaration(entry.name.upper(), **entry.metadata)


def load(settings: type[T], environ: Mapping[str, str]) -> T:
    """Read a settings class from the environment, or raise SettingsError with all that is wrong.

    What is wrong between its settings, a class says itself: in `contradictions`, which gets the values that are right by
    themselves.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    for declaration in declared(settings):
        try:
            values[declaration.name.lower()] = declaration.kind.parse(_raw(declaration, environ))
        except ValueError as error:
            problems.append(f"{declaration.name}: {error}")
    if contradictions := getattr(settings, "contradictions", None):
        problems += contradictions(values)
    if problems:
        raise SettingsError(problems)
    return settings(**values)


def _raw(declaration: Declaration, environ: Mapping[str, str]) -> str:
    value = environ.get(declaration.name)
    if declaration.secret and (file := environ.get(f"{declaration.name}_FILE")):
        if value is not None:
            raise ValueError(f"set either it or {declaration.name}_FILE, not both")
        return _file(file, declaration.name)
    if value is None:
        value = declaration.default
    if value is None:
        msg = "it is not set" + (
            f", and neither is {declaration.name}_FILE" if declaration.secret else ""
        )
        raise ValueError(f"{msg} ({declaration.help})")
    return value


def _file(path: str, name: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ValueError(f"cannot read {path} that {name}_FILE names ({reason})") from None


def reference(settings: type) -> str:
    """Return the settings as a Markdown list, as --help prints it and the README has it."""
    return "\n".join(
        textwrap.fill(_described(entry), 100, subsequent_indent="  ", break_on_hyphens=False)
        for entry in declared(settings)
    )


def _described(entry: Declaration) -> str:
    file = f" (or in the file that `{entry.name}_FILE` names)" if entry.secret else ""
    default = _default(entry.default)
    return f"- `{entry.name}` ({entry.kind.label}; {default}): {entry.help}{file}"


def _default(default: str | None) -> str:
    if default is None:
        return "required"
    return f"`{default}`" if default else "none"
