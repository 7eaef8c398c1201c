"""Settings from environment variables, with a reference for --help and the README.

A settings class is a frozen dataclass. `setting()` declares its fields, and a field's name in upper
case is its environment variable.
"""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
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
    "Kind",
    "SettingsError",
    "choice",
    "integer",
    "load",
    "reference",
    "setting",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of values."""

    # Its name in the reference.
    label: str
    # Returns the value, or raises ValueError.
    parse: Callable[[str], T]


@dataclass(frozen=True)
class _Declaration:
    # The environment variable.
    name: str
    kind: Kind[Any]
    # None: the setting is required.
    default: str | None
    help: str
    secret: bool


class SettingsError(Exception):
    """Some settings are wrong or missing; `problems` has a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _parse_text(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty")
    return value


def _parse_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_valid = not value or (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        )
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("it must be an address like http://host:port/path")
    return value


def _parse_flag(value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise ValueError("it must be true or false")
    return value.lower() == "true"


TEXT = Kind("text", _parse_text)
OPTIONAL_TEXT = Kind("text", str)
OPTIONAL_URL = Kind("URL", _parse_url)
FLAG = Kind("true, false", _parse_flag)
BROKERS = Kind("broker list", parse_broker_url)


def integer(low: int, high: int) -> Kind[int]:
    """Return the kind of whole numbers from low to high."""

    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
            raise ValueError(f"it must be a whole number from {low} to {high}")
        return int(value)

    return Kind(f"{low} to {high}", parse)


def choice(*words: str) -> Kind[str]:
    """Return the kind of these words; case does not matter."""

    def parse(value: str) -> str:
        for word in words:
            if word.lower() == value.lower():
                return word
        raise ValueError(f"it must be one of {', '.join(words)}")

    return Kind(", ".join(words), parse)


def setting(kind: Kind[T], help_: str, *, default: str | None = None, secret: bool = False) -> T:
    """Declare a field of a settings class. NAME_FILE may name a file with the value of a secret."""
    # dataclasses.field() is typed like this too: as the value of the field.
    metadata = {"kind": kind, "help": help_, "default": default, "secret": secret}
    return cast("T", field(metadata=metadata, repr=not secret))


def _declarations(settings: type) -> list[_Declaration]:
    return [_Declaration(entry.name.upper(), **entry.metadata) for entry in fields(settings)]


def load(settings: type[T], environ: Mapping[str, str]) -> T:
    """Return the settings of an environment, or raise SettingsError with all problems.

    The class may have a function `conflicts`, which returns problems between the valid settings.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    for declaration in _declarations(settings):
        try:
            values[declaration.name.lower()] = declaration.kind.parse(
                _raw_value(declaration, environ)
            )
        except ValueError as error:
            problems.append(f"{declaration.name}: {error}")
    if conflicts := getattr(settings, "conflicts", None):
        problems += conflicts(values)
    if problems:
        raise SettingsError(problems)
    return settings(**values)


def _raw_value(declaration: _Declaration, environ: Mapping[str, str]) -> str:
    value = environ.get(declaration.name)
    if declaration.secret and (file := environ.get(f"{declaration.name}_FILE")):
        if value is not None:
            raise ValueError(f"set either it or {declaration.name}_FILE, not both")
        return _read_secret(file, declaration.name)
    if value is None:
        value = declaration.default
    if value is None:
        file_hint = f", and neither is {declaration.name}_FILE" if declaration.secret else ""
        raise ValueError(f"it is not set{file_hint} ({declaration.help})")
    return value


def _read_secret(path: str, name: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ValueError(f"cannot read {path} that {name}_FILE names ({reason})") from None


def reference(settings: type) -> str:
    """Return a Markdown list of the settings, for --help and the README."""
    return "\n".join(
        textwrap.fill(_describe(entry), 100, subsequent_indent="  ", break_on_hyphens=False)
        for entry in _declarations(settings)
    )


def _describe(entry: _Declaration) -> str:
    file = f" (or in the file that `{entry.name}_FILE` names)" if entry.secret else ""
    default = f"`{entry.default}`" if entry.default else "none"
    if entry.default is None:
        default = "required"
    return f"- `{entry.name}` ({entry.kind.label}; {default}): {entry.help}{file}"
