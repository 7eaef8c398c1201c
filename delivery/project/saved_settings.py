"""The settings that this clone's platform runs with: later commands need not get them again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from delivery.errors import DeclarationError

__all__ = ["NAME", "PORTS", "REGISTRY", "load", "save"]

# The variable of each port that the platform publishes, by service.
PORTS = {
    "api-rest": "API_PORT",
    "kafka": "KAFKA_PORT",
    "database": "DATABASE_PORT",
    "prometheus": "PROMETHEUS_PORT",
}
REGISTRY = "DELIVERY_REGISTRY"
NAME = "COMPOSE_PROJECT_NAME"
_NAMES = (*PORTS.values(), REGISTRY, NAME)
_HIGHEST_PORT = 65535
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")  # as docker compose takes it


def load(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The saved variables, overridden by those of `environ`; a variable without a value is missing.

    Raises DeclarationError for a port or a name that is not valid.
    """
    settings = _read(root) | {name: environ[name] for name in _NAMES if environ.get(name)}
    for name in PORTS.values():
        value = settings.get(name, "1")
        if not (value.isascii() and value.isdigit() and 0 < int(value) <= _HIGHEST_PORT):
            raise DeclarationError(
                f"cannot use {name}={value}: it is not a valid port",
                hint=f"set it to a number from 1 to {_HIGHEST_PORT}",
            )
    if (project := settings.get(NAME)) and not _PROJECT_NAME.fullmatch(project):
        raise DeclarationError(
            f"cannot use {NAME}={project}: it is no name of a compose project",
            hint="use lower-case letters, digits, hyphens and underscores; begin with a letter or "
            "a digit",
        )
    return settings


def save(root: Path, environ: Mapping[str, str], *, is_local: bool) -> dict[str, str]:
    """Save the variables that `load` returns, the registry's only if it is local.

    Returns them if they changed, else nothing.
    """
    settings = load(root, environ)
    if not is_local:
        settings.pop(REGISTRY, None)
    if settings == _read(root):
        return {}
    file = _file(root)
    if not settings:
        file.unlink(missing_ok=True)
        return {}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return settings


def _read(root: Path) -> dict[str, str]:
    try:
        settings = json.loads(_file(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(settings, dict):
        return {}
    return {name: str(value) for name, value in settings.items() if name in _NAMES}


def _file(root: Path) -> Path:
    return root / ".delivery" / "ports.json"
