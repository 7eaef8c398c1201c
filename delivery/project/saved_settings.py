"""The name and the ports that this clone's platform was brought up with: later commands need not be told again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from delivery.errors import DeclarationError

__all__ = ["NAME", "PORTS", "REGISTRY", "load", "save"]

# The variable that moves each port that the platform publishes, by service.
PORTS = {
    "api-rest": "API_PORT",
    "kafka": "KAFKA_PORT",
    "database": "DATABASE_PORT",
    "prometheus": "PROMETHEUS_PORT",
}
REGISTRY = "DELIVERY_REGISTRY"  # kept too where it is a local one
NAME = "COMPOSE_PROJECT_NAME"
_HIGHEST = 65535


def load(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that say where the platform is: as set now, else as kept; the rest has defaults.

    Raises DeclarationError for one that is no port.
    """
    found = _read(root) | {name: environ[name] for name in _names() if environ.get(name)}
    for name in PORTS.values():
        value = found.get(name, "1")
        if not (value.isascii() and value.isdigit() and 0 < int(value) <= _HIGHEST):
            raise DeclarationError(
                f"cannot use {name}={value}: it is no port", hint=f"it takes 1 to {_HIGHEST}"
            )
    return found


def save(root: Path, environ: Mapping[str, str], *, is_local: bool) -> None:
    """Keep what `load` says; the registry's address only where that registry is a local one."""
    found = load(root, environ)
    if not is_local:
        found.pop(REGISTRY, None)
    file = _file(root)
    if not found:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _read(root: Path) -> dict[str, str]:
    try:
        found = json.loads(_file(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: str(value) for name, value in found.items() if name in _names()}


def _names() -> Iterable[str]:
    return (*PORTS.values(), REGISTRY, NAME)


def _file(root: Path) -> Path:
    return root / ".delivery" / "ports.json"
