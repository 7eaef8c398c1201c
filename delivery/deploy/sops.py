"""sops, the program that encrypts the values of a file: they are decrypted in memory only."""

from __future__ import annotations

from pathlib import Path

import yaml

from delivery import process
from delivery.errors import CommandError, DeclarationError
from delivery.host import programs

__all__ = ["decrypt"]

_SECONDS = 120  # a key service may be slow


def decrypt(file: Path) -> str:
    """The values in a file that sops has encrypted, as YAML.

    Raises DeclarationError for a file that is not encrypted, or that sops cannot decrypt.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DeclarationError(
            f"cannot read {file.name}: {error}", hint="correct it, or its name in delivery.toml"
        ) from error
    if not isinstance(content, dict) or "sops" not in content:
        raise DeclarationError(
            f"cannot deploy {file.name}: sops has not encrypted it",
            hint=f"run `sops encrypt --in-place {file}`, or name it in `values`",
        )
    sops = programs.ensure("sops")
    try:
        return process.capture(
            [sops, "decrypt", str(file)], doing=f"decrypt {file.name}", timeout=_SECONDS
        )
    except CommandError as error:
        raise DeclarationError(
            f"cannot decrypt {file.name}: sops failed",
            details=error.tail,
            hint="if it lacks a key, set SOPS_AGE_KEY_FILE or log in to the key service it names",
        ) from error
